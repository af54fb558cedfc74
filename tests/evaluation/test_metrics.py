import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from arlrepro.errors import MetricError
from arlrepro.evaluation import metrics
from arlrepro.evaluation.metrics import Confusion, confusion

RECORDED = json.loads((Path(__file__).parent / "challenge_scores.json").read_text())
OURS = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "dice": "dice",
    "ppv": "ppv",
    "npv": "npv",
    "auc": "auc",
    "auc_sens_80": "auc_above_80_sensitivity",
    "ap": "average_precision",
}

# Four melanomas in ten lesions: at 0.5 three of them are found, and two of the six others are called so.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.55, 0.4, 0.3, 0.1, 0.05])


def evaluate(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    return {name: metric(labels, scores) for name, metric in metrics.METRICS.items()}


@pytest.mark.parametrize("case", RECORDED["cases"])
@pytest.mark.parametrize("category", ["melanoma", "seborrheic_keratosis"])
def test_figures_equal_the_challenges_own(case, category):
    recorded = RECORDED["cases"][case][category]
    found = evaluate(np.array(recorded["labels"]), np.array(recorded["scores"]))
    assert {theirs: found[ours] for theirs, ours in OURS.items()} == pytest.approx(recorded["answers"], abs=1e-12)


def test_recorded_answers_are_those_of_the_scorer_named():
    assert RECORDED["scorer"] == "isic-challenge-scoring 5.6.0"
    assert all(set(one["answers"]) == set(OURS) for case in RECORDED["cases"].values() for one in case.values())


def test_figures_are_fractions_one_can_count():
    found = evaluate(LABELS, SCORES)
    assert found["sensitivity"] == 3 / 4
    assert found["specificity"] == 4 / 6
    assert found["accuracy"] == 7 / 10
    assert found["ppv"] == 3 / 5
    assert found["npv"] == 4 / 5
    assert found["dice"] == 6 / 9
    assert found["auc"] == pytest.approx((6 + 6 + 5 + 2) / 24)
    assert found["average_precision"] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4 + 4 / 8) / 4)
    assert found["specificity_at_82_sensitivity"] == found["specificity_at_95_sensitivity"] == pytest.approx(2 / 6)
    assert metrics.specificity_at_sensitivity(LABELS, SCORES, 0.75) == pytest.approx(5 / 6)


def test_specificity_at_a_sensitivity_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(0)
    labels = (np.arange(80) < 20).astype(int)
    scores = (rng.normal(size=80) + labels).round(1)  # with ties
    for wanted in (0.05, 0.82, 0.89, 0.95, 1.0):
        decisions = [confusion(labels, scores, threshold) for threshold in (*scores, -np.inf)]
        best = max(one.specificity for one in decisions if one.sensitivity >= wanted)
        assert metrics.specificity_at_sensitivity(labels, scores, wanted) == pytest.approx(best)


@pytest.mark.parametrize("case", RECORDED["cases"])
@pytest.mark.parametrize("wanted", [82, 89, 95])
def test_specificity_at_a_sensitivity_is_the_first_point_of_the_curve_that_reaches_it_as_in_2017(case, wanted):
    # Version 5.6.0 no longer has the figure. The scorer of 2017 took the first point of scikit-learn's curve.
    for recorded in RECORDED["cases"][case].values():
        labels, scores = np.array(recorded["labels"]), np.array(recorded["scores"])
        false_rates, true_rates, _ = sklearn_metrics.roc_curve(labels, scores)
        found = metrics.METRICS[f"specificity_at_{wanted}_sensitivity"](labels, scores)
        assert found == pytest.approx(1 - false_rates[true_rates >= wanted / 100][0], abs=1e-12)


def test_area_above_a_sensitivity_of_nearly_zero_is_the_auc():
    assert metrics.auc_above_sensitivity(LABELS, SCORES, 1e-12) == pytest.approx(metrics.auc(LABELS, SCORES))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=4, max_size=30))
def test_roc_points_and_average_precision_are_those_of_scikit_learn(lesions):
    truth = np.array([True, False, *(label for label, _ in lesions)])
    scores = np.array([3, 3, *(score for _, score in lesions)], dtype=float)
    false_rates, true_rates, _ = sklearn_metrics.roc_curve(truth, scores, drop_intermediate=False)
    found = metrics.roc(truth, scores)
    np.testing.assert_allclose(found.false_positives / found.negatives, false_rates)
    np.testing.assert_allclose(found.true_positives / found.positives, true_rates)
    expected = sklearn_metrics.average_precision_score(truth, scores)
    assert metrics.average_precision(truth, scores) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=4, max_size=30))
def test_every_figure_is_the_same_from_the_curve_as_from_labels_and_scores(lesions):
    truth = np.array([True, False, *(label for label, _ in lesions)])
    scores = np.array([6, 0, *(score for _, score in lesions)]) / 6
    curve = metrics.roc(truth, scores)
    expected = evaluate(truth, scores)
    assert {name: metrics.OF_CURVE[name](curve) for name in metrics.METRICS} == pytest.approx(expected)


def test_a_score_at_the_threshold_is_negative():
    assert confusion(np.array([1, 0]), np.array([0.5, 0.5])) == Confusion(0, 1, 1, 0)


def test_labels_may_be_truth_values():
    assert evaluate(LABELS.astype(bool), SCORES) == evaluate(LABELS, SCORES)


NONE, ALL = np.zeros(4, dtype=int), np.ones(4, dtype=int)
LOW, HIGH = np.full(4, 0.1), np.full(4, 0.9)


@pytest.mark.parametrize(
    ("metric", "labels", "scores", "message"),
    [
        ("sensitivity", NONE, LOW, "sensitivity needs at least one positive lesion; got 0 of 4 lesions"),
        ("specificity", ALL, LOW, "specificity needs at least one negative lesion; got 0 of 4 lesions"),
        ("ppv", ALL, LOW, "ppv needs at least one lesion called positive; got 0 of 4 lesions"),
        ("npv", ALL, HIGH, "npv needs at least one lesion called negative; got 0 of 4 lesions"),
        ("dice", NONE, LOW, "dice needs at least one lesion that is positive or called so; got 0 of 4 lesions"),
        ("accuracy", NONE[:0], LOW[:0], "accuracy needs at least one lesion; got 0 of 0 lesions"),
        ("auc", NONE, LOW, "auc needs at least one positive lesion; got 0 of 4 lesions"),
        ("auc", ALL, LOW, "auc needs at least one negative lesion; got 0 of 4 lesions"),
        ("average_precision", NONE, LOW, "average_precision needs at least one positive lesion; got 0 of 4 lesions"),
        ("auc", LABELS, np.append(SCORES[1:], np.nan), "auc needs a finite score for each lesion; 1 are not"),
        ("auc", LABELS * 2, SCORES, "labels are 0 or 1; got [0, 2]"),
    ],
)
def test_what_is_not_defined_raises_and_says_why(metric, labels, scores, message):
    with pytest.raises(MetricError) as caught:
        metrics.METRICS[metric](labels, scores)
    assert str(caught.value) == message
