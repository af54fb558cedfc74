"""The three layouts are read alike, and what is wrong with one is said in one line."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arlrepro.data.isic import IsicDataset, read_dataset, read_ham10000
from arlrepro.errors import ConfigError, DatasetError
from helpers import isic_folder
from helpers.cases import case, case_with_links

TRAINING_CSV = "ISIC-2017_Training_Part3_GroundTruth.csv"
HEADER = "image_id,melanoma,seborrheic_keratosis\n"


def message(root: Path, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        read_dataset(root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain(root: Path, csv: bytes | str, images: dict[str, bytes] | None = None) -> Path:
    images = {"a.jpg": isic_folder.encoded(isic_folder.pixels(1))} if images is None else images
    return isic_folder.write(root, {"labels.csv": csv if isinstance(csv, bytes) else csv.encode(), **images})


@pytest.fixture(params=["zipped", "extracted"])
def dataset(request, tmp_path) -> IsicDataset:
    return read_dataset(isic_folder.write(tmp_path, isic_folder.official_files(), zipped=request.param == "zipped"))


def test_official_layout_gives_labels_in_the_order_of_splits_then_rows(dataset):
    lesions = dataset.lesions
    assert list(lesions.index) == ["ISIC_1", "ISIC_2", "ISIC_3", "ISIC_5", "ISIC_4"]
    assert list(lesions["split"]) == ["training", "training", "validation", "test", "test"]
    assert list(lesions["melanoma"]) == [0, 1, 0, 0, 1]
    assert list(lesions["seborrheic_keratosis"]) == [0, 0, 1, 0, 0]
    assert lesions["melanoma"].dtype == np.int8
    assert list(dataset.images) == list(lesions.index)


def test_unknown_age_is_nan_and_unknown_sex_is_empty(dataset):
    assert dataset.lesions["age"].tolist() == pytest.approx([30, np.nan, 85, 40, 55], nan_ok=True)
    assert dataset.lesions["sex"].tolist() == ["female", "male", "", "male", "female"]


def test_images_and_masks_are_those_of_the_files(dataset):
    expected = isic_folder.pixels(4).astype(int)
    assert np.abs(np.asarray(dataset.open_image("ISIC_4")) - expected).max() < 12  # JPEG
    assert (dataset.read_mask("ISIC_4") == isic_folder.mask(4)).all()
    assert dataset.image_bytes("ISIC_4") == isic_folder.official_files()["ISIC-2017_Test_v2_Data/ISIC_4.jpg"]
    assert dataset.unlabelled == ()


def test_fingerprint_is_the_same_zipped_and_extracted_and_changes_with_pixels_labels_and_splits(tmp_path):
    files = isic_folder.official_files()
    zipped = read_dataset(isic_folder.write(tmp_path / "zipped", files)).fingerprint
    assert read_dataset(isic_folder.write(tmp_path / "extracted", files, zipped=False)).fingerprint == zipped
    other_pixels = files | {"ISIC-2017_Test_v2_Data/ISIC_4.jpg": isic_folder.encoded(isic_folder.pixels(9))}
    other_label = files | {TRAINING_CSV: files[TRAINING_CSV].replace(b"ISIC_1,0.0", b"ISIC_1,1.0")}
    fingerprints = {
        zipped,
        read_dataset(isic_folder.write(tmp_path / "pixels", other_pixels)).fingerprint,
        read_dataset(isic_folder.write(tmp_path / "label", other_label)).fingerprint,
        read_dataset(tmp_path / "zipped", splits=["training"]).fingerprint,
    }
    assert len(fingerprints) == 4


def test_without_masks_and_metadata_those_are_unknown(tmp_path):
    files = {path: data for path, data in isic_folder.official_files(masks=False).items() if "metadata" not in path}
    dataset = read_dataset(isic_folder.write(tmp_path, files))
    assert not dataset.lesions["has_mask"].any()
    assert dataset.lesions["age"].isna().all()
    assert (dataset.lesions["sex"] == "").all()
    with pytest.raises(DatasetError, match=re.escape(f"{tmp_path}: no mask of 'ISIC_1'; 0 of 5 have one.")):
        dataset.read_mask("ISIC_1")


def test_automatic_test_masks_serve_only_where_official_ones_are_missing(tmp_path):
    files = isic_folder.official_files()
    automatic = {
        path.replace("Part1_GroundTruth", "auto_masks_SkinFPN"): data
        for path, data in files.items()
        if path.startswith("ISIC-2017_Test_v2_Part1")
    }
    both = read_dataset(isic_folder.write(tmp_path / "both", files | automatic))
    assert set(both.lesions["mask_source"]) == {"official"}
    only = {path: data for path, data in files.items() if not path.startswith("ISIC-2017_Test_v2_Part1")}
    dataset = read_dataset(isic_folder.write(tmp_path / "automatic", only | automatic))
    assert list(dataset.lesions["mask_source"]) == ["official"] * 3 + ["automatic"] * 2
    assert dataset.lesions["has_mask"].all()


def test_plain_folder_is_the_test_split_in_the_order_of_its_csv(tmp_path):
    images = {
        f"pictures/{name}": isic_folder.encoded(isic_folder.pixels(1), form)
        for name, form in (("b.png", "PNG"), ("a.JPG", "JPEG"), ("c.webp", "WEBP"))
    }
    root = isic_folder.write(tmp_path, {"labels.csv": (HEADER + "b,1,0\na,0,1\n").encode(), **images}, zipped=False)
    dataset = read_dataset(root)
    assert list(dataset.lesions.index) == ["b", "a"]
    assert set(dataset.lesions["split"]) == {"test"}
    assert [file.base for file in dataset.unlabelled] == ["c.webp"]


def test_plain_folder_may_name_its_splits(tmp_path):
    csv = "split,image_id,melanoma,seborrheic_keratosis\ntest,a,1,0\ntraining,b,0,0\n"
    root = plain(tmp_path, csv, {f"{name}.jpg": isic_folder.encoded(isic_folder.pixels(1)) for name in "ab"})
    assert list(read_dataset(root).lesions.index) == ["b", "a"]
    assert list(read_dataset(root, splits=["test"]).images) == ["a"]
    assert (
        message(root, splits=["validation"])
        == f"{root}: no labelled image of validation; it has those of test, training."
    )


def test_ham10000_gives_melanoma_against_the_rest_and_keeps_the_lesion(tmp_path):
    rows = (
        "HAM_1,ISIC_7,mel,histo,80.0,male,scalp\nHAM_1,ISIC_8,mel,histo,,unknown,scalp\nHAM_2,ISIC_9,bkl,x,50,male,x\n"
    )
    files = {
        f"HAM10000_images_part_{1 + i % 2}/ISIC_{i}.jpg": isic_folder.encoded(isic_folder.pixels(i)) for i in (7, 8, 9)
    }
    csv = "lesion_id,image_id,dx,dx_type,age,sex,localization\n" + rows
    root = isic_folder.write(tmp_path, {"HAM10000_metadata.csv": csv.encode(), **files})
    for dataset in (read_ham10000(root), read_dataset(root)):
        assert list(dataset.lesions["melanoma"]) == [1, 1, 0]
        assert list(dataset.lesions["seborrheic_keratosis"]) == [0, 0, 1]
        assert list(dataset.lesions["lesion_id"]) == ["HAM_1", "HAM_1", "HAM_2"]
        assert dataset.lesions["age"].tolist() == pytest.approx([80, np.nan, 50], nan_ok=True)


HAM_ROWS = [
    ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"],
    ["HAM_1", "ISIC_7", "mel", "histo", "80.0", "male", "scalp"],
    ["HAM_2", "ISIC_8", "nv", "consensus", "", "unknown", "face"],
]


@pytest.mark.parametrize(
    ("name", "separator"),
    [
        ("HAM10000_metadata.tab", "\t"),
        ("HAM10000_metadata", ","),
        ("metadata.csv", ";"),
        ("HAM10000_metadata.tsv", "\t"),
    ],
)
def test_ham10000_is_known_by_its_columns_whatever_its_name(tmp_path, name, separator):
    table = "".join(separator.join(f'"{cell}"' for cell in row) + "\n" for row in HAM_ROWS)
    images = {f"HAM10000_images_part_{i - 6}/ISIC_{i}.jpg": isic_folder.encoded(isic_folder.pixels(i)) for i in (7, 8)}
    root = isic_folder.write(tmp_path, {name: table.encode(), "README": b"about, it\n", **images})
    lesions = read_dataset(root).lesions
    assert lesions["melanoma"].to_dict() == {"ISIC_7": 1, "ISIC_8": 0}
    assert lesions["age"].tolist() == pytest.approx([80, np.nan], nan_ok=True)


def test_the_copies_of_every_image_that_kaggle_serves_are_one_image(tmp_path):
    table = "".join(",".join(row) + "\n" for row in HAM_ROWS).encode()
    images = {f"{ham}_images_part_1/ISIC_{i}.jpg": isic_folder.encoded(isic_folder.pixels(i))
              for i in (7, 8) for ham in ("HAM10000", "ham10000")}  # fmt: skip
    root = isic_folder.write(tmp_path, {"HAM10000_metadata.csv": table, **images}, zipped=False)
    assert list(read_dataset(root).images) == ["ISIC_7", "ISIC_8"]
    (root / "ham10000_images_part_1" / "ISIC_7.jpg").write_bytes(isic_folder.encoded(isic_folder.pixels(9)))
    assert ": 1 of 4 files repeat an id: " in message(root)


@pytest.mark.parametrize("kind", ["tab", "csv"])
def test_ham10000_as_the_dataverse_serves_it_is_read(kind):
    dataset = read_dataset(case("25-ham10000-from-dataverse") / kind)
    assert list(dataset.lesions["melanoma"]) == [1, 0, 0, 0]


@pytest.mark.parametrize(("folder", "images"), [("plain", 4), ("ham", 4)])
def test_images_are_found_through_linked_folders(tmp_path, folder, images):
    linked = case_with_links("03-symlinked-image-folder", tmp_path / "case")
    assert len(read_dataset(linked / folder).images) == images


def test_a_folder_of_archives_made_on_windows_is_read():
    assert len(read_dataset(case("01-zip-backslashes")).images) == 14


@pytest.mark.parametrize("ids", ["a.JPG", "a.jpeg", "a_downsampled"])
def test_ids_that_name_the_file_or_its_copy_find_their_image(tmp_path, ids):
    root = plain(tmp_path, HEADER + f"{ids},1,0\n")
    assert [file.base for file in read_dataset(root).images.values()] == ["a.jpg"]


def test_ids_that_lack_the_ending_of_the_files_find_their_image(tmp_path):
    image = isic_folder.encoded(isic_folder.pixels(1))
    root = plain(tmp_path, HEADER + "a,1,0\nb,0,0\n", {f"{name}_downsampled.jpg": image for name in "ab"})
    dataset = read_dataset(root)
    assert list(dataset.images) == ["a", "b"] and dataset.unlabelled == ()


@pytest.mark.parametrize(
    ("name", "header", "layout"),
    [
        ("ISIC_2019_Training_GroundTruth.csv", "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK", "ISIC 2018 or 2019"),
        ("train.csv", "image_name,patient_id,sex,target", "ISIC 2020"),
        ("metadata.csv", "patient_id,img_id,diagnostic", "PAD-UFES-20"),
    ],
)
def test_another_layout_is_named(tmp_path, name, header, layout):
    root = isic_folder.write(tmp_path, {name: f"{header}\n{header}\n".encode()})
    assert f"image_id. {root}/{name} looks like {layout}, which is not read as it is. Give the" in message(root)


def test_the_folder_inside_that_holds_the_data_is_named(tmp_path):
    plain(tmp_path / "inner", HEADER + "a,1,0\n")
    assert f" {tmp_path}/inner looks like a data set; name that folder. " in message(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_encoding_and_line_end_reads_the_same(tmp_path, encoding, end):
    text = f"image_id,melanoma,seborrheic_keratosis{end}Muttermal ä,1,0{end}"
    data = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-bom" else text.encode(encoding)
    root = plain(tmp_path, data, {"Muttermal a\u0308.jpg": isic_folder.encoded(isic_folder.pixels(1))})
    assert list(read_dataset(root).lesions.index) == ["Muttermal ä"]


@pytest.mark.parametrize(
    ("csv", "expected"),
    [
        (HEADER + "a,2,0\n", ": 1 of 1 rows have a label that is neither 0 nor 1: 'a'. Mend them."),
        (HEADER + "a,,0\n", ": 1 of 1 rows have a label that is neither 0 nor 1: 'a'. Mend them."),
        (HEADER + "a,1,1\n", ": 1 of 1 rows are both melanoma and seborrheic keratosis: 'a'. "
                             "A lesion is one of them at most."),
        (HEADER + "a,1,0\na,0,0\n", ": 1 of 2 rows repeat an id: 'a'. Keep one row of each."),
        (HEADER + "../a,1,0\n", ": 1 of 1 rows have an id that is no file name: '../a'. Rename them."),
        (HEADER + '"a\n",1,0\n"b\x07",0,0\n', ": 1 of 2 rows have an id that is no file name: 'b\\x07'. Rename them."),
        ("image_id,melanoma\na,1\n", ": no column seborrheic_keratosis; it has image_id, melanoma."),
        ("image_id,melanoma,melanoma\na,1,0\n", ": a column stands twice in its header: image_id, melanoma, melanoma. "
                                                "Name each once."),
        (HEADER + "a,1\n", ": 1 rows have not the header's 3 cells: rows 2. Mend them."),
        (HEADER, ": has a header and no rows. Write one row an image below it."),
        ("", ": is empty. Save it as comma-separated UTF-8."),
        (HEADER.encode("utf-16-le") + b"a\0", ": has NUL bytes. Save it as comma-separated UTF-8."),
        (b"image_id,melanoma\n\xe4,1\n", ": not text in UTF-8 or UTF-16 (invalid continuation byte). "
                                       "Save it as UTF-8."),
        (HEADER + 'a,"1,0\n', ": not a CSV (unexpected end of data). Save it as comma-separated UTF-8."),
        ("split," + HEADER + "train,a,1,0\n", ": 1 of 1 rows are of an unknown split: 'a'. "
                                              "Known are training, validation, test."),
    ],
)  # fmt: skip
def test_a_bad_label_csv_is_named_with_offenders_and_remedy(tmp_path, csv, expected):
    root = plain(tmp_path, csv)
    assert message(root) == f"{root}/labels.csv{expected}"


def test_a_lesion_without_an_image_is_named(tmp_path):
    root = plain(tmp_path, HEADER + "a,1,0\nb,0,0\n")
    assert message(root) == (
        f"{root}: 1 of 2 lesions have no image: b. Fetch the images again, or take the rows out of the CSV."
    )


def test_a_table_and_images_of_other_names_show_both(tmp_path):
    root = plain(tmp_path, HEADER + "ISIC_1,1,0\nISIC_2,0,0\n", {"IMG_3.HEIC": b"", "b.jpg": b"x"})
    assert message(root) == (
        f"{root}: none of the 2 lesions has an image. The table's ids: ISIC_1, ISIC_2; the images there: b.jpg; passed "
        f"over are pictures of a format that is not read; export them as JPEG or PNG: {root}/IMG_3.HEIC. "
        "Fetch the images, or write their names into the table."
    )


def test_two_images_of_one_id_are_named(tmp_path):
    image = isic_folder.encoded(isic_folder.pixels(1))
    root = plain(tmp_path, HEADER + "a,1,0\n", {"a.jpg": image, "a.jpeg": image})
    assert message(root) == f"{root}: 1 of 2 files repeat an id: {root}/a.jpg. Keep one of each."


def test_an_id_in_two_splits_is_named(tmp_path):
    files = isic_folder.official_files()
    files["ISIC-2017_Test_v2_Part3_GroundTruth.csv"] += b"ISIC_3,0,0\r\n"
    files["ISIC-2017_Test_v2_Data/ISIC_3.jpg"] = isic_folder.encoded(isic_folder.pixels(3))
    root = isic_folder.write(tmp_path, files)
    assert message(root) == f"{root}: 1 ids stand in more than one split: ISIC_3. Keep each in one."


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("ISIC_3,-1,male", "1 of 1 rows have an age not from 0 to 120: 'ISIC_3'. Write unknown where it is."),
        ("ISIC_3,5,m", "1 of 1 rows have a sex not female or male: 'ISIC_3'. Write unknown where it is."),
        ("ISIC_3,5,male\nISIC_3,6,male", "1 of 2 rows repeat an id: 'ISIC_3'. Keep one of each."),
        ("ISIC_4,5,male", "1 of 1 rows name no lesion of ISIC-2017_Validation_Part3_GroundTruth.csv: 'ISIC_4'. "
                          "Remove them."),
    ],
)  # fmt: skip
def test_bad_metadata_is_named(tmp_path, rows, expected):
    path = "ISIC-2017_Validation_Data/ISIC-2017_Validation_Data_metadata.csv"
    files = isic_folder.official_files() | {path: f"image_id,age_approximate,sex\n{rows}\n".encode()}
    root = isic_folder.write(tmp_path, files)
    assert message(root) == f"{root}/ISIC-2017_Validation_Data.zip/{path}: {expected}"


def test_what_is_missing_is_named(tmp_path):
    assert message(tmp_path / "none") == (
        f"{tmp_path}/none: no such folder. Run `arlrepro data download`, or name the folder with --data."
    )
    assert message(tmp_path) == (
        f"{tmp_path}: no {TRAINING_CSV}, and 0 CSVs with a column image_id. Give the official files, "
        "or a folder of images with one CSV of image_id,melanoma,seborrheic_keratosis."
    )
    files = isic_folder.official_files()
    without_images = {path: data for path, data in files.items() if not path.startswith("ISIC-2017_Training_Data/")}
    root = isic_folder.write(tmp_path / "images", without_images)
    assert message(root) == (
        f"{root}: neither ISIC-2017_Training_Data.zip nor the folder ISIC-2017_Training_Data. "
        "Run `arlrepro data download`."
    )
    root = isic_folder.write(tmp_path / "labels", {path: data for path, data in files.items() if path != TRAINING_CSV})
    assert (
        message(root)
        == f"{root}: no {TRAINING_CSV}. Run `arlrepro data download`, or name the right folder with --data."
    )
    assert list(read_dataset(root, splits=["validation"]).lesions.index) == ["ISIC_3"]


def test_unknown_splits_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=re.escape("unknown splits train; known: training, validation, test")):
        read_dataset(tmp_path, splits=["train"])


def test_every_fault_can_be_collected_in_one_reading(tmp_path):
    faults = []
    csv = HEADER + "a,1,0\nb,0,0\na,1,0\nc,7,0\n"
    dataset = read_dataset(plain(tmp_path, csv), report=lambda where, what, which, remedy: faults.append((what, which)))
    assert list(dataset.lesions.index) == ["a"]
    assert faults == [
        ("1 of 4 rows repeat an id", ["'a'"]),
        ("1 of 4 rows have a label that is neither 0 nor 1", ["'c'"]),
        ("1 of 2 lesions have no image", ["b"]),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), st.text(alphabet='a,10\n\r"./\\\0\ufeff;é ', max_size=60).map(
    lambda text: (HEADER + text).encode("utf-8"))))  # fmt: skip
def test_any_bytes_as_csv_give_sound_labels_or_one_line(tmp_path, data):
    root = plain(tmp_path, data)
    try:
        lesions = read_dataset(root).lesions
    except DatasetError as error:
        assert "\n" not in str(error)
    else:
        assert lesions.index.is_unique and lesions.index.isin(["a"]).all()
        assert lesions[["melanoma", "seborrheic_keratosis"]].isin([0, 1]).all(axis=None)


def test_zip_of_the_images_cut_short_is_named(tmp_path):
    root = isic_folder.write(tmp_path, isic_folder.official_files())
    path = root / "ISIC-2017_Test_v2_Data.zip"
    path.write_bytes(path.read_bytes()[:-30])
    assert message(root) == f"{path}: not a whole zip archive (File is not a zip file). Fetch it again."
    assert zipfile.is_zipfile(root / "ISIC-2017_Training_Data.zip")
