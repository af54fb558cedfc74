import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from arlrepro.evaluation import metrics
from arlrepro.evaluation.delong import auc_interval, aucs_and_influences, mean_auc_interval, placements
from arlrepro.evaluation.intervals import auc_interval_from_counts, hanley_mcneil_variance, wilson_interval

MELANOMA = np.arange(600) < 117
KERATOSIS = (np.arange(600) >= 117) & (np.arange(600) < 207)


def normal_scores(rng, truth, area, samples=()):
    """Scores whose true AUC is known: normal in both classes, shifted for the positives."""
    return rng.normal(size=(*samples, len(truth))) + np.sqrt(2) * stats.norm.ppf(area) * truth


def kernel(truth, scores):
    """The definition: 1 where a positive (down) scores above a negative (along), one half for ties."""
    differences = scores[truth][:, None] - scores[~truth][None, :]
    return (differences > 0) + 0.5 * (differences == 0)


def delong_covariance(truth, scores_a, scores_b):
    """DeLong et al. 1988, equations 4 to 6, from the definition in m x n steps."""
    first, second = kernel(truth, scores_a), kernel(truth, scores_b)
    over_positives = np.cov(first.mean(axis=1), second.mean(axis=1))
    over_negatives = np.cov(first.mean(axis=0), second.mean(axis=0))
    return over_positives / truth.sum() + over_negatives / (~truth).sum()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_placements_are_the_mean_of_the_definition_with_ties(lesions):
    truth = np.array([True, False, *(label for label, _ in lesions)])
    scores = np.array([2, 2, *(score for _, score in lesions)], dtype=float)
    found = placements(truth, scores)
    np.testing.assert_allclose(found[truth], kernel(truth, scores).mean(axis=1))
    np.testing.assert_allclose(found[~truth], kernel(truth, scores).mean(axis=0))


def test_influences_give_delongs_covariance():
    rng = np.random.default_rng(1)
    truth = np.arange(60) < 17
    scores = (rng.normal(size=(2, 60)) + truth).round(1)
    areas, influences = aucs_and_influences(truth, scores)
    assert areas == pytest.approx([metrics.auc(truth, one) for one in scores])
    np.testing.assert_allclose(influences @ influences.T, delong_covariance(truth, *scores))


def test_influences_give_the_covariance_of_two_tasks():
    rng = np.random.default_rng(2)
    truth = np.stack([MELANOMA[::5], KERATOSIS[::5]])  # 24 and 18 of 120
    latent = normal_scores(rng, truth[0], 0.8, samples=(8000,))
    scores = np.stack([latent, normal_scores(rng, truth[1], 0.85, samples=(8000,)) + latent], axis=1)
    areas, influences = zip(*(aucs_and_influences(truth[task], scores[:, task]) for task in (0, 1)), strict=True)
    assert np.mean((influences[0] * influences[1]).sum(axis=1)) == pytest.approx(np.cov(areas)[0, 1], rel=0.15)


def test_wilson_equals_statsmodels():
    for successes, trials in ((77, 117), (433, 483), (0, 5), (5, 5)):
        found = wilson_interval(successes, trials)
        low, high = proportion_confint(successes, trials, method="wilson")
        assert (found.value, found.low, found.high) == pytest.approx((successes / trials, low, high), abs=1e-12)


def test_wilson_gives_newcombes_example():
    found = wilson_interval(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_hanley_mcneil_variance_is_that_of_exponential_scores():
    rng = np.random.default_rng(12)
    truth = np.arange(25) < 10
    samples = rng.exponential(size=(20000, 25)) * np.where(truth, 4.0, 1.0)  # A = 4 / (4 + 1)
    areas, _ = aucs_and_influences(truth, samples)
    assert areas.mean() == pytest.approx(0.8, abs=0.003)
    assert areas.var() == pytest.approx(hanley_mcneil_variance(0.8, 10, 15), rel=0.03)


def test_interval_from_counts_ends_where_its_own_error_reaches_the_area():
    found = auc_interval_from_counts(0.875, 117, 483)
    for end in (found.low, found.high):
        reach = 1.959964 * np.sqrt(hanley_mcneil_variance(end, 117, 483))
        assert abs(end - 0.875) == pytest.approx(reach, rel=1e-4)


def test_perfect_ranking_still_has_an_interval():
    found = auc_interval(MELANOMA, MELANOMA.astype(float))
    assert found.value == found.high == 1
    assert 0.95 < found.low < 1
    assert auc_interval(MELANOMA, 1.0 - MELANOMA).high == pytest.approx(auc_interval_from_counts(0.0, 117, 483).high)


def test_one_positive_still_has_an_interval():
    found = auc_interval(np.arange(20) < 1, -np.abs(np.arange(20) - 3.0))
    assert 0 <= found.low < found.value < found.high <= 1


def test_interval_of_the_mean_is_narrower_than_of_either_task():
    rng = np.random.default_rng(3)
    truth = np.stack([MELANOMA, KERATOSIS])
    scores = np.stack([normal_scores(rng, one, 0.85) for one in truth])
    mean = mean_auc_interval(truth, scores)
    alone = [auc_interval(*one) for one in zip(truth, scores, strict=True)]
    assert mean.value == pytest.approx(np.mean([one.value for one in alone]))
    assert mean.high - mean.low < min(one.high - one.low for one in alone)


def test_interval_of_the_mean_is_there_when_one_task_is_perfect():
    rng = np.random.default_rng(4)
    truth = np.stack([MELANOMA, KERATOSIS])
    scores = np.stack([MELANOMA.astype(float), normal_scores(rng, KERATOSIS, 0.85)])
    mean = mean_auc_interval(truth, scores)
    assert mean.low < mean.value < mean.high < 1


def coverage(found, true):
    return np.mean([one.low <= true <= one.high for one in found])


@pytest.mark.parametrize("area", [0.7, 0.875])
def test_delong_covers_93_to_97_percent(area):
    rng = np.random.default_rng(6)
    samples = normal_scores(rng, MELANOMA, area, samples=(800,))
    assert 0.93 <= coverage([auc_interval(MELANOMA, scores) for scores in samples], area) <= 0.97


def test_mean_of_two_tasks_covers_93_to_97_percent():
    rng = np.random.default_rng(7)
    truth = np.stack([MELANOMA, KERATOSIS])
    samples = np.stack([normal_scores(rng, one, 0.9, samples=(400,)) for one in truth], axis=1)
    assert 0.93 <= coverage([mean_auc_interval(truth, scores) for scores in samples], 0.9) <= 0.97
