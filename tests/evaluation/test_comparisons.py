import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import ttost_paired

from arlrepro.errors import MetricError
from arlrepro.evaluation.comparisons import cross_validated_difference, equivalence_p, holm, mcnemar_difference
from arlrepro.evaluation.delong import (
    aucs_and_influences,
    paired_difference,
    seeds_and_lesions_auc,
    seeds_and_lesions_difference,
)
from arlrepro.evaluation.intervals import (
    Difference,
    common_covariance,
    crossed,
    seeds_and_lesions_mean,
    training_noise,
)

MELANOMA = np.arange(600) < 117
KERATOSIS = (np.arange(600) >= 117) & (np.arange(600) < 207)

# Van Dyke's five readers of 114 cases by two modalities: AUCs and results as MRMCaov (R) and RJafroc print them, with
# covariances by the jackknife. A reader there is a seed here.
READERS = np.array(
    [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
)


def test_crossed_difference_is_that_of_van_dykes_readers():
    found = crossed(READERS[0] - READERS[1], lesion_variance=2 * (0.0003440748 - 0.0002390284))
    assert found.value == pytest.approx(-0.04380032, abs=1e-8)
    assert found.standard_error == pytest.approx(0.02074862, abs=1e-8)
    assert found.degrees_of_freedom == pytest.approx(15.25967, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((-0.0879594986, 0.0003588544), abs=1e-7)
    assert found.p == pytest.approx(0.05166569, abs=1e-7)


def test_crossed_mean_is_that_of_van_dykes_readers_of_one_modality():
    found = crossed(READERS[0], lesion_variance=0.0004839618)
    assert (found.value, found.standard_error) == pytest.approx((0.8970370, 0.03317360), abs=1e-7)
    assert found.degrees_of_freedom == pytest.approx(12.74465, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.8252236, 0.9688505), abs=1e-7)


def test_paired_difference_is_delongs_from_the_definition():
    rng = np.random.default_rng(0)
    truth = np.arange(60) < 17
    scores_a, scores_b = (rng.normal(size=(2, 60)) + truth).round(1)
    kernels = [
        (one[truth][:, None] > one[~truth]) + 0.5 * (one[truth][:, None] == one[~truth]) for one in (scores_a, scores_b)
    ]
    contrast = kernels[1] - kernels[0]
    variance = contrast.mean(axis=1).var(ddof=1) / 17 + contrast.mean(axis=0).var(ddof=1) / 43
    found = paired_difference(truth, scores_a, scores_b)
    assert (found.value, found.standard_error) == pytest.approx((contrast.mean(), np.sqrt(variance)))
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(contrast.mean()) / np.sqrt(variance)))
    assert (found.low, found.high) == pytest.approx(
        contrast.mean() + np.array([-1.959964, 1.959964]) * np.sqrt(variance)
    )


def test_paired_difference_turns_its_sign_with_the_networks():
    scores = np.random.default_rng(1).normal(size=(2, 600)) + MELANOMA
    one, other = paired_difference(MELANOMA, *scores), paired_difference(MELANOMA, *scores[::-1])
    assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p))


def test_a_network_does_not_differ_from_itself():
    scores = np.random.default_rng(2).normal(size=600)
    found = paired_difference(MELANOMA, scores, scores)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_paired_difference_of_two_tasks_is_that_of_their_means():
    scores = np.random.default_rng(3).normal(size=(2, 2, 600)) + np.stack([MELANOMA, KERATOSIS])
    found = paired_difference(np.stack([MELANOMA, KERATOSIS]), *scores)
    alone = [paired_difference(one, scores[0, task], scores[1, task]) for task, one in enumerate((MELANOMA, KERATOSIS))]
    assert found.value == pytest.approx(np.mean([one.value for one in alone]))


def test_a_difference_without_variance_is_refused():
    perfect = MELANOMA.astype(float)
    with pytest.raises(MetricError) as caught:
        paired_difference(MELANOMA, perfect, 1 - perfect)
    assert str(caught.value) == ("the difference has no variance to estimate: every lesion of a class is ranked alike")
    with pytest.raises(MetricError) as caught:
        paired_difference(np.arange(9) < 1, np.arange(9.0), -np.arange(9.0))
    assert str(caught.value) == "a difference needs at least two lesions of each class"


def test_common_covariance_is_the_mean_over_pairs_of_seeds():
    influences = np.random.default_rng(4).normal(size=(4, 30))
    pairs = [influences[s] @ influences[t] for s in range(4) for t in range(4) if s != t]
    assert common_covariance(influences) == pytest.approx(np.mean(pairs))


def test_parts_of_the_variance_add_up():
    scores = np.random.default_rng(5).normal(size=(2, 5, 600)) + MELANOMA
    found = seeds_and_lesions_difference(MELANOMA, *scores)
    areas, influences = aucs_and_influences(MELANOMA, scores)
    assert found.value == pytest.approx((areas[1] - areas[0]).mean())
    assert found.seed_variance == pytest.approx((areas[1] - areas[0]).var(ddof=1) / 5)
    assert found.lesion_variance == pytest.approx(max(0, common_covariance(influences[1] - influences[0])))
    assert found.standard_error**2 == pytest.approx(found.lesion_variance + found.seed_variance)


