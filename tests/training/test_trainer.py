"""Training: deterministic, resumable, and clear about what it cannot do."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from arlrepro.errors import ConfigError, DatasetError, RunError
from arlrepro.models.arl_cnn import build
from arlrepro.models.inference import Predictor
from arlrepro.profiles import SMOKE
from arlrepro.training.checkpoint import Checkpoint
from arlrepro.training.distributed import use_deterministic_kernels
from arlrepro.training.trainer import train
from helpers.short_experiment import short_experiment

HERE = Path(__file__).parent
#: Subprocesses import the same package, and compute on as many threads.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE.parent}",
    "OMP_NUM_THREADS": str(torch.get_num_threads()),
}


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


def test_a_cosine_rises_over_its_warm_up_and_falls_to_nothing(training, validation):
    settings = {"schedule": "cosine", "warm_up": 0.5, "epochs": 4, "optimiser": "adamw", "learning_rate": 0.001}
    history = train(short_experiment(**settings), 0, training, validation).history  # three steps an epoch
    assert history["learning_rate"].tolist() == pytest.approx([0.0005, 0.001, 0.00075, 0.00006699], rel=1e-3)


def test_the_last_state_is_kept_where_the_protocol_says_so(training, validation):
    kept = {keep: train(short_experiment(keep=keep), 0, training, validation) for keep in ("best", "last")}
    aucs = kept["last"].history.filter(like="validation_auc").mean(axis=1)
    scores = Predictor(kept["last"].network, short_experiment()).scores(validation)
    found = np.mean([roc_auc_score(validation.labels[:, i], scores[:, i]) for i in range(2)])
    assert found == pytest.approx(aucs.iloc[-1])


def test_lesions_may_be_scored_at_another_side_than_the_network_was_trained_at(training, validation):
    experiment = replace(short_experiment(epochs=1), evaluation=replace(SMOKE.experiment.evaluation, side=96))
    assert experiment.evaluation_patches.side == 96 and experiment.patches.side == 64
    assert train(experiment, 0, training, validation).history["validation_auc_melanoma"].notna().all()


def test_weight_decay_leaves_alpha_alone(training, validation):
    settings = {"optimiser": "adamw", "learning_rate": 0.0, "weight_decay": 0.5, "epochs": 1}
    assert train(short_experiment(**settings), 0, training, validation).network.layer1[0].alpha.item() == (
        pytest.approx(SMOKE.experiment.network.alpha)
    )


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


class Killed(Exception):
    pass


def test_a_run_stopped_at_any_step_ends_with_the_weights_of_one_never_stopped(
    short, training, validation, trained, tmp_path, monkeypatch
):
    checkpoint, step = Checkpoint(tmp_path / "state", every=0.0), torch.optim.SGD.step
    for lives in (1, 3, 2):  # one more step is taken, not saved, and must be taken again
        left = iter(range(lives))

        def fatal(self, *arguments, left=left):
            step(self, *arguments)
            if next(left, None) is None:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(torch.optim.SGD, "step", fatal)
            train(short, 0, training, validation, checkpoint)
    resumed = train(short, 0, training, validation, checkpoint)
    assert_same(state_of(trained.network), state_of(resumed.network))
    kept = [name for name in trained.history if name != "seconds"]
    pd.testing.assert_frame_equal(resumed.history[kept], trained.history[kept], check_exact=True)


@pytest.mark.slow
def test_a_run_killed_at_random_times_ends_with_the_weights_of_one_never_killed(trained, tmp_path):
    chance, killed = random.Random(2019), 0
    command = [sys.executable, str(HERE / "killed.py"), str(tmp_path)]
    for _ in range(3):
        process = subprocess.Popen(command, env=ENVIRONMENT)
        for _ in range(1 + chance.randrange(2)):
            wait_for_a_newer(tmp_path / "state", process)
        time.sleep(chance.uniform(0, 0.3))  # within a step, or while a checkpoint is written
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed > 1, "it ended before it was killed twice"
    assert subprocess.run(command, env=ENVIRONMENT).returncode == 0
    assert_same(state_of(trained.network), load_file(tmp_path / "weights"))


def wait_for_a_newer(path: Path, process: subprocess.Popen) -> None:
    """Wait until a process has written a file anew, or has ended."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    while process.poll() is None and (path.stat().st_mtime_ns if path.exists() else 0) == before:
        time.sleep(0.005)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_that_passes_the_same_half_batches(training, validation, tmp_path):
    # Tolerance: a millionth of the largest value of each tensor, for another order of the sums.
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, str(HERE / "two_processes.py"), str(tmp_path)]
    subprocess.run(command, env=ENVIRONMENT, check=True)
    alone = state_of(train(short_experiment(epochs=2, parts=2), 0, training, validation).network)
    first, second = (load_file(tmp_path / f"of-rank-{rank}") for rank in (0, 1))
    assert_same(first, second)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=0, atol=1e-6 * float(value.abs().max()))


