"""Photographs: any size and usual format in, one line for each bad one, the others still scored."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from arlrepro import paths
from arlrepro.attention.overlay import overlay
from arlrepro.cli import app
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.errors import DatasetError, RunError
from arlrepro.models.arl_cnn import build
from arlrepro.profiles import SMOKE
from arlrepro.runs.archive import WEIGHTS, Run, read_run, write_run
from arlrepro.runs.predict import DRAWN, STATEMENT, find_run, score_photographs
from arlrepro.runs.weights import save_weights
from helpers.made_runs import small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A live run: its weights are the ones it starts with."""
    made = small_run("arl_cnn14")
    folder = tmp_path_factory.mktemp("runs") / made.id
    folder.mkdir()
    write_run(made, folder)
    save_weights(build(made.experiment, 0, torch.device("cpu")), folder / WEIGHTS)
    return read_run(folder)


@pytest.fixture(scope="module")
def lesion() -> Image.Image:
    return Image.fromarray(draw_lesion("melanoma", 3, 128).image)


def test_every_usual_format_is_scored_alike(run, lesion, tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    lesion.save(inputs / "plain.png")
    lesion.convert("RGBA").save(inputs / "with_alpha.png")
    lesion.save(inputs / "scan.tiff")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    lesion.rotate(90, expand=True).save(inputs / "turned.png", exif=exif)
    lesion.convert("CMYK").save(inputs / "print.tiff")
    lesion.convert("L").save(inputs / "grey.png")
    lesion.quantize(64).save(inputs / "palette.png")
    (inputs / "notes.txt").write_text("passed over")
    scored = score_photographs([inputs], run, tmp_path / "out", "cpu")
    table = scored.table.set_index("image_id")
    assert sorted(table.index) == ["grey", "palette", "plain", "print", "scan", "turned", "with_alpha"]
    alike = table.loc[["plain", "print", "scan", "turned", "with_alpha"], "melanoma"]
    np.testing.assert_allclose(alike, table.loc["plain", "melanoma"], atol=1e-6)
    assert scored.failed == {}


def test_bad_files_get_a_line_each_and_the_others_their_scores(run, lesion, tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    lesion.save(inputs / "good.png")
    Image.new("RGB", (1, 1)).save(inputs / "one_pixel.png")
    (inputs / "text.jpg").write_text("hello")
    (inputs / "empty.jpg").touch()
    Image.new("L", (10_000, 10_000)).save(inputs / "huge.png")
    scored = score_photographs([inputs], run, tmp_path / "out", "cpu")
    assert sorted(scored.table["image_id"]) == ["good", "one_pixel"]
    assert sorted(scored.failed) == [str(inputs / name) for name in ("empty.jpg", "huge.png", "text.jpg")]
    assert all("\n" not in line for line in scored.failed.values())
    assert "100000000 pixels" in scored.failed[str(inputs / "huge.png")]


def test_the_command_scores_the_good_prints_the_statement_and_ends_with_status_one(run, lesion, tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    lesion.save(inputs / "good.png")
    (inputs / "text.jpg").write_text("hello")
    answer = CliRunner().invoke(app, ["predict", str(inputs), "--run", str(run.folder), "--out", str(tmp_path / "out")])
    assert answer.exit_code == 1
    assert "good" in answer.stdout and f"{STATEMENT} {DRAWN}" in answer.stdout
    (problem,) = [line for line in answer.stderr.splitlines() if "text.jpg" in line]
    assert problem.startswith(str(inputs / "text.jpg"))
    assert (tmp_path / "out" / "good.png").is_file()


def test_a_photograph_of_full_size_is_read_once_and_drawn_small(run, lesion, tmp_path):
    lesion.resize((3024, 2016)).save(tmp_path / "large.jpg")
    scored = score_photographs([tmp_path / "large.jpg"], run, tmp_path / "out", "cpu")
    assert len(scored.table) == 1 and scored.failed == {}
    with Image.open(tmp_path / "out" / "large.png") as drawn:
        assert drawn.size == (2048, 683)


def test_what_is_written_says_that_it_is_no_medical_device(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    score_photographs([tmp_path / "a.png"], run, tmp_path / "out", "cpu")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(table.columns) == ["image_id", "melanoma", "seborrheic_keratosis", "note"]
    assert table["note"].tolist() == [f"{STATEMENT} {DRAWN}"], "made runs are of the profile on drawn images"
    assert SMOKE.experiment.data.source == "synthetic"
    assert Image.open(tmp_path / "out" / "a.png").text["Comment"] == f"{STATEMENT} {DRAWN}"


def test_two_files_of_one_name_keep_apart(run, lesion, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        lesion.save(tmp_path / folder / "a.png")
    scored = score_photographs([tmp_path / "x", tmp_path / "y"], run, tmp_path / "out", "cpu")
    assert scored.table["image_id"].tolist() == ["a", "a-2"]


def test_an_output_folder_with_something_in_it_is_left_alone(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    with pytest.raises(RunError, match=r"exists and is not an empty folder; name another with --out$"):
        score_photographs([tmp_path / "a.png"], run, tmp_path, "cpu")


def test_inputs_that_are_not_there_are_said(run, tmp_path):
    with pytest.raises(DatasetError, match=f"^{re.escape(str(tmp_path / 'none'))}: no such file or folder$"):
        score_photographs([tmp_path / "none"], run, tmp_path / "out", "cpu")
    with pytest.raises(DatasetError, match=r"no image files in it; known suffixes: \.jpg"):
        score_photographs([tmp_path], run, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_run_is_found_by_folder_or_id(run, monkeypatch):
    assert find_run(str(run.folder)).id == run.id
    monkeypatch.setattr(paths, "root", lambda: run.folder.parent / "nowhere")
    with pytest.raises(
        RunError, match=r"^none: neither a run's folder nor the id of a run here \(none; `arlrepro train`"
    ):
        find_run("none")


def test_an_overlay_keeps_the_photographs_shape_and_a_bound():
    pair = overlay(Image.new("RGB", (3000, 2000), "white"), np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert pair.size == (2048, 683)
    left, right = pair.getpixel((100, 100)), pair.getpixel((1024 + 900, 100))
    assert left == (255, 255, 255) and right != left
