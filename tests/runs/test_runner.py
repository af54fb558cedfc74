"""Runs: made once, whole or not at all, and archived without their weights."""

import re
import shutil
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from filelock import FileLock
from safetensors.torch import save_file

from arlrepro import paths, storage
from arlrepro.book.figures import attention
from arlrepro.book.figures.lesions import real_lesions
from arlrepro.cli import making
from arlrepro.config import DataConfig
from arlrepro.data import datasets, isic
from arlrepro.data.synthetic import dataset as synthetic
from arlrepro.errors import ConfigError, DatasetError, OutputError, RunError
from arlrepro.models.devices import choose_device
from arlrepro.models.inference import Predictor
from arlrepro.profiles import PAPER, PROFILES, SMOKE, Profile
from arlrepro.registry import CLASSES
from arlrepro.runs import archive, baselines, matrix, runner
from arlrepro.runs.archive import FILES, MEASURES, WEIGHTS
from arlrepro.runs.study import read_study
from arlrepro.runs.weights import load_network


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
    return matrix.reproduce("tiny")


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


def test_the_patches_of_each_scale_are_ranked_alone(study):
    for run in study.runs:
        table = run.measures["scales"]
        assert table["scale"].unique().tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        assert table.groupby("scale")["patches"].first().tolist() == [2, 2, 2, 2, 1]
        assert table["class"].tolist() == ["melanoma", "seborrheic_keratosis"] * 5
        assert (table["low"] <= table["auc"]).all() and (table["auc"] <= table["high"]).all()


def test_a_run_that_is_there_is_not_made_again(study, tiny, monkeypatch):
    monkeypatch.setattr("arlrepro.training.trainer.train", lambda *_: pytest.fail("trained again"))
    again = matrix.reproduce("tiny")
    assert [run.metrics for run in again.runs] == [run.metrics for run in study.runs]


def test_runs_that_are_archived_are_left_out_where_only_missing_ones_are_asked_for(study, place, tiny, monkeypatch):
    resnet, arl = study.runs
    archived = runner.archive(resnet.folder, paths.archived_folder("tiny"))
    monkeypatch.setattr(paths, "live_folder", lambda _profile: place / "elsewhere")
    made = []

    def copied(one, seed, folder, **_):
        made.append(one.run_id(seed))
        return archive.read_run(shutil.copytree(arl.folder, folder / made[-1]))

    monkeypatch.setattr(matrix, "train_or_load", copied)
    found = matrix.reproduce("tiny", missing_only=True)
    assert made == [arl.id]
    assert [run.folder for run in found.runs] == [archived, place / "elsewhere" / arl.id]


def test_lesions_drawn_by_other_code_are_noticed(study, place, tiny, monkeypatch):
    monkeypatch.setattr(synthetic, "write_dataset", lambda folder, **_: pytest.fail(f"drew {folder.name}"))
    monkeypatch.setattr(datasets, "GALLERY", (("nevus", 1),))
    run = study.runs[0]
    with pytest.raises(RunError) as caught:
        matrix.reproduce("tiny")
    assert str(caught.value) == (
        f"{run.folder}: its lesions were drawn by other code than today's; remove it to make it again"
    )
    with pytest.raises(pytest.fail.Exception, match=rf"^drew synthetic-64px-18-9-9-{datasets.drawing()}$"):
        datasets.open_data(tiny.experiment.data)


def test_a_run_of_other_images_is_refused(study, place, tiny):
    run = study.runs[0]
    datamodule = runner.set_up_data(run.experiment, "", "cpu")
    fewer = replace(datamodule.dataset, lesions=datamodule.dataset.lesions.iloc[1:])
    with pytest.raises(RunError) as caught:
        runner.train_or_load(run.experiment, 0, place / "runs" / "tiny", datamodule=replace(datamodule, dataset=fewer))
    assert str(caught.value) == (
        f"{run.folder}: made from the images {run.data_fingerprint[:12]}, but {fewer.root} holds "
        f"{fewer.fingerprint[:12]}; give the folder it was made from"
    )


def test_the_stored_weights_give_the_stored_scores(study, tiny):
    run = study.of("arl_cnn14")[0]
    datamodule = runner.set_up_data(run.experiment, "", "cpu")
    scores = Predictor(load_network(run, "cpu"), run.experiment).scores(datamodule.lesions("test"))
    stored = run.of("test")[["melanoma", "seborrheic_keratosis"]].to_numpy()
    np.testing.assert_allclose(scores, stored, atol=1e-6)


