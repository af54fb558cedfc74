"""Metrics that have no formula for their error: lesions drawn again and again, positives and negatives apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from arlrepro.errors import MetricError
from arlrepro.evaluation.intervals import LEVEL, Difference, Estimate
from arlrepro.evaluation.leave_one_out import without_each
from arlrepro.evaluation.metrics import OF_CURVE, Labels, Roc, Scores, as_truth, points_on_curve, roc_of_points
from arlrepro.progress import bar


@dataclass(frozen=True, eq=False)
class Resampled:
    """A metric, its interval, and its values on bootstrap samples (NaN where it is not defined)."""

    value: float
    low: float
    high: float
    drawn: Float[np.ndarray, " replicates"]

    @property
    def estimate(self) -> Estimate:
        """The metric with its interval.

        Raises:
            MetricError: it is the same on every sample, beyond all of them, or not defined on some.
        """
        undefined = int(np.isnan(self.drawn).sum())
        if undefined:
            raise MetricError(
                f"{self.value:.3f}, but not defined on {undefined} of {len(self.drawn)} bootstrap samples"
            )
        if not np.isfinite([self.low, self.high]).all():
            where = "beyond" if np.ptp(self.drawn) else "the same on"
            raise MetricError(f"{self.value:.3f}, and {where} every bootstrap sample, so without an interval")
        return Estimate(self.value, self.low, self.high)


def resample(
    labels: Labels,
    scores: Scores,
    names: Sequence[str],
    level: float = LEVEL,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Resampled]:
    """Metrics on bootstrap samples of the lesions, positives and negatives drawn apart (stratified).

    The scores are sorted once; a sample is then the number of times that each lesion is drawn, so the time of one grows
    as the lesions do, and memory with it: 33,126 lesions take seconds.

    Args:
        labels: 1 where the lesion has the disease, else 0; two of each at least.
        scores: One a lesion.
        names: Of metrics in `metrics.METRICS`; all are taken from the same samples.
        level: Two-sided confidence of the bias-corrected and accelerated interval.
        replicates: How many samples.
        seed: The same labels and seed draw the same lesions, so two networks may be compared sample by sample.

    Raises:
        MetricError: fewer than two lesions of a class.

    Reason:
        For an AUC of 0.958, plain percentiles cover 92 % at 117 and 483 lesions, the corrected ones 94 %. SciPy's
        `bootstrap` gives the same samples and intervals, but takes the acceleration from as many metrics of all lesions
        as there are lesions; `leave_one_out` has them in one pass.

    Source:
        Efron 1987, as SciPy has it.
    """
    truth = as_truth(labels)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if min(positives, negatives) < 2:
        raise MetricError(f"a bootstrap needs two lesions of each class; got {positives} of {len(truth)} positive")
    point, points, decided = points_on_curve(scores)
    of_class = np.concatenate([point[truth], point[~truth]])
    is_positive = np.arange(len(truth)) < positives
    whole = roc_of_points(of_class, is_positive, points, decided)

    rng = np.random.default_rng(seed)
    drawn_positives = rng.integers(0, positives, (replicates, positives))  # all before any negative, as SciPy draws
    drawn = {name: np.empty(replicates) for name in names}
    for sample in bar(range(replicates), desc="bootstrap", unit=" samples", delay=1.0):
        synthetic_lesions = np.concatenate([drawn_positives[sample], positives + rng.integers(0, negatives, negatives)])
        curve = roc_of_points(of_class[synthetic_lesions], is_positive, points, decided)
        for name in names:
            drawn[name][sample] = _value(name, curve)
    found = {}
    for name in names:
        value = _value(name, whole)
        found[name] = Resampled(value, *_interval(value, drawn[name], without_each(name, whole), level), drawn[name])
    return found


def _value(name: str, curve: Roc) -> float:
    try:
        return OF_CURVE[name](curve)
    except MetricError:
        return np.nan


def _interval(
    value: float, drawn: Float[np.ndarray, " replicates"], without: tuple[np.ndarray, np.ndarray], level: float
) -> tuple[float, float]:
    r"""Bias-corrected and accelerated interval; NaN where all samples are the same or to one side, or one not defined.

    .. math:: \alpha = \Phi\left(z_0 + \frac{z_0 + z}{1 - a (z_0 + z)}\right), \quad
              a = \frac16 \frac{\sum_s \sum_i u_{si}^3}{(\sum_s \sum_i u_{si}^2)^{3/2}}, \quad
              u_{si} = \tfrac{n_s - 1}{n_s} (\bar\theta_s - \theta_{s, -i})

    Source:
        Efron 1987; over strata as in SciPy's `bootstrap`.
    """
    if np.isnan(drawn).any() or np.ptp(drawn) == 0:
        return np.nan, np.nan
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    if below in (0.0, 1.0):
        return np.nan, np.nan
    pulls = np.concatenate([(len(one) - 1) / len(one) * (one.mean() - one) for one in without])
    squares = float((pulls**2).sum())
    acceleration = float((pulls**3).sum()) / (6 * squares**1.5) if squares else 0.0
    bias = special.ndtri(below)
    reach = bias + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(drawn, special.ndtr(bias + reach / (1 - acceleration * reach)))
    return float(low), float(high)


def bootstrap_difference(a: Resampled, b: Resampled, level: float = LEVEL) -> Difference:
    r"""Any metric of b minus that of a on the same bootstrap samples of the lesions; interval by percentiles.

    .. math:: p = 2 \min \left( \frac{1 + \#\{d^* \le 0\}}{1 + B}, \frac{1 + \#\{d^* \ge 0\}}{1 + B} \right)

    Args:
        a: The first network's metric, resampled with one seed.
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
