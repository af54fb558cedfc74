"""DeLong's way to the error of an AUC: what each lesion adds to it, intervals and differences, of one seed or several.

Every difference is the second network minus the first.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from arlrepro.errors import MetricError
from arlrepro.evaluation.intervals import (
    LEVEL,
    Difference,
    Estimate,
    auc_interval_from_counts,
    common_covariance,
    crossed,
    logit_interval,
    normal_quantile,
    t_difference,
    training_noise,
)
from arlrepro.evaluation.metrics import Labels, Scores, as_truth


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


def paired_difference(
    truth: Bool[np.ndarray, "*tasks lesions"],
    scores_a: Float[np.ndarray, "*tasks lesions"],
    scores_b: Float[np.ndarray, "*tasks lesions"],
    level: float = LEVEL,
) -> Difference:
    r"""AUC of b minus AUC of a on the same lesions, after DeLong; with two tasks, of their mean AUCs.

    .. math:: z = (A_b - A_a) \Big/ \sqrt{\textstyle\sum_i (u_{bi} - u_{ai})^2}

    Args:
        truth: True where the lesion has the disease; one row a task, or one task alone.
        scores_a: Scores of the first network, any finite values.
        scores_b: Scores of the second.
        level: Two-sided confidence.

    Raises:
        MetricError: fewer than two lesions of a class, or a difference without variance.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988.
    """
    (area_a, area_b), (influence_a, influence_b) = zip(
        *(mean_aucs_and_influences(truth, scores) for scores in (scores_a, scores_b)), strict=True
    )
    return t_difference(float(area_b - area_a), float(((influence_b - influence_a) ** 2).sum()), np.inf, level)


def seeds_and_lesions_auc(
    truth: Bool[np.ndarray, "*tasks lesions"],
    scores: Float[np.ndarray, "seeds *tasks lesions"],
    level: float = LEVEL,
) -> Estimate:
    """AUC of one network averaged over seeds (mean AUC with two tasks), its interval on the log-odds; see `crossed`."""
    areas, influences = mean_aucs_and_influences(truth, scores)
    mean = crossed(areas, common_covariance(influences), level)
    quantile = float(stats.t.ppf((1 + level) / 2, mean.degrees_of_freedom))
    return logit_interval(mean.value, mean.standard_error**2, quantile)


def seeds_and_lesions_difference(
    truth: Bool[np.ndarray, "*tasks lesions"],
    scores_a: Float[np.ndarray, "seeds *tasks lesions"],
    scores_b: Float[np.ndarray, "seeds *tasks lesions"],
    level: float = LEVEL,
) -> Difference:
    """AUC of b minus AUC of a, averaged over seeds, for other seeds and other lesions; of mean AUCs with two tasks.

    Args:
        truth: True where the lesion has the disease; one row a task, or one task alone.
        scores_a: Scores of the first network, a seed after the other, all on the same lesions.
        scores_b: Scores of the second; its first seed is compared with the first of the other, and so on.
        level: Two-sided confidence.

    Source:
        See `crossed`; the lesion part from DeLong's placements of the differences.
    """
    area_a, influence_a = mean_aucs_and_influences(truth, scores_a)
    area_b, influence_b = mean_aucs_and_influences(truth, scores_b)
    values, influences = area_b - area_a, influence_b - influence_a
    found = crossed(values, common_covariance(influences), level)
    return replace(found, training_noise=training_noise(values, influences))