def test_half_batches_give_other_weights_than_whole_ones(training, validation):
    one, two = (train(short_experiment(epochs=1, parts=parts), 0, training, validation).network for parts in (1, 2))
    assert not torch.allclose(one.bn1.running_var, two.bn1.running_var, rtol=1e-6)
    assert int(two.bn1.num_batches_tracked) == 3


def test_processes_that_cannot_share_a_batch_evenly_are_said(short, training, validation, monkeypatch):
    monkeypatch.setattr(Fabric, "world_size", 2)
    message = (
        "2 processes cannot share a batch of train.parts=1 evenly; give --set train.parts=2, or start fewer processes"
    )
    with pytest.raises(ConfigError, match=f"^{message}$"):
        train(short, 0, training, validation)


def test_training_draws_nothing_from_the_global_generators(training, validation):
    states = []

    def watch(*_):
        states.append(torch.get_rng_state().tolist())

    train(short_experiment(epochs=2), 0, training, validation, watch=watch)
    assert states[0] == states[1]


def test_deterministic_kernels_give_the_same_weights_on_a_cpu(short, training, validation, trained, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        use_deterministic_kernels()
        again = train(short, 0, training, validation)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_same(state_of(trained.network), state_of(again.network))


def test_a_gpu_whose_memory_is_too_small_is_told_what_to_lower(short, training, validation, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("arlrepro.data.patches.cut", full)
    message = (
        "the GPU's memory is too small for arl_cnn14 on 8 patches of 64 px at once: raise train.parts from 1, which "
        "passes a batch in smaller parts, or lower train.batch_size"
    )
    with pytest.raises(RunError, match=f"^{message}$"):
        train(short, 0, training, validation)


def test_the_best_state_is_kept_not_the_last(short, validation, trained):
    mean = trained.history[["validation_auc_melanoma", "validation_auc_seborrheic_keratosis"]].mean(axis=1)
    scores = Predictor(trained.network, short).scores(validation)
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


def test_a_loss_that_is_not_a_number_stops_the_run(training, validation, tmp_path):
    checkpoint = Checkpoint(tmp_path / "state", every=0.0)
    message = (
        r"^the loss of step 2 of epoch 1 is (nan|inf) at learning rate 1e\+30; "
        f"{re.escape(str(checkpoint.path))} holds epoch 1 after step 1: lower train.learning_rate$"
    )
    with pytest.raises(RunError, match=message):
        train(short_experiment(learning_rate=1e30), 0, training, validation, checkpoint)


def test_a_class_missing_from_a_split_is_said_before_the_first_epoch(short, training, validation):
    healthy = replace(validation, labels=validation.labels * np.array([0, 1]))
    message = "the validation split has 0 melanoma among 12 lesions: its AUC is not defined; add lesions of both kinds"
    with pytest.raises(DatasetError, match=f"^{message}$"):
        train(short, 0, training, healthy)


def test_too_few_images_for_a_batch_are_said(short, training, validation):
    with pytest.raises(DatasetError, match=r"^24 training patches an epoch do not fill a batch of 64; lower"):
        train(replace(short, train=replace(short.train, batch_size=64)), 0, training, validation)