def test_without_a_lesion_part_it_is_students_t_over_the_seeds():
    values = np.array([0.01, 0.03, -0.01, 0.02, 0.02])
    found = crossed(values, lesion_variance=-1e-6)
    expected = stats.ttest_1samp(values, 0)
    assert (found.p, found.degrees_of_freedom) == pytest.approx((expected.pvalue, 4))
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))


def test_seeds_that_agree_wholly_leave_delongs_interval():
    scores = np.random.default_rng(6).normal(size=(2, 600)) + MELANOMA
    found = seeds_and_lesions_difference(MELANOMA, *np.repeat(scores[:, None], 3, axis=1))
    paired = paired_difference(MELANOMA, *scores)
    assert found.seed_variance == pytest.approx(0, abs=1e-30)
    assert (found.low, found.high, found.p) == pytest.approx((paired.low, paired.high, paired.p))


def test_one_seed_has_no_variance_among_seeds():
    scores = np.random.default_rng(7).normal(size=(1, 600))
    for compare in (
        lambda: seeds_and_lesions_difference(MELANOMA, scores, -scores),
        lambda: crossed(scores[:, 0], 0.1),
    ):
        with pytest.raises(MetricError) as caught:
            compare()
        assert str(caught.value) == "the variance among seeds needs at least two seeds; got 1"


def draw_seeds(rng, seeds, of_seed, of_both):
    """Two networks of one true AUC: lesions in common, each network's own view of them, seeds, and noise of both."""
    lesions = rng.normal(size=600) + 1.6 * MELANOMA + 0.4 * rng.normal(size=(2, 1, 600))
    return lesions + of_seed * rng.normal(size=(2, seeds, 1)) * MELANOMA + of_both * rng.normal(size=(2, seeds, 600))


@pytest.mark.parametrize(("of_seed", "of_both"), [(0.1, 0.3), (0.0, 0.6)])
def test_five_seeds_and_600_lesions_cover_93_to_97_percent(of_seed, of_both):
    rng = np.random.default_rng(8)
    found = [seeds_and_lesions_difference(MELANOMA, *draw_seeds(rng, 5, of_seed, of_both)) for _ in range(400)]
    assert 0.93 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.97


@pytest.mark.slow
def test_auc_of_five_seeds_covers_93_to_97_percent():
    rng = np.random.default_rng(9)
    true = stats.norm.cdf(1.6 / np.sqrt(2 * (1 + 0.4**2 + 0.3**2) + 0.1**2))
    found = [seeds_and_lesions_auc(MELANOMA, draw_seeds(rng, 5, 0.1, 0.3)[0]) for _ in range(1000)]
    assert 0.93 <= np.mean([one.low <= true <= one.high for one in found]) <= 0.97


def test_auc_over_seeds_stays_inside_0_and_1():
    scores = np.random.default_rng(10).normal(size=(3, 600)) + 6 * MELANOMA
    found = seeds_and_lesions_auc(MELANOMA, scores)
    assert 0.99 < found.low < found.value < found.high < 1


def test_mean_of_a_number_of_each_lesion_is_crossed_too():
    rng = np.random.default_rng(11)
    numbers = rng.normal(size=(1, 200)) + 0.3 * rng.normal(size=(5, 200)) + 0.2
    found = seeds_and_lesions_mean(numbers)
    covariances = np.cov(numbers)[~np.eye(5, dtype=bool)] / 200
    assert found.value == pytest.approx(numbers.mean())
    assert found.lesion_variance == pytest.approx(covariances.mean())
    assert found.seed_variance == pytest.approx(numbers.mean(axis=1).var(ddof=1) / 5)


def test_mcnemar_is_that_of_statsmodels_with_a_countable_interval():
    right_a = np.array([True] * 60 + [False] * 40)
    right_b = np.array([True] * 48 + [False] * 12 + [True] * 25 + [False] * 15)
    found = mcnemar_difference(right_a, right_b)
    assert found.value == (25 - 12) / 100
    assert found.p == pytest.approx(mcnemar([[48, 12], [25, 15]], exact=True).pvalue)
    centre = (26 - 13) / 102
    reach = 1.959964 * np.sqrt(((26 + 13) / 102 - centre**2) / 102)
    assert (found.low, found.high) == pytest.approx((centre - reach, centre + reach))


def test_mcnemar_of_decisions_that_agree_has_an_interval_around_0():
    right = np.array([True] * 60 + [False] * 40)
    found = mcnemar_difference(right, right)
    assert (found.value, found.p) == (0, 1)
    assert found.low == -found.high < 0


def test_mcnemar_of_no_lesion_is_refused():
    with pytest.raises(MetricError) as caught:
        mcnemar_difference(np.array([], dtype=bool), np.array([], dtype=bool))
    assert str(caught.value) == "a difference of shares needs at least one lesion; got 0"


