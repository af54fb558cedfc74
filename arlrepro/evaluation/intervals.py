"""How sure is a metric? Intervals for one network's scores on one set of lesions: arrays in, small dataclasses out.

What every metric shares is here: the interval, its print, and how seeds and lesions are crossed. AUCs are in `delong`,
tests of two networks in `comparisons`, the bootstrap in `bootstrap`; what a test set can show before any result is in
`power`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from arlrepro.errors import MetricError
from arlrepro.evaluation.metrics import Confusion
from arlrepro.registry import PROPORTIONS

LEVEL = 0.95

NO_PART = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A metric with its two-sided interval, 95 % unless the caller asked for another level."""

    value: float
    low: float
    high: float

    def text(self, *marks: float) -> str:
        """As printed: in three decimals, or as many more as tell the ends from the marks that the metric is held to.

        Example:
            >>> Estimate(0.875, 0.8344, 0.91).text(), Estimate(0.875, 0.8344, 0.91).text(0.834)
            ('0.875 [0.834, 0.910]', '0.8750 [0.8344, 0.9100]')
        """
        return self._printed("", *marks)

    def signed(self, *marks: float) -> str:
        """The same of a difference, with signs; no end is printed as 0 that is not 0.

        Example:
            >>> Estimate(0.018, -0.02, 0.056).signed(), Estimate(-0.002, -0.0131, 0.0099).signed(0.01)
            ('+0.018 [-0.020, +0.056]', '-0.0020 [-0.0131, +0.0099]')
        """
        return self._printed("+", 0.0, *marks)

    def _printed(self, sign: str, *marks: float) -> str:
        """With 3 to 9 decimals, so many that both ends are printed unlike each mark."""

        def printed(value: float, decimals: int) -> str:
            return f"{value:{sign}z.{decimals}f}"

        pairs = [(end, mark) for end in (self.low, self.high) for mark in marks]
        pairs = [(end, mark) for end, mark in pairs if printed(end, 9) != printed(mark, 9)]
        apart = (one for one in range(3, 10) if all(printed(end, one) != printed(mark, one) for end, mark in pairs))
        decimals = next(apart)
        value, low, high = (printed(part, decimals) for part in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference with its two-sided interval (95 % unless asked otherwise) and the p value of no difference.

    The last five are NaN where the method has no such number.
    """

    p: float
    standard_error: float = NO_PART
    degrees_of_freedom: float = NO_PART  # infinite for a normal interval
    lesion_variance: float = NO_PART  # part of the squared standard error that more seeds would not lessen
    seed_variance: float = NO_PART  # part that more seeds would lessen
    training_noise: float = NO_PART  # proportion of one seed's variance, see `training_noise`


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


def crossed(values: Float[np.ndarray, " seeds"], lesion_variance: float, level: float = LEVEL) -> Difference:
    r"""Mean of a metric over seeds that all met the same lesions: both seeds and lesions could have been others.

    .. math:: \operatorname{var} = \underbrace{\max(\bar c, 0)}_{\text{lesions}} + \underbrace{s^2 / S}_{\text{seeds}},
              \qquad \nu = \operatorname{var}^2 \Big/ \frac{(s^2 / S)^2}{S - 1}

    with :math:`\bar c` the mean covariance of two seeds' metrics that the common lesions cause, and :math:`s^2` the
    variance of the metrics among the seeds: the analysis of several readers of the same cases, a seed for a reader.

    Args:
        values: The metric (a difference of two networks, or one network's) in each seed.
        lesion_variance: :math:`\bar c`.
        level: Two-sided confidence, by Student's t with :math:`\nu \ge S - 1` degrees of freedom.

    Raises:
        MetricError: fewer than two seeds.

    Reason:
        In simulation with 600 lesions, 5 and 3 seeds cover 93 to 95 %, 2 seeds 88 to 94 %. DeLong's variance of the
        seeds' mean, in place of :math:`\bar c`, would count twice what belongs to one seed and one lesion.

    Source:
        Obuchowski and Rockette 1995; degrees of freedom after Hillis 2007.
    """
    seeds = len(values)
    if seeds < 2:
        raise MetricError(f"the variance among seeds needs at least two seeds; got {seeds}")
    of_lesions, of_seeds = max(lesion_variance, 0.0), float(values.var(ddof=1)) / seeds
    variance = of_lesions + of_seeds
    degrees = (seeds - 1) * (variance / of_seeds) ** 2 if of_seeds > 0 else np.inf
    parts = {"lesion_variance": of_lesions, "seed_variance": of_seeds}
    return t_difference(float(values.mean()), variance, degrees, level, **parts)


def common_covariance(influences: Float[np.ndarray, "seeds lesions"]) -> float:
    r"""Mean covariance of two seeds' metrics through the lesions that both met.

    .. math:: \bar c = \frac{1}{S (S - 1)} \textstyle\sum_{s \ne t} \sum_i u_{si} u_{ti}

    Returns:
        NaN for one seed, which has no other.
    """
    seeds = len(influences)
    if seeds < 2:
        return NO_PART
    of_sum, sum_of = float((influences.sum(axis=0) ** 2).sum()), float((influences**2).sum())
    return (of_sum - sum_of) / (seeds * (seeds - 1))


def training_noise(values: Float[np.ndarray, " seeds"], influences: Float[np.ndarray, "seeds lesions"]) -> float:
    r"""How much of the variance of one seed's metric is training noise; the rest is which lesions the test set holds.

    .. math:: \frac{\sigma^2}{\sigma^2 + \bar v}, \qquad \sigma^2 = s^2 - (\bar v - \bar c)

    with :math:`s^2` the variance of the metrics among the seeds, :math:`\bar v` the mean of the seeds' own variances
    through the lesions (DeLong's), and :math:`\bar c` the mean covariance of two seeds, see `common_covariance`. The
    seeds met the same lesions, so :math:`s^2` holds the training noise and what of the lesions' part two seeds do not
    share; that is taken off.

    Returns:
        At most 1. Nothing is set to 0 on the way: a covariance below 0 counts as it is, and below 0 the seeds differ by
        less than the lesions alone explain.
    """
    of_lesions = float((influences**2).sum(axis=-1).mean())
    of_training = float(values.var(ddof=1)) - (of_lesions - common_covariance(influences))
    return of_training / (of_training + of_lesions) if of_training + of_lesions > 0 else NO_PART


def seeds_and_lesions_mean(differences: Float[np.ndarray, "seeds lesions"], level: float = LEVEL) -> Difference:
    """Mean of a number that each lesion has in each seed, such as a difference of shares; see `crossed`."""
    lesions = differences.shape[-1]
    centred = differences - differences.mean(axis=-1, keepdims=True)
    return crossed(differences.mean(axis=-1), common_covariance(centred / np.sqrt(lesions * (lesions - 1.0))), level)
