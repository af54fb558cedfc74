"""Runs: made once, whole or not at all, and archived without their weights."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from arlrepro import pictures, runs, shown
from arlrepro.archive import FILES, MEASURES, WEIGHTS
from arlrepro.config import CLASSES, PROFILES, SMOKE, DataConfig, Profile
from arlrepro.errors import ConfigError, DatasetError, RunError
from arlrepro.patches import evaluation_boxes
from arlrepro.predict import score


@pytest.fixture(scope="module")
def tiny() -> Profile:
    data = DataConfig(source="synthetic", side=64, synthetic_training=18, synthetic_validation=9, synthetic_test=9)
    train = replace(SMOKE.experiment.train, batch_size=8)
    return replace(SMOKE, name="tiny", experiment=replace(SMOKE.experiment, data=data, train=train))


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """A checkout of its own, in which the profile `tiny` exists."""
    root = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLREPRO_ROOT", str(root))
        patch.delenv("ARLREPRO_DATA", raising=False)
        patch.setitem(PROFILES, "tiny", tiny)
        yield root


@pytest.fixture(scope="module")
def study(place, tiny):
    return runs.reproduce("tiny")


def test_a_profile_is_run_whole(study, tiny, place):
    assert [run.id for run in study.runs] == [one.run_id(0) for one in tiny.experiments()]
    assert study.missing == []
    for run in study.runs:
        assert run.folder == place / "runs" / "tiny" / run.id
        assert {one.name for one in run.folder.iterdir()} >= {*FILES, WEIGHTS}
    assert not list((place / "runs" / "tiny").glob("*.part"))


def test_every_lesion_of_both_held_out_splits_is_scored(study):
    for run in study.runs:
        assert run.predictions["split"].value_counts().to_dict() == {"validation": 9, "test": 9}


def test_what_needs_weights_is_measured(study):
    resnet, arl = study.runs
    assert set(arl.measures) == set(MEASURES)
    assert set(resnet.measures) == set(MEASURES) - {"removal", "terms"}
    assert arl.attention["block"].tolist() == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]


def test_a_run_that_is_there_is_not_made_again(study, tiny, monkeypatch):
    monkeypatch.setattr("arlrepro.train.train", lambda *_: pytest.fail("trained again"))
    again = runs.reproduce("tiny")
    assert [run.metrics for run in again.runs] == [run.metrics for run in study.runs]


def test_the_stored_weights_give_the_stored_scores(study, tiny):
    run = study.of("arl_cnn14")[0]
    bench = runs.Bench.set_up(run.experiment, "", "cpu")
    boxes = evaluation_boxes(run.experiment.patches, run.experiment.evaluation)
    scores = score(runs.load_network(run, "cpu"), bench.lesions("test"), boxes, run.experiment.patches)
    stored = run.of("test")[["melanoma", "seborrheic_keratosis"]].to_numpy()
    np.testing.assert_allclose(scores, stored, atol=1e-6)


def test_an_archived_run_has_the_same_numbers_and_no_weights(study, place):
    run = study.runs[0]
    target = runs.archive(run.folder, runs.archived_folder("tiny"))
    assert not (target / WEIGHTS).exists()
    archived = runs.read_run(target)
    assert archived.metrics == run.metrics
    pd.testing.assert_frame_equal(archived.predictions, run.predictions)
    with pytest.raises(RunError, match=f"^{run.id}: no weights.safetensors in .*; archived runs keep none: train it"):
        runs.load_network(archived)


def test_real_lesions_come_with_the_maps_and_scores_of_every_network(study):
    looked = shown.real_lesions(study, "")
    assert set(looked.lesions) == set(looked.kinds) and set(looked.kinds.values()) <= {*CLASSES, "neither"}
    assert list(looked.maps) == list(looked.scores) == ["resnet14", "arl_cnn14"]
    assert all(set(table["image_id"]) == set(looked.lesions) for table in looked.maps.values())
    assert all(set(looked.lesions) <= set(table["image_id"]) for table in looked.scores.values())
    assert pictures.activation_grid(looked.lesions, looked.maps, looked.scores, looked.kinds).axes


def test_an_interrupted_run_leaves_nothing_under_its_name(place, tiny, monkeypatch):
    experiment = replace(tiny.experiments()[0], train=replace(tiny.experiment.train, epochs=2))

    def interrupt(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("arlrepro.runs.measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            runs.train_or_load(experiment, 5, place / "runs" / "stopped")
    assert not (place / "runs" / "stopped" / experiment.run_id(5)).exists()
    run = runs.train_or_load(experiment, 5, place / "runs" / "stopped")
    assert run.history["epoch"].tolist() == [1, 2]
    assert not (run.folder / "state").exists()


def test_real_images_are_looked_for_where_the_caller_says(place, tmp_path, monkeypatch):
    config = DataConfig(source="isic2017", side=64)
    with pytest.raises(DatasetError, match=re.escape(f"{place}/data/isic2017")):
        runs.open_data(config)
    monkeypatch.setenv("ARLREPRO_DATA", str(tmp_path / "there"))
    with pytest.raises(DatasetError, match=re.escape(f"{tmp_path}/there")):
        runs.open_data(config)
    with pytest.raises(DatasetError, match=re.escape(f"{tmp_path}/here")):
        runs.open_data(config, str(tmp_path / "here"))
    monkeypatch.setenv("ARLREPRO_DATA", "not/absolute")
    with pytest.raises(ConfigError, match=r"^ARLREPRO_DATA is 'not/absolute'; it must be an absolute path$"):
        runs.open_data(config)


def test_a_device_that_is_not_here_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runs.choose_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"^device cuda: this machine has no CUDA device"):
        runs.choose_device("cuda")
    with pytest.raises(ConfigError, match=r"^unknown device 'tpu'; known: auto, cpu, cuda$"):
        runs.choose_device("tpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_scores_of_the_cpu(study):
    run = study.of("arl_cnn14")[0]
    boxes = evaluation_boxes(run.experiment.patches, run.experiment.evaluation)
    both = []
    for device in ("cpu", "cuda"):
        lesions = runs.Bench.set_up(run.experiment, "", device).lesions("test")
        both.append(score(runs.load_network(run, device), lesions, boxes, run.experiment.patches, "fp32"))
    np.testing.assert_allclose(*both, atol=1e-4)
