"""What the attention term does, as tables with intervals: its size, and what is lost with α set to 0 at test."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from arlrepro import registry
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Difference
from arlrepro.registry import AUCS, classes_of
from arlrepro.runs import estimates
from arlrepro.runs.archive import Run
from arlrepro.runs.estimates import Outcome
from arlrepro.runs.study import Study, present


def measured(*given: object) -> Outcome[Difference] | None:
    """What `estimates.of_lesions` says of a measure; None where no run has it."""
    return estimates.known(estimates.of_lesions, *given)


def indexed(rows: Sequence[Mapping[str, object]], index: Sequence[str]) -> pd.DataFrame:
    """Rows as a table; one without rows where no run of the study has the measure."""
    return pd.DataFrame(rows).set_index(list(index)).fillna("") if rows else pd.DataFrame()


def largest_term(study: Study, network: str) -> tuple[str, float] | None:
    """The block whose attention term is largest beside the shortcut, in words, and that size; None if not measured."""
    tables = [run.measures["terms"]["block"] for run in study.of(network) if "terms" in run.measures]
    found = {
        block: one.estimate.value
        for block in (tables[0].unique() if tables else ())
        if (one := measured(study, [network], "terms", _of_block(block, "to_shortcut")))
    }
    return max(((registry.block(block), size) for block, size in found.items()), key=lambda one: one[1], default=None)


def sizes(study: Study) -> pd.DataFrame:
    """The size of the attention term over what it is added to, on the test lesions as whole images.

    Returns:
        A row a network and block: root mean squares of α M x over those of x and of F(x), the mean over lesions and
        seeds with its 95 % interval.
    """
    rows = []
    for network in present(study):
        tables = [run.measures["terms"]["block"] for run in study.of(network) if "terms" in run.measures]
        for block in tables[0].unique() if tables else ():
            cells: dict[str, str] = {}
            counted: dict[str, str] = {}
            for column, title in {"to_shortcut": "α M x over x", "to_residual": "α M x over F(x)"}.items():
                if found := measured(study, [network], "terms", _of_block(block, column)):
                    one = found.estimate
                    interval = f" [{max(one.low, 0.0):.1e}, {one.high:.1e}]"
                    enough = len(found.seeds) >= estimates.FEWEST_SEEDS
                    cells[title] = f"{one.value:.1e}{interval if enough else ''}"
                    counted = {"lesions": str(found.lesions), "seeds": formatting.seeds(found.seeds)}
            rows.append({"network": registry.network(network), "block": registry.block(block), **cells, **counted})
    return indexed(rows, ["network", "block"])


def _of_block(block: str, column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: table.loc[table["block"] == block, column]


def _attention(study: Study) -> Iterator[tuple[str, pd.DataFrame]]:
    """By network with ARL blocks, the rows of `attention.csv` of all its runs, with the seed."""
    for network in study.profile.networks:
        tables = [run.attention.assign(seed=run.seed) for run in study.of(network) if len(run.attention)]
        if tables:
            yield network, pd.concat(tables, ignore_index=True)


def term_sizes(study: Study) -> pd.DataFrame:
    """How large the attention term got beside what it is added to, on test lesions as whole images.

    Returns:
        A row a block: its α at the end of training, mean and range over the runs; then means over the runs: positions
        of its map, root mean squares of the shortcut x, of the residual F and of α M x, the last over the first, and
        the mask's highest weight over that of a flat mask.
    """
    rows = []
    for network, table in _attention(study):
        for block, of_block in table.groupby("block", sort=False):
            mean, alpha = of_block.mean(numeric_only=True), of_block["alpha"]
            rows.append(
                {
                    "network": registry.network(network),
                    "block": registry.block(block),
                    "α": formatting.number(alpha.mean(), 4),
                    "α, lowest to highest": f"{alpha.min():.4f} to {alpha.max():.4f}",
                    "positions": int(mean["positions"]),
                    "x": f"{mean['rms_shortcut']:.2g}",
                    "F(x)": f"{mean['rms_residual']:.2g}",
                    "α M x": f"{mean['rms_attention']:.1e}",
                    "α M x over x": f"{mean['ratio']:.1e}",
                    "peak of M over flat": f"{mean['mask_peak'] / mean.get('mask_mean', 1 / mean['positions']):.1f}",
                    "runs": len(of_block),
                }
            )
    return pd.DataFrame(rows)


def removal(study: Study) -> pd.DataFrame:
    """Does a trained network use its attention term? Test AUCs as it is, minus those with α set to 0.

    Returns:
        A row for α set to 0 in all blocks and in each: the differences with their 95 % intervals and p of that
        of the mean AUC, and the largest change of any lesion's score.
    """
    rows = []
    for network in study.profile.networks:
        runs = [run for run in study.of(network) if "removal" in run.measures]
        for removed in dict.fromkeys(name for run in runs for name in run.measures["removal"]["removed"]):
            row = {
                "network": registry.network(network),
                "α set to 0 in": "all blocks" if removed == "all" else registry.block(removed),
            }
            for quantity in AUCS:
                found = estimates.known(estimates.difference, study, [network], f"removal.{quantity}", removed)
                row[registry.QUANTITIES[quantity]] = estimates.in_words(found) if found else ""
                if quantity == "mean_auc":
                    enough = found is not None and len(found.seeds) >= estimates.FEWEST_SEEDS
                    row["p, mean AUC"] = formatting.p_value(found.estimate.p) if found and enough else ""
            row["largest change of a score"] = f"{max(_largest_change(run, removed) for run in runs):.4f}"
            rows.append(row)
    return indexed(rows, ["network", "α set to 0 in"])


def _largest_change(run: Run, removed: str) -> float:
    table = run.measures["removal"]
    without = table[table["removed"] == removed].set_index("image_id")
    classes = list(classes_of(run.experiment.task))
    return float((run.of("test")[classes] - without[classes]).abs().max().max())
