"""Beyond the paper, as tables: calibration, thresholds chosen on validation, AUC by scale, agreement of networks."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from arlrepro import registry
from arlrepro.errors import MetricError, RunError
from arlrepro.evaluation import formatting
from arlrepro.evaluation.calibration import calibration_error, fit_temperature, threshold_for, with_temperature
from arlrepro.evaluation.delong import aucs_and_influences
from arlrepro.evaluation.power import detectable_difference
from arlrepro.registry import CLASSES
from arlrepro.runs import estimates
from arlrepro.runs.study import Study, partners, runs_by_seed, scored, shared_runs

#: Rules for a threshold: found on validation, used on test.
SENSITIVITIES = (0.8, 0.9, 0.95)
CALIBRATION = [
    *("network", "task", "prevalence", "mean score", "ECE", "temperature"),
    "ECE, temperature-scaled",
]
OPERATING_POINTS = ["network", "task", "threshold", "its value", "SEN [95 % CI]", "SPE [95 % CI]"]


def scored_splits(
    study: Study,
) -> Iterator[tuple[str, str, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """By network and task: truth and scores (seeds, lesions) of validation, and of test."""
    for network in study.profile.networks:
        for task in CLASSES:
            if runs_by_seed(study, network, [task]):
                chosen = shared_runs(study, [network], [task])
                pairs = (scored(chosen, [task], split) for split in ("validation", "test"))
                validation, test = ((truth[0], scores[network][:, 0]) for truth, scores in pairs)
                yield network, task, validation, test


def calibration(study: Study) -> pd.DataFrame:
    """Are scores probabilities? Expected calibration error (ECE) on test, before and after temperature scaling.

    Returns:
        A row a network and task, ECE over ten bins of equal width: means and ranges over
        seeds; the temperature is fitted on validation.
    """
    rows = []
    for network, task, (known, on_validation), (truth, on_test) in scored_splits(study):
        temperatures = [fit_temperature(known, one) for one in on_validation]
        scaled = [with_temperature(one, t) for one, t in zip(on_test, temperatures, strict=True)]
        rows.append(
            {
                "network": registry.network(network),
                "task": registry.TASK_WORDS[task],
                "prevalence": formatting.number(truth.mean()),
                "mean score": formatting.over_seeds(on_test.mean(axis=1).tolist()),
                "ECE": formatting.over_seeds([calibration_error(truth, one) for one in on_test]),
                "temperature": formatting.over_seeds(temperatures, 2),
                "ECE, temperature-scaled": formatting.over_seeds([calibration_error(truth, one) for one in scaled]),
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
    for network, task, (known, on_validation), (truth, on_test) in scored_splits(study):
        rules = {"one half": [0.5] * len(on_test)} | {
            f"sensitivity {wanted:.0%} on validation": [threshold_for(known, one, wanted) for one in on_validation]
            for wanted in SENSITIVITIES
        }
        for rule, thresholds in rules.items():
            called = on_test > np.array(thresholds)[:, None]
            rows.append(
                {
                    "network": registry.network(network),
                    "task": registry.TASK_WORDS[task],
                    "threshold": rule,
                    "its value": formatting.over_seeds(thresholds),
                    "SEN [95 % CI]": estimates.share("sensitivity", truth, called).text(),
                    "SPE [95 % CI]": estimates.share("specificity", truth, called).text(),
                }
            )
    return pd.DataFrame(rows, columns=OPERATING_POINTS)


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
            rows += [(registry.network(network), "not measured", "", *_areas({}), f"0 of {len(runs)}")] if runs else []
            continue
        every = pd.concat([run.measures["scales"] for run in measured])
        for (scale, patches), of_scale in every.groupby(["scale", "patches"]):
            side = "whole image" if scale == 1 else f"{scale:.0%} of the side"
            areas = {name: one["auc"].tolist() for name, one in of_scale.groupby("class")}
            rows.append(
                (registry.network(network), side, str(patches), *_areas(areas), f"{len(measured)} of {len(runs)}")
            )
        together = {
            name: [run.metrics["test"][name]["auc"] for run in measured if name in run.metrics["test"]]
            for name in CLASSES
        }
        rows.append(
            (registry.network(network), "all together", "", *_areas(together), f"{len(measured)} of {len(runs)}")
        )
    columns = ["network", "patch", "patches", *(f"AUC, {registry.TASK_WORDS[one]}" for one in CLASSES), "runs"]
    return pd.DataFrame(rows, columns=columns)


def _areas(areas: dict[str, list[float]]) -> list[str]:
    return [formatting.over_seeds(areas[one]) if areas.get(one) else "" for one in CLASSES]


def agreement(study: Study) -> pd.DataFrame:
    """How alike do two runs score? And so: which difference could this test set have shown?

    Returns:
        A row a task and kind of pair (two seeds of one network; two networks with one seed), means over the pairs:
        the rank correlation of the scores, the correlation of the two AUC estimates (DeLong), and the smallest gain
        over the first's AUC that is found at 80 % power with that correlation.
    """
    rows = []
    for task in CLASSES:
        for networks in [(one, one) for one in study.profile.networks] + partners(study):
            try:
                chosen = shared_runs(study, list(dict.fromkeys(networks)), [task])
            except RunError:
                continue
            truth, scores = scored(chosen, [task])
            first, second = (scores[one][:, 0] for one in networks)
            seeds = range(len(first))
            pairs = list(combinations(seeds, 2)) if networks[0] == networks[1] else [(one, one) for one in seeds]
            if pairs:
                alike = _alike(truth[0], first, second, pairs)
                rows.append({"task": registry.TASK_WORDS[task], "pair": _pair(networks), **alike})
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else ["task", "pair"])


def _pair(networks: tuple[str, str]) -> str:
    first, second = (registry.network(one) for one in networks)
    return f"two seeds of {first}" if first == second else f"{first} and {second}"


def _alike(truth: np.ndarray, first: np.ndarray, second: np.ndarray, pairs: list[tuple[int, int]]) -> dict[str, object]:
    areas, u = aucs_and_influences(truth, first)
    _, v = aucs_and_influences(truth, second)
    ranks = np.mean([stats.spearmanr(first[a], second[b]).statistic for a, b in pairs])
    shared = np.mean([u[a] @ v[b] / np.sqrt((u[a] @ u[a]) * (v[b] @ v[b])) for a, b in pairs])
    try:
        positives = int(truth.sum())
        smallest = formatting.number(
            detectable_difference(areas.mean(), positives, len(truth) - positives, float(shared))
        )
    except MetricError:
        smallest = "none"
    return {
        "pairs": len(pairs),
        "correlation of scores": formatting.number(float(ranks), 2),
        "correlation of AUC estimates": formatting.number(float(shared), 2),
        "smallest gain found at 80 % power": smallest,
    }
