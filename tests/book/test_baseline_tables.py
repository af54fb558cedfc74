"""What stands beside the runs: look-alikes by a report, scores without a network, groups of people."""

import json

import pandas as pd
import pytest

from arlrepro import paths
from arlrepro.book.tables import baselines
from arlrepro.evaluation import formatting
from arlrepro.paths import RESULTS
from arlrepro.profiles import ISIC2017_256, SMOKE, profile
from arlrepro.runs import estimates
from arlrepro.runs.baselines import AGE_AND_SEX, SUBGROUPS, people, score_by_age_and_sex
from arlrepro.runs.study import Study, read_study
from helpers.made_people import drawn_people
from helpers.made_runs import small_run

PAIR = {
    "first": "MADE_00",
    "second": "MADE_12",
    "first_split": "validation",
    "second_split": "test",
    "is_identical": True,
    "hash_bits": 0,
    "correlation": 1.0,
}


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """One run, and a report that finds one of its test lesions in the validation split too."""
    monkeypatch.setattr(paths, "archived_folder", lambda _profile: tmp_path)
    counts = {"test": {"images": 12, "melanoma": 4, "seborrheic_keratosis": 4, "neither": 4, "labels": "own"}}
    (tmp_path / baselines.DATA_REPORT).write_text(json.dumps({"counts": counts, "pairs": [PAIR]}))
    return Study(SMOKE, (small_run(),))


def test_a_lesion_with_a_twin_in_another_split_is_left_out_of_the_test_split_alone(study):
    without = baselines.without_near_duplicates(study).runs[0].predictions
    every = study.runs[0].predictions
    assert set(every["image_id"]) - set(without["image_id"]) == {"MADE_12"}
    assert len(without[without["split"] == "validation"]) == 12


def test_near_duplicates_say_whether_they_are_the_same_picture(study):
    table = baselines.near_duplicates(study)
    assert table.iloc[0].tolist() == ["MADE_00", "validation", "MADE_12", "test", "identical", 1.0]


def test_composition_is_the_reports_where_there_is_one(study):
    assert baselines.composition(study).loc["test"].tolist() == [12, 4, 4, 4]


def test_age_and_sex_stand_beside_the_runs_on_the_same_lesions(study, tmp_path):
    lesions = drawn_people(120)
    lesions.index = [*(f"TRAINED_{n}" for n in range(80)), *(f"MADE_{n:02d}" for n in range(40))]
    score_by_age_and_sex(people(lesions)).to_csv(tmp_path / AGE_AND_SEX, index=False)
    table = baselines.age_and_sex_baseline(study)
    assert table.index.tolist() == [
        ("training, out of fold", "age and sex, no network"),
        ("validation", "age and sex, no network"),
        ("validation", "ARL-CNN14, seed 0"),
    ]
    assert table["lesions"].tolist() == [80, 40, 12]
    assert table["AUC, melanoma"].iloc[0].startswith("1.000 [")


def test_a_network_stands_beside_colour_in_one_row_over_its_seeds(monkeypatch):
    monkeypatch.setattr(baselines, "_by_colour", lambda _study: {"mean_auc": 0.7, "mean_auc_ci": (0.6, 0.8)})
    study = Study(SMOKE, (small_run(seed=0), small_run(seed=1), small_run("resnet14")))
    table = baselines.colour_baseline(study)
    assert table.index.tolist() == [baselines.COLOUR_ALONE, "ResNet-14, seed 0", "ARL-CNN14, seeds 0, 1"]
    assert table.loc[baselines.COLOUR_ALONE].tolist() == ["", "", "0.700 [0.600, 0.800]"]
    over_seeds = estimates.metric(study, "arl_cnn14", "mean_auc").estimate
    assert table.loc["ARL-CNN14, seeds 0, 1", "mean AUC"] == over_seeds.text()


def test_without_known_ages_there_is_no_baseline_of_them(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "archived_folder", lambda _profile: tmp_path)
    assert len(baselines.age_and_sex_baseline(Study(ISIC2017_256, ()))) == 0


def test_figures_by_group_in_the_archive_are_those_of_its_runs():
    """`arlrepro baseline` writes them again when a run was added."""
    archived = sorted((paths.root() / RESULTS).glob(f"*/{SUBGROUPS}"))
    assert archived
    for path in archived:
        study = read_study(profile(path.parent.name), path.parent)
        for network, of_network in pd.read_csv(path).groupby("network"):
            assert set(of_network["seeds"]) == {formatting.seeds(tuple(run.seed for run in study.of(network)))}
