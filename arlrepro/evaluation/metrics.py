"""The challenge's metrics from labels and scores; one that is not defined raises, it never becomes 0 or 1.

The definitions are those of the challenge's own scorer (isic-challenge-scoring 5.6.0), except where that one gives 1.0
to an undefined metric ("a freebie"): here it is a `MetricError`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Integer
from sklearn import metrics as sklearn_metrics

from arlrepro import registry
from arlrepro.errors import MetricError

Labels = Bool[np.ndarray, " lesions"] | Integer[np.ndarray, " lesions"]
Scores = Float[np.ndarray, " lesions"]


@dataclass(frozen=True)
class Confusion:
    """The four counts of a yes-or-no decision, and the metrics that follow from them, each in [0, 1].

    Example:
        >>> Confusion(true_positives=77, false_negatives=40, true_negatives=433, false_positives=50).accuracy
        0.85
    """

    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int

    @property
    def positives(self) -> int:
        """Lesions that have the disease."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Lesions that have it not."""
        return self.true_negatives + self.false_positives

    @property
    def correct(self) -> int:
        """Lesions decided rightly."""
        return self.true_positives + self.true_negatives

    @property
    def lesions(self) -> int:
        """All lesions."""
        return self.positives + self.negatives

    def parts(self, proportion: str) -> tuple[int, int]:
        """The lesions that count for a proportion, and those that they are counted among."""
        called_positive = self.true_positives + self.false_positives
        return {
            "accuracy": (self.correct, self.lesions),
            "sensitivity": (self.true_positives, self.positives),
            "specificity": (self.true_negatives, self.negatives),
            "ppv": (self.true_positives, called_positive),
            "npv": (self.true_negatives, self.lesions - called_positive),
        }[proportion]

    def _share(self, proportion: str, among: str) -> float:
        part, whole = self.parts(proportion)
        if whole == 0:
            raise MetricError(f"{proportion} needs at least one {among}; got 0 of {self.lesions} lesions")
        return part / whole

    @property
    def accuracy(self) -> float:
        """Share of lesions decided rightly."""
        return self._share("accuracy", "lesion")

    @property
    def sensitivity(self) -> float:
        """Share of the positive lesions that are found."""
        return self._share("sensitivity", "positive lesion")

    @property
    def specificity(self) -> float:
        """Share of the negative lesions that are left alone."""
        return self._share("specificity", "negative lesion")

    @property
    def ppv(self) -> float:
        """Positive predictive value: share of the lesions called positive that are."""
        return self._share("ppv", "lesion called positive")

    @property
    def npv(self) -> float:
        """Negative predictive value: share of the lesions called negative that are."""
        return self._share("npv", "lesion called negative")

    @property
    def dice(self) -> float:
        """Dice coefficient of the lesions called positive and those that are, 2 TP / (2 TP + FP + FN)."""
        wrong = self.false_positives + self.false_negatives
        if self.true_positives + wrong == 0:
            raise MetricError(
                f"dice needs at least one lesion that is positive or called so; got 0 of {self.lesions} lesions"
            )
        return 2 * self.true_positives / (2 * self.true_positives + wrong)


def as_truth(labels: Labels) -> Bool[np.ndarray, " lesions"]:
    """Read labels 0 and 1 as truth values.

    Raises:
        MetricError: a label is neither 0 nor 1.
    """
    if not np.isin(labels, (0, 1)).all():
        raise MetricError(f"labels are 0 or 1; got {sorted(set(np.asarray(labels).tolist()))}")
    return labels.astype(bool)


def _two_classes(metric: str, labels: Labels, scores: Scores) -> Bool[np.ndarray, " lesions"]:
    """Labels as truth values, where the metric needs a lesion of each class and a number for each lesion."""
    truth = as_truth(labels)
    if not np.isfinite(scores).all():
        raise MetricError(f"{metric} needs a finite score for each lesion; {int((~np.isfinite(scores)).sum())} are not")
    for needed, count in (("positive", truth.sum()), ("negative", (~truth).sum())):
        if count == 0:
            raise MetricError(f"{metric} needs at least one {needed} lesion; got 0 of {truth.size} lesions")
    return truth


