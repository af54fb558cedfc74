"""Rounded weights: half the size, nearly the scores, found by a run's id, refused where they would change a score."""

import json
import random
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from arlrepro import paths
from arlrepro.config import from_dict
from arlrepro.errors import RunError
from arlrepro.models.inference import Predictor
from arlrepro.paths import committed_weights
from arlrepro.runs import archive, predict, runner, weights
from arlrepro.runs.archive import WEIGHTS, write_run
from arlrepro.runs.weights import TOLERANCE, commit_weights, round_weights
from arlrepro.storage import MANIFEST, read_sums, write_sums
from arlrepro.training.trainer import train
from helpers.made_runs import small_run


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLREPRO_ROOT", str(root))
        yield root


@pytest.fixture(scope="module")
def live(checkout, short, training, validation):
    """The folder of a live run of a few steps, in a checkout of its own."""
    run = replace(small_run("arl_cnn14"), experiment=short)
    folder = checkout / "runs" / "smoke" / run.id
    folder.mkdir(parents=True)
    write_run(run, folder)
    weights.save_weights(train(short, 0, training, validation).network, folder / WEIGHTS)
    return folder


def test_rounding_halves_the_file_and_hardly_changes_a_score(live, short, validation):
    path = commit_weights(live)
    assert path == committed_weights(live.name)
    assert path.stat().st_size < 0.51 * (live / WEIGHTS).stat().st_size
    run = archive.read_run(live)
    network = weights.load_network(run, "cpu")
    predictor = Predictor(network, short)
    before = predictor.scores(validation)
    network.load_state_dict(load_file(path))
    change = np.abs(predictor.scores(validation) - before).max()
    assert 0 < change < TOLERANCE
    assert all(value.dtype == torch.float32 for value in network.parameters())


def test_a_file_of_weights_says_what_it_is(live):
    with safe_open(commit_weights(live), framework="numpy") as file:
        said = file.metadata()
    run = archive.read_run(live)
    assert {name: said[name] for name in ("network", "task", "seed", "run", "licence", "model_card")} == {
        "network": "arl_cnn14",
        "task": run.experiment.task,
        "seed": str(run.seed),
        "run": run.id,
        "licence": "MIT",
        "model_card": f"weights/{run.id}.md",
    }
    assert json.loads(said["temperature"]) == weights.temperatures(run)
    assert from_dict(json.loads(said["config"])) == run.experiment
    assert said["protocol"] == run.experiment.hash
    root = Path(__file__).parents[2]
    assert (root / weights.describe(run)["model_card"]).is_file(), "of weights that are not given away"
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["license"] == said["licence"]


def test_the_licence_of_weights_is_that_of_what_training_started_from():
    run = small_run("efficientnet_lite0")
    network = replace(run.experiment.network, name="efficientnet_lite0", weights="imagenet-lite0")
    started = replace(run, experiment=replace(run.experiment, network=network))
    assert weights.describe(started)["licence"] == "Apache-2.0"


def test_weights_from_a_start_without_a_licence_are_never_committed(live, tmp_path):
    run = archive.read_run(live)
    network = replace(run.experiment.network, name="arl_cnn50", weights="imagenet-8bit")
    started = replace(run, experiment=replace(run.experiment, network=network))
    folder = tmp_path / started.id
    folder.mkdir()
    write_run(started, folder)
    (folder / WEIGHTS).touch()
    with pytest.raises(RunError, match=r"its training started from imagenet-8bit, licence none stated.*: not given"):
        commit_weights(folder)


def test_an_archived_run_is_loaded_from_its_committed_weights(live, checkout, monkeypatch):
    commit_weights(live)
    archived = runner.archive(live, checkout / "results" / "smoke")
    monkeypatch.setattr(paths, "RUNS", "elsewhere")
    run = predict.find_run(live.name)
    assert run.folder == archived
    half = load_file(committed_weights(run.id))
    for name, value in weights.load_network(run, "cpu").state_dict().items():
        torch.testing.assert_close(value, half[name].to(value.dtype))


def test_no_bit_of_weights_that_changes_is_loaded(live, checkout):
    """The given fault, 30 of 30 in tensor data: of a live run's weights and of committed ones."""
    committed = commit_weights(live)
    archived = runner.archive(live, checkout / "results" / "smoke")
    generator = random.Random(0)
    for path, run in ((live / WEIGHTS, archive.read_run(live)), (committed, archive.read_run(archived))):
        if path.parent == live:
            write_sums(live, [WEIGHTS, *(name for name in read_sums(live) if name != WEIGHTS)])
        whole = path.read_bytes()
        for _ in range(5):
            damaged = bytearray(whole)
            damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(RunError, match=r"not the bytes that were written \(SHA-256 "):
                weights.load_network(run, "cpu")
        path.write_bytes(whole)
        weights.load_network(run, "cpu")


@pytest.mark.parametrize("content", [b"", b"text", b"half", b"another", b"NaN"])
def test_weights_without_a_checksum_that_are_damaged_are_named_in_one_line(live, content):
    path, run = live / WEIGHTS, archive.read_run(live)
    whole, sums = path.read_bytes(), (live / MANIFEST).read_bytes()
    (live / MANIFEST).unlink()
    try:
        if content == b"half":
            path.write_bytes(whole[: len(whole) // 2])
        elif content == b"another":
            save_file({"weight": torch.zeros(1)}, path)
        elif content == b"NaN":
            state = load_file(path)
            save_file({**state, "fc.bias": torch.full_like(state["fc.bias"], torch.nan)}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(RunError) as caught:
            weights.load_network(run, "cpu")
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
        assert str(caught.value).endswith("restore the file, or train the run again")
    finally:
        path.write_bytes(whole)
        (live / MANIFEST).write_bytes(sums)


def test_without_any_weights_the_way_to_them_is_said(live, checkout, monkeypatch):
    archived = runner.archive(live, checkout / "results" / "smoke")
    committed_weights(live.name).unlink(missing_ok=True)
    with pytest.raises(RunError) as error:
        weights.load_network(archive.read_run(archived), "cpu")
    assert str(error.value) == (
        f"{live.name}: no weights.safetensors in {archived}; archived runs keep none: train it with `arlrepro train "
        "--profile smoke --network arl_cnn14 --task joint --seed 0`"
    )
    with pytest.raises(RunError, match=r"only a live run can be measured, runs/<profile>/<id>$"):
        runner.measure_again(archived)
    with pytest.raises(RunError, match=r"only a live run has weights to round, runs/<profile>/<id>$"):
        commit_weights(archived)


def test_an_unknown_run_is_answered_with_those_whose_weights_are_here(live):
    with pytest.raises(RunError) as error:
        predict.find_run("none")
    assert str(error.value) == f"none: neither a run's folder nor the id of a run here ({live.name})"


def test_what_float16_cannot_hold_is_refused():
    network = torch.nn.Linear(1, 1)
    network.weight.data.fill_(1e6)
    with pytest.raises(RunError, match=r"^float16 cannot hold the weights: too large in weight$"):
        round_weights(network)


def test_rounding_that_matters_is_refused(live, monkeypatch):
    monkeypatch.setattr(weights, "TOLERANCE", 0.0)
    committed_weights(live.name).unlink(missing_ok=True)
    with pytest.raises(RunError, match=re.escape(f"{live.name}: rounding to float16 changes a score by 0.0")):
        commit_weights(live)
    assert not committed_weights(live.name).exists()
