"""How sure is a figure? Intervals for one network's scores on one set of lesions: arrays in, small dataclasses out.

AUCs are in `delong`, differences between networks in `comparisons`, the bootstrap in `bootstrap`; what a test set can
show before any result is in `power`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from arlrepro.errors import MetricError
from arlrepro.evaluation.metrics import Confusion
from arlrepro.registry import PROPORTIONS

LEVEL = 0.95

NO_PART = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A figure with its two-sided interval, 95 % unless the caller asked for another level."""

    value: float
    low: float
    high: float


def normal_quantile(level: float = LEVEL) -> float:
    """The z of a two-sided normal interval: 1.96 at 0.95."""
    return float(stats.norm.ppf((1 + level) / 2))


def wilson_interval(successes: int, trials: int, level: float = LEVEL) -> Estimate:
    r"""Wilson's score interval for a proportion.

    .. math:: \left( \hat p + \tfrac{z^2}{2n} \pm z \sqrt{ \tfrac{\hat p (1 - \hat p)}{n} + \tfrac{z^2}{4 n^2} } \right)
              \Big/ \left( 1 + \tfrac{z^2}{n} \right)

    Raises:
        MetricError: no trial.

    Source:
        Wilson 1927; Newcombe 1998, whose example is 81 of 263.

    Example:
        >>> wilson_interval(81, 263)  # doctest: +ELLIPSIS
        Estimate(value=0.307..., low=0.255..., high=0.366...)
    """
    if trials == 0:
        raise MetricError("a proportion needs at least one lesion; got 0")
    low, high = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Estimate(successes / trials, float(low), float(high))


def hanley_mcneil_variance(area: float, positives: int, negatives: int) -> float:
    r"""Variance of an AUC from its value and the counts alone.

    .. math:: \left[ A (1 - A) + (m - 1)(Q_1 - A^2) + (n - 1)(Q_2 - A^2) \right] / (m n), \quad
              Q_1 = A / (2 - A), \quad Q_2 = 2 A^2 / (1 + A)

    Source:
        Hanley and McNeil 1982, equation 2 (exponential scores).

    Example:
        >>> round(hanley_mcneil_variance(0.875, 117, 483) ** 0.5, 4)
        0.0215
    """
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return spread / (positives * negatives)


def auc_interval_from_counts(area: float, positives: int, negatives: int, level: float = LEVEL) -> Estimate:
    r"""Interval of an AUC known only as a number: all areas whose Hanley-McNeil error reaches it.

    .. math:: \{ A : |A - \hat A| \le z \sqrt{\operatorname{var}(A)} \}

    Defined at 0 and 1, where DeLong's variance is 0. Exponential scores vary more than most, so it errs wide:
    at 117 and 483 normal scores it covers 97 to 99 %.

    Source:
        Newcombe 2006 (inverting the error at the true area), with Hanley and McNeil's variance.

    Example:
        >>> auc_interval_from_counts(1.0, 10, 10)  # doctest: +ELLIPSIS
        Estimate(value=1.0, low=0.80..., high=1.0)
    """
    z = normal_quantile(level)

    def excess(other: float) -> float:
        return (other - area) ** 2 - z**2 * hanley_mcneil_variance(other, positives, negatives)

    nearly = 1e-9  # the error at 0 and at 1 is 0, so the search stops short of them
    low = 0.0 if area == 0 else float(optimize.brentq(excess, 0, min(area, 1 - nearly)))
    high = 1.0 if area == 1 else float(optimize.brentq(excess, max(area, nearly), 1))
    return Estimate(area, low, high)


def logit_interval(area: float, variance: float, quantile: float) -> Estimate:
    """Interval on the log-odds of an area, which stays inside (0, 1); `quantile` standard errors to each side."""
    centre = np.log(area / (1 - area))
    reach = quantile * np.sqrt(variance) / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-(centre + np.array([-reach, reach]))))
    return Estimate(area, float(low), float(high))


def confusion_intervals(counts: Confusion) -> dict[str, Estimate]:
    """Accuracy, sensitivity and specificity with Wilson's intervals."""
    return {name: wilson_interval(*counts.parts(name)) for name in PROPORTIONS}


@dataclass(frozen=True)
class Difference:
    """A difference with its two-sided interval (95 % unless asked otherwise) and the p value of no difference.

    The last five are NaN where the method has no such number.
    """

    value: float
    low: float
    high: float
    p: float
    standard_error: float = NO_PART
    degrees_of_freedom: float = NO_PART  # infinite for a normal interval
    lesion_variance: float = NO_PART  # part of the squared standard error that more seeds would not lessen
    seed_variance: float = NO_PART  # part that more seeds would lessen
    training_noise: float = NO_PART  # proportion of one seed's variance, see `comparisons.training_noise`


def t_difference(value: float, variance: float, degrees: float, level: float, **parts: float) -> Difference:
    """A difference with the interval and the p value of Student's t, from its variance and degrees of freedom.

    Raises:
        MetricError: the variance is not finite, or it is 0 and the difference is not.
    """
    if not np.isfinite(variance):
        raise MetricError("a difference needs at least two lesions of each class")
    error = float(np.sqrt(variance))
    if error == 0 and value != 0:
        raise MetricError("the difference has no variance to estimate: every lesion of a class is ranked alike")
    p = 1.0 if error == 0 else float(2 * stats.t.sf(abs(value) / error, degrees))
    reach = float(stats.t.ppf((1 + level) / 2, degrees)) * error
    return Difference(value, value - reach, value + reach, p, error, degrees, **parts)
