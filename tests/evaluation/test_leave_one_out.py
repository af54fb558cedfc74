"""Each figure without each lesion is what the figure gives when that lesion is really taken out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arlrepro.errors import MetricError
from arlrepro.evaluation.delong import placements
from arlrepro.evaluation.leave_one_out import without_each
from arlrepro.evaluation.metrics import METRICS, roc


def figure(name: str, truth: np.ndarray, scores: np.ndarray) -> float:
    try:
        return METRICS[name](truth, scores)
    except MetricError:
        return np.nan


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=24), st.sampled_from(list(METRICS)))
def test_a_figure_without_each_lesion_is_that_of_the_others(lesions, name):
    truth = np.array([True, True, False, False, *(label for label, _ in lesions)])
    scores = np.array([7, 3, 3, 0, *(score for _, score in lesions)]) / 8
    others = ~np.eye(len(truth), dtype=bool)
    expected = np.array([figure(name, truth[kept], scores[kept]) for kept in others])
    for found, members in zip(without_each(name, roc(truth, scores)), (truth, ~truth), strict=True):
        np.testing.assert_allclose(np.sort(found), np.sort(expected[members]), rtol=1e-9)


def test_the_auc_without_a_lesion_follows_from_delongs_placements():
    rng = np.random.default_rng(0)
    truth, scores = np.arange(30) < 10, rng.random(30)
    area, placed = METRICS["auc"](truth, scores), placements(truth, scores)
    without_positive, without_negative = without_each("auc", roc(truth, scores))
    assert np.sort(without_positive) == pytest.approx(np.sort((10 * area - placed[truth]) / 9))
    assert np.sort(without_negative) == pytest.approx(np.sort((20 * area - placed[~truth]) / 19))
