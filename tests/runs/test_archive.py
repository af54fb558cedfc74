"""A run's folder: what is written comes back, and what is no run is refused in one line."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from arlrepro.errors import RunError
from arlrepro.profiles import SMOKE
from arlrepro.registry import CLASSES
from arlrepro.runs.archive import read_run, write_run
from arlrepro.runs.study import Study, list_runs, read_study
from helpers.made_runs import small_run


@pytest.fixture
def written(tmp_path):
    run = small_run()
    (tmp_path / run.id).mkdir()
    write_run(run, tmp_path / run.id)
    return tmp_path / run.id


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


def test_an_archive_of_another_version_is_refused(written):
    stored = yaml.safe_load((written / "config.yaml").read_text())
    (written / "config.yaml").write_text(yaml.safe_dump({**stored, "format": 99}))
    with pytest.raises(
        RunError, match=r"config.yaml: format 99, this version of arlrepro reads format 1; use the version"
    ):
        read_run(written)


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
    ],
)
def test_bad_predictions_are_refused(written, change, message):
    change(pd.read_csv(written / "predictions.csv")).to_csv(written / "predictions.csv", index=False)
    with pytest.raises(RunError, match=re.escape(message)):
        read_run(written)


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
