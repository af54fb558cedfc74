"""Beyond the paper: calibration, thresholds chosen on validation, decisions and agreement, as tables and figures."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from arlrepro import decisions, outcomes, pairing, words
from arlrepro.archive import Study
from arlrepro.config import CLASSES
from arlrepro.errors import MetricError, RunError
from arlrepro.figures import COLOURS, INK, canvas, mean_and_range, no_runs, present
from arlrepro.intervals import Estimate, aucs_and_influences
from arlrepro.power import detectable_difference

#: Rules for a threshold: found on validation, used on test.
SENSITIVITIES = (0.8, 0.9, 0.95)
#: Ages in years at which a group begins.
AGES = {"under 40 years": 0, "40 to 59 years": 40, "60 years and over": 60}
CALIBRATION = [
    *("network", "task", "share diseased", "mean score", "calibration error", "temperature"),
    "calibration error, scaled",
]
OPERATING_POINTS = ["network", "task", "threshold", "its value", "SEN [95 % CI]", "SPE [95 % CI]"]
#: Figures of a group, as the archive has them and as a page does.
OF_GROUP = {"auc": "AUC [95 % CI]", "sensitivity": "SEN [95 % CI]", "specificity": "SPE [95 % CI]"}


def _scored(study: Study) -> Iterator[tuple[str, str, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """By network and task: truth and scores (seeds, lesions) of validation, and of test."""
    for network in study.profile.networks:
        for task in CLASSES:
            if pairing.runs_by_seed(study, network, [task]):
                chosen = pairing.shared_runs(study, [network], [task])
                pairs = (pairing.scored(chosen, [task], split) for split in ("validation", "test"))
                validation, test = ((truth[0], scores[network][:, 0]) for truth, scores in pairs)
                yield network, task, validation, test


def calibration(study: Study) -> pd.DataFrame:
    """Are scores probabilities? Expected calibration error on test, before and after temperature scaling.

    Returns:
        A row a network and task: means and ranges over seeds; the temperature is fitted on validation.
    """
    rows = []
    for network, task, (known, on_validation), (truth, on_test) in _scored(study):
        temperatures = [decisions.fit_temperature(known, one) for one in on_validation]
        scaled = [decisions.with_temperature(one, t) for one, t in zip(on_test, temperatures, strict=True)]
        rows.append(
            {
                "network": words.network(network),
                "task": words.TASKS[task],
                "share diseased": words.number(truth.mean()),
                "mean score": words.over_seeds(on_test.mean(axis=1).tolist()),
                "calibration error": words.over_seeds([decisions.calibration_error(truth, one) for one in on_test]),
                "temperature": words.over_seeds(temperatures, 2),
                "calibration error, scaled": words.over_seeds(
                    [decisions.calibration_error(truth, one) for one in scaled]
                ),
            }
        )
    return pd.DataFrame(rows, columns=CALIBRATION)


def operating_points(study: Study) -> pd.DataFrame:
    """What does a threshold chosen on validation give on test?

    Returns:
        A row a network, task and rule: thresholds, sensitivity and specificity averaged over seeds, with 95 %
        intervals.
    """
    rows = []
    for network, task, (known, on_validation), (truth, on_test) in _scored(study):
        rules = {"one half": [0.5] * len(on_test)} | {
            f"finds {wanted:.0%} of validation": [decisions.threshold_for(known, one, wanted) for one in on_validation]
            for wanted in SENSITIVITIES
        }
        for rule, thresholds in rules.items():
            called = on_test > np.array(thresholds)[:, None]
            rows.append(
                {
                    "network": words.network(network),
                    "task": words.TASKS[task],
                    "threshold": rule,
                    "its value": words.over_seeds(thresholds),
                    "SEN [95 % CI]": words.with_interval(outcomes.share("sensitivity", truth, called)),
                    "SPE [95 % CI]": words.with_interval(outcomes.share("specificity", truth, called)),
                }
            )
    return pd.DataFrame(rows, columns=OPERATING_POINTS)


def subgroups(study: Study, people: pd.DataFrame, split: str = "validation") -> pd.DataFrame:
    """Does a network do as well for women as for men, for the young as for the old?

    Args:
        study: the runs.
        people: `image_id`, `age` and `sex` of lesions of which they are known, as `baselines.people` gives them.
        split: whose lesions.

    Returns:
        A row a network, task and group: its `lesions` and those `diseased`; `auc`, `sensitivity` and `specificity` at
        0.5 over seeds and lesions, each with its 95 % interval as `_low` and `_high`, NaN where a group has too few
        lesions for it; and the `seeds`.
    """
    place = np.digitize(people["age"], list(AGES.values())) - 1
    known = people.assign(age=np.array(list(AGES))[place]).set_index("image_id")
    rows = []
    for network in study.profile.networks:
        for task in CLASSES:
            if not pairing.runs_by_seed(study, network, [task]):
                continue
            chosen = pairing.shared_runs(study, [network], [task])
            truth, scores = pairing.scored(chosen, [task], split)
            of_lesions = known.reindex(chosen[network][0][0].of(split).index)
            groups = {"all of these": of_lesions["sex"].notna()}
            groups |= {sex: of_lesions["sex"] == sex for sex in ("female", "male")}
            groups |= {age: of_lesions["age"] == age for age in AGES}
            for group, members in groups.items():
                inside = members.to_numpy()
                if inside.any():
                    figures = _of_group(truth[:, inside], scores[network][..., inside])
                    seeds = words.seeds(tuple(of_seed[0].seed for of_seed in chosen[network]))
                    where = {"network": network, "task": task, "group": group, "seeds": seeds}
                    rows.append(
                        {**where, "lesions": int(inside.sum()), "diseased": int(truth[:, inside].sum()), **figures}
                    )
    return pd.DataFrame(rows)


def _of_group(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The figures of `OF_GROUP` with their intervals, NaN where not defined."""
    called = scores[:, 0] > 0.5
    figures: dict[str, Callable[[], Estimate]] = {
        "auc": lambda: outcomes.area(truth, scores),
        "sensitivity": lambda: outcomes.share("sensitivity", truth[0], called),
        "specificity": lambda: outcomes.share("specificity", truth[0], called),
    }
    found: dict[str, float] = {}
    for name, figure in figures.items():
        try:
            one = figure()
        except MetricError:
            one = Estimate(np.nan, np.nan, np.nan)
        found |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return found


