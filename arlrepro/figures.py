"""Results as figures: one visual language, one colour a network. Transparent, readable on light, dark and paper."""

from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn import metrics as sklearn_metrics

from arlrepro import outcomes, words
from arlrepro.archive import Run, Study
from arlrepro.config import CLASSES
from arlrepro.errors import RunError

#: Okabe and Ito's colours, which people with any colour vision tell apart: blues for ResNet, warm ones for ARL.
COLOURS = {
    "resnet14": "#0072B2",
    "arl_cnn14": "#D55E00",
    "resnet50": "#56B4E9",
    "arl_cnn50": "#E69F00",
    "se_resnet14": "#009E73",
    "se_resnet50": "#009E73",
    "ran14": "#CC79A7",
    "ran50": "#CC79A7",
}
INK = "#737373"  # text and lines: as far from white as from a dark page
STYLE = {
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "figure.dpi": 120,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.7,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "svg.hashsalt": "arlrepro",
}


@contextmanager
def canvas(rows: int = 1, columns: int = 1, *, width: float = 7.2, height: float = 3.4, **options: Any):
    """A figure in the house's style and its axes, two-dimensional; inches.

    Reason: it is closed for pyplot at the end, so that a notebook shows the returned figure once and not twice.
    """
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
        )
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def _empty(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)


def _present(study: Study) -> list[str]:
    """The networks of a study that have a run, in the profile's order."""
    return [network for network in study.profile.networks if study.of(network)]


def roc(study: Study) -> Figure:
    """How many lesions of a class are found at each rate of false alarms, for every network: mean and range over seeds.

    The dot is where the threshold of 0.5 lies (of the first seed).
    """
    with canvas(1, len(CLASSES), width=7.2, height=3.7, sharey=True) as (figure, axes):
        rates = np.linspace(0, 1, 201)
        for axis, task in zip(axes[0], CLASSES, strict=True):
            axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
            for network in _present(study):
                chosen = outcomes.shared_runs(study, [network], [task])
                truth, scores = outcomes.scores_on_test(chosen, [task])
                curves = []
                for one in scores[network][:, 0]:
                    false_rate, true_rate, _ = sklearn_metrics.roc_curve(truth[0], one, drop_intermediate=False)
                    curves.append(np.interp(rates, false_rate, true_rate))
                found = outcomes.figure(study, network, f"{task}.auc").estimate
                label = f"{words.network(network)}  {words.with_interval(found)}"
                axis.plot(rates, np.mean(curves, axis=0), color=COLOURS[network], label=label)
                if len(curves) > 1:
                    span = np.min(curves, axis=0), np.max(curves, axis=0)
                    axis.fill_between(rates, *span, color=COLOURS[network], alpha=0.18, lw=0)
                called = scores[network][0, 0] > 0.5
                at_half = called[~truth[0]].mean(), called[truth[0]].mean()
                axis.plot(*at_half, "o", ms=6, color=COLOURS[network], clip_on=False)
            axis.set(title=words.TASKS[task], xlabel="false alarms (1 - specificity)", xlim=(0, 1), ylim=(0, 1))
            axis.set_aspect("equal")
            axis.legend(loc="lower right", title="AUC [95 % CI]", title_fontsize=9)
        axes[0, 0].set_ylabel("found (sensitivity)")
    return figure


def training_curves(study: Study) -> Figure:
    """How training went: loss and validation AUCs by epoch; a thin line a run, a thick one the mean over seeds."""
    panels = {"training_loss": "training loss (binary cross-entropy)"} | {
        f"validation_auc_{task}": f"validation AUC, {words.TASKS[task]}" for task in CLASSES
    }
    with canvas(1, 3, width=9, height=3.2) as (figure, axes):
        for axis, (column, title) in zip(axes[0], panels.items(), strict=True):
            for network in _present(study):
                runs = [run.history.set_index("epoch")[column] for run in study.of(network) if column in run.history]
                looked = [history.dropna() for history in runs]  # validation is not looked at in every epoch
                _curves(axis, looked, COLOURS[network], words.network(network))
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].legend()
    return figure


def _curves(axis: Axes, curves: Sequence[pd.Series], colour: str, label: str) -> None:
    """Thin lines for the runs, a thick one for their mean; dots where a run has one point only."""
    marker = "o" if all(len(curve) < 2 for curve in curves) else None
    if len(curves) > 1:
        for curve in curves:
            axis.plot(curve.index, curve, color=colour, lw=0.7, alpha=0.45)
    if curves:
        mean = pd.concat(curves, axis=1).mean(axis=1)
        axis.plot(mean.index, mean, color=colour, label=label, marker=marker, ms=5)


def _blocks(run: Run) -> list[str]:
    return list(run.attention["block"])


def _block_words(block: str) -> str:
    """`layer3.0` in words: stage 3, block 1."""
    stage, number = block.removeprefix("layer").split(".")
    return f"stage {stage}" + ("" if number == "0" else f".{int(number) + 1}")


def alphas(study: Study) -> Figure:
    """How large the weight α of the attention term gets: by block at the end of training, and over the epochs."""
    arl = [network for network in _present(study) if network.startswith("arl")]
    if not arl:
        raise RunError(f"no run of a network with ARL blocks in the archive of {study.profile.name}")
    with canvas(1, 1 + len(arl), width=3.2 + 3.8 * len(arl), height=3.3, sharey=True) as (figure, axes):
        by_block = axes[0, 0]
        for network in arl:
            runs = study.of(network)
            blocks = _blocks(runs[0])
            ends = np.array([run.attention["alpha"] for run in runs])
            places = np.arange(1, len(blocks) + 1)
            for one in ends:
                by_block.plot(places, one, "o", ms=4, mfc="none", color=COLOURS[network], alpha=0.8)
            by_block.plot(places, ends.mean(axis=0), "_", ms=14, mew=2.2, color=COLOURS[network])
            by_block.set_xticks(places, [_block_words(block) for block in blocks], rotation=35, ha="right")
        start = study.profile.experiment.network.alpha
        for axis in axes[0]:
            axis.axhline(start, color=INK, lw=0.9, ls="--")
        by_block.set(title="α at the end of training; dashed: at the start", ylabel="α")
        for axis, network in zip(axes[0, 1:], arl, strict=True):
            blocks = _blocks(study.of(network)[0])
            shades = mpl.colormaps["plasma"](np.linspace(0.3, 0.82, len(blocks)))
            for block, shade in zip(blocks, shades, strict=True):
                histories = [run.history.set_index("epoch")[f"alpha_{block}"] for run in study.of(network)]
                _curves(axis, histories, shade, _block_words(block))
            axis.set(title=f"{words.network(network)}: α over training", xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.legend(ncols=1 + len(blocks) // 5)
    return figure
