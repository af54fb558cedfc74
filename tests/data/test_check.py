"""Every planted fault is found, reported whole, and nothing else is."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from arlrepro.cli import app
from arlrepro.data import check as module
from arlrepro.data.check import Report, check
from arlrepro.errors import DatasetError, OutputError
from helpers import isic_folder

DATA = "ISIC-2017_Test_v2_Data"
MASKS = "ISIC-2017_Test_v2_Part1_GroundTruth"


def checked(root: Path, **changes: bytes | None) -> Report:
    files = isic_folder.official_files() | changes
    return check(isic_folder.write(root, {path: data for path, data in files.items() if data is not None}))


def found(report: Report) -> tuple[list[str], list[str]]:
    """Faults and warnings, without where."""
    root = f"{report.dataset.root}: "
    return [str(fault).removeprefix(root) for fault in report.faults], [
        str(warning).removeprefix(root) for warning in report.warnings
    ]


def test_a_sound_data_set_has_no_findings(tmp_path):
    report = checked(tmp_path)
    assert found(report) == ([], [])
    assert report.pairs == ()
    assert report.counts.loc["test"].to_dict() == {
        "images": 2, "melanoma": 1, "seborrheic_keratosis": 0, "neither": 1, "masks": 2, "labels": "own",
    }  # fmt: skip


def test_text_shows_counts_and_no_faults(tmp_path):
    assert checked(tmp_path).text() == (
        f"{tmp_path}\n\n"
        "            images  melanoma  seborrheic_keratosis  neither  masks labels\n"
        "split                                                                    \n"
        "training         2         1                     0        1      2    own\n"
        "validation       1         0                     1        0      1    own\n"
        "test             2         1                     0        1      2    own\n\n"
        "no faults\nno warnings"
    )


def test_the_same_pixels_in_two_splits_are_a_fault_whatever_the_file(tmp_path):
    values = isic_folder.pixels(1)
    png, bmp = isic_folder.encoded(values, "PNG"), isic_folder.encoded(values, "BMP")
    report = checked(tmp_path, **{f"{DATA}/ISIC_4.jpg": png, "ISIC-2017_Training_Data/ISIC_1.jpg": bmp})
    faults, warnings = found(report)
    assert faults[0] == (
        "1 pairs across splits are the same, pixel by pixel: ISIC_1 (training) = ISIC_4 (test). Keep one of each."
    )
    assert warnings == []


def test_the_same_pixels_in_one_split_are_a_warning(tmp_path):
    same = isic_folder.official_files()[f"{DATA}/ISIC_5.jpg"]
    assert found(checked(tmp_path, **{f"{DATA}/ISIC_4.jpg": same})) == (
        [],
        ["1 pairs in a split are the same, pixel by pixel: ISIC_5 (test) = ISIC_4 (test). Look at them."],
    )


def test_identical_pictures_of_one_grey_are_found_too(tmp_path):
    grey = isic_folder.encoded(np.full((16, 16, 3), 90, dtype=np.uint8))
    report = checked(tmp_path, **{f"{DATA}/ISIC_4.jpg": grey, "ISIC-2017_Validation_Data/ISIC_3.jpg": grey})
    assert [str(pair) for pair in report.pairs] == ["ISIC_3 (validation) = ISIC_4 (test)"]


def test_near_duplicates_across_splits_are_a_warning(tmp_path):
    values, mask = isic_folder.pixels(1, 64, 64), isic_folder.encoded(isic_folder.mask(1, 64, 64), "PNG")
    report = checked(
        tmp_path,
        **{
            "ISIC-2017_Training_Data/ISIC_1.jpg": isic_folder.encoded(values),
            "ISIC-2017_Training_Part1_GroundTruth/ISIC_1_segmentation.png": mask,
            f"{DATA}/ISIC_4.jpg": isic_folder.encoded(values // 3 * 2),
            f"{MASKS}/ISIC_4_segmentation.png": mask,
        },
    )
    faults, warnings = found(report)
    assert warnings == [
        "1 pairs across splits may show one lesion twice: ISIC_1 (training) ~ ISIC_4 (test). Look at them."
    ]
    assert faults == []
    assert report.pairs[0].correlation >= 0.97 and not report.pairs[0].is_identical
    page = report.pairs_html()
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "ISIC_1, training, neither" in page and "ISIC_4, test, melanoma" in page


def test_files_that_do_not_decode_are_each_named(tmp_path):
    whole = isic_folder.official_files()[f"{DATA}/ISIC_4.jpg"]
    report = checked(
        tmp_path,
        **{f"{DATA}/ISIC_4.jpg": whole[:-90], f"{DATA}/ISIC_5.jpg": b"", f"{MASKS}/ISIC_5_segmentation.png": b"x"},
    )
    [fault] = report.faults
    place = f"{tmp_path}/{DATA}.zip/{DATA}"
    assert fault.what == "3 files do not decode"
    assert fault.which[0] == f"{place}/ISIC_5.jpg: has 0 bytes. Fetch it again."
    assert "ISIC_5_segmentation.png: is no JPEG, PNG, BMP, TIFF, WEBP image. Fetch it again if" in fault.which[1]
    assert fault.remedy == "Do what each line says."
    assert fault.which[2].startswith(f"{place}/ISIC_4.jpg: does not decode (")


def test_ids_missing_extra_and_doubled_are_faults(tmp_path):
    csv = isic_folder.official_files()["ISIC-2017_Test_v2_Part3_GroundTruth.csv"]
    report = checked(
        tmp_path,
        **{
            "ISIC-2017_Test_v2_Part3_GroundTruth.csv": csv + b"ISIC_5,0,0\r\nISIC_9,0,0\r\nISIC_8,1,1\r\n",
            f"{DATA}/ISIC_7.jpg": isic_folder.encoded(isic_folder.pixels(7)),
            f"{MASKS}/ISIC_7_segmentation.png": isic_folder.encoded(isic_folder.mask(7), "PNG"),
        },
    )
    assert [(fault.what, fault.which) for fault in report.faults] == [
        ("1 of 5 rows repeat an id", ("'ISIC_5'",)),
        ("1 of 5 rows are both melanoma and seborrheic keratosis", ("'ISIC_8'",)),
        ("1 of 3 lesions have no image", ("ISIC_9",)),
        ("2 images or masks are of no labelled lesion",
         (f"{tmp_path}/{DATA}.zip/{DATA}/ISIC_7.jpg", f"{tmp_path}/{MASKS}.zip/{MASKS}/ISIC_7_segmentation.png")),
    ]  # fmt: skip


def test_masks_that_do_not_fit_are_found(tmp_path):
    report = checked(
        tmp_path,
        **{
            f"{MASKS}/ISIC_4_segmentation.png": isic_folder.encoded(isic_folder.mask(1, 20, 16), "PNG"),
            f"{MASKS}/ISIC_5_segmentation.png": isic_folder.encoded(np.zeros((16, 16), dtype=bool), "PNG"),
            "ISIC-2017_Training_Part1_GroundTruth/ISIC_1_segmentation.png": None,
            "ISIC-2017_Validation_Part1_GroundTruth/ISIC_3_segmentation.png": None,
        },
    )
    assert found(report) == (
        ["1 lesion masks have another size than their image: ISIC_4. Fetch the masks of this set."],
        [
            "1 lesion masks mark nothing or everything: ISIC_5. Look at them.",
            "1 lesions of masked splits have none: ISIC_1. Fetch the masks again.",
        ],
    )


def test_counts_are_held_to_the_official_ones_where_the_labels_are_official(tmp_path, monkeypatch):
    csv = isic_folder.official_files()["ISIC-2017_Training_Part3_GroundTruth.csv"]
    official = {**module.OFFICIAL_LABELS, "training": (hashlib.sha256(csv).hexdigest(), (2, 1, 0))}
    monkeypatch.setattr(module, "OFFICIAL_LABELS", official)
    report = checked(tmp_path / "whole")
    assert found(report) == ([], [])
    assert list(report.counts["labels"]) == ["official", "own", "own"]
    lost = checked(tmp_path / "lost", **{"ISIC-2017_Training_Data/ISIC_2.jpg": None})
    assert str(lost.faults[-1]) == (
        f"{tmp_path}/lost: training has not what the official labels count: 1 of 2 images, 0 of 1 melanoma. "
        "Fetch what is missing."
    )


def test_json_holds_every_offender_and_nothing_else(tmp_path):
    empty = {f"e{number}.jpg": b"" for number in range(9)}
    rows = "".join(f"e{number},0,0\n" for number in range(9))
    csv = f"image_id,melanoma,seborrheic_keratosis\n{rows}".encode()
    report = check(isic_folder.write(tmp_path, {"labels.csv": csv, **empty}))
    assert str(report.faults[0]).count("has 0 bytes") == 5
    whole = json.loads(report.to_json())
    assert list(whole) == ["folder", "counts", "faults", "warnings", "pairs"]
    assert len(whole["faults"][0]["which"]) == 9
    assert whole["counts"] == {
        "test": {"images": 9, "melanoma": 0, "seborrheic_keratosis": 0, "neither": 9, "masks": 0, "labels": "own"}
    }


def test_json_names_the_folder_and_not_where_it_lies_even_when_it_is_the_current_one(tmp_path, monkeypatch):
    root = isic_folder.write(tmp_path / "set", isic_folder.official_files() | {f"{DATA}/ISIC_4.jpg": b""})
    monkeypatch.chdir(root)
    text = check(Path()).to_json()
    whole = json.loads(text)
    assert whole["folder"] == "set"
    assert whole["faults"][0]["which"] == [f"set/{DATA}.zip/{DATA}/ISIC_4.jpg: has 0 bytes. Fetch it again."]
    assert str(tmp_path) not in text


def test_pictures_that_are_passed_over_are_warnings_by_reason(tmp_path):
    image = isic_folder.encoded(isic_folder.pixels(1))
    csv = b"image_id,melanoma,seborrheic_keratosis\na,1,0\n"
    root = isic_folder.write(tmp_path, {"labels.csv": csv, "a.jpg": image, "._a.jpg": b"x", "IMG_1.HEIC": b"x"})
    assert found(check(root)) == (
        [],
        [
            f"1 passed over, hidden files, or macOS's notes beside a file: {root}/._a.jpg. "
            "Look whether they belong to the data set.",
            f"1 passed over, pictures of a format that is not read; export them as JPEG or PNG: {root}/IMG_1.HEIC. "
            "Look whether they belong to the data set.",
        ],
    )


@pytest.mark.parametrize("place", ["nowhere/pairs.html", "labels.csv/pairs.html"])
def test_a_page_of_pairs_that_cannot_be_written_is_said_before_the_check(tmp_path, monkeypatch, place):
    monkeypatch.setattr(module, "check", lambda root: pytest.fail("the check had begun"))
    (tmp_path / "labels.csv").touch()
    answer = CliRunner().invoke(app, ["data", "check", str(tmp_path), "--pairs", str(tmp_path / place)])
    assert isinstance(answer.exception, OutputError)
    assert str(answer.exception).startswith(f"{tmp_path / place}: cannot be written (")


def test_a_synthetic_set_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    answer = CliRunner().invoke(app, ["data", "synth", str(tmp_path / "file" / "x"), "--training", "3"])
    assert isinstance(answer.exception, OutputError)
    said = str(answer.exception)
    assert said.startswith(f"{tmp_path}/file/x: cannot be written (")
    assert said.endswith("name another folder")


def test_a_folder_without_data_cannot_be_checked(tmp_path):
    with pytest.raises(DatasetError, match=r"no ISIC-2017_Training_Part3_GroundTruth\.csv, and 0 CSVs"):
        check(tmp_path)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif("ARLREPRO_DATA" not in os.environ, reason="ARLREPRO_DATA names no folder of real images")
def test_the_real_images_have_the_official_labels_and_four_pairs_that_cross_splits():
    report = check(Path(os.environ["ARLREPRO_DATA"]))
    assert list(report.counts["labels"]) == ["official"] * 3
    assert list(report.counts["images"]) == [2000, 150, 600]
    assert sum(pair.is_identical for pair in report.pairs) == 4
    assert len(report.pairs) == 21
    in_test = {pair.first for pair in report.pairs if pair.first_split == "test"}
    in_test |= {pair.second for pair in report.pairs if pair.second_split == "test"}
    assert len(in_test) == 19
