"""The external test: lesions, not images, are scored; nothing of the other data set is archived but numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from arlrepro.book.tables import baselines
from arlrepro.data import isic
from arlrepro.errors import ConfigError, DatasetError, RunError
from arlrepro.models.arl_cnn import build
from arlrepro.profiles import PROFILES, SMOKE
from arlrepro.runs import archive, external, weights
from arlrepro.runs.archive import WEIGHTS, write_run
from arlrepro.runs.study import Study, read_study
from helpers import isic_folder
from helpers.made_runs import small_run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkout with a live run of each network, and eight images of six lesions beside it."""
    root = tmp_path_factory.mktemp("checkout")
    for network in ("resnet14", "arl_cnn14"):
        run = small_run(network)
        folder = root / "runs" / "smoke" / run.id
        folder.mkdir(parents=True)
        write_run(run, folder)
        weights.save_weights(build(run.experiment, 0, torch.device("cpu")), folder / WEIGHTS)
    lesions = ["mel", "mel", "mel", "mel", "nv", "nv", "nv", "bkl"]
    rows = [f"HAM_{max(0, i - 2)},ISIC_{i},{dx},histo,50,male,back" for i, dx in enumerate(lesions)]
    files = {"HAM10000_metadata.csv": "\n".join(["lesion_id,image_id,dx,dx_type,age,sex,localization", *rows]).encode()}
    files |= {f"HAM10000_images_part_1/ISIC_{i}.jpg": isic_folder.encoded(isic_folder.pixels(i)) for i in range(8)}
    isic_folder.write(root / "ham", files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLREPRO_ROOT", str(root))
        yield root


def test_a_lesions_score_is_the_mean_over_its_images(place):
    run = archive.read_run(place / "runs" / "smoke" / small_run("arl_cnn14").id)
    dataset = isic.read_ham10000(place / "ham")
    by_image = external.scores_by_image(run, dataset, "cpu")
    by_lesion = external._by_lesion(by_image, dataset.lesions, ["melanoma"]).set_index("image_id")
    assert sorted(by_lesion.index) == ["HAM_0", "HAM_1", "HAM_2", "HAM_3", "HAM_4", "HAM_5"]
    of_first = by_image.loc[["ISIC_0", "ISIC_1", "ISIC_2"], "melanoma"]
    assert by_lesion.loc["HAM_0", "melanoma"] == pytest.approx(of_first.mean())
    assert by_lesion["melanoma_label"].tolist() == [1, 1, 0, 0, 0, 0]


def test_what_is_archived_names_runs_and_numbers_and_no_lesion(place):
    found = external.external_test("smoke", place / "ham", "cpu")
    assert (found["lesions"], found["images"], found["patches"]) == (6, 8, 9)
    assert list(found["classes"]) == ["melanoma"] and found["classes"]["melanoma"]["positives"] == 2
    path = external.write("smoke", "ham", found)
    assert "HAM_" not in path.read_text() and "ISIC_" not in path.read_text()
    assert json.loads(path.read_text()) == found
    table = baselines.external_tests(Study(SMOKE, ()))
    where = ("ham, 6 lesions by 9 patches", "melanoma (2)")
    assert list(table.index) == [(*where, one) for one in ("ResNet-14", "ARL-CNN14", "ARL-CNN14 minus ResNet-14")]
    assert set(table["seeds"]) == {"seed 0"}


def test_networks_are_compared_over_the_seeds_that_both_have(place, tmp_path, monkeypatch):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    for network, seeds in {"resnet14": (0, 1, 2), "arl_cnn14": (0, 1)}.items():
        for seed in seeds:
            run = replace(small_run(network), seed=seed)
            folder = tmp_path / "runs" / "smoke" / run.id
            folder.mkdir(parents=True)
            weights.save_weights(build(run.experiment, seed, torch.device("cpu")), folder / WEIGHTS)
            write_run(run, folder)
    monkeypatch.setitem(PROFILES, "smoke", replace(SMOKE, seeds=(0, 1, 2)))
    found = external.external_test("smoke", place / "ham", "cpu")["classes"]["melanoma"]
    assert {name: one["seeds"] for name, one in found["networks"].items()} == {
        "resnet14": [0, 1, 2],
        "arl_cnn14": [0, 1],
    }
    areas = {run: one["auc"] for run, one in found["runs"].items()}
    assert found["networks"]["resnet14"]["auc"] == pytest.approx(np.mean(list(areas.values())[:3]))
    gain = found["differences"]["arl_cnn14 minus resnet14"]
    assert gain["seeds"] == [0, 1]


def test_what_is_scored_stays_and_an_interrupted_test_goes_on(place, monkeypatch):
    scored = []
    original = external.scores_by_image
    monkeypatch.setattr(external, "scores_by_image", lambda run, *rest: scored.append(run.id) or original(run, *rest))
    settings = ["evaluation.patches_per_scale=0"]
    first = external.external_test("smoke", place / "ham", "cpu", settings)
    assert first["patches"] == 1 and len(scored) == 2
    ids = {small_run(network).id for network in ("resnet14", "arl_cnn14")}
    assert set(first["classes"]["melanoma"]["runs"]) == ids  # however they were scored
    assert external.external_test("smoke", place / "ham", "cpu", settings) == first and len(scored) == 2
    other = ["evaluation.patches_per_scale=1"]
    assert external.external_test("smoke", place / "ham", "cpu", other)["patches"] == 5 and len(scored) == 4


def test_how_a_network_was_trained_cannot_be_set(place):
    with pytest.raises(ConfigError, match=r"^--set train.epochs=3: of a trained network only `evaluation.` can be set"):
        external.external_test("smoke", place / "ham", "cpu", ["train.epochs=3"])


def test_images_of_the_runs_own_lesions_are_left_out_and_colours_score_too(place, monkeypatch):
    lesions = ["mel", "nv", "mel", "nv", "mel", "nv", "mel"]
    rows = [f"HAM_{i},ISIC_{i},{dx},histo,50,male,back" for i, dx in enumerate(lesions)]
    files = {"HAM10000_metadata.csv": "\n".join(["lesion_id,image_id,dx,dx_type,age,sex,localization", *rows]).encode()}
    files |= {f"HAM10000_images_part_1/ISIC_{i}.jpg": isic_folder.encoded(isic_folder.pixels(i)) for i in range(7)}
    other = isic_folder.write(place / "seen", files)
    table = [f"T{i},{i % 2},{(i + 1) % 2},training" for i in range(8)]
    known = {"labels.csv": "\n".join(["image_id,melanoma,seborrheic_keratosis,split", *table]).encode()}
    # Picture 6 of the other data set, under another name, is one that the runs were made from.
    numbers = [6, *range(21, 28)]
    known |= {f"T{i}.png": isic_folder.encoded(isic_folder.pixels(n), "PNG") for i, n in enumerate(numbers)}
    data = isic_folder.write(place / "known", known)
    experiment = replace(SMOKE.experiment, data=replace(SMOKE.experiment.data, source="isic2017"))
    assert external._seen_before(isic.read_dataset(other), experiment, str(data)) == ["ISIC_6"]
    scores = external._by_colour(isic.read_dataset(other), experiment, str(data))
    assert list(scores.index) == [f"ISIC_{i}" for i in range(7)] and scores["melanoma"].between(0, 1).all()
    monkeypatch.setitem(PROFILES, "smoke", replace(SMOKE, experiment=experiment))
    monkeypatch.setattr(
        external, "read_study", lambda profile, folder: replace(read_study(SMOKE, folder), profile=profile)
    )
    found = external.external_test("smoke", other, "cpu", ["evaluation.patches_per_scale=0"], str(data))
    assert (found["images"], found["left_out"]) == (6, 1)
    low, high = found["classes"]["melanoma"]["colour"]["auc_ci"]
    assert 0 <= low <= found["classes"]["melanoma"]["colour"]["auc"] <= high <= 1


def test_a_plain_folder_with_one_csv_is_enough(place):
    labels = ["image_id,melanoma,seborrheic_keratosis", "A,1,0", "B,0,1", "C,0,0", "D,1,0", "E,0,1", "F,0,0"]
    files = {"labels.csv": "\n".join(labels).encode()}
    files |= {f"{name}.png": isic_folder.encoded(isic_folder.pixels(i), "PNG") for i, name in enumerate("ABCDEF")}
    found = external.external_test("smoke", isic_folder.write(place / "plain", files), "cpu")
    assert {name: one["positives"] for name, one in found["classes"].items()} == {
        "melanoma": 2,
        "seborrheic_keratosis": 2,
    }


def test_a_data_set_with_one_kind_of_lesion_is_said(place):
    files = {
        "labels.csv": b"image_id,melanoma,seborrheic_keratosis\nA,0,0\n",
        "A.png": isic_folder.encoded(isic_folder.pixels(1), "PNG"),
    }
    root = isic_folder.write(place / "one", files)
    with pytest.raises(DatasetError, match=r"no class has lesions of both kinds among 1: an AUC is not defined$"):
        external.external_test("smoke", root, "cpu")


def test_runs_without_weights_are_said(place, monkeypatch, tmp_path):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    with pytest.raises(RunError, match=r"no runs with weights; `arlrepro reproduce` makes them$"):
        external.external_test("smoke", place / "ham", "cpu")


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "", ".x", "a b", "x" * 250_000])
def test_an_external_test_is_archived_nowhere_else(name):
    with pytest.raises(ConfigError, match=r"^--name .{1,120}: letters, digits, `_`, `-` and `\.` only") as caught:
        external.path_of("isic2017-256", name)
    assert len(str(caught.value)) < 250
