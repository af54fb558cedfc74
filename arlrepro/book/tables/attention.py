"""Where networks look, as tables with intervals: a Study in, no network.

A run that was made before a measure was added lacks it; every table here says so and goes on with the rest.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from arlrepro import registry
from arlrepro.book.tables.terms import indexed, measured
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.runs import estimates
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
    **dict.fromkeys(("share", "energy"), lambda area: area),
    "peak_inside": lambda area: area,
    "overlap": lambda area: area / (2 - area),
}
CURVES = ("deletion", "insertion")
#: Down to where a network is randomised, in words; a stage by its number.
STEPS = {"fc": "the output layer", "everything": "the first layer: an untrained network"}


def columns(study: Study) -> dict[str, str]:
    """`COLUMNS`; where runs have it, the energy of each output's own map, which the claims name."""
    own = any("energy" in run.measures.get("focus", ()) for run in study.runs)
    return {"energy" if own and name == "share" else name: title for name, title in COLUMNS.items()}


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
        return formatting.change(found.value) if lowest < 0 else f"{found.value:.3f}"
    within = Estimate(found.value, max(found.low, lowest), min(found.high, 1.0))
    return within.signed() if lowest < 0 else within.text()


def where(study: Study) -> pd.DataFrame:
    """How each network's class activation map lies beside the lesion, and the difference of two networks.

    Returns:
        Rows: what the maps are held against, and the network or difference, with the chance level.
        Columns: `COLUMNS`, each with its 95 % interval over lesions and seeds; lesions and seeds.
    """
    names = HELD_AGAINST | (EXACT if study.profile.experiment.data.source == "synthetic" else {})
    rows, shown = [], columns(study)
    for measure, against in names.items():
        subjects = [*_subjects(study)]
        found = {
            subject: {name: measured(study, networks, measure, _column(name), name) for name in shown}
            for subject, networks in subjects
        }
        for subject, networks in subjects:
            if one := next(filter(None, found[subject].values()), None):
                cells = {
                    title: _bounded(outcome, -1.0 if len(networks) > 1 else 0.0)
                    for title, outcome in zip(shown.values(), found[subject].values(), strict=True)
                }
                other = {
                    f"; {shown[name]}: {formatting.seeds(outcome.seeds)}"
                    for name, outcome in found[subject].items()
                    if outcome and outcome.seeds != one.seeds
                }
                counted = {"lesions": str(one.lesions), "seeds": formatting.seeds(one.seeds) + "".join(sorted(other))}
                rows.append({"held against": against, "": subject, **cells, **counted})
        areas = [run.measures[measure]["area"] for run in study.runs if measure in run.measures]
        if areas:
            chance = {title: f"{BY_CHANCE[name](areas[0]).mean():.3f}" for name, title in shown.items()}
            rows.append({"held against": against, "": "chance level", **chance})
    return indexed(rows, ["held against", ""])


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
        Rows: network and from which part on it is untrained. Columns: the trained network's metric minus that of the
        randomised one, with its 95 % interval, and the mean rank correlation of their maps.
    """
    rows = []
    for network in present(study):
        steps = [run.measures["sanity"]["untrained"] for run in study.of(network) if "sanity" in run.measures]
        for step in steps[0].unique()[1:] if steps else ():
            cells = {}
            for column, title in columns(study).items():
                found = measured(study, [network], "sanity", _step(step, column), column)
                cells[f"{title}: trained minus untrained"] = _bounded(found, -1.0)
            alike = measured(study, [network], "sanity", _at(step, "correlation"))
            cells["rank correlation of the maps"] = _bounded(alike, -1.0)
            rows.append(
                {
                    "network": registry.network(network),
                    "cascading randomisation down to": STEPS.get(step, f"stage {step[-1]}"),
                    **cells,
                }
            )
    return indexed(rows, ["network", "cascading randomisation down to"])


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
            found[f"area under {curve}"] = measured(study, networks, "deletion", _area(curve))
            found[f"{curve}: map minus shuffled map"] = measured(
                study, networks, "deletion", _area(curve, f"{curve}_shuffled")
            )
        if one := next(filter(None, found.values()), None):
            cells = {
                title: _bounded(outcome, -1.0 if len(networks) > 1 or "minus" in title else 0.0)
                for title, outcome in found.items()
            }
            rows.append({"": subject, **cells, "lesions": str(one.lesions), "seeds": formatting.seeds(one.seeds)})
    return indexed(rows, [""])


def answer(study: Study) -> pd.DataFrame:
    """The questions on attention side by side, each with the metric that answers it and what its interval says.

    Returns:
        A row a question and network or pair: the question, of whom, the metric with its 95 % interval, and `yes` where
        the interval lies on the side of yes, `no, the reverse` on the other, `inconclusive` where it holds 0; `not
        measured yet` where no run has it, `no seed has both yet` where no two runs to compare have it.
    """
    rows: list[dict[str, object]] = []
    if not study.runs:
        return indexed(rows, ["question", "of"])
    energy = next(iter(columns(study)))
    for network in present(study):
        name = [network]
        above = measured(study, name, "focus", lambda table: table[energy] - table["area"])
        rows.append(_reply("Energy in mask above the chance level?", name, above))
        signs = measured(study, name, "focus_signs", lambda table: table[energy] - table["area"])
        rows.append(_reply("Energy on the signs of synthetic images above the chance level?", name, signs))
        learned = measured(study, name, "sanity", _step("everything", energy))
        rows.append(_reply("Energy in mask above that of an untrained network?", name, learned))
        lost = measured(study, name, "deletion", _area("deletion_shuffled", "deletion"))
        rows.append(
            _reply("Does deletion in the map's order lower the score faster than in a random order?", name, lost)
        )
    for base, other in partners(study):
        pair = [base, other]
        for question, measure in {
            "Energy in mask above ResNet's?": "focus",
            "Energy on the signs of synthetic images above ResNet's?": "focus_signs",
        }.items():
            rows.append(_reply(question, pair, measured(study, pair, measure, _column(energy), energy)))
    for network in present(study):
        if any(len(run.attention) for run in study.of(network)):
            removed = estimates.known(estimates.difference, study, [network], "removal.mean_auc")
            rows.append(_reply("Is the mean AUC lower with α set to 0 at test?", [network], removed))
    order = {question: place for place, question in enumerate(dict.fromkeys(row["question"] for row in rows))}
    rows.sort(key=lambda row: order[row["question"]])
    return indexed(rows, ["question", "of"])


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
