"""Thresholds, calibration and net benefit, counted by hand or recovered from made truth."""

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve

from arlrepro.errors import MetricError
from arlrepro.evaluation.calibration import (
    calibration_error,
    fit_temperature,
    net_benefit,
    reliability,
    threshold_for,
    with_temperature,
)


def test_temperature_one_changes_no_score():
    assert with_temperature(np.array([0.1, 0.5, 0.9]), 1.0) == pytest.approx([0.1, 0.5, 0.9])


def test_a_high_temperature_draws_scores_to_one_half_and_keeps_their_order():
    scaled = with_temperature(np.array([0.0, 0.2, 0.8, 1.0]), 10.0)
    assert (np.diff(scaled) > 0).all()
    assert abs(scaled - 0.5).max() < abs(np.array([0.0, 1.0]) - 0.5).max()


def test_the_temperature_of_overconfident_scores_is_found():
    generator = np.random.default_rng(0)
    log_odds = generator.normal(0, 2, 20_000)
    labels = (generator.uniform(size=log_odds.size) < special.expit(log_odds)).astype(np.int64)
    overconfident = special.expit(3 * log_odds)
    temperature = fit_temperature(labels, overconfident)
    assert temperature == pytest.approx(3, rel=0.05)
    assert calibration_error(labels, with_temperature(overconfident, temperature)) < 0.02
    assert calibration_error(labels, overconfident) > 0.08


def test_calibration_error_is_that_of_scikit_learns_bins():
    generator = np.random.default_rng(1)
    scores = generator.uniform(size=500)
    labels = (generator.uniform(size=500) < scores**2).astype(np.int64)
    shares, means = calibration_curve(labels, scores, n_bins=10)
    counts = np.histogram(scores, bins=10, range=(0, 1))[0]
    assert calibration_error(labels, scores) == pytest.approx((counts * abs(shares - means)).sum() / 500)


def test_a_score_of_one_falls_into_the_last_bin():
    assert calibration_error(np.array([1, 1]), np.array([1.0, 1.0])) == 0


def test_reliability_bins_hold_equally_many_lesions():
    means, shares = reliability(np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), bins=3)
    assert means == pytest.approx([0.15, 0.5, 0.85])
    assert shares == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("wanted, found", [(0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.8, 4), (1.0, 4)])
def test_threshold_is_the_highest_that_finds_the_share(wanted, found):
    labels, scores = np.array([1, 1, 1, 1, 0, 0]), np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.1])
    threshold = threshold_for(labels, scores, wanted)
    assert (scores[:4] > threshold).sum() == found
    assert 0.1 < threshold < 0.9


def test_threshold_below_every_score_still_finds_the_lowest():
    labels, scores = np.array([1, 0]), np.array([0.2, 0.3])
    assert (scores > threshold_for(labels, scores, 1.0)).all()


def test_threshold_without_a_positive_is_refused():
    with pytest.raises(MetricError) as error:
        threshold_for(np.array([0, 0]), np.array([0.2, 0.3]), 0.8)
    assert str(error.value) == "a threshold needs at least one positive lesion; got 0 of 2 lesions"


def test_net_benefit_counts_false_alarms_at_the_odds_of_the_threshold():
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.3, 0.8, 0.25, 0.1])
    found = net_benefit(labels, scores, np.array([0.2, 0.5]))
    assert found == pytest.approx([2 / 5 - 2 / 5 * 0.25, 1 / 5 - 1 / 5])


def test_net_benefit_of_calling_all_is_that_of_treating_all():
    labels = np.array([1, 0, 0, 0])
    assert net_benefit(labels, np.ones(4), np.array([0.2])) == pytest.approx([0.25 - 0.75 * 0.25])