def test_cross_validated_difference_widens_students_t_by_the_overlap():
    differences = np.array([0.01, 0.03, -0.01, 0.02, 0.02, 0.00, 0.01, 0.02, 0.03, 0.01])
    plain, corrected = (cross_validated_difference(differences, share) for share in (0.0, 1 / 4))
    expected = stats.ttest_1samp(differences, 0)
    assert plain.p == pytest.approx(expected.pvalue)
    assert (plain.low, plain.high) == pytest.approx(expected.confidence_interval(0.95))
    assert corrected.standard_error / plain.standard_error == pytest.approx(np.sqrt((1 / 10 + 1 / 4) / (1 / 10)))
    assert corrected.degrees_of_freedom == 9


def test_cross_validated_difference_is_that_of_scikit_learns_published_example():
    # "Statistical comparison of models using grid search" in its gallery: corrected t 0.750, one-sided p 0.227.
    moons = make_moons(noise=0.352, random_state=1, n_samples=100)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    linear, rbf = (
        cross_val_score(SVC(kernel=kernel, random_state=0), *moons, cv=folds, scoring="roc_auc")
        for kernel in ("linear", "rbf")
    )
    found = cross_validated_difference(rbf - linear, 10 / 90)
    assert round(found.value / found.standard_error, 3) == 0.750
    assert round(found.p / 2, 3) == 0.227


def differences_over_folds(rng, lesions=200, folds=5, repetitions=2, features=12):
    """AUC differences of two linear models of equal worth, each of twelve features of its own, in each test fold."""
    truth = rng.random(lesions) < 0.3
    views = rng.normal(size=(2, lesions, features)) + 0.25 * truth[:, None]
    differences = []
    for _ in range(repetitions):
        dealt = rng.permutation(lesions) % folds
        for fold in range(folds):
            tested = dealt == fold
            weights = [
                np.linalg.lstsq(np.c_[one[~tested], np.ones((~tested).sum())], truth[~tested])[0] for one in views
            ]
            scores = [one[tested] @ weight[:-1] for one, weight in zip(views, weights, strict=True)]
            first, second = aucs_and_influences(truth[tested], np.stack(scores))[0]
            differences.append(second - first)
    return np.array(differences)


def test_the_correction_keeps_the_level_that_students_t_breaks():
    rng = np.random.default_rng(0)
    samples = [differences_over_folds(rng) for _ in range(250)]
    plain, corrected = (
        np.mean([cross_validated_difference(one, share).p < 0.05 for one in samples]) for share in (0.0, 1 / 4)
    )
    assert plain > 0.15
    assert 0.02 <= corrected <= 0.08


def test_cross_validation_of_one_fold_is_refused():
    with pytest.raises(MetricError) as caught:
        cross_validated_difference(np.array([0.01]), 1 / 4)
    assert str(caught.value) == "the variance among folds needs at least two folds; got 1"


def test_equivalence_is_two_one_sided_tests_as_statsmodels_has_them():
    rng = np.random.default_rng(12)
    a, b = rng.normal(size=(2, 12))
    for margin in (0.2, 1.0, 3.0):
        expected = ttost_paired(b, a, -margin, margin)[0]
        assert equivalence_p(cross_validated_difference(b - a, 0.0), margin) == pytest.approx(expected)


def test_equivalence_holds_where_the_90_percent_interval_lies_within_the_margin():
    found = cross_validated_difference(np.array([0.01, 0.03, -0.01, 0.02, 0.02]), 1 / 4, level=0.9)
    assert equivalence_p(found, found.high + 1e-6) < 0.05 < equivalence_p(found, found.high - 1e-6)


def test_equivalence_needs_a_margin_and_an_error():
    with pytest.raises(MetricError) as caught:
        equivalence_p(Difference(0.0, -0.1, 0.1, 1.0, 0.05, 4.0), 0.0)
    assert str(caught.value) == "an equivalence margin is above 0; got 0.0"
    with pytest.raises(MetricError) as caught:
        equivalence_p(Difference(0.0, -0.1, 0.1, 1.0), 0.1)
    assert str(caught.value) == "equivalence needs a difference with a standard error; got nan"


def test_holm_multiplies_the_smallest_by_the_whole_family():
    assert holm(np.array([0.02, 0.011, 0.3])) == pytest.approx([0.04, 0.033, 0.3])
    assert holm(np.array([0.6, 0.5])) == pytest.approx([1.0, 1.0])


def test_training_noise_is_what_the_lesions_leave_of_one_seeds_variance():
    """Three seeds whose lesions' parts are known: own variance 0.02 each, none of it common."""
    influences = np.array([[0.1, -0.1, 0, 0, 0, 0], [0, 0, 0.1, -0.1, 0, 0], [0, 0, 0, 0, 0.1, -0.1]])
    values = np.array([-0.3, 0.0, 0.3])  # variance 0.09: 0.02 the lesions', 0.07 of training
    assert training_noise(values, influences) == pytest.approx(0.07 / 0.09)
    assert training_noise(values, np.tile(influences[:1], (3, 1))) == pytest.approx(0.09 / 0.11), "all of it common"
    assert training_noise(values / 10, influences) < 0, "seeds that differ by less than the lesions explain"
