"""Before any result: which difference between two AUCs can a test set show?"""

import numpy as np
from scipy import optimize, stats

from arlrepro.errors import MetricError
from arlrepro.evaluation.intervals import LEVEL, hanley_mcneil_variance, normal_quantile


def standard_error_of_difference(
    area_a: float, area_b: float, positives: int, negatives: int, correlation: float
) -> float:
    r"""Error of the difference of two AUCs measured on the same lesions.

    .. math:: \sqrt{ \sigma_a^2 + \sigma_b^2 - 2 r \sigma_a \sigma_b }

    Args:
        area_a: AUC of the first network.
        area_b: AUC of the second.
        positives: Lesions with the disease.
        negatives: Lesions without.
        correlation: :math:`r` of the two AUC *estimates* over sets of lesions; see `correlation_of_areas`.

    Source:
        Hanley and McNeil 1983, equation 2; each variance after Hanley and McNeil 1982.
    """
    error_a, error_b = (np.sqrt(hanley_mcneil_variance(area, positives, negatives)) for area in (area_a, area_b))
    return float(np.sqrt(error_a**2 + error_b**2 - 2 * correlation * error_a * error_b))


def detectable_difference(
    area: float, positives: int, negatives: int, correlation: float, power: float = 0.8, level: float = LEVEL
) -> float:
    r"""Smallest gain over an AUC that is found with a given power.

    .. math:: d = (z_{(1 + \text{level}) / 2} + z_{\text{power}}) \, \sigma(A, A + d, r)

    Args:
        area: :math:`A`, the lower of the two AUCs.
        positives: Lesions with the disease.
        negatives: Lesions without.
        correlation: Of the two AUC estimates, below 1.
        power: Chance of finding it.
        level: Of the two-sided test.

    Raises:
        MetricError: not even a perfect second network would be found.

    Source:
        Hanley and McNeil 1982 and 1983.

    Example:
        >>> round(detectable_difference(0.857, 117, 483, correlation=0.7), 3)
        0.046
    """
    return _smallest_gain(
        area, positives, negatives, correlation, normal_quantile(level) + float(stats.norm.ppf(power))
    )


def _smallest_gain(area: float, positives: int, negatives: int, correlation: float, errors: float) -> float:
    """The gain that is this many times its own standard error."""

    def excess(gain: float) -> float:
        return gain - errors * standard_error_of_difference(area, area + gain, positives, negatives, correlation)

    if excess(1 - area) < 0:
        raise MetricError(f"no gain over an AUC of {area} shows with {positives} of {positives + negatives} lesions")
    return float(optimize.brentq(excess, 0, 1 - area))


def detectable_in_cross_validation(
    area: float,
    positives: int,
    negatives: int,
    correlation: float,
    folds: int,
    repetitions: int = 1,
    power: float = 0.8,
    level: float = LEVEL,
) -> float:
    r"""Smallest gain over an AUC that repeated cross-validation finds by the corrected test of its folds' differences.

    .. math:: d = (t_{(1 + \text{level}) / 2} + t_{\text{power}})
              \sqrt{\tfrac{1}{J} + \tfrac{1}{K - 2}} \; \sigma(A, A + d, r)

    with :math:`K` folds, :math:`J` of them over all repetitions, :math:`t` of :math:`J - 1` degrees of freedom, and
    :math:`\sigma` the error of a difference within one fold, which has a :math:`K`-th of the lesions.

    Args:
        area: :math:`A`, the lower of the two AUCs.
        positives: Lesions with the disease, in all folds together.
        negatives: Lesions without.
        correlation: Of the two AUC estimates, below 1.
        folds: :math:`K`; one tests and one validates.
        repetitions: How often all lesions are dealt into folds anew.
        power: Chance of finding it.
        level: Of the two-sided test.

    Returns:
        The gain. What differs between two trainings of one network is not in it, here as in `detectable_difference`.

    Raises:
        MetricError: not even a perfect second network would be found.

    Source:
        `comparisons.cross_validated_difference` (Nadeau and Bengio 2003), its error put where a test set's stands.
    """
    count = folds * repetitions
    errors = float(stats.t.ppf((1 + level) / 2, count - 1) + stats.t.ppf(power, count - 1))
    share = np.sqrt(1 / count + 1 / (folds - 2))
    return _smallest_gain(area, round(positives / folds), round(negatives / folds), correlation, errors * float(share))


