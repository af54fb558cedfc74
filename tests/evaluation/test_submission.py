import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from arlrepro.errors import DatasetError
from arlrepro.evaluation import metrics
from arlrepro.evaluation.comparisons import mcnemar_difference
from arlrepro.evaluation.delong import paired_difference
from arlrepro.evaluation.submission import read_labels, read_scores, score, submission, to_json, to_text
from helpers.cases import case

CLASSES = ["melanoma", "seborrheic_keratosis"]
REPLICATES = 40


def write(path, table, **how):
    table.to_csv(path, **how)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Truth of 60 lesions (15 melanomas, 12 seborrheic keratoses) and two submissions for them."""
    folder, rng = tmp_path_factory.mktemp("scored"), np.random.default_rng(0)
    kinds = rng.permutation(np.repeat([0, 1, 2], [15, 12, 33]))
    ids = pd.Index([f"ISIC_{i:07d}" for i in range(60)], name="image_id")
    truth = pd.DataFrame({task: (kinds == number) * 1.0 for number, task in enumerate(CLASSES)}, index=ids)
    write(folder / "truth.csv", truth)
    for name, separation in (("ours", 1.8), ("theirs", 1.2)):
        logits = rng.normal(size=truth.shape) + separation * truth - 0.8
        write(folder / f"{name}.csv", 1 / (1 + np.exp(-logits)))
    return folder


@pytest.fixture(scope="module")
def report(files):
    return score(files / "ours.csv", files / "truth.csv", files / "theirs.csv", REPLICATES)


def arrays(files, name, task):
    table = pd.read_csv(files / f"{name}.csv")
    return table[task].to_numpy()


def every_metric(labels, scores):
    return {name: metric(labels, scores) for name, metric in metrics.METRICS.items()}


def test_figures_are_those_of_metrics_and_lie_in_their_intervals(files, report):
    assert (report.lesions, report.tasks["melanoma"].positives) == (60, 15)
    for task, one in report.tasks.items():
        expected = every_metric(arrays(files, "truth", task).astype(int), arrays(files, "ours", task))
        assert {name: figure.value for name, figure in one.figures.items()} == pytest.approx(expected)
        assert all(figure.low <= figure.value <= figure.high for figure in one.figures.values())
        assert one.undefined == {}
    assert report.mean_auc.value == pytest.approx(np.mean([one.figures["auc"].value for one in report.tasks.values()]))


def test_differences_are_ours_minus_theirs(files, report):
    for task, one in report.tasks.items():
        truth = arrays(files, "truth", task).astype(int)
        ours, theirs = (every_metric(truth, arrays(files, name, task)) for name in ("ours", "theirs"))
        expected = {name: ours[name] - theirs[name] for name in metrics.METRICS}
        assert {name: found.value for name, found in one.differences.items()} == pytest.approx(expected)
        assert all(0 < found.p <= 1 and found.low <= found.high for found in one.differences.values())


def test_auc_is_compared_after_delong_and_sensitivity_after_mcnemar(files, report):
    truth = arrays(files, "truth", "melanoma") == 1
    ours, theirs = (arrays(files, name, "melanoma") for name in ("ours", "theirs"))
    found = report.tasks["melanoma"].differences
    assert found["auc"] == paired_difference(truth, theirs, ours)
    assert found["sensitivity"] == mcnemar_difference(theirs[truth] > 0.5, ours[truth] > 0.5)
    assert found["specificity"] == mcnemar_difference(theirs[~truth] <= 0.5, ours[~truth] <= 0.5)


def test_a_file_does_not_differ_from_itself(files):
    found = score(files / "ours.csv", files / "truth.csv", files / "ours.csv", REPLICATES)
    for one in (*found.tasks["melanoma"].differences.values(), found.mean_auc_difference):
        assert (one.value, one.p) == (0, 1)


def test_json_has_every_figure_unrounded(report):
    content = json.loads(to_json(report))
    one = report.tasks["melanoma"]
    assert content["melanoma"]["auc"] == one.figures["auc"].value
    assert content["melanoma"]["auc_ci"] == [one.figures["auc"].low, one.figures["auc"].high]
    assert content["melanoma"]["dice_difference"]["p"] == one.differences["dice"].p
    assert set(metrics.METRICS) <= set(content["seborrheic_keratosis"])
    assert content["mean_auc_difference"]["ci"] == [report.mean_auc_difference.low, report.mean_auc_difference.high]
    assert (content["lesions"], content["melanoma"]["positives"], content["melanoma"]["undefined"]) == (60, 15, {})


def test_text_has_a_line_for_every_figure(report):
    text = to_text(report)
    figure = report.tasks["melanoma"].figures["specificity"]
    assert f"specificity                    {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" in text
    assert "melanoma (15 positive)" in text
    assert sum(line.startswith("  ") for line in text.splitlines()) == 2 * len(metrics.METRICS) + 1
    assert all(" p = " in line or "p < 0.001" in line for line in text.splitlines() if line.startswith("  "))


def test_without_another_file_there_is_no_difference(files):
    found = score(files / "ours.csv", files / "truth.csv", replicates=REPLICATES)
    assert found.mean_auc_difference is None
    assert found.tasks["melanoma"].differences == {}
    assert "difference" not in to_text(found) and "difference" not in to_json(found)


def test_what_is_not_defined_is_said_and_is_null(files, tmp_path):
    timid = pd.read_csv(files / "ours.csv", index_col=0) / 2
    found = score(write(tmp_path / "timid.csv", timid), files / "truth.csv", replicates=REPLICATES)
    message = "ppv needs at least one lesion called positive; got 0 of 60 lesions"
    no_interval = "0.000, and the same on every bootstrap sample, so without an interval"
    assert found.tasks["melanoma"].undefined == {"ppv": message, "dice": no_interval}
    content = json.loads(to_json(found))["melanoma"]
    assert (content["ppv"], content["ppv_ci"], content["undefined"]["ppv"]) == (None, None, message)
    assert f"ppv                            not defined: {message}" in to_text(found)


def test_a_perfect_ranking_has_an_auc_with_an_interval(files, tmp_path):
    truth = pd.read_csv(files / "truth.csv", index_col=0)
    found = score(write(tmp_path / "perfect.csv", truth), files / "truth.csv", replicates=REPLICATES)
    assert found.tasks["melanoma"].figures["auc"].low < 1
    said = "1.000, and the same on every bootstrap sample, so without an interval"
    assert found.tasks["melanoma"].undefined["average_precision"] == said


def test_one_melanoma_is_enough_for_an_auc_but_for_no_difference(files, tmp_path):
    truth = pd.read_csv(files / "truth.csv", index_col=0)
    first = truth.index[truth["melanoma"] == 1][0]
    alone = write(tmp_path / "truth.csv", truth.assign(melanoma=(truth.index == first) * 1))
    found = score(files / "ours.csv", alone, files / "theirs.csv", REPLICATES)
    assert "auc" in found.tasks["melanoma"].figures
    assert found.tasks["melanoma"].undefined["auc"] == "a difference needs at least two lesions of each class"
    assert found.mean_auc is not None and found.mean_auc_difference is None


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.sample(frac=1, random_state=1),
        lambda table: table[CLASSES[::-1]],
        lambda table: table.rename_axis("image"),
        lambda table: table.rename(index=lambda image_id: f"{image_id}.jpg"),
        lambda table: table.rename(index=lambda image_id: f"{image_id}.JPEG"),
        lambda table: table.rename(index=lambda image_id: f"{image_id}_downsampled"),
        lambda table: table.rename(index=lambda image_id: f"{image_id}_downsampled.jpg"),
        lambda table: table.assign(file="in/a.jpg", note="Research software."),
    ],
    ids=[
        *("other order of lesions", "other order of columns", "id column of later challenges", "ids with .jpg"),
        *("ids with .JPEG", "ids with _downsampled", "ids with both", "as predict writes them"),
    ],
)
def test_the_same_scores_written_otherwise_read_the_same(files, tmp_path, change):
    plain = read_scores(files / "ours.csv")
    table = pd.read_csv(files / "ours.csv", index_col=0)
    pd.testing.assert_frame_equal(
        read_scores(write(tmp_path / "other.csv", change(table))).loc[plain.index], plain, check_names=False
    )


@pytest.mark.parametrize(
    "how",
    [
        {"encoding": "utf-8-sig"},
        {"encoding": "utf-16"},
        {"lineterminator": "\r\n"},
        {"encoding": "utf-16", "lineterminator": "\r\n"},
        {"sep": ";", "decimal": ","},
        {"sep": "\t", "decimal": ",", "encoding": "utf-16"},
    ],
    ids=["BOM", "UTF-16", "CRLF", "UTF-16 and CRLF", "semicolons and decimal commas", "UTF-16 text with tabs"],
)
def test_the_same_scores_saved_by_a_spreadsheet_read_the_same(files, tmp_path, how):
    table = pd.read_csv(files / "ours.csv", index_col=0)
    pd.testing.assert_frame_equal(
        read_scores(write(tmp_path / "saved.csv", table, **how)), read_scores(files / "ours.csv")
    )


def test_a_network_of_one_task_is_scored_on_that_task(files, tmp_path):
    table = pd.read_csv(files / "ours.csv", index_col=0).assign(seborrheic_keratosis=np.nan)
    melanoma_only = write(tmp_path / "melanoma.csv", table)
    found = score(melanoma_only, files / "truth.csv", files / "theirs.csv", REPLICATES)
    assert list(found.tasks) == ["melanoma"]
    assert found.mean_auc is None
    other = write(tmp_path / "keratosis.csv", table.rename(columns=dict(zip(CLASSES, CLASSES[::-1], strict=True))))
    with pytest.raises(DatasetError) as caught:
        score(melanoma_only, files / "truth.csv", other)
    expected = f"{melanoma_only} and {other} score no task in common. Compare files of the same task."
    assert str(caught.value) == expected


def test_a_runs_submission_is_read_back_as_it_was(tmp_path):
    predictions = pd.DataFrame(
        {
            "image_id": ["ISIC_1", "ISIC_2", "ISIC_3"],
            "split": ["validation", "test", "test"],
            "melanoma": [0.5, 1 / 3, 1e-9],
            "seborrheic_keratosis": [np.nan] * 3,
        }
    )
    path = write(tmp_path / "submission.csv", submission(predictions), index=False)
    assert path.read_text().splitlines()[0] == "image_id,melanoma,seborrheic_keratosis"
    assert read_scores(path)["melanoma"].to_dict() == {"ISIC_2": 1 / 3, "ISIC_3": 1e-9}


@pytest.mark.parametrize(
    "name", ["10-ids-with-capital-JPG", "12-semicolons-decimal-commas", "13-trailing-empty-columns"]
)
def test_a_reported_file_is_scored(name):
    folder = case(name)
    assert score(folder / "pred.csv", folder / "truth.csv", replicates=REPLICATES).lesions == 60


def with_score(table, text):
    table = table.astype(str)
    table.loc["ISIC_0000003", "melanoma"] = text
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.iloc[7:],
            "7 of 60 lesions of {truth} are missing: "
            "ISIC_0000000, ISIC_0000001, ISIC_0000002, ISIC_0000003, ISIC_0000004, ...",
        ),
        (
            lambda table: pd.concat([table, table.rename(index={"ISIC_0000001": "ISIC_1"}).iloc[1:2]]),
            "1 of 61 lesions are not in {truth}: ISIC_1",
        ),
        (
            lambda table: pd.concat([table, table.iloc[[3, 3, 5]]]),
            "2 ids stand twice: ISIC_0000003, ISIC_0000005. Give each lesion one row.",
        ),
        (lambda table: with_score(table, "1.2"), "1 scores of melanoma are not numbers in [0, 1]: ISIC_0000003 '1.2'"),
        (lambda table: with_score(table, "nan"), "1 scores of melanoma are not numbers in [0, 1]: ISIC_0000003 'nan'"),
        (lambda table: with_score(table, ""), "1 scores of melanoma are not numbers in [0, 1]: ISIC_0000003 ''"),
        (lambda table: with_score(table, "inf"), "1 scores of melanoma are not numbers in [0, 1]: ISIC_0000003 'inf'"),
        (
            lambda table: -table[["melanoma"]].assign(seborrheic_keratosis=0),
            "60 scores of melanoma are not numbers in [0, 1]: {first}",
        ),
        (
            lambda table: table[["melanoma"]],
            "the columns are image_id, melanoma, seborrheic_keratosis; got image_id, melanoma",
        ),
        (
            lambda table: table.assign(nevus=0.1),
            "the columns are image_id, melanoma, seborrheic_keratosis; "
            "got image_id, melanoma, seborrheic_keratosis, nevus",
        ),
        (
            lambda table: table.rename_axis("lesion"),
            "the columns are image_id, melanoma, seborrheic_keratosis; got lesion, melanoma, seborrheic_keratosis",
        ),
        (
            lambda table: table.rename(index=lambda image_id: image_id.lower()),
            "60 of 60 lesions of {truth} are missing: "
            "ISIC_0000000, ISIC_0000001, ISIC_0000002, ISIC_0000003, ISIC_0000004, ...; "
            "60 of 60 lesions are not in {truth}: "
            "isic_0000000, isic_0000001, isic_0000002, isic_0000003, isic_0000004, ...",
        ),
        (lambda table: table * np.nan, "no score at all. Give each lesion a score in [0, 1]."),
    ],
)
def test_a_bad_submission_is_refused_in_one_line(files, tmp_path, change, message):
    table = pd.read_csv(files / "ours.csv", index_col=0)
    path = write(tmp_path / "bad.csv", change(table))
    text = pd.read_csv(path, dtype=str)
    first = ", ".join(f"{one.image_id} {one.melanoma!r}" for one in text.head(5).itertuples() if "image_id" in text)
    with pytest.raises(DatasetError) as caught:
        score(path, files / "truth.csv", replicates=REPLICATES)
    assert str(caught.value) == f"{path}: " + message.format(truth=files / "truth.csv", first=f"{first}, ...")


def test_a_bad_file_to_compare_with_is_named(files, tmp_path):
    table = pd.read_csv(files / "ours.csv", index_col=0)
    path = write(tmp_path / "short.csv", table.iloc[1:])
    with pytest.raises(DatasetError) as caught:
        score(files / "ours.csv", files / "truth.csv", path, REPLICATES)
    assert str(caught.value) == f"{path}: 1 of 60 lesions of {files / 'truth.csv'} are missing: ISIC_0000000"


@pytest.mark.parametrize(
    "content", [b"", b"image_id,melanoma,seborrheic_keratosis\n", b"\xff\x00\x81\xfe", b"a,b\n1\n"]
)
def test_a_file_that_is_no_table_is_refused_in_one_line(files, tmp_path, content):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        score(path, files / "truth.csv")
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_in_one_line(files):
    with pytest.raises(DatasetError) as caught:
        score(files / "none.csv", files / "truth.csv")
    assert str(caught.value).startswith(f"{files / 'none.csv'}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("melanoma", "keratosis", "message"),
    [
        ("0.5", "0", "1 lesions have a label that is not 0 or 1: A"),
        ("", "0", "1 lesions have a label that is not 0 or 1: A"),
        ("1", "1", "1 lesions are of both classes: A"),
    ],
)
def test_a_bad_truth_is_refused_in_one_line(tmp_path, melanoma, keratosis, message):
    path = tmp_path / "truth.csv"
    path.write_text(f"image_id,melanoma,seborrheic_keratosis\nA,{melanoma},{keratosis}\nB,0,1\n")
    with pytest.raises(DatasetError) as caught:
        read_labels(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.slow
def test_the_33126_images_of_a_later_challenge_are_scored_in_seconds_of_little_memory(tmp_path):
    """The given fault: 3,000 rows in 11 s, 10,000 not in 400 s, 30,000 a MemoryError."""
    generator = np.random.default_rng(0)
    truth = pd.DataFrame({"image_id": [f"ISIC_{number:07d}" for number in range(33_126)]})
    truth["melanoma"] = (generator.random(len(truth)) < 0.0176).astype(int)
    truth["seborrheic_keratosis"] = (generator.random(len(truth)) < 0.1).astype(int) * (1 - truth["melanoma"])
    scores = truth.assign(**{name: 0.3 * truth[name] + 0.7 * generator.random(len(truth)) for name in CLASSES})
    truth.to_csv(tmp_path / "truth.csv", index=False)
    scores.to_csv(tmp_path / "scores.csv", index=False)
    script = (
        "import os, sys; from pathlib import Path; from arlrepro.evaluation.submission import score\n"
        "score(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        # Reason: getrusage would give the memory of this process, if it is larger: a fork's peak survives its exec.
        "peak = next(one for one in open('/proc/self/status') if one.startswith('VmHWM'))\n"
        "print(sum(os.times()[:2]), int(peak.split()[1]) / 1e6)"
    )
    command = [sys.executable, "-c", script, tmp_path / "scores.csv", tmp_path / "truth.csv"]
    seconds, gigabytes = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert seconds < 10 and gigabytes < 1


def test_the_report_names_its_files(files, report):
    assert (report.predictions, report.against) == (files / "ours.csv", files / "theirs.csv")
    assert to_text(report).startswith(f"{Path(files / 'ours.csv')} minus {files / 'theirs.csv'}: 60 lesions of ")