def confusion(labels: Labels, scores: Scores, threshold: float = 0.5) -> Confusion:
    """Count right and wrong decisions, a lesion being called positive where its score is above the threshold.

    Args:
        labels: 1 where the lesion has the disease, else 0.
        scores: Any real values; in [0, 1] for the default threshold to mean something.
        threshold: The score itself is still negative, as in the challenge's scorer.

    Returns:
        The four counts.

    Example:
        >>> confusion(np.array([1, 1, 0, 0]), np.array([0.9, 0.5, 0.5, 0.6]))
        Confusion(true_positives=1, false_negatives=1, true_negatives=1, false_positives=1)
    """
    truth, called = as_truth(labels), scores > threshold
    return Confusion(
        true_positives=int((truth & called).sum()),
        false_negatives=int((truth & ~called).sum()),
        true_negatives=int((~truth & ~called).sum()),
        false_positives=int((~truth & called).sum()),
    )


def auc(labels: Labels, scores: Scores) -> float:
    r"""Area under the ROC curve: the chance that a positive lesion scores above a negative one, ties counting half.

    .. math:: A = \tfrac{1}{mn} \textstyle\sum_{i,j} \left( [x_i > y_j] + \tfrac12 [x_i = y_j] \right)

    Example:
        >>> auc(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.5, 0.1]))
        0.75
    """
    return float(sklearn_metrics.roc_auc_score(_two_classes("auc", labels, scores), scores))


@dataclass(frozen=True, eq=False)
class Roc:
    """A ROC curve in numbers of lesions: what is called positive down to each distinct score, from nothing to all."""

    true_positives: Integer[np.ndarray, " points"]
    false_positives: Integer[np.ndarray, " points"]
    decided: int  # the point at which lesions above 0.5 are called positive, and no others

    @property
    def positives(self) -> int:
        """Lesions that have the disease."""
        return int(self.true_positives[-1])

    @property
    def negatives(self) -> int:
        """Lesions that have it not."""
        return int(self.false_positives[-1])

    @property
    def confusion(self) -> Confusion:
        """The four counts of the decision at 0.5."""
        found, alarms = int(self.true_positives[self.decided]), int(self.false_positives[self.decided])
        return Confusion(found, self.positives - found, self.negatives - alarms, alarms)

    def reaching(self, sensitivity: float) -> int:
        """The first point with at least this sensitivity, in (0, 1]."""
        return int(self.true_positives.searchsorted(positives_for(sensitivity, self.positives)))


def positives_for(sensitivity: float, positives: int) -> int:
    """The fewest true positives among so many that are at least this sensitivity, in the arithmetic of floats.

    Example:
        >>> positives_for(0.8, 10)
        8
    """
    near = round(sensitivity * positives)
    return next(found for found in range(max(near - 1, 0), near + 2) if found / positives >= sensitivity)


def roc_of_points(
    point: Integer[np.ndarray, " lesions"], truth: Bool[np.ndarray, " lesions"], points: int, decided: int
) -> Roc:
    """The curve of lesions, or of a sample of them with repetitions, whose places on it are known.

    Args:
        point: of each lesion, from 1: the number of its score among the distinct ones, the highest first.
        truth: True where the lesion has the disease.
        points: of the curve, the one of nothing included.
        decided: see `Roc`.
    """
    true, false = (np.cumsum(np.bincount(point[members], minlength=points)) for members in (truth, ~truth))
    return Roc(true, false, decided)


def points_on_curve(scores: Scores) -> tuple[Integer[np.ndarray, " lesions"], int, int]:
    """The point of each lesion on the ROC curve, and `points` and `decided`, as `roc_of_points` takes them."""
    distinct, place = np.unique(-scores, return_inverse=True)
    return place + 1, len(distinct) + 1, int((-distinct > 0.5).sum())


def roc(truth: Bool[np.ndarray, " lesions"], scores: Scores) -> Roc:
    """The ROC curve of lesions, with a point at every distinct score.

    Reason:
        The points of scikit-learn's `roc_curve` with all of them kept, as counts: a bootstrap needs them some thousand
        times, and the same order of the scores serves each.
    """
    point, points, decided = points_on_curve(scores)
    return roc_of_points(point, truth, points, decided)


def average_precision(labels: Labels, scores: Scores) -> float:
    r"""Precision averaged over the positives, :math:`\sum_k (R_k - R_{k-1}) P_k`, without interpolation."""
    return _average_precision(roc(_two_classes("average_precision", labels, scores), scores))


