"""The challenge's figures from labels and scores; one that is not defined raises, it never becomes 0 or 1.

The definitions are those of the challenge's own scorer (isic-challenge-scoring 5.6.0), except where that one gives 1.0
to an undefined figure ("a freebie"): here it is a `MetricError`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Integer
from sklearn import metrics as sklearn_metrics

from arlrepro.errors import MetricError

Labels = Bool[np.ndarray, " lesions"] | Integer[np.ndarray, " lesions"]
Scores = Float[np.ndarray, " lesions"]


@dataclass(frozen=True)
class Confusion:
    """The four counts of a yes-or-no decision, and the figures that follow from them, each in [0, 1].

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
    """Labels as truth values, where the figure needs a lesion of each class and a number for each lesion."""
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


def roc_points(
    truth: Bool[np.ndarray, " lesions"], scores: Scores
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """False and true positive rates at every distinct score, from (0, 0) to (1, 1).

    Reason:
        The points of scikit-learn's `roc_curve` with all of them kept, without its checks of the input: a bootstrap
        needs them some ten thousand times.
    """
    descending = np.argsort(-scores, kind="stable")
    last_of_equals = np.append(np.flatnonzero(np.diff(scores[descending])), len(scores) - 1)
    true_positives = np.cumsum(truth[descending])[last_of_equals]
    false_positives = last_of_equals + 1 - true_positives
    return np.insert(false_positives / (~truth).sum(), 0, 0.0), np.insert(true_positives / truth.sum(), 0, 0.0)


def average_precision(labels: Labels, scores: Scores) -> float:
    r"""Precision averaged over the positives, :math:`\sum_k (R_k - R_{k-1}) P_k`, without interpolation."""
    truth = _two_classes("average_precision", labels, scores)
    false_rates, recalls = roc_points(truth, scores)
    found = recalls[1:] * truth.sum()
    precisions = found / (found + false_rates[1:] * (~truth).sum())
    return float(np.diff(recalls) @ precisions)


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
    false_rates, true_rates = roc_points(_two_classes("auc_above_sensitivity", labels, scores), scores)
    first = int(true_rates.searchsorted(sensitivity, side="left"))
    step = slice(first - 1, first + 1)  # two points around the crossing, so that no sensitivity repeats
    crossing = np.interp(sensitivity, true_rates[step], false_rates[step])
    return float(np.trapezoid(np.r_[sensitivity, true_rates[first:]], np.r_[crossing, false_rates[first:]]))


def specificity_at_sensitivity(labels: Labels, scores: Scores, sensitivity: float) -> float:
    """Highest specificity of any threshold that reaches a sensitivity.

    Source:
        The scorer of 2017 (`computeSPECMetrics` of ImageMarkup/isic-challenge-scoring, at 0.82, 0.89 and 0.95): the
        first point of the ROC curve that reaches it. Version 5.6.0 no longer has the figure.

    Example:
        >>> specificity_at_sensitivity(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.5, 0.1]), 0.95)
        0.5
    """
    false_rates, true_rates = roc_points(_two_classes("specificity_at_sensitivity", labels, scores), scores)
    return float(1 - false_rates[true_rates.searchsorted(sensitivity, side="left")])


def _of_confusion(name: str) -> Callable[[Labels, Scores], float]:
    return lambda labels, scores: getattr(confusion(labels, scores), name)


#: Shares of lesions decided at 0.5 (`Confusion.parts`).
PROPORTIONS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
#: Every figure that the challenge reports, by name.
METRICS: dict[str, Callable[[Labels, Scores], float]] = {
    "auc": auc,
    "average_precision": average_precision,
    **{name: _of_confusion(name) for name in (*PROPORTIONS, "dice")},
    "auc_above_80_sensitivity": partial(auc_above_sensitivity, sensitivity=0.80),
    "specificity_at_82_sensitivity": partial(specificity_at_sensitivity, sensitivity=0.82),
    "specificity_at_89_sensitivity": partial(specificity_at_sensitivity, sensitivity=0.89),
    "specificity_at_95_sensitivity": partial(specificity_at_sensitivity, sensitivity=0.95),
}


def evaluate(labels: Labels, scores: Scores) -> dict[str, float]:
    """Every figure of `METRICS`, decisions at 0.5.

    Raises:
        MetricError: one of them is not defined for these labels and scores.
    """
    return {name: metric(labels, scores) for name, metric in METRICS.items()}
