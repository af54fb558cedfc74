"""How sure is a figure? Intervals for one network's scores on one set of lesions: arrays in, small dataclasses out.

Differences between networks are in `comparisons`, the bootstrap in `resampling`; what a test set can show before any
result is in `power`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import optimize, stats

from arlrepro.config import CLASSES
from arlrepro.errors import MetricError
from arlrepro.metrics import Confusion, Labels, Scores, as_truth, confusion

LEVEL = 0.95


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


def placements(
    truth: Bool[np.ndarray, " lesions"], scores: Float[np.ndarray, "*networks lesions"]
) -> Float[np.ndarray, "*networks lesions"]:
    r"""Where each lesion lies among those of the other class.

    .. math:: V_i = \tfrac1n \textstyle\sum_j \psi(x_i, y_j) \text{ for positives}, \quad
              V_j = \tfrac1m \textstyle\sum_i \psi(x_i, y_j) \text{ for negatives}, \quad
              \psi(x, y) = [x > y] + \tfrac12 [x = y]

    Args:
        truth: True where the lesion has the disease; at least one of each.
        scores: Any finite values; leading axes (networks, seeds) are taken one by one.

    Returns:
        Values in [0, 1]; their mean over the positives, and over the negatives, is the AUC.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988; by ranks after Sun and Xu 2014.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise MetricError(f"auc needs lesions of both classes; got {positives} positive of {truth.size} lesions")
    if not np.isfinite(scores).all():
        raise MetricError(f"auc needs a finite score for each lesion; {int((~np.isfinite(scores)).sum())} are not")
    among_all = stats.rankdata(scores, axis=-1)
    result = np.empty(scores.shape)
    result[..., truth] = (among_all[..., truth] - stats.rankdata(scores[..., truth], axis=-1)) / negatives
    below = (among_all[..., ~truth] - stats.rankdata(scores[..., ~truth], axis=-1)) / positives
    result[..., ~truth] = 1 - below
    return result


def aucs_and_influences(
    truth: Bool[np.ndarray, " lesions"], scores: Float[np.ndarray, "*networks lesions"]
) -> tuple[Float[np.ndarray, "*networks"], Float[np.ndarray, "*networks lesions"]]:
    r"""AUCs, and what each lesion contributes to their errors.

    .. math:: u_i = (V_i - A) / \sqrt{m (m - 1)} \text{ for positives}, \quad
              u_j = (V_j - A) / \sqrt{n (n - 1)} \text{ for negatives}

    Returns:
        The AUCs, and :math:`u`: the sum over lesions of :math:`u u'` is DeLong's covariance of two AUCs, also where
        the two have different labels (two tasks on the same lesions). NaN where a class has one lesion only.
    """
    placed = placements(truth, scores)
    areas = np.asarray(placed[..., truth].mean(axis=-1))
    influences = placed - areas[..., None]
    with np.errstate(invalid="ignore"):  # 0 / 0 for the only lesion of a class
        for members in (truth, ~truth):
            count = int(members.sum())
            influences[..., members] /= np.sqrt(count * (count - 1.0))
    return areas, influences


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


def auc_interval(labels: Labels, scores: Scores, level: float = LEVEL) -> Estimate:
    r"""AUC with DeLong's variance, the interval taken on the log-odds.

    .. math:: \operatorname{logit} A \pm z \sqrt{\textstyle\sum_i u_i^2} \,/\, (A (1 - A))

    Args:
        labels: 1 where the lesion has the disease, else 0.
        scores: Any finite values.
        level: Two-sided confidence.

    Returns:
        The AUC and its interval in [0, 1]. Where DeLong's variance is 0 or not defined (all lesions ranked rightly or
        wrongly, or one lesion only of a class) the interval is the score interval on Hanley and McNeil's variance.

    Raises:
        MetricError: no lesion of one class, or a score that is not finite.

    Reason:
        In simulation (normal scores, 117 and 483 lesions) the log-odds cover 95, 94, 95 and 95 % at areas 0.80, 0.875,
        0.917 and 0.958; the plain interval covers 95, 94, 94 and 93 %, and 79 % at 0.99 with 30 and 120 lesions,
        where the log-odds keep 90 %.

    Source:
        DeLong et al. 1988; the log-odds after Pepe 2003, section 5.2.

    Example:
        >>> auc_interval(np.array([1, 1, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.4, 0.5, 0.2, 0.1])).value
        0.8888888888888888
    """
    truth = as_truth(labels)
    areas, influences = aucs_and_influences(truth, scores)
    area, variance = float(areas), float((influences**2).sum())
    if not variance > 0 or area in (0.0, 1.0):
        return auc_interval_from_counts(area, int(truth.sum()), int((~truth).sum()), level)
    return logit_interval(area, variance, normal_quantile(level))


