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

from arlrepro import outcomes, pairing, words
from arlrepro.archive import Run, Study
from arlrepro.claims import Verdict
from arlrepro.config import CLASSES, SPLITS
from arlrepro.paper import LESIONS, POSITIVES, published_value
from arlrepro.power import correlation_of_areas, detectable_difference

#: Okabe and Ito's colours, which people with any colour vision tell apart: blues for ResNet, warm ones for ARL. What is
#: never in one figure with those has colours near to theirs; the deeper network is the lighter.
COLOURS = {
    "resnet14": "#0072B2",
    "arl_cnn14": "#D55E00",
    "resnet50": "#56B4E9",
    "arl_cnn50": "#E69F00",
    "se_resnet14": "#009E73",
    "se_resnet50": "#66C2A5",
    "ran14": "#CC79A7",
    "ran50": "#E0AFCB",
    "cbam_resnet14": "#8C6D31",
    "cbam_resnet50": "#BD9E39",
    "eca_resnet14": "#7B61A8",
    "eca_resnet50": "#B3A2CF",
    "efficientnet_lite0": "#332288",
    "arl_efficientnet_lite0": "#882255",
}
TASK_COLOURS = {"melanoma": "#9467BD", "seborrheic_keratosis": "#2A9D8F"}
INK = "#737373"  # text and lines: as far from white as from a dark page
STYLE: dict[Any, Any] = {
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
    """A new figure in the house's style, of a size in inches, and its axes, an array (rows, columns).

    pyplot forgets the figure on leaving: a notebook shows the one that a cell returns, once.
    """
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
        )
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def no_runs(study: Study, of: str = "") -> Figure:
    """In place of a figure that has nothing to show yet: a half-done matrix gives a book that says so."""
    with canvas(height=0.7) as (figure, axes):
        axes[0, 0].set_axis_off()
        text = f"No run{of} is in the archive of {study.profile.name} yet."
        axes[0, 0].text(0.5, 0.5, text, ha="center", va="center", transform=axes[0, 0].transAxes)
    return figure


def present(study: Study) -> list[str]:
    """The networks of a study that have a run, in the profile's order."""
    return [network for network in study.profile.networks if study.of(network)]


