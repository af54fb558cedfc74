"""Figures that have no formula for their error: lesions drawn again and again, positives and negatives apart."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from arlrepro.errors import MetricError
from arlrepro.evaluation.intervals import LEVEL, Difference, Estimate
from arlrepro.evaluation.metrics import Labels, Scores, as_truth


@dataclass(frozen=True, eq=False)
class Resampled:
    """A figure, its interval, and its values on bootstrap samples (NaN where it is not defined)."""

    value: float
    low: float
    high: float
    drawn: Float[np.ndarray, " replicates"]

    @property
    def estimate(self) -> Estimate:
        """The figure with its interval.

        Raises:
            MetricError: it is the same on every sample, or not defined on some.
        """
        undefined = int(np.isnan(self.drawn).sum())
        if undefined:
            raise MetricError(
                f"{self.value:.3f}, but not defined on {undefined} of {len(self.drawn)} bootstrap samples"
            )
        if not np.isfinite([self.low, self.high]).all():
            raise MetricError(f"{self.value:.3f}, and the same on every bootstrap sample, so without an interval")
        return Estimate(self.value, self.low, self.high)


def resample(
    labels: Labels,
    scores: Scores,
    metric: Callable[[Labels, Scores], float],
    level: float = LEVEL,
    replicates: int = 1000,
    seed: int = 0,
) -> Resampled:
    """A figure on bootstrap samples of the lesions, positives and negatives drawn apart (stratified).

    Args:
        labels: 1 where the lesion has the disease, else 0; two of each at least.
        scores: One a lesion.
        metric: Any figure of `metrics`.
        level: Two-sided confidence of the bias-corrected and accelerated interval.
        replicates: How many samples.
        seed: The same labels and seed draw the same lesions, so two networks may be compared sample by sample.

    Reason:
        For an AUC of 0.958, plain percentiles cover 92 % at 117 and 483 lesions, the corrected ones 94 %.

    Source:
        Efron 1987, as SciPy has it.
    """
    truth = as_truth(labels)
    strata = (np.flatnonzero(truth), np.flatnonzero(~truth))
    if min(map(len, strata)) < 2:
        raise MetricError(f"a bootstrap needs two lesions of each class; got {len(strata[0])} of {len(truth)} positive")

    def on_drawn(positives: np.ndarray, negatives: np.ndarray) -> float:
        lesions = np.concatenate([positives, negatives])
        try:
            return metric(labels[lesions], scores[lesions])
        except MetricError:
            return np.nan

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # `estimate` says it
        found = stats.bootstrap(
            strata, on_drawn, vectorized=False, method="BCa", confidence_level=level, n_resamples=replicates, rng=seed
        )
    low, high = found.confidence_interval
    return Resampled(metric(labels, scores), float(low), float(high), found.bootstrap_distribution)


def bootstrap_difference(a: Resampled, b: Resampled, level: float = LEVEL) -> Difference:
    r"""Any figure of b minus that of a on the same bootstrap samples of the lesions; interval by percentiles.

    .. math:: p = 2 \min \left( \frac{1 + \#\{d^* \le 0\}}{1 + B}, \frac{1 + \#\{d^* \ge 0\}}{1 + B} \right)

    Args:
        a: The first network's figure, resampled with one seed.
        b: The second's, with the same.
        level: Two-sided confidence.

    Raises:
        MetricError: the difference is not defined on more than one sample in twenty.

    Source:
        Efron and Tibshirani 1993; p after Davison and Hinkley 1997, section 4.2.
    """
    drawn = b.drawn - a.drawn
    undefined = int(np.isnan(drawn).sum())
    if undefined > len(drawn) / 20:
        raise MetricError(f"the difference is not defined on {undefined} of {len(drawn)} bootstrap samples")
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    fewer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (1 + fewer) / (1 + len(drawn) - undefined))
    return Difference(b.value - a.value, float(low), float(high), p)
