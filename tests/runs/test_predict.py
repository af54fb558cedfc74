"""Images of anyone: any size and usual format in, one line for each bad one, the others still scored."""

import os
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from arlrepro import paths
from arlrepro.attention.overlay import overlay
from arlrepro.cli import app
from arlrepro.config import NetworkConfig
from arlrepro.data.files import stored
from arlrepro.data.files.stored import StoredFile
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.errors import DatasetError, OutputError, RunError
from arlrepro.evaluation.calibration import with_temperature
from arlrepro.evaluation.submission import read_scores
from arlrepro.models.arl_cnn import build
from arlrepro.profiles import SMOKE
from arlrepro.registry import CLASSES
from arlrepro.runs import predict
from arlrepro.runs.archive import WEIGHTS, Run, read_run, write_run
from arlrepro.runs.predict import (
    DRAWN,
    OTHER_FILES,
    STATEMENT,
    find_images,
    find_run,
    image_ids_of,
    score_images,
)
from arlrepro.runs.weights import run_of, save_weights, temperatures
from helpers.cases import case, case_with_links
from helpers.made_runs import small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A live run: its weights are the ones it starts with."""
    made = small_run("arl_cnn14")
    folder = tmp_path_factory.mktemp("runs") / made.id
    folder.mkdir()
    write_run(made, folder)
    save_weights(build(made.experiment, 0, torch.device("cpu")), folder / WEIGHTS, made)
    return read_run(folder)


@pytest.fixture(scope="module")
def lesion() -> Image.Image:
    return Image.fromarray(draw_lesion("melanoma", 3, 128).image)


def test_weights_may_be_read_by_whoever_may_read_the_runs_other_files(run):
    assert (run.folder / WEIGHTS).stat().st_mode == (run.folder / "config.yaml").stat().st_mode


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
    scored = score_images([inputs], run, tmp_path / "out", "cpu")
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
    scored = score_images([inputs], run, tmp_path / "out", "cpu")
    assert sorted(scored.table["image_id"]) == ["good", "one_pixel"]
    assert sorted(scored.failed) == [str(inputs / name) for name in ("empty.jpg", "huge.png", "text.jpg")]
    assert all("\n" not in line for line in scored.failed.values())
    assert "has 100 million pixels" in scored.failed[str(inputs / "huge.png")]


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
    scored = score_images([tmp_path / "large.jpg"], run, tmp_path / "out", "cpu")
    assert len(scored.table) == 1 and scored.failed == {}
    with Image.open(tmp_path / "out" / "large.png") as drawn:
        assert drawn.size == (2048, 683 + 2 * 32), "a strip below it has the scores and the scale"


def test_what_is_written_says_that_it_is_no_medical_device(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    score_images([tmp_path / "a.png"], run, tmp_path / "out", "cpu")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(table.columns) == ["image_id", *CLASSES, *(f"{name}_probability" for name in CLASSES), "file", "note"]
    assert table["file"].tolist() == [str(tmp_path / "a.png")]
    assert read_scores(tmp_path / "out" / "predictions.csv").index.tolist() == ["a"], "arlrepro score takes it"
    assert table["note"].tolist() == [f"{STATEMENT} {DRAWN}"], "made runs are of the profile on drawn images"
    assert SMOKE.experiment.data.source == "synthetic"
    assert Image.open(tmp_path / "out" / "a.png").text["Comment"] == f"{STATEMENT} {DRAWN}"


def test_two_files_of_one_name_keep_apart(run, lesion, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        lesion.save(tmp_path / folder / "a.png")
    scored = score_images([tmp_path / "x", tmp_path / "y"], run, tmp_path / "out", "cpu")
    assert scored.table["image_id"].tolist() == ["a", "a-2"]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["l/mole.jpg", "r/mole-2.jpg", "r/mole.jpg"], ["mole", "mole-2", "mole-3"]),
        (["l/mole.jpg", "r/mole.jpg", "r/mole-2.jpg"], ["mole", "mole-3", "mole-2"]),
        (["mole.jpg", "MOLE.JPG", "Mole.png"], ["mole", "MOLE-2", "Mole-3"]),
        (["Muttermal_\udce4.jpg", "Muttermal_\udcf6.jpg"], ["Muttermal__", "Muttermal__-2"]),
        (["a\u0308.jpg", "\xe4.jpg"], ["\xe4", "\xe4-2"]),
        (["..jpg", "a\nb.jpg", "C:\\d\\x.jpg", 'a"b?.jpg', " .jpg"], ["image", "a_b", "x", "a_b_", "image-2"]),
        (["\u4e00" * 80 + ".jpg", "\u4e00" * 81 + ".jpg"], ["\u4e00" * 50, "\u4e00" * 50 + "-2"]),
    ],
)
def test_ids_are_unique_and_can_be_written(tmp_path, names, ids):
    found = image_ids_of([StoredFile(Path("x"), name, 0) for name in names])
    assert found == ids
    for one in found:
        (tmp_path / f"{one}.png").touch()
    assert len(list(tmp_path.iterdir())) == len({one.casefold() for one in found}) == len(names)


def test_ids_of_many_files_of_one_name_take_no_square_of_time():
    many = [StoredFile(Path("x"), f"{folder}/IMG.jpg", 0) for folder in range(50_000)]
    assert len(set(image_ids_of(many))) == len(many)


def test_the_reported_names_are_scored_and_drawn_each(run, tmp_path):
    left, latin = case("07-names-collide"), case("06-latin1-file-name")
    shutil.copy(os.fsencode(latin / "other.jpg"), os.fsencode(tmp_path) + b"/Muttermal_\xe4.jpg")
    scored = score_images([left, tmp_path], run, tmp_path / "out", "cpu")
    assert scored.failed == {} and scored.table["image_id"].is_unique and len(scored.table) == 4
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")["image_id"]
    assert written.tolist() == scored.table["image_id"].tolist()
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.png")) == sorted(written)


def test_rows_are_written_as_they_come_and_one_fault_costs_one_image(run, lesion, tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        lesion.save(tmp_path / f"{name}.png")
    drawn = iter([None, OSError(28, "No space left on device"), None])

    def draw(image, activation, said):
        if fault := next(drawn):
            raise fault
        return overlay(image, activation, said)

    monkeypatch.setattr(predict, "overlay", draw)
    scored = score_images([tmp_path], run, tmp_path / "out", "cpu")
    assert pd.read_csv(tmp_path / "out" / "predictions.csv")["image_id"].tolist() == ["a", "b", "c"]
    assert scored.failed == {
        str(
            tmp_path / "b.png"
        ): f"{tmp_path}/b.png: scored, but its picture is not there: {tmp_path}/out/b.png: cannot "
        "be written (No space left on device); make room on the disk."
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "predictions.csv"]


def test_an_interrupted_scoring_keeps_the_rows_before(run, lesion, tmp_path, monkeypatch):
    for name in ("a", "b"):
        lesion.save(tmp_path / f"{name}.png")
    decode = predict.decode_image

    def interrupted(file):
        if file.stem == "b":
            raise KeyboardInterrupt
        return decode(file)

    monkeypatch.setattr(predict, "decode_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score_images([tmp_path], run, tmp_path / "out", "cpu")
    assert pd.read_csv(tmp_path / "out" / "predictions.csv")["image_id"].tolist() == ["a"]


def test_memory_that_is_not_there_costs_one_image(run, lesion, tmp_path, monkeypatch):
    lesion.save(tmp_path / "a.png")
    lesion.save(tmp_path / "b.png")
    decode = predict.decode_image

    def scarce(file):
        if file.stem == "a":
            raise MemoryError("3.64 TiB")
        return decode(file)

    monkeypatch.setattr(predict, "decode_image", scarce)
    scored = score_images([tmp_path], run, tmp_path / "out", "cpu")
    assert scored.table["image_id"].tolist() == ["b"]
    assert scored.failed == {str(tmp_path / "a.png"): f"{tmp_path}/a.png: not scored (MemoryError: 3.64 TiB)."}


def test_what_is_passed_over_in_folders_is_counted_by_reason(lesion, tmp_path):
    for name in ("own.jpg", "IMG_1.HEIC", "._own.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    found = find_images([tmp_path, tmp_path / "own.jpg"])
    assert [file.base for file in found.files] == ["own.jpg"]
    assert {reason: len(names) for reason, names in found.skipped.items()} == {
        stored.FOREIGN: 1, stored.HIDDEN: 1, OTHER_FILES: 1,
    }  # fmt: skip


def test_photographs_are_found_through_links_and_in_archives(tmp_path):
    linked = case_with_links("03-symlinked-image-folder", tmp_path / "case")
    assert len(find_images([linked / "photos"]).files) == 5
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        archive.writestr("d\\own.jpg", b"x")
    assert [file.stem for file in find_images([tmp_path / "sent.zip"]).files] == ["own"]


def test_a_pipe_is_named_and_not_waited_for(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    scored = score_images([tmp_path / "pipe.jpg", tmp_path / "a.png"], run, tmp_path / "out", "cpu")
    assert list(scored.failed) == [str(tmp_path / "pipe.jpg")] and len(scored.table) == 1


@pytest.mark.parametrize("inside", ["x", "x/y/z"])
def test_an_output_folder_below_a_file_is_refused_in_one_line(run, lesion, tmp_path, inside):
    lesion.save(tmp_path / "a.png")
    said = r"a\.png/[xyz/]+: cannot be written \(Not a directory\); a part of its path is a file: name another folder$"
    with pytest.raises(OutputError, match=said):
        score_images([tmp_path / "a.png"], run, tmp_path / "a.png" / inside, "cpu")


def test_an_output_folder_with_something_in_it_is_left_alone(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    with pytest.raises(RunError, match=r"exists and is not an empty folder; name another with --out$"):
        score_images([tmp_path / "a.png"], run, tmp_path, "cpu")


def test_inputs_that_are_not_there_are_said(run, tmp_path):
    with pytest.raises(DatasetError, match=f"^{re.escape(str(tmp_path / 'none'))}: no such file or folder$"):
        score_images([tmp_path / "none"], run, tmp_path / "out", "cpu")
    with pytest.raises(DatasetError, match=r"no image files in it; known suffixes: \.jpg"):
        score_images([tmp_path], run, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_probability_is_the_score_with_the_runs_temperature(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    row = score_images([tmp_path / "a.png"], run, tmp_path / "out", "cpu").table.iloc[0]
    for name, temperature in temperatures(run).items():
        assert row[f"{name}_probability"] == pytest.approx(with_temperature(np.array([row[name]]), temperature)[0])
    assert set(temperatures(run)) == set(CLASSES)


def test_without_validation_lesions_of_both_kinds_there_is_no_probability(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    lacking = replace(run, predictions=run.predictions.assign(melanoma_label=0))
    table = score_images([tmp_path / "a.png"], lacking, tmp_path / "out", "cpu").table
    assert table["melanoma"].notna().all() and "melanoma_probability" in table.columns[table.isna().any()]
    assert table["seborrheic_keratosis_probability"].between(0, 1).all()


def test_by_default_the_committed_network_with_attention_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    with pytest.raises(RunError, match=r"weights: no weights of an archived run with attention; name a run by --run$"):
        find_run()
    lite0 = NetworkConfig("arl_efficientnet_lite0", weights="imagenet-lite0")
    made = [small_run(name) for name in ("resnet14", "arl_cnn14")]
    made.append(replace(made[0], experiment=replace(made[0].experiment, network=lite0)))
    (tmp_path / "weights").mkdir()
    for run, found in zip(made, (None, "arl_cnn14", "arl_efficientnet_lite0"), strict=True):
        folder = tmp_path / "results" / "smoke" / run.id
        folder.mkdir(parents=True)
        write_run(run, folder)
        (tmp_path / "weights" / f"{run.id}.safetensors").touch()
        if found:
            assert find_run().network == found


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


def test_a_strip_below_a_picture_has_its_words_and_the_scale_of_the_colours():
    plain = overlay(Image.new("RGB", (300, 200), "grey"), np.array([[0.0, 1.0], [0.0, 0.0]]))
    told = overlay(Image.new("RGB", (300, 200), "grey"), np.array([[0.0, 1.0], [0.0, 0.0]]), "melanoma 0.62")
    assert told.crop((0, 0, *plain.size)).tobytes() == plain.tobytes()
    strip = np.asarray(told)[plain.height :]
    colours = {tuple(pixel) for pixel in strip.reshape(-1, 3).tolist()}
    assert {(0, 0, 4), (252, 255, 164), (0, 0, 0), (255, 255, 255)} <= colours
    long = overlay(Image.new("RGB", (20, 20)), np.zeros((2, 2)), "seborrheic keratosis 0.10, melanoma 0.62")
    assert long.width > 300, "wide enough for its words"


def test_weights_alone_are_enough_to_score(run, lesion, tmp_path):
    lesion.save(tmp_path / "a.png")
    (tmp_path / "elsewhere").mkdir()
    weights = shutil.copy(run.folder / WEIGHTS, tmp_path / "elsewhere" / "mine.safetensors")
    by_run = score_images([tmp_path / "a.png"], run, tmp_path / "out", "cpu").table
    command = ["predict", str(tmp_path / "a.png"), "--out", str(tmp_path / "other")]
    answer = CliRunner().invoke(app, [*command, "--weights", str(weights)])
    assert answer.exit_code == 0, answer.output
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "other" / "predictions.csv")[by_run.columns], by_run)


def test_weights_that_do_not_say_what_they_are_of_are_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"x.safetensors: no weights that say which network they are of; a run's"):
        run_of(tmp_path / "x.safetensors")
    with pytest.raises(RunError, match=r"y.safetensors: no such file of weights$"):
        run_of(tmp_path / "y.safetensors")


def test_predict_takes_a_network_from_one_of_two_places(tmp_path):
    given = ["--run", "a", "--weights", "b"]
    answer = CliRunner().invoke(app, ["predict", "a.png", "--out", str(tmp_path / "out"), *given])
    assert str(answer.exception) == (
        "predict takes a network from --run RUN or from --weights FILE: give one of the two"
    )
