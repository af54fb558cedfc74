"""What the attention term does, as figures: α by block and over training, and the size of the term."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.ticker import MaxNLocator

from arlrepro import registry
from arlrepro.book.figures.style import INK, Drawn, canvas, mean_curve, no_runs
from arlrepro.registry import COLOURS, NETWORKS
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Study, present

#: Of so many blocks at most each has its line in a legend; of more a colour bar says which is which.
MOST_NAMED = 6


def _blocks(run: Run) -> list[str]:
    return list(run.attention["block"])


def _shades(blocks: list[str]) -> np.ndarray:
    """A colour a block, the deeper the lighter."""
    return mpl.colormaps["plasma"](np.linspace(0.1, 0.88, len(blocks)))


def _name_blocks(axis: Axes, blocks: list[str]) -> None:
    """Say which line is which block, where it covers none."""
    if len(blocks) <= MOST_NAMED:
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        return
    norm = BoundaryNorm(np.arange(len(blocks) + 1), len(blocks))
    colours = ScalarMappable(norm, ListedColormap(_shades(blocks)))
    bar = axis.figure.colorbar(colours, ax=axis, label="stage.block")
    middles = [place + 0.5 for place in range(len(blocks))]
    bar.set_ticks(middles, labels=[registry.block_number(block) for block in blocks])
    bar.ax.tick_params(length=0, labelsize=7)


def alphas(study: Study) -> Drawn:
    """How large the weight α of the attention term gets: by block at the end of training, and over the epochs."""
    arl = [network for network in present(study) if NETWORKS[network].attention == "arl"]
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
            words = [registry.block_number(block) for block in blocks]
            by_block.set_xticks(places, words, rotation=90 if len(blocks) > MOST_NAMED else 0)
        start = study.profile.experiment.network.alpha
        for axis in axes[0]:
            axis.axhline(start, color=INK, lw=0.9, ls="--")
        by_block.set(title="α at the end; dashed: at the start", xlabel="stage.block", ylabel="α")
        for axis, network in zip(axes[0, 1:], arl, strict=True):
            blocks = _blocks(study.of(network)[0])
            for block, shade in zip(blocks, _shades(blocks), strict=True):
                histories = [run.history.set_index("epoch")[f"alpha_{block}"] for run in study.of(network)]
                mean_curve(axis, histories, shade, registry.block(block))
            axis.set(title=f"{registry.network(network)}: α over training", xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            _name_blocks(axis, blocks)
    return figure


def _size(run: Run, block: str) -> float:
    """The size of the term over the shortcut: the mean over the test lesions, of older runs that over all at once."""
    if "terms" in run.measures:
        table = run.measures["terms"]
        return float(table.loc[table["block"] == block, "to_shortcut"].mean())
    return float(run.attention.set_index("block").loc[block, "ratio"])


def term_over_training(study: Study) -> Drawn:
    """How the term grew: the size of α in each epoch times the size of M x over x that the trained network has.

    The masks of the epochs were not kept, so this is the part of the growth that α accounts for; a thin line a run, a
    thick one the mean over seeds.
    """
    arl = [network for network in present(study) if any(len(run.attention) for run in study.of(network))]
    if not arl:
        return no_runs(study, " of a network with ARL blocks")
    with canvas(1, len(arl), width=1.2 + 4.6 * len(arl), height=3.3, sharey=True) as (figure, axes):
        for axis, network in zip(axes[0], arl, strict=True):
            runs = [run for run in study.of(network) if "terms" in run.measures] or study.of(network)
            blocks = _blocks(runs[0])
            for block, shade in zip(blocks, _shades(blocks), strict=True):
                curves = []
                for run in runs:
                    row = run.attention.set_index("block").loc[block]
                    alpha = run.history.set_index("epoch")[f"alpha_{block}"]
                    if row["alpha"] != 0:
                        curves.append(alpha.abs() * _size(run, block) / abs(row["alpha"]))
                for curve in curves if len(curves) > 1 else ():
                    axis.plot(curve.index, curve, color=shade, lw=0.7, alpha=0.45)
                if curves:
                    mean = pd.concat(curves, axis=1).mean(axis=1)
                    axis.plot(
                        mean.index, mean, "o-" if len(mean) == 1 else "-", color=shade, label=registry.block(block)
                    )
            axis.set(title=registry.network(network), xlabel="epoch", yscale="log")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            _name_blocks(axis, blocks)
        axes[0, 0].set_ylabel("α M x over x")
    return figure
