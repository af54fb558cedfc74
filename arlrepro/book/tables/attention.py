"""Where networks look and what their attention does, as tables with intervals: a Study in, no network.

A run that was made before a measure was added lacks it; every table here says so and goes on with the rest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from arlrepro import registry
from arlrepro.book.export import NOTHING
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.registry import AUCS, classes_of
from arlrepro.runs import estimates
from arlrepro.runs.archive import MEASURES, Run
from arlrepro.runs.estimates import Outcome
from arlrepro.runs.study import Study, partners, present

#: What each measure of `estimates.FOCUS` holds the maps against.
HELD_AGAINST = {
    "focus": "test images, automatic masks",
    "focus_training": "training images (seen in training), official masks",
    "focus_drawn": "synthetic images, exact masks",
    "focus_signs": "synthetic images, masks of their signs",
}
EXACT = {"focus": "test images, exact masks", "focus_training": "training images (seen in training), exact masks"}
COLUMNS = {"share": "energy in mask", "peak_inside": "pointing game", "overlap": "IoU at equal area"}
#: Chance level of each, which a map that ignores the mask would get: from the mask's proportion of the image.
BY_CHANCE: dict[str, Callable[[pd.Series], pd.Series]] = {
    "share": lambda area: area,
    "peak_inside": lambda area: area,
    "overlap": lambda area: area / (2 - area),
}
CURVES = ("deletion", "insertion")


def lacking(study: Study) -> str:
    """Which measures of where networks look the runs of a study lack, a line each."""
    for_arl, elsewhere = {"removal", "terms"}, {"scales", "mean_maps"}
    told = []
    for run in study.runs:
        wanted = set(MEASURES) - elsewhere - (set() if len(run.attention) else for_arl)
        absent = [one for one in MEASURES if one in wanted and one not in run.measures]
        if "focus" in run.measures and "overlap" not in run.measures["focus"]:
            absent.append("overlap in focus")
        if absent:
            told.append(f"{run.id} lacks {', '.join(absent)}.")
    if not told:
        return f"Completed runs: {len(study.runs)}, each with every measure." if study.runs else f"{NOTHING}s yet."
    return "\n".join(
        [
            f"{len(told)} of {len(study.runs)} runs were archived before all was measured that this page shows.",
            "They are left out where they lack it; `arlrepro measure` adds it where the weights are.",
            *told,
        ]
    )


def _known(*given: object) -> Outcome[Difference] | None:
    return estimates.known(estimates.of_lesions, *given)


def _table(rows: Sequence[Mapping[str, object]], study: Study, index: Sequence[str]) -> pd.DataFrame:
    """Rows as a table; one without rows where no run of the study has the measure."""
    if not rows:
        return pd.DataFrame()
    return pd.DataFrame(rows).set_index(list(index)).fillna("")


def _subjects(study: Study) -> Iterator[tuple[str, list[str]]]:
    """What is measured: each network of a study, then each pair of one with the ResNet of its depth."""
    for network in present(study):
        yield registry.network(network), [network]
    for base, other in partners(study):
        yield f"{registry.network(other)} minus {registry.network(base)}", [base, other]


def _bounded(outcome: Outcome[Difference] | None, lowest: float = 0.0) -> str:
    """A metric in [0, 1], or in [-1, 1] as differences and correlations are, its interval within that range.

    Of too few seeds there is a value and no interval, see `estimates.in_words`.
    """
    if outcome is None:
        return ""
    found = outcome.estimate
    if len(outcome.seeds) < estimates.FEWEST_SEEDS:
        return f"{found.value:+z.3f}" if lowest < 0 else f"{found.value:.3f}"
    within = Estimate(found.value, max(found.low, lowest), min(found.high, 1.0))
    return formatting.signed(within) if lowest < 0 else formatting.with_interval(within)


def where(study: Study) -> pd.DataFrame:
    """How each network's class activation map lies beside the lesion, and the difference of two networks.

    Returns:
        Rows: what the maps are held against, and the network or difference, with the chance level.
        Columns: `COLUMNS`, each with its 95 % interval over lesions and seeds; lesions and seeds.
    """
    names = HELD_AGAINST | (EXACT if study.profile.experiment.data.source == "synthetic" else {})
    rows = []
    for measure, against in names.items():
        subjects = [*_subjects(study)]
        found = {
            subject: {name: _known(study, networks, measure, _column(name), name) for name in COLUMNS}
            for subject, networks in subjects
        }
        for subject, networks in subjects:
            if one := next(filter(None, found[subject].values()), None):
                cells = {
                    title: _bounded(outcome, -1.0 if len(networks) > 1 else 0.0)
                    for title, outcome in zip(COLUMNS.values(), found[subject].values(), strict=True)
                }
                other = {
                    f"; {COLUMNS[name]}: {formatting.seeds(outcome.seeds)}"
                    for name, outcome in found[subject].items()
                    if outcome and outcome.seeds != one.seeds
                }
                counted = {"lesions": str(one.lesions), "seeds": formatting.seeds(one.seeds) + "".join(sorted(other))}
                rows.append({"held against": against, "": subject, **cells, **counted})
        areas = [run.measures[measure]["area"] for run in study.runs if measure in run.measures]
        if areas:
            chance = {title: f"{BY_CHANCE[name](areas[0]).mean():.3f}" for name, title in COLUMNS.items()}
            rows.append({"held against": against, "": "chance level", **chance})
    return _table(rows, study, ["held against", ""])


def _column(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: table[name]


def _step(name: str, column: str) -> Callable[[pd.DataFrame], pd.Series]:
    """The trained network's number minus that of the network untrained from a part on."""

    def value(table: pd.DataFrame) -> pd.Series:
        by_step = table.set_index("untrained", append=True)[column].unstack()
        return by_step["nothing"] - by_step[name]

    return value


