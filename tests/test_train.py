"""Training: deterministic, resumable, and clear about what it cannot do."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from arlrepro.config import SMOKE
from arlrepro.errors import DatasetError, RunError
from arlrepro.patches import evaluation_boxes
from arlrepro.predict import Lesions, score
from arlrepro.train import build, train


def state_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture(scope="module")
def trained(short, training, validation):
    return train(short, 0, training, validation)


def test_history_has_a_row_an_epoch_and_the_rate_is_halved(trained):
    assert trained.history["epoch"].tolist() == [1, 2, 3]
    assert trained.history["learning_rate"].tolist() == [0.02, 0.02, 0.01]


def test_the_loss_falls(trained):
    loss = trained.history["training_loss"]
    assert loss.iloc[-1] < loss.iloc[0]


def test_alpha_is_learned_and_recorded(trained):
    recorded = trained.history[[f"alpha_layer{stage}.0" for stage in (1, 2, 3, 4)]]
    assert (recorded.iloc[-1] != SMOKE.experiment.network.alpha).all()


def test_the_same_seed_gives_the_same_weights_bit_for_bit(short, training, validation, trained):
    again = train(short, 0, training, validation)
    assert_same(state_of(trained.network), state_of(again.network))


def test_another_seed_gives_other_weights(short, training, validation, trained):
    other = train(replace(short, train=replace(short.train, epochs=1)), 1, training, validation)
    assert not torch.equal(other.network.conv1.weight, trained.network.conv1.weight)


def test_a_run_stopped_after_any_epoch_ends_with_the_weights_of_one_never_stopped(
    short, training, validation, trained, tmp_path
):
    class Killed(Exception):
        pass

    def kill_after(stop: int):
        def watch(epoch: int, _epochs: int, _row: dict[str, int | float]) -> None:
            if epoch == stop:
                raise Killed

        return watch

    checkpoint = tmp_path / "state"
    for stop in (1, 2):
        with pytest.raises(Killed):
            train(short, 0, training, validation, checkpoint, kill_after(stop))
    resumed = train(short, 0, training, validation, checkpoint)
    assert_same(state_of(trained.network), state_of(resumed.network))
    assert resumed.history["epoch"].tolist() == [1, 2, 3]


def test_a_checkpoint_of_another_run_is_refused(short, training, validation, tmp_path):
    checkpoint = tmp_path / "state"
    brief = replace(short, train=replace(short.train, epochs=1))
    train(brief, 0, training, validation, checkpoint)
    message = f"^{re.escape(str(checkpoint))}: a checkpoint of {brief.run_id(0)}, not of {brief.run_id(1)}; remove it$"
    with pytest.raises(RunError, match=message):
        train(brief, 1, training, validation, checkpoint)


def test_the_best_state_is_kept_not_the_last(short, training, validation):
    kept = train(short, 0, training, validation)
    mean = kept.history[["validation_auc_melanoma", "validation_auc_seborrheic_keratosis"]].mean(axis=1)
    boxes = evaluation_boxes(short.patches, short.evaluation)
    scores = score(kept.network, validation, boxes, short.patches, short.train.precision)
    ours = np.mean([roc_auc_score(validation.labels[:, c], scores[:, c]) for c in (0, 1)])
    assert ours == pytest.approx(mean.max())


def test_training_stops_when_validation_no_longer_improves(short, training, validation):
    patient = replace(short, train=replace(short.train, epochs=12, patience=2, learning_rate=1e-9))
    history = train(patient, 0, training, validation).history
    mean = history[["validation_auc_melanoma", "validation_auc_seborrheic_keratosis"]].mean(axis=1)
    assert len(history) == mean.idxmax() + 1 + 2 < 12


def test_resnet_and_arl_cnn_of_one_seed_start_from_the_same_weights(short):
    resnet = build(replace(short, network=replace(short.network, name="resnet14")), 4, torch.device("cpu"))
    arl = build(short, 4, torch.device("cpu")).state_dict()
    assert_same(state_of(resnet), {name: arl[name] for name in resnet.state_dict()})


def test_a_loss_that_is_not_a_number_stops_the_run(short, training, validation):
    wild = replace(short, train=replace(short.train, learning_rate=1e30))
    with pytest.raises(RunError, match=r"^the loss of epoch 1 is (nan|inf) at learning rate 1e\+30; the checkpoint"):
        train(wild, 0, training, validation)


def test_a_class_missing_from_a_split_is_said_before_the_first_epoch(short, training, validation):
    healthy = Lesions(validation.image_ids, validation.levels, validation.labels * np.array([0, 1]))
    message = "the validation split has 0 melanoma among 12 lesions: its AUC is not defined; add lesions of both kinds"
    with pytest.raises(DatasetError, match=f"^{message}$"):
        train(short, 0, training, healthy)


def test_too_few_images_for_a_batch_are_said(short, training, validation):
    with pytest.raises(DatasetError, match=r"^24 training patches an epoch do not fill a batch of 64; lower"):
        train(replace(short, train=replace(short.train, batch_size=64)), 0, training, validation)


def test_a_score_is_the_mean_probability_over_the_patches(short, validation):
    network = build(short, 0, torch.device("cpu")).eval()
    boxes = evaluation_boxes(short.patches, short.evaluation)
    every = score(network, validation, boxes, short.patches, "fp32")
    each = [score(network, validation, boxes[slice(k, k + 1)], short.patches, "fp32") for k in range(len(boxes))]
    np.testing.assert_allclose(every, np.mean(each, axis=0), atol=1e-5)


def test_scores_do_not_depend_on_the_batch(short, validation):
    network = build(short, 0, torch.device("cpu"))
    boxes = evaluation_boxes(short.patches, short.evaluation)
    together = score(network, validation, boxes, short.patches, "fp32", lesions_per_batch=12)
    alone = score(network, validation, boxes, short.patches, "fp32", lesions_per_batch=1)
    np.testing.assert_allclose(together, alone, atol=1e-5)
