"""What the runs of a study say of one quantity: seeds and lesions gathered, a metric or a difference with its interval.

A quantity is named as in `metrics.json` (`mean_auc`, `melanoma.auc`, `seborrheic_keratosis.sensitivity`), or a measure
that has a row a lesion and one of its columns (`focus.share`, `focus_signs.overlap`), or `removal.` and one of the
AUCs: the network as it is minus the same network without its attention term; or `sanity.` and a column of it: the
network as it is minus the same network with random weights.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from arlrepro.errors import MetricError, RunError
from arlrepro.evaluation import formatting
from arlrepro.evaluation.delong import (
    mean_auc_interval,
    paired_difference,
    seeds_and_lesions_auc,
    seeds_and_lesions_difference,
)
from arlrepro.evaluation.intervals import Difference, Estimate, seeds_and_lesions_mean, wilson_interval
from arlrepro.registry import PROPORTIONS, Quantity
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Paired, Study, in_shared_seeds, run_of, runs_by_seed, scored, shared_runs

#: Measures of where a network looks, a row a lesion; see `focus`.
FOCUS = ("focus", "focus_training", "focus_drawn", "focus_signs")
#: Of how many seeds on a difference of two kinds of network has an interval and a p value.
FEWEST_SEEDS = 3


Found = TypeVar("Found", Estimate, Difference)


@dataclass(frozen=True)
class Outcome(Generic[Found]):
    """A metric of one network, or a difference, with what it was computed from."""

    estimate: Found
    seeds: tuple[int, ...]
    runs: tuple[str, ...]  # ids, by network and seed
    lesions: int

    @property
    def over(self) -> str:
        """What the interval covers."""
        return "seeds and lesions" if len(self.seeds) > 1 else "lesions alone"


def in_words(found: Outcome[Difference], *marks: float) -> str:
    """A difference of two kinds of network in words, with its interval where there are seeds enough for one.

    Reason: of one or two seeds the interval is over lesions alone, or wider than the range of the metric; neither says
    how two kinds of network differ.

    Example:
        >>> one = Difference(0.018, -0.02, 0.056, 0.3)
        >>> in_words(Outcome(one, (0, 1, 2), (), 600)), in_words(Outcome(one, (0,), (), 600))
        ('+0.018 [-0.020, +0.056]', '+0.018')
    """
    enough = len(found.seeds) >= FEWEST_SEEDS
    return found.estimate.signed(*marks) if enough else formatting.change(found.estimate.value)


def _outcome(found: Found, paired: Paired, lesions: int) -> Outcome[Found]:
    """What was computed from paired runs on so many lesions."""
    seeds = tuple(runs[0].seed for runs in next(iter(paired.values())))
    ids = tuple(run.id for by_seed in paired.values() for runs in by_seed for run in runs)
    return Outcome(found, seeds, ids, lesions)


def known(outcome: Callable[..., Outcome[Found]], *given: object) -> Outcome[Found] | None:
    """An outcome, or None where the runs have it not: an empty cell."""
    with suppress(RunError, MetricError):
        return outcome(*given)
    return None


def metric(study: Study, network: str, quantity: str) -> Outcome[Estimate]:
    """A metric of one network, averaged over its seeds.

    Args:
        study: the runs.
        network: its name.
        quantity: one of `metrics.json`.

    Returns:
        With a 95 % interval over seeds and lesions; with a single seed over lesions alone.

    Raises:
        RunError: no run of the network scores it.
    """
    asked = Quantity.parse(quantity)
    classes = asked.classes
    chosen = shared_runs(study, [network], classes)
    truth, scores = scored(chosen, classes)
    if asked.metric in PROPORTIONS:
        estimate = share(asked.metric, truth[0], scores[network][:, 0] > 0.5)
    else:
        estimate = area(truth, scores[network])
    return _outcome(estimate, chosen, truth.shape[1])


def area(truth: Bool[np.ndarray, "classes lesions"], scores: Float[np.ndarray, "seeds classes lesions"]) -> Estimate:
    """Mean AUC of the classes, averaged over seeds; the interval over seeds and lesions, of one seed over lesions.

    Raises:
        MetricError: no lesion of a class, or with several seeds fewer than two.
    """
    return seeds_and_lesions_auc(truth, scores) if len(scores) > 1 else mean_auc_interval(truth, scores[0])


def share(metric: str, truth: Bool[np.ndarray, " lesions"], called: Bool[np.ndarray, "seeds lesions"]) -> Estimate:
    """Accuracy, sensitivity or specificity of decisions, averaged over seeds, with an interval over seeds and lesions.

    Raises:
        MetricError: no lesion to decide on.
    """
    among = {"accuracy": np.ones_like(truth), "sensitivity": truth, "specificity": ~truth}[metric]
    right = (called == truth)[:, among]
    if right.shape[1] == 0:
        raise MetricError(f"{metric} needs at least one lesion; got 0 of {truth.size} lesions")
    if len(right) == 1 or right.mean() in (0.0, 1.0):  # alike in every seed: no variance to estimate
        return wilson_interval(int(right[0].sum()), right.shape[1])
    mean = seeds_and_lesions_mean(right.astype(np.float64))
    return Estimate(mean.value, max(mean.low, 0.0), min(mean.high, 1.0))


def difference(study: Study, networks: Sequence[str], quantity: str, removed: str = "all") -> Outcome[Difference]:
    """The second network minus the first, on the same lesions and by seeds that both have.

    Args:
        study: the runs.
        networks: two names; for `removal.` quantities one, compared with itself without its attention term.
        quantity: an AUC of `metrics.json`, a column of one of `FOCUS`, an AUC after `removal.`, or, of one network, a
            column of `sanity`.
        removed: where a `removal.` quantity takes the term out: from all blocks, or from one by name.

    Returns:
        With a 95 % interval over seeds and lesions; with a single seed over lesions alone.

    Raises:
        RunError: a network has no run, or none with what the quantity needs.
        MetricError: the difference has no variance.
    """
    asked = Quantity.parse(quantity)
    measure, column = asked.measure, asked.metric
    if measure in FOCUS:
        return of_lesions(study, networks, measure, lambda table: table[column], column)
    if measure == "sanity":
        return of_lesions(study, networks, measure, lambda table: _learned(table[["untrained", column]]), column)
    classes = asked.classes
    chosen = shared_runs(study, networks, classes)
    truth, scores = scored(chosen, classes)
    if measure == "removal":
        before, after = _removed(chosen[networks[0]], classes, removed), scores[networks[0]]
    else:
        before, after = scores[networks[0]], scores[networks[1]]
    return _outcome(_auc_difference(truth, before, after), chosen, truth.shape[1])


def _auc_difference(truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> Difference:
    if len(after) > 1:
        return seeds_and_lesions_difference(truth, before, after)
    return paired_difference(truth, before[0], after[0])


def against_all_seeds(study: Study, base: str, other: str, quantity: str) -> Estimate | None:
    """A network of one or two seeds minus another, averaged over all of its seeds: Student's t of two samples.

    The seeds of both are taken to vary alike; the lesions, which are common, are left out: their part of the error is
    the smaller one. None where the seeds of both together are fewer than three, or a network has none.

    Args:
        study: the runs.
        base: the network of many seeds.
        other: the network of few.
        quantity: an AUC of `metrics.json`.
    """
    values = []
    for network in (base, other):
        by_seed = runs_by_seed(study, network, Quantity.parse(quantity).classes).values()
        metrics = [[run.metrics["test"] for run in runs] for runs in by_seed]
        values.append(np.array([_in(one, quantity) for one in metrics]))
    sizes = [len(one) for one in values]
    if not all(sizes) or sum(sizes) < FEWEST_SEEDS:
        return None
    degrees = sum(sizes) - 2
    pooled = sum(float(((one - one.mean()) ** 2).sum()) for one in values) / degrees
    half = float(stats.t.ppf(0.975, degrees)) * float(np.sqrt(pooled * sum(1 / size for size in sizes)))
    gain = float(values[1].mean() - values[0].mean())
    return Estimate(gain, gain - half, gain + half)


def _in(metrics: list[dict], quantity: str) -> float:
    """A quantity of `metrics.json`, of the runs of one network and seed."""
    asked = Quantity.parse(quantity)
    return float(np.mean([one[name][asked.metric] for name in asked.classes for one in metrics if name in one]))


def variant_difference(study: Study, variant: Study, network: str, quantity: str) -> Outcome[Difference]:
    """A network by the protocol minus the same network by a variant of it, by seeds that both have.

    Args:
        study: the runs by the protocol.
        variant: those by its variant, a part of another profile.
        network: its name.
        quantity: an AUC of `metrics.json`.

    Raises:
        RunError: one of them has no run of the network, or they have no seed or no lesions in common.
        MetricError: the difference has no variance.
    """
    classes = Quantity.parse(quantity).classes
    by_seed = {one.profile.name: runs_by_seed(one, network, classes) for one in (variant, study)}
    chosen = in_shared_seeds(by_seed, variant)
    truth, scores = scored(chosen, classes)
    found = _auc_difference(truth, *scores.values())
    return _outcome(found, chosen, truth.shape[1])


def of_lesions(
    study: Study,
    networks: Sequence[str],
    measure: str,
    value: Callable[[pd.DataFrame], pd.Series],
    column: str = "image_id",
) -> Outcome[Difference]:
    """The mean over lesions and seeds of a number that each lesion has: of one network, or the second minus the first.

    Args:
        study: the runs; those that were made before the measure was added are left out, unless all were.
        networks: one name or two.
        measure: name of the archived table.
        value: the number of each lesion, from the table indexed by image id.
        column: one that the table must have.

    Returns:
        With a 95 % interval over seeds and lesions; with a single seed over lesions alone. Lesions whose number is not
        defined in some run are left out of all.

    Raises:
        RunError: a network has no run, or none has the measure.
    """
    having = tuple(run for run in study.runs if column in run.measures.get(measure, ()))
    within = replace(study, runs=having) if any(run.network in networks for run in having) else study
    chosen = shared_runs(within, networks)
    numbers = {
        (network, place): value(_measure(runs[0], measure, column).set_index("image_id"))
        for network, seeds in chosen.items()
        for place, runs in enumerate(seeds)
    }
    together = pd.DataFrame(numbers).dropna()
    if len(together) < 2:
        raise RunError(f"{measure}.csv of {study.profile.name}: fewer than two lesions have the number in every run")
    values = [together[network].to_numpy(dtype=np.float64).T for network in networks]
    found = _mean(values[-1] - values[0] if len(networks) > 1 else values[0])
    return _outcome(found, chosen, len(together))


def _learned(table: pd.DataFrame) -> pd.Series:
    """A column of `sanity` for the trained network, minus that for the one of random weights."""
    steps = {step: part.iloc[:, 1] for step, part in table.groupby("untrained")}
    return steps["nothing"] - steps["everything"]


def _mean(values: Float[np.ndarray, "seeds lesions"]) -> Difference:
    """Mean of a number that each lesion has in each seed; with a single seed, Student's t over the lesions."""
    if len(values) > 1:
        return seeds_and_lesions_mean(values)
    if np.allclose(values, constant := float(values[0, 0]), rtol=1e-9, atol=1e-12):  # without variance there is no t
        return Difference(constant, constant, constant, float(constant == 0))
    test = stats.ttest_1samp(values[0], 0.0)
    low, high = test.confidence_interval(0.95)
    return Difference(float(values.mean()), float(low), float(high), float(test.pvalue))


def _measure(run: Run, name: str, column: str = "image_id") -> pd.DataFrame:
    if name not in run.measures:
        raise RunError(f"{run.id}: its archive has no {name}.csv")
    if column not in run.measures[name]:
        raise RunError(f"{run.id}: its {name}.csv has no column {column}")
    return run.measures[name]


def _removed(
    seeds: list[list[Run]], classes: Sequence[str], removed: str
) -> Float[np.ndarray, "seeds classes lesions"]:
    """Test scores with the attention term removed."""

    def scores(runs: list[Run]) -> np.ndarray:
        columns = []
        for one in classes:
            run = run_of(one, runs)
            table = _measure(run, "removal")
            without = table[table["removed"] == removed].set_index("image_id")[one].reindex(run.of("test").index)
            if without.isna().any():
                raise RunError(f"{run.id}: its removal.csv lacks {without.isna().sum()} of {len(without)} test lesions")
            columns.append(without.to_numpy(dtype=np.float64))
        return np.stack(columns)

    return np.stack([scores(runs) for runs in seeds])