def mean_aucs_and_influences(
    truth: Bool[np.ndarray, "*tasks lesions"], scores: Float[np.ndarray, "*networks_and_tasks lesions"]
) -> tuple[Float[np.ndarray, "*networks"], Float[np.ndarray, "*networks lesions"]]:
    """`aucs_and_influences`, averaged over the tasks where there are several (the last axis but one)."""
    if truth.ndim == 1:
        return aucs_and_influences(truth, scores)
    parts = [aucs_and_influences(truth[task], scores[..., task, :]) for task in range(len(truth))]
    areas, influences = zip(*parts, strict=True)
    return np.asarray(np.mean(areas, axis=0)), np.mean(influences, axis=0)


def mean_auc_interval(
    truth: Bool[np.ndarray, "tasks lesions"], scores: Float[np.ndarray, "tasks lesions"], level: float = LEVEL
) -> Estimate:
    r"""Mean of the tasks' AUCs on the same lesions: their covariance counts.

    .. math:: \operatorname{var} \bar A = \tfrac{1}{K^2} \textstyle\sum_i \left( \sum_k u_{ki} \right)^2

    Returns:
        The mean and its interval on the log-odds. Where a task has no variance, the means of the lower and of the upper
        ends of the tasks' own intervals, which is too wide rather than too narrow.
    """
    areas, influences = mean_aucs_and_influences(truth, scores)
    alone = [
        auc_interval(task_truth, task_scores, level) for task_truth, task_scores in zip(truth, scores, strict=True)
    ]
    if any(one.value in (0.0, 1.0) for one in alone) or not np.isfinite(influences).all():
        return Estimate(float(areas), float(np.mean([a.low for a in alone])), float(np.mean([a.high for a in alone])))
    return logit_interval(float(areas), float((influences**2).sum()), normal_quantile(level))


def summary(predictions: pd.DataFrame) -> dict[str, dict]:
    """Test figures of one network, as `metrics.json` holds them: unrounded, each with its 95 % interval.

    Args:
        predictions: The columns of a run's `predictions.csv`; the scores of a task that the network has not are empty.

    Returns:
        By split, by task: `auc`, `accuracy`, `sensitivity`, `specificity` and for each `*_ci`, a list `[low, high]`;
        beside the tasks, where the network has both, `mean_auc` and `mean_auc_ci`.

    Raises:
        MetricError: a figure is not defined; the message begins with split and task.
    """
    return {str(split): _summarise(str(split), lesions) for split, lesions in predictions.groupby("split", sort=False)}


def _summarise(split: str, lesions: pd.DataFrame) -> dict:
    tasks = [task for task in CLASSES if lesions[task].notna().any()]
    labels = lesions[[f"{task}_label" for task in tasks]].to_numpy(dtype=np.int64).T
    scores = lesions[tasks].to_numpy(dtype=np.float64).T
    figures: dict = {}
    for task, truth, task_scores in zip(tasks, labels, scores, strict=True):
        try:
            figures[task] = _flat(_task_estimates(truth, task_scores))
        except MetricError as error:
            raise MetricError(f"{split}, {task}: {error}") from error
    if len(tasks) == len(CLASSES):
        figures |= _flat({"mean_auc": mean_auc_interval(labels.astype(bool), scores)})
    return figures


def _task_estimates(labels: Labels, scores: Scores) -> dict[str, Estimate]:
    return {"auc": auc_interval(labels, scores), **confusion_intervals(confusion(labels, scores))}


def confusion_intervals(counts: Confusion) -> dict[str, Estimate]:
    """Accuracy, sensitivity and specificity with Wilson's intervals."""
    return {name: wilson_interval(*counts.parts(name)) for name in ("accuracy", "sensitivity", "specificity")}


def _flat(estimates: dict[str, Estimate]) -> dict[str, float | list[float]]:
    pairs = {name: (one.value, [one.low, one.high]) for name, one in estimates.items()}
    return {key: part for name, (value, ci) in pairs.items() for key, part in ((name, value), (f"{name}_ci", ci))}
