"""A run's folder: what is written comes back, and what is no run is refused in one line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arlrepro.errors import RunError
from arlrepro.profiles import SMOKE
from arlrepro.registry import CLASSES
from arlrepro.runs.archive import FILES, read_run, write_lesions, write_run
from arlrepro.runs.study import Study, list_runs, read_study
from arlrepro.storage import MANIFEST
from helpers.made_runs import small_run


@pytest.fixture
def written(tmp_path):
    run = small_run()
    (tmp_path / run.id).mkdir()
    write_run(run, tmp_path / run.id)
    return tmp_path / run.id


@pytest.fixture
def older(written):
    """The same, as runs were written before they had a manifest."""
    (written / MANIFEST).unlink()
    return written


def refusal(folder: Path) -> str:
    with pytest.raises(RunError) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(folder)).removeprefix("/")


def test_a_run_that_is_written_comes_back(written):
    run, again = small_run(), read_run(written)
    assert (again.experiment, again.seed, again.data_fingerprint) == (run.experiment, run.seed, run.data_fingerprint)
    for name in ("history", "attention", "predictions"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(run, name), check_dtype=False)
    pd.testing.assert_frame_equal(again.measures["focus"], run.measures["focus"])
    assert again.environment == run.environment


def test_scores_come_back_exactly_as_float32(written):
    ours, theirs = (one.predictions["melanoma"].to_numpy(np.float32) for one in (small_run(), read_run(written)))
    assert (ours == theirs).all()


def test_metrics_are_the_ones_on_disk_and_follow_the_contract(written):
    stored = json.loads((written / "metrics.json").read_text())
    assert stored == read_run(written).metrics
    assert set(stored) == {"validation", "test"}
    figures = stored["test"]["melanoma"]
    assert {"auc", "auc_ci", "accuracy", "sensitivity", "specificity"} <= set(figures)
    low, high = figures["auc_ci"]
    assert 0 <= low <= figures["auc"] <= high <= 1
    assert stored["test"]["mean_auc"] == pytest.approx(np.mean([stored["test"][name]["auc"] for name in CLASSES]))


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RunError, match=r"no such run; `arlrepro reproduce` makes the runs of a profile$"):
        read_run(tmp_path / "none")


def test_a_folder_that_lacks_files_is_no_finished_run(written):
    (written / "history.csv").unlink()
    (written / "metrics.json").unlink()
    message = f"^{re.escape(str(written))}: not a finished run, it lacks history.csv, metrics.json; train it again"
    with pytest.raises(RunError, match=message):
        read_run(written)


def test_an_archive_of_another_version_is_refused(older):
    stored = yaml.safe_load((older / "config.yaml").read_text())
    (older / "config.yaml").write_text(yaml.safe_dump({**stored, "format": 99}))
    assert refusal(older) == (
        "config.yaml: format 99, this version of arlrepro reads format 1; use the version that wrote it, or train the "
        "run again"
    )


def test_a_folder_whose_config_is_anothers_is_refused(written):
    renamed = written.rename(written.with_name("resnet14-joint-s7-00000000"))
    with pytest.raises(
        RunError, match=rf"its config is that of {small_run().id}; give the folder that name or remove it$"
    ):
        read_run(renamed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(melanoma=t["melanoma"] + 1), "24 scores are outside [0, 1]: MADE_00, MADE_01, MADE_02"),
        (lambda t: pd.concat([t, t.head(1)]), "1 image ids stand twice: MADE_00"),
        (lambda t: t.drop(columns="split"), "columns ['image_id', 'melanoma'"),
        (lambda t: t.assign(melanoma=np.nan), "no score for melanoma, which joint scores"),
        (lambda t: t.assign(melanoma="high"), "not only numbers in melanoma"),
        (lambda t: t.assign(melanoma_label=2), "24 labels are not 0 or 1: MADE_00"),
        (lambda t: t.assign(split="all"), "24 rows are of no split (training, validation, test): MADE_00"),
        (lambda t: t.head(0), "no rows"),
    ],
)
def test_bad_predictions_are_refused(older, change, message):
    change(pd.read_csv(older / "predictions.csv")).to_csv(older / "predictions.csv", index=False)
    assert refusal(older).startswith(f"predictions.csv: {message}")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_any_byte_of_a_run_that_changes_is_noticed(written, data):
    path = data.draw(st.sampled_from(sorted(written.iterdir())))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    try:
        assert refusal(written)
    finally:
        path.write_bytes(whole)


DAMAGE = {
    "is empty": lambda whole: b"",
    "is cut off": lambda whole: whole[: len(whole) // 2],
    "is text": lambda whole: b"thesis, chapter 1: the end",
    "is a picture": lambda whole: b"\x89PNG\r\n\x1a\n\x00\xff\xfe",
    "is nested": lambda whole: b"[" * 100_000,
    "has a number of 5,000 digits": lambda whole: whole.replace(b"1", b"1" * 5000, 1),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", sorted({*FILES, "focus.csv"} - {"attention.csv"}))
def test_a_file_without_a_checksum_that_is_damaged_is_named_in_one_line(older, name, damage):
    path = older / name
    path.write_bytes(damage(path.read_bytes()))
    try:
        read_run(older)
    except RunError as error:
        assert str(error).startswith(f"{older}") and "\n" not in str(error) and len(str(error)) < 700
        assert path.name in str(error) or name == "config.yaml"  # half of a config may be another run's
    else:  # half of a table is a table, and a long number a number
        assert name in ("history.csv", "focus.csv") or damage is DAMAGE["has a number of 5,000 digits"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.yaml", lambda stored: stored.pop("seed"), "no seed"),
        ("config.yaml", lambda stored: stored.update(seed="one"), "seed must be a whole number"),
        ("config.yaml", lambda stored: stored.update(task="cancer"), "unknown task 'cancer'; known: "),
        ("environment.json", lambda stored: stored.pop("seconds"), "without seconds, or not as a run writes it"),
        ("environment.json", lambda stored: stored.update(packages=[]), "without packages, or not as a run writes it"),
        ("metrics.json", lambda stored: stored.pop("test"), "not the metrics of predictions.csv beside it"),
        ("metrics.json", lambda stored: stored["test"].update(mean_auc=0.9), "not the metrics of predictions.csv"),
    ],
)
def test_a_file_without_a_key_or_with_another_value_is_refused(older, name, change, message):
    path = older / name
    stored = yaml.safe_load(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))
    assert refusal(older).startswith(f"{name}: {message}")


@pytest.mark.parametrize("name", ["focus.csv", "SHA256SUMS", "history.csv"])
def test_a_file_that_is_gone_is_missed(written, name):
    (written / name).unlink()
    if name == "SHA256SUMS":
        assert read_run(written).id == written.name  # as runs were written before
    else:
        assert refusal(written).startswith(f": not a finished run, it lacks {name};")


def test_a_table_that_was_put_beside_a_run_is_refused(written):
    (written / "removal.csv").write_text("image_id,removed,melanoma,seborrheic_keratosis\n")
    assert "not in its SHA256SUMS" in refusal(written)


def test_half_the_lesions_dropped_from_every_run_are_missed(tmp_path):
    """The given fault: each run alone is sound, its manifest too; only the list of lesions tells."""
    run = small_run()
    write_lesions(run, tmp_path)
    for changed, message in (
        (run.predictions.iloc[::2], "12 of 24 lesions that it must score are missing, by "),
        (run.predictions.assign(image_id=[f"x{n}" for n in range(24)]), "24 of 24 lesions that it must score are miss"),
        (run.predictions.assign(melanoma_label=run.predictions["seborrheic_keratosis_label"]), "16 lesions have "),
        (pd.concat([run.predictions, run.predictions.head(1).assign(image_id="x")]), "1 of 25 lesions are none of "),
    ):
        folder = tmp_path / "smoke" / run.id
        folder.mkdir(parents=True, exist_ok=True)
        write_run(replace(run, predictions=changed), folder)
        assert refusal(folder).startswith(f"predictions.csv: {message}")
    write_run(run, folder)
    assert read_run(folder).id == run.id


def test_a_study_reads_the_runs_of_its_own_experiments_and_names_what_is_missing(tmp_path):
    other = replace(SMOKE.experiment, train=replace(SMOKE.experiment.train, epochs=7))
    for run in (small_run("resnet14"), small_run("arl_cnn14"), small_run("arl_cnn14", experiment=other)):
        (tmp_path / run.id).mkdir()
        write_run(run, tmp_path / run.id)
    profile = replace(SMOKE, seeds=(0, 1))
    study = read_study(profile, tmp_path)
    assert [run.id for run in study.runs] == [small_run("resnet14").id, small_run("arl_cnn14").id]
    assert study.missing == [small_run("resnet14", 1).id, small_run("arl_cnn14", 1).id]
    assert len(list_runs(tmp_path)) == 3


def test_pairs_share_their_seed():
    runs = [small_run("resnet14", seed) for seed in (0, 2, 1)] + [small_run("arl_cnn14", seed) for seed in (2, 0)]
    pairs = Study(SMOKE, tuple(runs)).pairs("arl_cnn14", "resnet14")
    assert [(one.seed, other.seed) for one, other in pairs] == [(0, 0), (2, 2)]


def test_a_folder_that_is_not_there_holds_no_runs(tmp_path):
    assert read_study(SMOKE, tmp_path / "none").runs == ()
