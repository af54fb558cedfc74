import time
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from arlrepro.errors import MetricError
from arlrepro.evaluation import metrics
from arlrepro.evaluation.bootstrap import Resampled, bootstrap_difference, resample
from arlrepro.evaluation.delong import auc_interval

MELANOMA = np.arange(600) < 117
BY_BOOTSTRAP = ["average_precision", "dice", "auc_above_80_sensitivity", *metrics.SENSITIVITIES]


def normal_scores(rng, area, samples=()):
    """Scores whose true AUC is known: normal in both classes, shifted for the positives."""
    return rng.normal(size=(*samples, 600)) + np.sqrt(2) * stats.norm.ppf(area) * MELANOMA


def test_resampling_repeats_with_its_seed():
    labels = np.array([1] * 3 + [0] * 7)
    first, again, other = (
        resample(labels, np.sin(np.arange(10.0)), ["auc"], replicates=20, seed=seed)["auc"].drawn for seed in (1, 1, 2)
    )
    assert (first == again).all() and not (first == other).all()


@pytest.mark.parametrize("ties", [False, True])
def test_samples_and_intervals_are_those_of_scipy(ties):
    rng = np.random.default_rng(4)
    truth = rng.permutation(np.arange(80) < 20)
    scores = np.clip(rng.normal(0.35, 0.2, 80) + 0.2 * truth, 0, 1)
    scores = scores.round(1) if ties else scores
    found = resample(truth, scores, list(metrics.METRICS), replicates=100)
    for name, metric in metrics.METRICS.items():
        expected = stats.bootstrap(
            (np.flatnonzero(truth), np.flatnonzero(~truth)),
            lambda *drawn, metric=metric: metric(truth[np.concatenate(drawn)], scores[np.concatenate(drawn)]),
            vectorized=False, method="BCa", n_resamples=100, rng=0,
        )  # fmt: skip
        assert found[name].drawn == pytest.approx(expected.bootstrap_distribution)
        assert (found[name].low, found[name].high) == pytest.approx(tuple(expected.confidence_interval))


def test_time_and_memory_grow_as_the_lesions_do_not_as_their_square():
    rng = np.random.default_rng(0)
    truth = rng.random(33_126) < 0.0176  # the challenge's training set of 2020, 584 melanomas
    tracemalloc.start()
    before = time.process_time()
    resample(truth, rng.random(33_126), BY_BOOTSTRAP, replicates=100)
    # A square of so many lesions is 9 GB, and took minutes.
    assert time.process_time() - before < 10
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()


def test_bootstrap_and_delong_agree():
    rng = np.random.default_rng(5)
    scores = normal_scores(rng, 0.8)
    resampled = resample(MELANOMA, scores, ["auc"], replicates=300)["auc"].estimate
    exact = auc_interval(MELANOMA, scores)
    assert (resampled.low, resampled.high) == pytest.approx((exact.low, exact.high), abs=0.01)


@pytest.mark.parametrize(
    ("called", "name", "message"),
    [
        (1, "ppv", r"1.000, but not defined on \d+ of 40 bootstrap samples"),
        (3, "ppv", "1.000, and the same on every bootstrap sample, so without an interval"),
    ],
)
def test_a_bootstrap_without_an_interval_says_why(called, name, message):
    scores = np.where(np.arange(10) < called, 0.9, 0.1)
    found = resample(np.array([1] * 3 + [0] * 7), scores, [name], replicates=40)[name]
    with pytest.raises(MetricError, match=f"^{message}$"):
        _ = found.estimate


def test_a_figure_beyond_all_its_samples_has_no_interval():
    with pytest.raises(MetricError, match=r"^0\.500, and beyond every bootstrap sample, so without an interval$"):
        _ = Resampled(0.5, np.nan, np.nan, np.array([0.6, 0.7])).estimate


def test_a_bootstrap_of_one_positive_is_refused():
    with pytest.raises(MetricError) as caught:
        resample(np.array([1, 0, 0]), np.arange(3.0), ["auc"])
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
    one = resample(MELANOMA, scores, ["auc"], replicates=20)["auc"]
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
        resample(MELANOMA, scores, ["auc"], replicates=300, seed=sample)["auc"].estimate
        for sample, scores in enumerate(normal_scores(rng, 0.8, samples=(800,)))
    ]
    assert 0.93 <= np.mean([one.low <= 0.8 <= one.high for one in found]) <= 0.97
