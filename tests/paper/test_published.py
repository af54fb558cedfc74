from itertools import product

import pytest

from arlrepro.errors import ConfigError
from arlrepro.paper.published import (
    LESIONS,
    POSITIVES,
    PUBLISHED_CSV,
    SOURCES,
    published,
    published_value,
    read_published,
)
from arlrepro.registry import CLASSES, METRICS
from helpers.stored_files import refusal

HEADER = "row,origin,network,task,metric,value,source\n"


def write(folder, *lines):
    path = folder / "published.csv"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return path


def test_every_number_has_a_source_and_every_gap_has_none():
    numbers = published()
    assert (numbers["value"].notna() == (numbers["source"] != "")).all()
    assert set(numbers["source"].str.split().str[0].dropna()) <= set(SOURCES)


def test_every_row_has_a_place_for_every_figure():
    numbers = published()
    figures = {*product(CLASSES, METRICS), ("mean", "auc")}
    for _, row in numbers.groupby("row"):
        assert set(zip(row["task"], row["metric"], strict=True)) == figures
        assert row[["origin", "network"]].drop_duplicates().shape == (1, 2)


def test_the_papers_gain_in_melanoma_auc_is_18_thousandths():
    gain = published_value("arl_cnn50", "melanoma.auc") - published_value("resnet50", "melanoma.auc")
    assert gain == pytest.approx(0.018)
    assert published_value("arl_cnn50", "mean_auc") == 0.917


def test_only_the_papers_own_rows_are_the_papers():
    quoted = published().query("row == 'ARL-CNN50 as V quotes it' and metric == 'specificity' and task == 'melanoma'")
    assert quoted["value"].tolist() == [0.96]
    assert published_value("arl_cnn50", "melanoma.specificity") == 0.896
    assert published_value("arl_cnn18", "melanoma.auc") is None


def test_counts_of_the_test_set_are_the_challenges():
    assert LESIONS["test"] == 600
    assert POSITIVES["test"] == {"melanoma": 117, "seborrheic_keratosis": 90}
    assert sum(LESIONS.values()) == 2750


def test_what_is_read_cannot_change_the_published_numbers():
    numbers = published()
    numbers["value"] = 0.5
    assert published_value("resnet50", "mean_auc") == 0.903


def test_a_gap_stays_a_gap_and_decimals_are_those_printed(tmp_path):
    path = write(
        tmp_path,
        "A,paper,resnet14,melanoma,auc,,",
        "A,paper,resnet14,melanoma,accuracy,0.850,paper table 2",
        "A,paper,resnet14,melanoma,specificity,0.96,AP README",
    )
    numbers = read_published(path)
    assert numbers["value"].isna().tolist() == [True, False, False]
    assert numbers["decimals"].tolist() == [0, 3, 2]


def test_a_file_saved_by_a_spreadsheet_reads_the_same(tmp_path):
    path = tmp_path / "published.csv"
    path.write_bytes(b"\xef\xbb\xbf" + PUBLISHED_CSV.read_bytes().replace(b"\n", b"\r\n"))
    assert read_published(path).equals(published())


GOOD = "A,paper,resnet50,melanoma,auc,0.857,AP README"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A,paper,resnet50,melanoma,accuracy,83.8,AP README", "a value that is not in [0, 1] in line 3 (1 in all)"),
        ("A,paper,resnet50,melanoma,accuracy,high,AP README", "a value that is not in [0, 1] in line 3 (1 in all)"),
        ("A,paper,resnet50,melanoma,accuracy,0.838,", "a value without a known source in line 3 (1 in all)"),
        ("A,paper,resnet50,melanoma,accuracy,0.838,memory", "a value without a known source in line 3 (1 in all)"),
        ("A,blog,resnet50,melanoma,accuracy,0.838,AP", "an unknown origin in line 3 (1 in all)"),
        ("A,paper,resnet50,nevus,auc,0.838,AP", "an unknown task and metric in line 3 (1 in all)"),
        ("A,paper,resnet50,mean,accuracy,0.838,AP", "an unknown task and metric in line 3 (1 in all)"),
        (GOOD, "a number given twice in line 2, 3 (2 in all)"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, line, message):
    path = write(tmp_path, GOOD, line)
    with pytest.raises(ConfigError) as caught:
        read_published(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"\x89PNG\r\n\xff", b'a,b\n"1\n', b"a\n1,2\n1,2,3\n"],
    ids=lambda content: content[:9],
)
def test_a_damaged_file_is_one_line_with_its_remedy(tmp_path, content):
    said = refusal(read_published, tmp_path / "published.csv", content, ConfigError)
    assert said.endswith("; restore it: git checkout published.csv")


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("row,value\nA,0.5\n")
    with pytest.raises(ConfigError) as caught:
        read_published(path)
    expected = "the columns are row, origin, network, task, metric, value, source; got row, value"
    assert str(caught.value) == f"{path}: {expected}"
