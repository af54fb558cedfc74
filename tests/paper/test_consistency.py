import numpy as np
import pytest
from scipy import stats

from arlrepro.errors import MetricError
from arlrepro.evaluation.metrics import Confusion
from arlrepro.paper.consistency import (
    CheckedRow,
    Reported,
    check_row,
    checked_rows,
    compare_matrices,
    mcnemar_bounds,
    possible_matrices,
    published_auc_intervals,
    second_opinion,
)
from arlrepro.paper.published import published

ARL = Confusion(true_positives=77, false_negatives=40, true_negatives=433, false_positives=50)
RESNET = Confusion(true_positives=74, false_negatives=43, true_negatives=429, false_positives=54)


def row_of(name, task="melanoma"):
    [found] = [one for one in checked_rows() if (one.row, one.task) == (name, task)]
    return found


def reported(accuracy, sensitivity, specificity, decimals=3):
    values = {"accuracy": accuracy, "sensitivity": sensitivity, "specificity": specificity}
    return {name: Reported(value, decimals) for name, value in values.items()}


def test_the_papers_rows_have_one_matrix_each():
    assert row_of("ARL-CNN50").only_matrix == ARL
    assert row_of("ResNet-50").only_matrix == RESNET
    assert row_of("ARL-CNN50", "seborrheic_keratosis").only_matrix == Confusion(79, 11, 442, 68)
    assert row_of("ARL-CNN50").verdict == "possible in one way"


def test_the_quoted_row_contradicts_itself():
    quoted = row_of("ARL-CNN50 as V quotes it")
    assert quoted.matrices == ()
    assert quoted.only_matrix is None
    assert quoted.verdict == "impossible"
    assert not second_opinion(quoted)


def test_it_contradicts_itself_by_the_specificity_alone():
    quoted = row_of("ARL-CNN50 as V quotes it").reported
    without = {name: one for name, one in quoted.items() if name != "specificity"}
    assert check_row("quoted", "melanoma", without).only_matrix == ARL


def test_mlscorecheck_agrees_on_every_row():
    for checked in checked_rows():
        assert second_opinion(checked) == bool(checked.matrices), checked.row


def test_recovered_matrices_print_as_published():
    for checked in checked_rows():
        for matrix in checked.matrices:
            for name, one in checked.reported.items():
                assert f"{getattr(matrix, name):.{one.decimals}f}" == f"{one.value:.{one.decimals}f}"


def test_every_matrix_is_found_that_a_plain_search_finds():
    given = reported(0.7, 0.5, 0.8, decimals=1)
    everything = [Confusion(t, 6 - t, n, 12 - n) for t in range(7) for n in range(13)]
    plain = [
        matrix
        for matrix in everything
        if 0.65 <= matrix.accuracy <= 0.75 and 0.45 <= matrix.sensitivity <= 0.55 and 0.75 <= matrix.specificity <= 0.85
    ]
    found = possible_matrices(given, positives=6, lesions=18)
    assert set(found) == set(plain) and len(found) > 1
    assert CheckedRow("", "melanoma", given, found).verdict == f"possible in {len(found)} ways"


def test_a_row_without_a_share_cannot_be_checked():
    with pytest.raises(MetricError) as caught:
        possible_matrices({}, 117, 600)
    assert str(caught.value) == "a row is checked by its accuracy, sensitivity, specificity; none of them is known"


def test_published_means_are_means_of_the_published_aucs():
    numbers = published().query("metric == 'auc' and value == value")
    for row, aucs in numbers.groupby("row"):
        by_task = {one.task: Reported(one.value, one.decimals) for one in aucs.itertuples()}
        if len(by_task) == 3:
            mean, both = by_task.pop("mean"), by_task.values()
            slack = mean.rounding + sum(one.rounding for one in both) / 2
            assert abs(sum(one.value for one in both) / 2 - mean.value) <= slack, row


def test_published_aucs_have_intervals_that_overlap():
    found = published_auc_intervals().set_index(["row", "task"])
    assert ((found["low"] < found["auc"]) & (found["auc"] < found["high"])).all()
    arl, resnet = found.loc[("ARL-CNN50", "melanoma")], found.loc[("ResNet-50", "melanoma")]
    assert arl["low"] < resnet["auc"] < arl["auc"] < resnet["high"]


def test_mcnemar_bounds_hold_for_every_overlap():
    rng = np.random.default_rng(0)
    bounds = mcnemar_bounds([(9, 12), (20, 25)], [(7, 12), (22, 25)])
    right_a = np.array([True] * 9 + [False] * 3 + [True] * 20 + [False] * 5)
    right_b = np.array([True] * 7 + [False] * 5 + [True] * 22 + [False] * 3)
    seen = []
    for _ in range(2000):
        shuffled = np.concatenate([rng.permutation(right_b[:12]), rng.permutation(right_b[12:])])
        only_a, only_b = (right_a & ~shuffled).sum(), (shuffled & ~right_a).sum()
        seen.append((only_a + only_b, stats.binomtest(only_a, only_a + only_b).pvalue))
    discordant, p_values = zip(*seen, strict=True)
    assert bounds.fewest_discordant <= min(discordant) and max(discordant) <= bounds.most_discordant
    assert bounds.lowest_p <= min(p_values) and max(p_values) <= bounds.highest_p


def test_mcnemar_bounds_are_reached():
    # Seven lesions, all for ARL: 2 x 2^-7; or every error of one a success of the other.
    found = compare_matrices(ARL, RESNET)["accuracy"]
    assert (found.fewest_discordant, found.lowest_p) == (7, 2 * 0.5**7)
    assert found.most_discordant == (40 + 43) + (50 + 54)
    assert found.highest_p == pytest.approx(stats.binomtest((187 + 7) // 2, 187).pvalue)


def test_the_papers_own_counts_cannot_settle_sensitivity():
    found = compare_matrices(ARL, RESNET)
    assert found["sensitivity"].lowest_p == 2 * 0.5**3
    assert found["specificity"].lowest_p == 2 * 0.5**4


def test_equal_counts_have_a_p_value_of_one_at_best_agreement():
    found = mcnemar_bounds([(5, 10)], [(5, 10)])
    assert (found.fewest_discordant, found.most_discordant, found.highest_p) == (0, 10, 1)


def test_matrices_of_other_lesions_are_not_compared():
    with pytest.raises(MetricError) as caught:
        compare_matrices(ARL, Confusion(79, 11, 442, 68))
    assert str(caught.value) == (
        "two matrices of the same lesions are needed; got 117 and 90 positives of 600 and 600 lesions"
    )
