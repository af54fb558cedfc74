"""The external test: lesions, not images, are scored; nothing of the other data set is archived but numbers."""

import json

import pytest
import torch

from arlrepro.book.tables import baselines
from arlrepro.data import isic
from arlrepro.errors import DatasetError, RunError
from arlrepro.models.arl_cnn import build
from arlrepro.profiles import SMOKE
from arlrepro.runs import archive, predict, weights
from arlrepro.runs.archive import WEIGHTS, write_run
from arlrepro.runs.study import Study
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
    by_lesion = predict.score_lesions(run, dataset, "cpu")
    assert sorted(by_lesion.index) == ["HAM_0", "HAM_1", "HAM_2", "HAM_3", "HAM_4", "HAM_5"]
    assert by_lesion.stack().between(0, 1).all()


def test_what_is_archived_names_runs_and_numbers_and_no_lesion(place):
    found = predict.external_test("smoke", place / "ham", "cpu")
    assert (found["lesions"], found["images"], list(found["classes"])) == (6, 8, ["melanoma"])
    assert found["classes"]["melanoma"]["positives"] == 2
    path = predict.write_external_test("smoke", "ham", found)
    assert "HAM_" not in path.read_text() and "ISIC_" not in path.read_text()
    assert json.loads(path.read_text()) == found
    table = baselines.external_tests(Study(SMOKE, ()))
    runs_and_difference = [*found["classes"]["melanoma"]["runs"], "arl_cnn14 minus resnet14, seed 0"]
    assert list(table.index) == [("ham, 6 lesions", "melanoma (2)", one) for one in runs_and_difference]


def test_a_plain_folder_with_one_csv_is_enough(place):
    labels = ["image_id,melanoma,seborrheic_keratosis", "A,1,0", "B,0,1", "C,0,0", "D,1,0", "E,0,1", "F,0,0"]
    files = {"labels.csv": "\n".join(labels).encode()}
    files |= {f"{name}.png": isic_folder.encoded(isic_folder.pixels(i), "PNG") for i, name in enumerate("ABCDEF")}
    found = predict.external_test("smoke", isic_folder.write(place / "plain", files), "cpu")
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
        predict.external_test("smoke", root, "cpu")


def test_runs_without_weights_are_said(place, monkeypatch, tmp_path):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    with pytest.raises(RunError, match=r"no runs with weights; `arlrepro reproduce` makes them$"):
        predict.external_test("smoke", place / "ham", "cpu")