def _average_precision(curve: Roc) -> float:
    found, called = curve.true_positives[1:], (curve.true_positives + curve.false_positives)[1:]
    precisions = np.divide(found, called, out=np.zeros(len(called)), where=called > 0)
    return float(np.diff(curve.true_positives) @ precisions) / curve.positives


def auc_above_sensitivity(labels: Labels, scores: Scores, sensitivity: float = 0.8) -> float:
    """Area under the part of the ROC curve that lies at or above a sensitivity, neither rescaled nor shifted.

    Args:
        labels: 1 where the lesion has the disease, else 0.
        scores: Any finite values.
        sensitivity: Where the part begins, in (0, 1].

    Returns:
        The area under the curve over the false positive rates from where it reaches `sensitivity` (by linear
        interpolation) to 1; so a perfect ranking gives 1 and a constant score 0.18 at 0.8.

    Source:
        isic-challenge-scoring 5.6.0, `metrics.auc_above_sensitivity`.
    """
    return _auc_above_sensitivity(roc(_two_classes("auc_above_sensitivity", labels, scores), scores), sensitivity)


def _auc_above_sensitivity(curve: Roc, sensitivity: float) -> float:
    first = curve.reaching(sensitivity)
    # One point before the crossing and all after it.
    true_rates = curve.true_positives[first - 1 :] / curve.positives
    false_rates = curve.false_positives[first - 1 :] / curve.negatives
    crossing = np.interp(sensitivity, true_rates[:2], false_rates[:2])
    return float(np.trapezoid(np.r_[sensitivity, true_rates[1:]], np.r_[crossing, false_rates[1:]]))


def specificity_at_sensitivity(labels: Labels, scores: Scores, sensitivity: float) -> float:
    """Highest specificity of any threshold that reaches a sensitivity.

    Source:
        The scorer of 2017 (`computeSPECMetrics` of ImageMarkup/isic-challenge-scoring, at 0.82, 0.89 and 0.95): the
        first point of the ROC curve that reaches it. Version 5.6.0 no longer has the metric.

    Example:
        >>> specificity_at_sensitivity(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.5, 0.1]), 0.95)
        0.5
    """
    return _specificity_at(roc(_two_classes("specificity_at_sensitivity", labels, scores), scores), sensitivity)


def _specificity_at(curve: Roc, sensitivity: float) -> float:
    return float(1 - curve.false_positives[curve.reaching(sensitivity)] / curve.negatives)


def _auc(curve: Roc) -> float:
    area = np.trapezoid(curve.true_positives.astype(float), curve.false_positives)
    return float(area) / (curve.positives * curve.negatives)


def _of_confusion(name: str) -> Callable[[Labels, Scores], float]:
    return lambda labels, scores: getattr(confusion(labels, scores), name)


def _confusion_of_curve(name: str) -> Callable[[Roc], float]:
    return lambda curve: getattr(curve.confusion, name)


#: Shares of lesions decided at 0.5 (`Confusion.parts`).
PROPORTIONS = (*registry.PROPORTIONS, "ppv", "npv")
SENSITIVITY_OF_PART = 0.80  # above which `auc_above_80_sensitivity` is
SENSITIVITIES = {f"specificity_at_{round(100 * one)}_sensitivity": one for one in (0.82, 0.89, 0.95)}
#: Every metric that the challenge reports, by name.
METRICS: dict[str, Callable[[Labels, Scores], float]] = {
    "auc": auc,
    "average_precision": average_precision,
    **{name: _of_confusion(name) for name in (*PROPORTIONS, "dice")},
    "auc_above_80_sensitivity": partial(auc_above_sensitivity, sensitivity=SENSITIVITY_OF_PART),
    **{name: partial(specificity_at_sensitivity, sensitivity=one) for name, one in SENSITIVITIES.items()},
}
#: The same metrics from a curve with lesions of both classes, where they are asked for again and again.
OF_CURVE: dict[str, Callable[[Roc], float]] = {
    "auc": _auc,
    "average_precision": _average_precision,
    **{name: _confusion_of_curve(name) for name in (*PROPORTIONS, "dice")},
    "auc_above_80_sensitivity": partial(_auc_above_sensitivity, sensitivity=SENSITIVITY_OF_PART),
    **{name: partial(_specificity_at, sensitivity=one) for name, one in SENSITIVITIES.items()},
}