def forest(verdicts: Sequence[Verdict]) -> Figure:
    """The differences of AUCs claim by claim: the published one (diamond), ours with its 95 % interval, the verdict."""
    shown = [one for one in verdicts if one.claim.rule == "difference" and one.claim.quantity.endswith("auc")]
    shown = [one for one in shown if len(one.claim.networks) == 2]
    pairs = list(dict.fromkeys(one.claim.networks for one in shown))
    with canvas(width=7.6, height=0.9 + 0.34 * (len(shown) + 1.6 * len(pairs))) as (figure, axes):
        axis, place, ticks = axes[0, 0], 0.0, {}
        for pair in pairs:
            place += 0.8
            ticks[place] = f"{words.network(pair[1])} minus {words.network(pair[0])}"
            for one in (one for one in shown if one.claim.networks == pair):
                place += 1
                ticks[place] = words.QUANTITIES[one.claim.quantity]
                _forest_line(axis, place, one)
            place += 0.8
        axis.axvline(0, color=INK, lw=1)
        axis.set_yticks(list(ticks), list(ticks.values()))
        for tick in axis.get_yticklabels():
            tick.set_weight("bold" if " minus " in tick.get_text() else "normal")
        axis.tick_params(axis="y", length=0)
        axis.set(xlabel="difference of test AUCs", ylim=(place - 0.2, 0))
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.08)
        handles = [
            axis.plot([], [], "D", ms=6, mfc="none", mec=INK, label="published, 50 layers")[0],
            axis.errorbar([], [], xerr=[], fmt="o", ms=6, color=INK, label="ours, 95 % interval"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _forest_line(axis: Axes, place: float, one: Verdict) -> None:
    colour = COLOURS[one.claim.networks[1]]
    if one.effect is not None:
        axis.plot(one.effect, place, "D", ms=6, mfc="none", mec=INK)
    if one.runs:
        axis.plot(one.interval, (place, place), color=colour, lw=2.2, solid_capstyle="butt")
        axis.plot(one.estimate, place, "o", ms=7, color=colour)
    said = one.shown if one.runs else "no runs yet"
    axis.text(1.02, place, said, transform=axis.get_yaxis_transform(), va="center")


def roc(study: Study) -> Figure:
    """How many lesions of a class are found at each rate of false alarms, for every network: mean and range over seeds.

    The dot is where the threshold of 0.5 lies (of the first seed).
    """
    if not present(study):
        return no_runs(study)
    with canvas(1, len(CLASSES), width=7.2, height=3.7, sharey=True) as (figure, axes):
        rates = np.linspace(0, 1, 201)
        for axis, task in zip(axes[0], CLASSES, strict=True):
            axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
            for network in present(study):
                chosen = pairing.shared_runs(study, [network], [task])
                truth, scores = pairing.scored(chosen, [task])
                curves = []
                for one in scores[network][:, 0]:
                    false_rate, true_rate, _ = sklearn_metrics.roc_curve(truth[0], one, drop_intermediate=False)
                    curves.append(np.interp(rates, false_rate, true_rate))
                found = outcomes.figure(study, network, f"{task}.auc").estimate
                mean_and_range(axis, rates, curves, network, f"{words.network(network)}  {words.with_interval(found)}")
                called = scores[network][0, 0] > 0.5
                at_half = called[~truth[0]].mean(), called[truth[0]].mean()
                axis.plot(*at_half, "o", ms=6, color=COLOURS[network], clip_on=False)
            axis.set(title=words.TASKS[task], xlabel="false alarms (1 - specificity)", xlim=(0, 1), ylim=(0, 1))
            axis.set_aspect("equal")
            axis.legend(loc="lower right", title="AUC [95 % CI]", title_fontsize=9)
        axes[0, 0].set_ylabel("found (sensitivity)")
    return figure


def mean_and_range(axis: Axes, x: np.ndarray, curves: Sequence[np.ndarray], network: str, label: str) -> None:
    """Draw the mean of several seeds' curves in a network's colour, and the range that they span."""
    axis.plot(x, np.mean(curves, axis=0), color=COLOURS[network], label=label)
    if len(curves) > 1:
        span = np.min(curves, axis=0), np.max(curves, axis=0)
        axis.fill_between(x, *span, color=COLOURS[network], alpha=0.18, lw=0)


def training_curves(study: Study) -> Figure:
    """How training went: loss and validation AUCs by epoch; a thin line a run, a thick one the mean over seeds."""
    if not present(study):
        return no_runs(study)
    panels = {"training_loss": "training loss (binary cross-entropy)"} | {
        f"validation_auc_{task}": f"validation AUC, {words.TASKS[task]}" for task in CLASSES
    }
    with canvas(1, 3, width=9.0, height=3.2) as (figure, axes):
        for axis, (column, title) in zip(axes[0], panels.items(), strict=True):
            for network in present(study):
                runs = [run.history.set_index("epoch")[column] for run in study.of(network) if column in run.history]
                looked = [history.dropna() for history in runs]  # validation is not looked at in every epoch
                _curves(axis, looked, COLOURS[network], words.network(network))
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].legend()
    return figure


def _curves(axis: Axes, curves: Sequence[pd.Series], colour: Any, label: str) -> None:
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


def alphas(study: Study) -> Figure:
    """How large the weight α of the attention term gets: by block at the end of training, and over the epochs."""
    arl = [network for network in present(study) if network.startswith("arl")]
    if not arl:
        return no_runs(study, " of a network with ARL blocks")
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
            by_block.set_xticks(places, [words.block_number(block) for block in blocks])
        start = study.profile.experiment.network.alpha
        for axis in axes[0]:
            axis.axhline(start, color=INK, lw=0.9, ls="--")
        by_block.set(title="α at the end; dashed: at the start", xlabel="stage.block", ylabel="α")
        for axis, network in zip(axes[0, 1:], arl, strict=True):
            blocks = _blocks(study.of(network)[0])
            shades = mpl.colormaps["plasma"](np.linspace(0.3, 0.82, len(blocks)))
            for block, shade in zip(blocks, shades, strict=True):
                histories = [run.history.set_index("epoch")[f"alpha_{block}"] for run in study.of(network)]
                _curves(axis, histories, shade, words.block(block))
            axis.set(title=f"{words.network(network)}: α over training", xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.legend(ncols=1 + len(blocks) // 5)
    return figure


def precision_recall(study: Study) -> Figure:
    """Of the lesions called diseased, how many are, at each share of the diseased found: mean and range over seeds."""
    if not present(study):
        return no_runs(study)
    with canvas(1, len(CLASSES), width=7.2, height=3.6, sharey=True) as (figure, axes):
        recalls = np.linspace(0, 1, 201)
        for axis, task in zip(axes[0], CLASSES, strict=True):
            for network in present(study):
                truth, scores = pairing.scored(pairing.shared_runs(study, [network], [task]), [task])
                curves, areas = [], []
                for one in scores[network][:, 0]:
                    precision, recall, _ = sklearn_metrics.precision_recall_curve(truth[0], one)
                    curves.append(np.interp(recalls, recall[::-1], precision[::-1]))
                    areas.append(sklearn_metrics.average_precision_score(truth[0], one))
                mean_and_range(axis, recalls, curves, network, f"{words.network(network)}  {np.mean(areas):.3f}")
                axis.axhline(truth[0].mean(), color=INK, lw=0.8, ls=":")
            axis.set(title=words.TASKS[task], xlabel="found (sensitivity)", xlim=(0, 1), ylim=(0, 1.02))
            axis.legend(loc="upper right", title="average precision", title_fontsize=9)
        axes[0, 0].set_ylabel("right among those called (PPV)")
    return figure


def detectable() -> Figure:
    """What can the test set show? The smallest difference of AUCs found at 80 % power, before any result.

    Left: against the correlation of the two AUC estimates, for the 600 test lesions and for all 2,750 lesions, each
    scored once in cross-validation; level lines: the paper's differences. Right: that correlation from the scores'.
    """
    with canvas(1, 2, width=9.0, height=3.9) as (figure, axes):
        left, right = axes[0]
        correlations = np.linspace(0, 0.98, 50)
        for task, colour in TASK_COLOURS.items():
            low, high = (published_value(network, f"{task}.auc") for network in ("resnet50", "arl_cnn50"))
            assert low is not None and high is not None
            in_test = POSITIVES["test"][task], LESIONS["test"]
            everywhere = sum(POSITIVES[split][task] for split in SPLITS), sum(LESIONS.values())
            for style, (positives, lesions) in {"-": in_test, "--": everywhere}.items():
                smallest = [detectable_difference(low, positives, lesions - positives, one) for one in correlations]
                label = f"{words.TASKS[task]}, {lesions:,} lesions"
                left.plot(correlations, smallest, style, color=colour, label=label)
            left.axhline(high - low, color=colour, lw=1, ls=":")
            left.text(0.0, high - low, f"the paper's, {words.TASKS[task]}", color=colour, va="bottom", fontsize=8)
            positives, lesions = in_test
            of_areas = [correlation_of_areas(low, high, positives, lesions - positives, one) for one in correlations]
            right.plot(correlations, of_areas, color=colour, label=words.TASKS[task])
        left.set(title="smallest difference found at 80 % power", xlabel="correlation of the two AUC estimates")
        left.set_ylim(0, None)
        left.legend(fontsize=8)
        right.set(title="correlation of the AUC estimates", xlabel="correlation of the scores within a class")
        right.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        right.legend()
    return figure