def subgroups_table(figures: pd.DataFrame) -> pd.DataFrame:
    """What `subgroups` found, to be read: an empty cell where a group has too few lesions."""
    if figures.empty:
        return figures
    shown = pd.DataFrame(
        {
            "network": figures["network"].map(words.network),
            "task": figures["task"].map(words.TASKS),
            **{name: figures[name] for name in ("group", "lesions", "diseased")},
        }
    )
    for name, title in OF_GROUP.items():
        triples = figures[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
        shown[title] = ["" if np.isnan(one[0]) else words.with_interval(Estimate(*one)) for one in triples]
    return shown.assign(seeds=figures["seeds"]).set_index(["network", "task", "group"])


def by_scale(study: Study) -> pd.DataFrame:
    """Which of a lesion's patches carry its score? Test AUCs of the patches of each size alone, and of all together.

    Returns:
        A row a network and size; means over the runs that measured it, with the range where there are several. Runs
        from before the measure are left out, and counted; a network of which no run has it has one row that says so.
    """
    rows = []
    for network in study.profile.networks:
        runs = study.of(network)
        measured = [run for run in runs if "scales" in run.measures]
        if not measured:
            rows += [(words.network(network), "not measured", "", *_areas({}), f"0 of {len(runs)}")] if runs else []
            continue
        every = pd.concat([run.measures["scales"] for run in measured])
        for (scale, patches), of_scale in every.groupby(["scale", "patches"]):
            side = "whole image" if scale == 1 else f"{scale:.0%} of the side"
            areas = {name: one["auc"].tolist() for name, one in of_scale.groupby("class")}
            rows.append((words.network(network), side, str(patches), *_areas(areas), f"{len(measured)} of {len(runs)}"))
        together = {
            name: [run.metrics["test"][name]["auc"] for run in measured if name in run.metrics["test"]]
            for name in CLASSES
        }
        rows.append((words.network(network), "all together", "", *_areas(together), f"{len(measured)} of {len(runs)}"))
    columns = ["network", "patch", "patches", *(f"AUC, {words.TASKS[one]}" for one in CLASSES), "runs"]
    return pd.DataFrame(rows, columns=columns)


def _areas(areas: dict[str, list[float]]) -> list[str]:
    return [words.over_seeds(areas[one]) if areas.get(one) else "" for one in CLASSES]


def agreement(study: Study) -> pd.DataFrame:
    """How alike do two runs score? And so: which difference could this test set have shown?

    Returns:
        A row a task and kind of pair (two seeds of one network; two networks with one seed), means over the pairs:
        the rank correlation of the scores, the correlation of the two AUC estimates (DeLong), and the smallest gain
        over the first's AUC that is found at 80 % power with that correlation.
    """
    rows = []
    for task in CLASSES:
        for networks in [(one, one) for one in study.profile.networks] + pairing.partners(study):
            try:
                chosen = pairing.shared_runs(study, list(dict.fromkeys(networks)), [task])
            except RunError:
                continue
            truth, scores = pairing.scored(chosen, [task])
            first, second = (scores[one][:, 0] for one in networks)
            seeds = range(len(first))
            pairs = list(combinations(seeds, 2)) if networks[0] == networks[1] else [(one, one) for one in seeds]
            if pairs:
                alike = _alike(truth[0], first, second, pairs)
                rows.append({"task": words.TASKS[task], "pair": _pair(networks), **alike})
    return pd.DataFrame(rows)


def _pair(networks: tuple[str, str]) -> str:
    first, second = (words.network(one) for one in networks)
    return f"two seeds of {first}" if first == second else f"{first} and {second}"


def _alike(truth: np.ndarray, first: np.ndarray, second: np.ndarray, pairs: list[tuple[int, int]]) -> dict[str, object]:
    areas, u = aucs_and_influences(truth, first)
    _, v = aucs_and_influences(truth, second)
    ranks = np.mean([stats.spearmanr(first[a], second[b]).statistic for a, b in pairs])
    shared = np.mean([u[a] @ v[b] / np.sqrt((u[a] @ u[a]) * (v[b] @ v[b])) for a, b in pairs])
    try:
        positives = int(truth.sum())
        smallest = words.number(detectable_difference(areas.mean(), positives, len(truth) - positives, float(shared)))
    except MetricError:
        smallest = "none"
    return {
        "pairs": len(pairs),
        "correlation of scores": words.number(float(ranks), 2),
        "correlation of AUC estimates": words.number(float(shared), 2),
        "smallest gain found at 80 % power": smallest,
    }


def reliability(study: Study) -> Figure:
    """Does a score of 0.3 mean three of ten? Mean score and share diseased by tenths of the lesions; dashed: scaled.

    All seeds' scores of the test lesions together; temperatures are fitted on validation, a seed at a time.
    """
    if not present(study):
        return no_runs(study)
    with canvas(1, len(CLASSES), width=7.2, height=3.7, sharey=True) as (figure, axes):
        for axis, task in zip(axes[0], CLASSES, strict=True):
            axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
            axis.set(title=words.TASKS[task], xlabel="mean score", xlim=(0, 1), ylim=(0, 1))
            axis.set_aspect("equal")
        for network, task, (known, on_validation), (truth, on_test) in _scored(study):
            axis = axes[0, CLASSES.index(task)]
            temperatures = [decisions.fit_temperature(known, one) for one in on_validation]
            scaled = [decisions.with_temperature(one, t) for one, t in zip(on_test, temperatures, strict=True)]
            every = np.tile(truth, len(on_test))
            plain = decisions.reliability(every, np.concatenate(on_test))
            axis.plot(*plain, "o-", ms=4, color=COLOURS[network], label=words.network(network))
            axis.plot(*decisions.reliability(every, np.concatenate(scaled)), "--", lw=1.2, color=COLOURS[network])
        axes[0, 0].set_ylabel("share diseased")
        axes[0, 0].legend(loc="upper left", title="dashed: temperature-scaled", title_fontsize=9)
    return figure


def decision_curve(study: Study) -> Figure:
    """Is a decision by the network worth it? Net benefit against treating all and none; temperature-scaled scores."""
    if not present(study):
        return no_runs(study)
    thresholds = np.linspace(0.01, 0.6, 60)
    with canvas(1, len(CLASSES), width=7.6, height=3.4) as (figure, axes):
        for network, task, (known, on_validation), (truth, on_test) in _scored(study):
            axis = axes[0, CLASSES.index(task)]
            curves = []
            for fitted, one in zip(on_validation, on_test, strict=True):
                scaled = decisions.with_temperature(one, decisions.fit_temperature(known, fitted))
                curves.append(decisions.net_benefit(truth, scaled, thresholds))
            mean_and_range(axis, thresholds, curves, network, words.network(network))
            share = truth.mean()
            axis.plot(thresholds, share - (1 - share) * thresholds / (1 - thresholds), color=INK, lw=1, ls="--")
            axis.set_ylim(-0.25 * share, 1.1 * share)
        for axis, task in zip(axes[0], CLASSES, strict=True):
            axis.axhline(0, color=INK, lw=1)
            axis.set(title=words.TASKS[task], xlabel="treated from this probability on")
        axes[0, 0].set_ylabel("net benefit a lesion")
        axes[0, 0].legend(title="dashed: treat all; level: none", title_fontsize=9)
    return figure
