"""Scores of a lesion: the mean over its patches, whatever they are computed beside, at the side of the evaluation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from arlrepro.models.arl_cnn import create
from arlrepro.models.inference import WHOLE_IMAGES_PER_BATCH, Predictor
from arlrepro.profiles import SMOKE

EXPERIMENT = replace(SMOKE.experiment, train=replace(SMOKE.experiment.train, precision="fp32"))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(create("arl_cnn14", outputs=2, alpha=0.5), EXPERIMENT)


def test_a_score_is_the_mean_probability_over_the_patches(predictor, validation):
    expected = []
    for lesion in range(len(validation)):
        alone = torch.full((len(predictor.boxes),), lesion)
        patches = validation.cut(alone, predictor.boxes, EXPERIMENT.patches)
        with torch.no_grad():
            expected.append(predictor.network.eval()(patches).sigmoid().mean(dim=0).numpy())
    np.testing.assert_allclose(predictor.scores(validation), np.stack(expected), atol=1e-5)


def test_scores_do_not_depend_on_the_batch(predictor, validation):
    together, alone = (predictor.patch_scores(validation, size) for size in (12, 1))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_lesions_are_seen_at_the_side_of_the_evaluation(predictor, validation):
    larger = replace(predictor, experiment=replace(EXPERIMENT, evaluation=replace(EXPERIMENT.evaluation, side=96)))
    assert [patches.shape[2:] for _, patches in larger.whole_images(validation)] == [(96, 96)]
    assert not np.allclose(larger.scores(validation), predictor.scores(validation), atol=1e-3)


def test_whole_images_come_in_order_batch_by_batch(predictor, validation):
    many = validation.at(np.arange(WHOLE_IMAGES_PER_BATCH + 1) % len(validation))
    batches = list(predictor.whole_images(many))
    assert [len(ids) for ids, _ in batches] == [WHOLE_IMAGES_PER_BATCH, 1]
    assert tuple(batches[0][0] + batches[1][0]) == many.image_ids
    first = batches[0][1]
    torch.testing.assert_close(first[0], first[len(validation)])  # the same lesion, one round later


def test_while_it_computes_no_gradient_is_kept_and_batch_norms_stand_still(predictor):
    predictor.network.train()
    with predictor.computing() as network:
        assert not network.training and not torch.is_grad_enabled()
