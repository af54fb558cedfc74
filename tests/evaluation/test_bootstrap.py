import numpy as np
import pytest
from scipy import stats

from arlrepro.errors import MetricError
from arlrepro.evaluation import metrics
from arlrepro.evaluation.bootstrap import Resampled, bootstrap_difference, resample
from arlrepro.evaluation.delong import auc_interval

MELANOMA = np.arange(600) < 117


def normal_scores(rng, area, samples=()):
    """Scores whose true AUC is known: normal in both classes, shifted for the positives."""
    return rng.normal(size=(*samples, 600)) + np.sqrt(2) * stats.norm.ppf(area) * MELANOMA


def quick_auc(labels, scores):
    return (stats.rankdata(scores)[labels].sum() - 117 * 118 / 2) / (117 * 483)


def test_resampling_keeps_each_class_and_repeats_with_its_seed():
    labels = np.array([1] * 3 + [0] * 7)
    scores = np.arange(10.0)
    assert set(resample(labels, scores, lambda drawn, _: float(drawn.sum()), replicates=50).drawn) == {3.0}
    first, again, other = (
        resample(labels, scores, lambda _, drawn: float(drawn.sum()), replicates=20, seed=seed).drawn
        for seed in (1, 1, 2)
    )
    assert (first == again).all() and not (first == other).all()


def test_bootstrap_and_delong_agree():
    rng = np.random.default_rng(5)
    scores = normal_scores(rng, 0.8)
    resampled = resample(MELANOMA, scores, quick_auc, replicates=300).estimate
    exact = auc_interval(MELANOMA, scores)
    assert (resampled.low, resampled.high) == pytest.approx((exact.low, exact.high), abs=0.01)


def sometimes_undefined(labels, scores):
    if scores.max() < 9:
        raise MetricError("the last lesion is not there")
    return 0.5


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (sometimes_undefined, r"0.500, but not defined on \d+ of 40 bootstrap samples"),
        (lambda labels, scores: 1.0, "1.000, and the same on every bootstrap sample, so without an interval"),
    ],
)
def test_a_bootstrap_without_an_interval_says_why(metric, message):
    found = resample(np.array([1] * 3 + [0] * 7), np.arange(10.0), metric, replicates=40)
    with pytest.raises(MetricError, match=f"^{message}$"):
        _ = found.estimate


def test_a_bootstrap_of_one_positive_is_refused():
    with pytest.raises(MetricError) as caught:
        resample(np.array([1, 0, 0]), np.arange(3.0), metrics.auc)
    assert str(caught.value) == "a bootstrap needs two lesions of each class; got 1 of 3 positive"


def test_bootstrap_difference_and_p_are_counted_on_the_samples():
    a = Resampled(0.5, 0.0, 1.0, np.zeros(39))
    b = Resampled(0.75, 0.0, 1.0, np.arange(-1.0, 38.0))
    found = bootstrap_difference(a, b)
    assert found.value == 0.25
    assert (found.low, found.high) == pytest.approx((-1 + 38 * 0.025, -1 + 38 * 0.975))
    assert found.p == 2 * (1 + 2) / (1 + 39)  # -1 and 0 are not above 0


def test_bootstrap_difference_of_a_file_from_itself_is_nothing():
    scores = normal_scores(np.random.default_rng(6), 0.8)
    one = resample(MELANOMA, scores, quick_auc, replicates=20)
    found = bootstrap_difference(one, one)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_a_difference_that_samples_seldom_define_is_refused():
    drawn = np.array([np.nan] * 6 + [0.1] * 94)
    with pytest.raises(MetricError) as caught:
        bootstrap_difference(Resampled(0.5, 0.0, 1.0, drawn), Resampled(0.6, 0.0, 1.0, drawn))
    assert str(caught.value) == "the difference is not defined on 6 of 100 bootstrap samples"


@pytest.mark.slow
def test_lesion_bootstrap_covers_93_to_97_percent():
    rng = np.random.default_rng(0)

    found = [
        resample(MELANOMA, scores, quick_auc, replicates=300, seed=sample).estimate
        for sample, scores in enumerate(normal_scores(rng, 0.8, samples=(800,)))
    ]
    assert 0.93 <= np.mean([one.low <= 0.8 <= one.high for one in found]) <= 0.97
