import numpy as np
import pytest
from scipy import stats

from arlrepro.errors import MetricError
from arlrepro.evaluation.comparisons import cross_validated_difference
from arlrepro.evaluation.delong import aucs_and_influences
from arlrepro.evaluation.intervals import hanley_mcneil_variance
from arlrepro.evaluation.power import (
    correlation_of_areas,
    covariance_of_areas,
    detectable_difference,
    detectable_in_cross_validation,
    standard_error_of_difference,
)


def test_equal_areas_give_the_textbook_formula():
    for correlation in (0.0, 0.7, 0.9):
        expected = np.sqrt(2 * hanley_mcneil_variance(0.866, 117, 483) * (1 - correlation))
        assert standard_error_of_difference(0.866, 0.866, 117, 483, correlation) == pytest.approx(expected)


def test_first_reckoning_for_melanoma():
    # Both AUCs at 0.866, half way between the two published ones: 0.048 at a correlation of 0.7, 0.028 at 0.9.
    wanted = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    found = [wanted * standard_error_of_difference(0.866, 0.866, 117, 483, correlation) for correlation in (0.7, 0.9)]
    assert [round(one, 3) for one in found] == [0.048, 0.028]


@pytest.mark.parametrize(("area", "positives"), [(0.857, 117), (0.948, 90)])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_detectable_difference_is_found_with_the_power_asked_for(area, positives, correlation):
    gain = detectable_difference(area, positives, 600 - positives, correlation, power=0.8)
    error = standard_error_of_difference(area, area + gain, positives, 600 - positives, correlation)
    assert stats.norm.cdf(gain / error - stats.norm.ppf(0.975)) == pytest.approx(0.8)


def test_more_lesions_and_more_correlation_show_smaller_differences():
    few = detectable_difference(0.857, 117, 483, 0.7)
    assert detectable_difference(0.857, 117, 483, 0.9) < few
    assert detectable_difference(0.857, 521, 2229, 0.7) < few / 2


def test_too_few_lesions_for_any_gain_is_said():
    with pytest.raises(MetricError) as caught:
        detectable_difference(0.95, 3, 10, 0.0)
    assert str(caught.value) == "no gain over an AUC of 0.95 shows with 3 of 13 lesions"


@pytest.mark.parametrize("score_correlation", [0.3, 0.8])
def test_covariance_of_areas_is_that_of_simulated_normal_scores(score_correlation):
    rng = np.random.default_rng(0)
    truth, areas = np.arange(120) < 24, (0.8, 0.9)
    both = rng.multivariate_normal([0, 0], [[1, score_correlation], [score_correlation, 1]], size=(6000, 120))
    shifts = np.sqrt(2) * stats.norm.ppf(areas)
    found, _ = aucs_and_influences(truth, (both + shifts * truth[:, None]).transpose(2, 0, 1))
    expected = [[covariance_of_areas(a, b, 24, 96, score_correlation if a != b else 1.0) for a in areas] for b in areas]
    np.testing.assert_allclose(np.cov(found), expected, rtol=0.08)


def test_correlation_of_areas_goes_from_0_to_1_with_that_of_the_scores_and_stays_below_it():
    found = [correlation_of_areas(0.857, 0.857, 117, 483, one) for one in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[-1] == pytest.approx(1)
    assert found == sorted(found)
    assert all(area < score for area, score in zip(found[1:-1], (0.3, 0.6, 0.9), strict=True))


def test_cross_validation_finds_its_gain_with_the_power_asked_for_by_the_corrected_test():
    gain = detectable_in_cross_validation(0.857, 520, 2230, correlation=0.9, folds=10, repetitions=2)
    of_a_fold = standard_error_of_difference(0.857, 0.857 + gain, 52, 223, 0.9)
    rng = np.random.default_rng(0)
    # Folds whose mean errs as the corrected variance says: a part that all share, and one of their own.
    shared = rng.normal(0, of_a_fold * np.sqrt(1 / 8), size=(4000, 1))
    differences = gain + shared + rng.normal(0, of_a_fold, size=(4000, 20))
    found = [cross_validated_difference(one, 1 / 8).low > 0 for one in differences]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_repetitions_tighten_cross_validation_down_to_what_overlapping_training_leaves():
    once, twice, often, endlessly = (
        detectable_in_cross_validation(0.857, 520, 2230, 0.9, folds=10, repetitions=count) for count in (1, 2, 10, 2000)
    )
    assert detectable_difference(0.857, 117, 483, 0.9) > once > twice > often > endlessly
    in_one_fold = standard_error_of_difference(0.857, 0.857 + endlessly, 52, 223, 0.9)
    wanted = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert endlessly == pytest.approx(wanted * np.sqrt(1 / 8) * in_one_fold, rel=0.01)