def _both_above(area_a: float, area_b: float, correlation: float) -> float:
    """Chance that two standard normal differences, shifted to the areas, are both above 0."""
    shifts = stats.norm.ppf([area_a, area_b])
    covariance = [[1.0, correlation], [correlation, 1.0]]
    return float(stats.multivariate_normal.cdf(shifts, cov=covariance, allow_singular=True))


def covariance_of_areas(
    area_a: float, area_b: float, positives: int, negatives: int, score_correlation: float
) -> float:
    r"""Covariance of two AUC estimates on the same lesions, where the scores are normal.

    .. math:: \frac{1}{mn} \left[ P_{11} - A_a A_b + (n - 1)(P_{10} - A_a A_b) + (m - 1)(P_{01} - A_a A_b) \right]

    with :math:`P` the chance that a pair of lesions is ranked rightly by a and a pair by b; the pairs are the same
    (:math:`P_{11}`), or share the positive (:math:`P_{10}`) or the negative lesion (:math:`P_{01}`) alone, which halves
    the correlation. For one network (`score_correlation` 1) it is the variance.

    Args:
        area_a: AUC of the first network.
        area_b: AUC of the second.
        positives: :math:`m`.
        negatives: :math:`n`.
        score_correlation: Of the two scores within the positives, and the same within the negatives.
    """
    product = area_a * area_b
    same = _both_above(area_a, area_b, score_correlation) - product
    one_shared = _both_above(area_a, area_b, score_correlation / 2) - product
    return (same + (positives + negatives - 2) * one_shared) / (positives * negatives)


def correlation_of_areas(
    area_a: float, area_b: float, positives: int, negatives: int, score_correlation: float
) -> float:
    """Correlation of two AUC estimates from the correlation of the scores within a class, where scores are normal.

    Source:
        The question, and a table for it from simulated normal scores, are Hanley and McNeil's (1983, table I); here by
        the exact covariance.

    Example:
        >>> round(correlation_of_areas(0.857, 0.875, 117, 483, score_correlation=0.8), 2)
        0.75
    """
    shared = covariance_of_areas(area_a, area_b, positives, negatives, score_correlation)
    alone = [covariance_of_areas(area, area, positives, negatives, 1.0) for area in (area_a, area_b)]
    return float(shared / np.sqrt(alone[0] * alone[1]))


def paired_seeds(
    gain: float, lesion_error: float, seed_deviation: float, seeds: int, level: float = LEVEL
) -> tuple[float, float]:
    r"""What a comparison of two networks over paired seeds and common lesions can show, before it is made.

    .. math:: \sigma^2 = \sigma_\text{lesions}^2 + 2 s^2 / S, \qquad
              \text{half-width} = t_{(1 + \text{level}) / 2, \nu} \, \sigma

    with :math:`\nu` as in `intervals.crossed`; the power is that of a non-central t of :math:`\text{gain} / \sigma`.

    Args:
        gain: the true difference.
        lesion_error: :math:`\sigma_\text{lesions}`, error of the difference over lesions; see
            `standard_error_of_difference`.
        seed_deviation: :math:`s`, standard deviation of one network's AUC over seeds.
        seeds: :math:`S`, two or more.
        level: of the two-sided interval.

    Returns:
        Half the width of the interval, and the power to find the gain.

    Example:
        >>> half_width, power = paired_seeds(0.014, lesion_error=0.0, seed_deviation=0.008, seeds=10)
        >>> round(half_width, 4), round(power, 2)
        (0.0081, 0.93)
    """
    of_seeds = 2 * seed_deviation**2 / seeds
    variance = lesion_error**2 + of_seeds
    degrees = (seeds - 1) * (variance / of_seeds) ** 2
    quantile = float(stats.t.ppf((1 + level) / 2, degrees))
    shift = gain / np.sqrt(variance)
    power = stats.nct.sf(quantile, degrees, shift) + stats.nct.cdf(-quantile, degrees, shift)
    return quantile * float(np.sqrt(variance)), float(power)