def test_an_archived_run_has_the_same_numbers_and_no_weights(study, place):
    run = study.runs[0]
    target = runner.archive(run.folder, paths.archived_folder("tiny"))
    assert not (target / WEIGHTS).exists()
    archived = archive.read_run(target)
    assert archived.metrics == run.metrics
    pd.testing.assert_frame_equal(archived.predictions, run.predictions)
    with pytest.raises(RunError, match=f"^{run.id}: no weights.safetensors in .*; archived runs keep none: train it"):
        load_network(archived)


def contents(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("step", ["archive", "measure_again"])
def test_a_run_is_whole_wherever_the_writing_of_another_in_its_place_ends(study, place, monkeypatch, step):
    """The given faults: archiving again deleted before it renamed; `measure` rewrote predictions.csv in place."""
    live = study.runs[0].folder
    target = runner.archive(live, paths.archived_folder("tiny"))
    folder = target if step == "archive" else live
    before, written = contents(folder), []
    monkeypatch.setattr("arlrepro.runs.measures.of_run", lambda run, *_: run)
    write_text = storage.write_text

    def stop_at(number):
        written.clear()

        def write(path, text):
            written.append(path)
            if len(written) > number:
                raise OSError(28, "No space left on device")
            write_text(path, text)

        monkeypatch.setattr(storage, "write_text", write)

    for number in (0, 1, len(before) // 2, len(before) - 2):
        stop_at(number)
        with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\); make room on the disk$"):
            runner.archive(live, target.parent) if step == "archive" else runner.measure_again(live, device="cpu")
        assert contents(folder) == before
        assert not list(folder.parent.glob("*.new"))
    stop_at(1000)
    if step == "archive":
        runner.archive(live, target.parent)
        assert contents(folder) == before
    else:
        runner.measure_again(live, device="cpu")
        assert contents(folder).keys() == before.keys()
    assert archive.read_run(folder).metrics == study.runs[0].metrics


def test_a_run_archived_before_there_were_manifests_gets_one_and_changes_in_nothing_else(study, place):
    target = runner.archive(study.runs[0].folder, paths.archived_folder("tiny"))
    before = contents(target)
    (target / "SHA256SUMS").unlink()
    assert runner.archive(target, target.parent) == target
    assert contents(target) == before


def test_lesions_that_the_archive_lists_must_all_be_scored(study, place):
    runner.archive(study.runs[0].folder, paths.archived_folder("tiny"))
    [path] = (place / "results").glob("lesions-*.csv")
    assert len(pd.read_csv(path)) == 18
    path.write_text(path.read_text() + "another,test,0,0\n")
    with pytest.raises(RunError, match="1 of 19 lesions that it must score are missing"):
        runner.archive(study.runs[0].folder, paths.archived_folder("tiny"))
    path.unlink()


def test_a_run_that_another_process_has_just_made_is_not_trained_again(study, place, monkeypatch):
    run, done = study.runs[0], study.runs[0].folder
    datamodule, made = runner.set_up_data(run.experiment, "", "cpu"), []
    monkeypatch.setattr(runner, "_train_and_write", lambda *_: pytest.fail("trained again"))
    second = threading.Thread(
        target=lambda: made.append(
            runner.train_or_load(run.experiment, run.seed, done.parent, datamodule=datamodule, device="cpu")
        )
    )
    aside = done.rename(done.with_name("aside"))
    with FileLock(f"{done}.lock"):
        second.start()
        second.join(timeout=1)
        aside.rename(done)
    second.join(timeout=60)
    assert [one.id for one in made] == [run.id]


def test_a_checkpoint_left_by_a_kill_after_the_run_had_its_name_is_removed(study):
    run = study.runs[0]
    (run.folder / "state").write_bytes(b"of the last epoch")
    assert runner.train_or_load(run.experiment, run.seed, run.folder.parent).id == run.id
    assert not (run.folder / "state").exists()


def test_a_place_that_cannot_be_written_is_said_before_the_images_are_decoded(place, tiny, monkeypatch):
    monkeypatch.setattr(runner, "set_up_data", lambda *_: pytest.fail("decoded first"))
    (place / "file").touch()
    with pytest.raises(OutputError, match=r"a part of its path is a file: name another folder$"):
        runner.train_or_load(tiny.experiments()[0], 9, place / "file" / "runs")


def test_real_lesions_come_with_the_maps_and_scores_of_every_network(study):
    looked = real_lesions(study, "")
    assert set(looked.lesions) == set(looked.kinds) and set(looked.kinds.values()) <= {*CLASSES, "neither"}
    assert list(looked.maps) == list(looked.scores) == ["resnet14", "arl_cnn14"]
    assert all(set(table["image_id"]) == set(looked.lesions) for table in looked.maps.values())
    assert all(set(looked.lesions) <= set(table["image_id"]) for table in looked.scores.values())
    assert attention.activation_grid(looked.lesions, looked.maps, looked.scores, looked.kinds).axes


def test_an_interrupted_run_leaves_nothing_under_its_name(place, tiny, monkeypatch):
    experiment = replace(tiny.experiments()[0], train=replace(tiny.experiment.train, epochs=2))

    def interrupt(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("arlrepro.runs.measures.of_run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            runner.train_or_load(experiment, 5, place / "runs" / "stopped")
    assert not (place / "runs" / "stopped" / experiment.run_id(5)).exists()
    run = runner.train_or_load(experiment, 5, place / "runs" / "stopped")
    assert run.history["epoch"].tolist() == [1, 2]
    assert not (run.folder / "state").exists()


def test_the_history_is_kept_in_the_form_of_a_logger_too(place, tiny):
    run = runner.train_or_load(tiny.experiments()[0], 6, place / "runs" / "logged", log="csv")
    logged = pd.read_csv(run.folder / "log" / "version_0" / "metrics.csv")
    assert logged["step"].tolist() == [1]
    np.testing.assert_allclose(logged["training_loss"], run.history["training_loss"], rtol=1e-5)


def test_a_log_that_is_not_known_or_not_here_is_said(place, tiny, monkeypatch):
    with pytest.raises(ConfigError, match=r"^unknown log 'json'; known: none, csv, tensorboard$"):
        runner.train_or_load(tiny.experiments()[0], 7, place / "runs" / "logged", log="json")
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(ConfigError, match=r"^log tensorboard needs a package that is not here: pip install tensor"):
        runner.train_or_load(tiny.experiments()[0], 7, place / "runs" / "logged", log="tensorboard")


def test_extra_images_join_the_training_split(place, tmp_path, monkeypatch):
    official, extra = tmp_path / "official", tmp_path / "official" / "extra"
    synthetic.write_dataset(official, side=16, counts={"training": 4, "validation": 3, "test": 3}, progress=False)
    synthetic.write_dataset(tmp_path / "others", seed=1, side=16, counts={"training": 5}, progress=False)
    others = isic.read_dataset(tmp_path / "others", ["training"])
    extra.mkdir()
    for number, image_id in enumerate(others.lesions.index):
        (extra / f"extra{number}.jpg").write_bytes(others.image_bytes(image_id))
    table = others.lesions.assign(image_id=[f"extra{number}" for number in range(5)], split="training")
    table.to_csv(extra / "extra.csv", index=False)
    plain, joined = (datasets.open_data(DataConfig(extra=one), str(official)) for one in (False, True))
    assert plain.lesions["split"].value_counts().to_dict() == {"training": 4, "validation": 3, "test": 3}
    assert joined.lesions["split"].value_counts().to_dict() == {"training": 9, "validation": 3, "test": 3}
    assert list(joined.lesions.index[:9]) == [*plain.lesions.index[:4], *(f"extra{number}" for number in range(5))]
    assert joined.fingerprint != plain.fingerprint
    assert joined.image_bytes("extra0") == others.image_bytes(others.lesions.index[0])


def test_a_run_of_a_fold_is_tested_on_its_fold_alone(place, tiny):
    folded = replace(tiny.experiments()[0], data=replace(tiny.experiment.data, folds=3, fold=1))
    datamodule = runner.set_up_data(folded, "", "cpu")
    run = runner.train_or_load(folded, 0, place / "runs" / "tiny-cv", datamodule=datamodule)
    expected = datamodule.for_run(folded, 0).dataset.lesions["split"]
    assert expected.value_counts().to_dict() == {"training": 12, "validation": 12, "test": 12}
    for split in ("validation", "test"):
        assert run.of(split).index.tolist() == expected.index[expected == split].tolist()
    assert run.folder.name == folded.run_id(0)
    assert run.data_fingerprint == datamodule.dataset.fingerprint


def test_what_no_network_gives_is_archived_beside_the_runs(place, tiny, monkeypatch):
    enough = replace(tiny.experiment.data, synthetic_training=48)
    monkeypatch.setitem(PROFILES, "tiny", replace(tiny, experiment=replace(tiny.experiment, data=enough)))
    making.baseline(profile="tiny", data="")
    folder = place / "results" / "tiny"
    colour, people = (pd.read_csv(folder / name) for name in (baselines.COLOUR, baselines.AGE_AND_SEX))
    assert colour["split"].value_counts().to_dict() == {"validation": 9, "test": 9}
    assert set(people["split"]) == {"training", "validation", "test"}
    assert people["melanoma"].between(0, 1).all()


def test_a_page_is_not_made_of_folds():
    with pytest.raises(ConfigError) as error:
        matrix.open_study("isic2017-256-cv")
    assert str(error.value) == (
        "profile isic2017-256-cv is cross-validation, shown on the pages of the profile it repeats"
    )


@pytest.mark.slow
def test_the_papers_protocol_runs_end_to_end_with_only_sizes_and_counts_shrunk(tmp_path, monkeypatch):
    images, weights = tmp_path / "images", tmp_path / "resnet50.safetensors"
    synthetic.write_dataset(images, side=400, counts={"training": 8, "validation": 4, "test": 4}, progress=False)
    save_file(torchvision.models.resnet50(num_classes=1000).state_dict(), weights)
    experiment = replace(
        PAPER.experiment,
        data=replace(PAPER.experiment.data, side=320),  # five patches wide, as the paper's 1120
        patches=replace(PAPER.experiment.patches, side=64),
        network=replace(PAPER.experiment.network, weights=str(weights)),
        train=replace(
            PAPER.experiment.train, epochs=3, patches_per_image=4, batch_size=32, parts=2, halve_every=1, patience=1
        ),
    )
    shrunk = replace(PAPER, name="shrunk", experiment=experiment, tasks=("melanoma",), seeds=(3,))
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    monkeypatch.setitem(PROFILES, "shrunk", shrunk)
    study = matrix.reproduce("shrunk", str(images))
    assert [run.network for run in study.runs] == ["resnet50", "arl_cnn50"]
    for run in study.runs:
        best = int(run.history["validation_auc_melanoma"].argmax())
        assert len(run.history) == min(3, best + 1 + experiment.train.patience)
        np.testing.assert_allclose(run.history["learning_rate"], [1e-4, 5e-5, 2.5e-5][: len(run.history)])
        assert run.predictions["seborrheic_keratosis"].isna().all()
        runner.archive(run.folder, paths.archived_folder("shrunk"))
    arl = study.of("arl_cnn50")[0]
    assert len(arl.attention) == 16
    weights.unlink()  # a finished run needs the weights that it started from no more
    assert sum(one.numel() for one in load_network(arl).parameters()) == 23_508_032 + 2048 + 1 + 16
    archived = read_study(shrunk, paths.archived_folder("shrunk"))
    assert archived.missing == []
    assert [run.metrics for run in archived.runs] == [run.metrics for run in study.runs]


def test_real_images_are_looked_for_where_the_caller_says(place, tmp_path, monkeypatch):
    config = DataConfig(source="isic2017", side=64)
    with pytest.raises(DatasetError, match=re.escape(f"{place}/data/isic2017")):
        datasets.open_data(config)
    monkeypatch.setenv("ARLREPRO_DATA", str(tmp_path / "there"))
    with pytest.raises(DatasetError, match=re.escape(f"{tmp_path}/there")):
        datasets.open_data(config)
    with pytest.raises(DatasetError, match=re.escape(f"{tmp_path}/here")):
        datasets.open_data(config, str(tmp_path / "here"))
    monkeypatch.setenv("ARLREPRO_DATA", "not/absolute")
    with pytest.raises(ConfigError, match=r"^ARLREPRO_DATA is 'not/absolute'; it must be an absolute path$"):
        datasets.open_data(config)


def test_a_device_that_is_not_here_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"^device cuda: this machine has no CUDA device"):
        choose_device("cuda")
    with pytest.raises(ConfigError, match=r"^unknown device 'tpu'; known: auto, cpu, cuda$"):
        choose_device("tpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_scores_of_the_cpu(study):
    run = study.of("arl_cnn14")[0]
    exact = replace(run.experiment, train=replace(run.experiment.train, precision="fp32"))
    both = []
    for device in ("cpu", "cuda"):
        lesions = runner.set_up_data(run.experiment, "", device).lesions("test")
        both.append(Predictor(load_network(run, device), exact).scores(lesions))
    np.testing.assert_allclose(*both, atol=1e-4)
