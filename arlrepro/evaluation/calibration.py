"""From scores to decisions: are scores probabilities, where to put a threshold, and is a decision worth it? Arrays."""

import numpy as np
from jaxtyping import Float
from scipy import optimize, special
from sklearn.calibration import calibration_curve

from arlrepro.errors import MetricError
from arlrepro.evaluation.metrics import Labels, Scores, as_truth

BINS = 10
NEARLY = 1e-6  # scores of 0 and 1 have no log-odds


def with_temperature(scores: Scores, temperature: float) -> Scores:
    r"""Scores with their log-odds divided by a temperature, which changes no ranking.

    .. math:: \sigma(\operatorname{logit}(p) / T)

    Args:
        scores: In [0, 1].
        temperature: :math:`T`, above 0; above 1 draws the scores towards one half.

    Example:
        >>> with_temperature(np.array([0.9]), 2.0).round(2)
        array([0.75])
    """
    return special.expit(special.logit(np.clip(scores, NEARLY, 1 - NEARLY)) / temperature)


def fit_temperature(labels: Labels, scores: Scores) -> float:
    """The temperature that makes the labels most likely; to be fitted on validation, used on test.

    Source:
        Guo, Pleiss, Sun and Weinberger: On calibration of modern neural networks, ICML 2017.
    """
    truth = as_truth(labels)

    def log_loss(log_temperature: float) -> float:
        scaled = np.clip(with_temperature(scores, float(np.exp(log_temperature))), NEARLY, 1 - NEARLY)
        return float(-np.log(np.where(truth, scaled, 1 - scaled)).mean())

    return float(np.exp(optimize.minimize_scalar(log_loss, bounds=(-4, 4), method="bounded").x))


def calibration_error(labels: Labels, scores: Scores, bins: int = BINS) -> float:
    r"""Expected calibration error: how far mean score and share of the diseased lie apart, bin by bin.

    .. math:: \textstyle\sum_b \tfrac{n_b}{n} \, | \bar y_b - \bar p_b |

    Args:
        labels: 1 where the lesion has the disease, else 0.
        scores: In [0, 1].
        bins: Of equal width.

    Source:
        Naeini, Cooper and Hauskrecht 2015.

    Example:
        >>> calibration_error(np.array([1, 0, 0, 0]), np.array([0.75, 0.75, 0.25, 0.25]))
        0.25
    """
    truth = as_truth(labels)
    place = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=truth - scores, minlength=bins)
    return float(np.abs(gaps).sum() / len(scores))


def reliability(
    labels: Labels, scores: Scores, bins: int = BINS
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Mean score and share of the diseased in bins of equally many lesions, by rising score."""
    shares, means = calibration_curve(as_truth(labels), scores, n_bins=bins, strategy="quantile")
    return means, shares


def threshold_for(labels: Labels, scores: Scores, sensitivity: float) -> float:
    """The highest threshold that still finds a share of the diseased, a lesion being called where it scores above it.

    Args:
        labels: 1 where the lesion has the disease, else 0; at least one.
        scores: Any finite values; those of validation, if the threshold is to be used on test.
        sensitivity: In (0, 1].

    Returns:
        The middle between the score that must be found and the next one below, so that neither sits on the edge.

    Raises:
        MetricError: no lesion has the disease.

    Example:
        >>> threshold_for(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.5, 0.1]), sensitivity=0.5)
        0.7
    """
    diseased = np.sort(scores[as_truth(labels)])[::-1]
    if not len(diseased):
        raise MetricError(f"a threshold needs at least one positive lesion; got 0 of {len(scores)} lesions")
    lowest = diseased[int(np.ceil(sensitivity * len(diseased) - 1e-9)) - 1]
    below = scores[scores < lowest]
    return float((lowest + below.max()) / 2) if len(below) else float(np.nextafter(lowest, -np.inf))


def net_benefit(
    labels: Labels, scores: Scores, thresholds: Float[np.ndarray, " thresholds"]
) -> Float[np.ndarray, " thresholds"]:
    r"""True positives a lesion, less false ones at the odds of the threshold.

    .. math:: \frac{TP}{n} - \frac{FP}{n} \cdot \frac{t}{1 - t}

    Args:
        labels: 1 where the lesion has the disease, else 0.
        scores: In [0, 1], calibrated for the thresholds to be probabilities.
        thresholds: In [0, 1): from which probability on one would treat.

    Source:
        Vickers and Elkin 2006.

    Example:
        >>> net_benefit(np.array([1, 0, 0, 0]), np.array([0.9, 0.6, 0.1, 0.1]), np.array([0.5])).tolist()
        [0.0]
    """
    truth = as_truth(labels)
    called = scores[None, :] > thresholds[:, None]
    found, false = (called & truth).mean(axis=1), (called & ~truth).mean(axis=1)
    return found - false * thresholds / (1 - thresholds)