def sanity(study: Study) -> pd.DataFrame:
    """What a network's maps lose when what it learned is replaced from the output down (cascading randomisation).

    Returns:
        Rows: network and from which part on it is untrained. Columns: the trained network's figure minus that of the
        randomised one, with its 95 % interval, and the mean rank correlation of their maps.
    """
    rows = []
    for network in present(study):
        steps = [run.measures["sanity"]["untrained"] for run in study.of(network) if "sanity" in run.measures]
        for step in steps[0].unique()[1:] if steps else ():
            cells = {}
            for column, title in COLUMNS.items():
                found = _known(study, [network], "sanity", _step(step, column), column)
                cells[f"{title}: trained minus untrained"] = _bounded(found, -1.0)
            alike = _known(study, [network], "sanity", _at(step, "correlation"))
            cells["rank correlation of the maps"] = _bounded(alike, -1.0)
            rows.append({"network": registry.network(network), "cascading randomisation down to": step, **cells})
    return _table(rows, study, ["network", "cascading randomisation down to"])


def _at(step: str, column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: table.loc[table["untrained"] == step, column]


def area_under(curve: Float[np.ndarray, "*lesions fractions"]) -> Float[np.ndarray, "*lesions"]:
    """Mean height of curves over evenly spaced fractions from 0 to 1, by the trapezoidal rule.

    Example:
        >>> area_under(np.array([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])).tolist()
        [0.5, 1.0]
    """
    return np.trapezoid(curve, axis=-1) / (curve.shape[-1] - 1)


def _area(*columns: str) -> Callable[[pd.DataFrame], pd.Series]:
    """The area under a curve of each lesion, or that under the first of two minus that under the second."""

    def value(table: pd.DataFrame) -> pd.Series:
        wide = [table.set_index("fraction", append=True)[one].unstack() for one in columns]
        areas = [pd.Series(area_under(one.to_numpy()), index=one.index) for one in wide]
        return areas[0] - areas[1] if len(areas) > 1 else areas[0]

    return value


def deletion(study: Study) -> pd.DataFrame:
    """The areas under the deletion and insertion curves, and what they owe to the map's order.

    Returns:
        A row a network and a difference of two. Columns: the area under each curve, and it minus that of the same map
        shuffled, with 95 % intervals. A map that shows what the score rests on has a negative difference for deletion
        and a positive one for insertion.
    """
    rows = []
    for subject, networks in _subjects(study):
        found = {}
        for curve in CURVES:
            found[f"area under {curve}"] = _known(study, networks, "deletion", _area(curve))
            found[f"{curve}: map minus shuffled map"] = _known(
                study, networks, "deletion", _area(curve, f"{curve}_shuffled")
            )
        if one := next(filter(None, found.values()), None):
            cells = {
                title: _bounded(outcome, -1.0 if len(networks) > 1 or "minus" in title else 0.0)
                for title, outcome in found.items()
            }
            rows.append({"": subject, **cells, "lesions": str(one.lesions), "seeds": formatting.seeds(one.seeds)})
    return _table(rows, study, [""])


def largest_term(study: Study, network: str) -> tuple[str, float] | None:
    """The block whose attention term is largest beside the shortcut, in words, and that size; None if not measured."""
    tables = [run.measures["terms"]["block"] for run in study.of(network) if "terms" in run.measures]
    found = {
        block: one.estimate.value
        for block in (tables[0].unique() if tables else ())
        if (one := _known(study, [network], "terms", _of_block(block, "to_shortcut")))
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
                if found := _known(study, [network], "terms", _of_block(block, column)):
                    one = found.estimate
                    interval = f" [{max(one.low, 0.0):.1e}, {one.high:.1e}]"
                    enough = len(found.seeds) >= estimates.FEWEST_SEEDS
                    cells[title] = f"{one.value:.1e}{interval if enough else ''}"
                    counted = {"lesions": str(found.lesions), "seeds": formatting.seeds(found.seeds)}
            rows.append({"network": registry.network(network), "block": registry.block(block), **cells, **counted})
    return _table(rows, study, ["network", "block"])


def _of_block(block: str, column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: table.loc[table["block"] == block, column]


def answer(study: Study) -> pd.DataFrame:
    """The questions on attention side by side, each with the figure that answers it and what its interval says.

    Returns:
        A row a question and network or pair: the question, of whom, the figure with its 95 % interval, and `yes` where
        the interval lies on the side of yes, `no, the reverse` on the other, `inconclusive` where it holds 0; `not
        measured yet` where no run has it, `no seed has both yet` where no two runs to compare have it.
    """
    rows: list[dict[str, object]] = []
    if not study.runs:
        return _table(rows, study, ["question", "of"])
    for network in present(study):
        name = [network]
        above = _known(study, name, "focus", lambda table: table["share"] - table["area"])
        rows.append(_reply("Energy in mask above the chance level?", name, above))
        signs = _known(study, name, "focus_signs", lambda table: table["share"] - table["area"])
        rows.append(_reply("Energy on the signs of synthetic images above the chance level?", name, signs))
        learned = _known(study, name, "sanity", _step("everything", "share"))
        rows.append(_reply("Energy in mask above that of an untrained network?", name, learned))
        lost = _known(study, name, "deletion", _area("deletion_shuffled", "deletion"))
        rows.append(
            _reply("Does deletion in the map's order lower the score faster than in a random order?", name, lost)
        )
    for base, other in partners(study):
        pair = [base, other]
        for question, measure in {
            "Energy in mask above ResNet's?": "focus",
            "Energy on the signs of synthetic images above ResNet's?": "focus_signs",
        }.items():
            rows.append(_reply(question, pair, _known(study, pair, measure, _column("share"), "share")))
    for network in present(study):
        if any(len(run.attention) for run in study.of(network)):
            removed = estimates.known(estimates.difference, study, [network], "removal.mean_auc")
            rows.append(_reply("Is the mean AUC lower with α set to 0 at test?", [network], removed))
    order = {question: place for place, question in enumerate(dict.fromkeys(row["question"] for row in rows))}
    rows.sort(key=lambda row: order[row["question"]])
    return _table(rows, study, ["question", "of"])


def _reply(question: str, networks: Sequence[str], found: Outcome[Difference] | None) -> dict[str, object]:
    of = " minus ".join(registry.network(one) for one in reversed(networks))
    if found is None:
        lacking = "not measured yet" if len(networks) == 1 else "no seed has both yet"
        return {"question": question, "of": of, "found [95 % CI]": "", "so": lacking}
    one = found.estimate
    so = "yes" if one.low > 0 else "no, the reverse" if one.high < 0 else "inconclusive"
    if len(found.seeds) < estimates.FEWEST_SEEDS:
        so = "too few seeds"
    counted = {"lesions": str(found.lesions), "seeds": formatting.seeds(found.seeds)}
    return {"question": question, "of": of, "found [95 % CI]": estimates.in_words(found), "so": so, **counted}


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
    return _table(rows, study, ["network", "α set to 0 in"])


def _largest_change(run: Run, removed: str) -> float:
    table = run.measures["removal"]
    without = table[table["removed"] == removed].set_index("image_id")
    classes = list(classes_of(run.experiment.task))
    return float((run.of("test")[classes] - without[classes]).abs().max().max())
