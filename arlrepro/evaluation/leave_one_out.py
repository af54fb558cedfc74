r"""Every metric of the challenge with each lesion left out in turn, exactly, in one pass over the ROC curve.

A lesion at point :math:`r` of the curve (`metrics.Roc`) takes one from the counts of all points :math:`k \ge r` of its
class. So each metric without it is that of the whole with one term changed, and sums along the curve give them all.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float, Integer

from arlrepro.errors import MetricError
from arlrepro.evaluation.metrics import (
    PROPORTIONS,
    SENSITIVITIES,
    SENSITIVITY_OF_PART,
    Roc,
    positives_for,
)

Positives = Integer[np.ndarray, " positives"]  # the point of each positive lesion on the curve
Negatives = Integer[np.ndarray, " negatives"]
#: A metric without each positive, and without each negative.
Values = tuple[Float[np.ndarray, " positives"], Float[np.ndarray, " negatives"]]


def without_each(name: str, curve: Roc) -> Values:
    """A metric of `metrics.METRICS` without each positive lesion, and without each negative one.

    Args:
        name: of the metric.
        curve: with two lesions of each class at least.

    Returns:
        The values in the order of the curve; NaN where the metric is then not defined.
    """
    of_positives, of_negatives = (
        np.repeat(np.arange(len(counts)), np.diff(counts, prepend=0))
        for counts in (curve.true_positives, curve.false_positives)
    )
    return _WITHOUT[name](curve, of_positives, of_negatives)


def _auc(curve: Roc, of_positives: Positives, of_negatives: Negatives) -> Values:
    """The pairs of a lesion with those of the other class, DeLong's placement by their number, leave the sum."""
    true, false, m, n = curve.true_positives, curve.false_positives, curve.positives, curve.negatives
    below = n - (false[of_positives - 1] + false[of_positives]) / 2  # negatives below each positive, equals by half
    above = (true[of_negatives - 1] + true[of_negatives]) / 2
    pairs = below.sum()
    return (pairs - below) / ((m - 1) * n), (pairs - above) / (m * (n - 1))


def _average_precision(curve: Roc, of_positives: Positives, of_negatives: Negatives) -> Values:
    found, gained = curve.true_positives, np.diff(curve.true_positives, prepend=0)
    called = found + curve.false_positives

    def precisions(positives: np.ndarray, all_: np.ndarray) -> np.ndarray:
        return np.divide(positives, all_, out=np.zeros(len(all_)), where=all_ > 0)

    def below(terms: np.ndarray) -> np.ndarray:
        """Sum over the points before each."""
        return np.cumsum(terms) - terms

    def from_on(terms: np.ndarray) -> np.ndarray:
        """Sum over each point and those after it."""
        return terms.sum() - below(terms)

    before = below(gained * precisions(found, called))
    lessened = precisions(found - 1, called - 1)
    without_positive = (before + from_on(gained * lessened) - lessened)[of_positives] / (curve.positives - 1)
    without_negative = (before + from_on(gained * precisions(found, called - 1)))[of_negatives] / curve.positives
    return without_positive, without_negative


def _points_reaching(curve: Roc, sensitivity: float, of_positives: Positives) -> Positives:
    """The first point that has the sensitivity without each positive."""
    needed = positives_for(sensitivity, curve.positives - 1)
    with_it, without_it = (int(curve.true_positives.searchsorted(count)) for count in (needed, needed + 1))
    return np.where(of_positives > with_it, with_it, without_it)


def _specificity_at(curve: Roc, of_positives: Positives, of_negatives: Negatives, sensitivity: float) -> Values:
    first, false = curve.reaching(sensitivity), curve.false_positives
    without_positive = 1 - false[_points_reaching(curve, sensitivity, of_positives)] / curve.negatives
    return without_positive, 1 - (false[first] - (of_negatives <= first)) / (curve.negatives - 1)


def _auc_above(curve: Roc, of_positives: Positives, of_negatives: Negatives, sensitivity: float) -> Values:
    true, false, m, n = curve.true_positives, curve.false_positives, curve.positives, curve.negatives
    steps = np.diff(false) * (true[1:] + true[:-1]) / 2  # area under the curve from each point to the next, in pairs
    tail = np.append(steps.sum() - np.cumsum(steps) + steps, 0.0)  # from each point to the end

    def area(before: tuple, at: tuple, after: np.ndarray, positives: int, negatives: int) -> np.ndarray:
        """From the crossing between two points (true and false positives), and the area after the second."""
        needed = sensitivity * positives
        crossing = before[1] + (needed - before[0]) / (at[0] - before[0]) * (at[1] - before[1])
        return ((at[1] - crossing) * (needed + at[0]) / 2 + after) / (positives * negatives)

    first = _points_reaching(curve, sensitivity, of_positives)
    before, at = (
        (true[point] - (of_positives <= point), false[point].astype(np.float64)) for point in (first - 1, first)
    )
    lost = sum(n - false[np.maximum(first, of_positives - place)] for place in (0, 1)) / 2
    without_positive = area(before, at, tail[first] - lost, m - 1, n)

    here = curve.reaching(sensitivity)
    before, at = ((true[point], false[point] - (of_negatives <= point)) for point in (here - 1, here))
    lost = np.where(of_negatives > here, (true[of_negatives - 1] + true[of_negatives]) / 2, 0.0)
    return without_positive, area(before, at, tail[here] - lost, m, n - 1)


def _of_confusion(curve: Roc, of_positives: Positives, of_negatives: Negatives, name: str) -> Values:
    """Of a decision there are four kinds of lesions, and so four values."""
    counts = curve.confusion

    def without(kind: str) -> float:
        try:
            return getattr(replace(counts, **{kind: getattr(counts, kind) - 1}), name)
        except MetricError:
            return np.nan

    of_class = (("true_positives", "false_negatives"), ("false_positives", "true_negatives"))
    positive, negative = (
        np.concatenate([np.full(getattr(counts, kind), without(kind)) for kind in kinds if getattr(counts, kind)])
        for kinds in of_class
    )
    return positive, negative


_WITHOUT: dict[str, Callable[[Roc, Positives, Negatives], Values]] = {
    "auc": _auc,
    "average_precision": _average_precision,
    **{name: partial(_of_confusion, name=name) for name in (*PROPORTIONS, "dice")},
    "auc_above_80_sensitivity": partial(_auc_above, sensitivity=SENSITIVITY_OF_PART),
    **{name: partial(_specificity_at, sensitivity=one) for name, one in SENSITIVITIES.items()},
}
