"""Calibration, operating points and agreement of made studies."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

from arlrepro.book.figures import curves
from arlrepro.book.tables import baselines, calibration
from arlrepro.profiles import ISIC2017_256
from arlrepro.runs.baselines import subgroups
from arlrepro.runs.study import Study
from helpers.made_runs import made_run, made_study, scores, separate_tasks, truth

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
STUDY = made_study(GAINS, seeds=(0, 1))
EMPTY = Study(ISIC2017_256, ())


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_calibration_has_a_row_a_network_and_task():
    table = calibration.calibration(STUDY)
    assert table["network"].tolist() == ["ResNet-14", "ResNet-14", "ARL-CNN14", "ARL-CNN14"]
    assert table.loc[0, "prevalence"] == "0.200"  # 12 of 60
    assert " to " in table.loc[0, "temperature"]


def test_scores_that_are_the_truth_are_calibrated():
    experiment = ISIC2017_256.experiments()[0]
    study = Study(ISIC2017_256, (made_run(experiment, 0, truth().astype(float)),))
    assert calibration.calibration(study)["ECE"].tolist() == ["0.000", "0.000"]


def test_operating_points_find_on_test_what_they_find_on_equal_validation():
    table = calibration.operating_points(STUDY).set_index(["network", "task", "threshold"])
    row = table.loc[("ARL-CNN14", "melanoma", "sensitivity 80% on validation")]
    assert row["SEN [95 % CI]"].startswith("0.833 [")  # 10 of 12, the first share that reaches 80 %
    assert table.loc[("ARL-CNN14", "melanoma", "one half"), "its value"] == "0.500"


def test_thresholds_come_from_validation_alone():
    run = STUDY.runs[0]
    on_test = run.predictions["split"] == "test"
    moved = run.predictions.assign(melanoma=np.where(on_test, 0.0, run.predictions["melanoma"]))
    before, after = (
        calibration.operating_points(Study(ISIC2017_256, (one,))).set_index(["task", "threshold"])
        for one in (run, replace(run, predictions=moved))
    )
    assert before["its value"].equals(after["its value"])
    assert after.loc[("melanoma", "sensitivity 80% on validation"), "SEN [95 % CI]"].startswith("0.000 [")


def test_patches_of_each_size_are_ranked_alone_and_runs_without_the_measure_are_counted():
    of_scale = pd.DataFrame(
        {"scale": [0.5, 1.0], "patches": [2, 1], "class": "melanoma", "auc": [0.6, 0.8], "low": 0.5, "high": 0.9}
    )
    assert calibration.by_scale(STUDY)["patch"].tolist() == ["not measured"] * 2
    assert len(calibration.by_scale(EMPTY)) == 0
    first, *rest = STUDY.runs
    study = replace(STUDY, runs=(replace(first, measures={"scales": of_scale}), *rest))
    table = calibration.by_scale(study)
    table = table[table["network"] == "ResNet-14"]
    assert table["patch"].tolist() == ["50% of the side", "whole image", "all together"]
    assert table["AUC, melanoma"].tolist() == ["0.600", "0.800", f"{first.metrics['test']['melanoma']['auc']:.3f}"]
    assert table["runs"].tolist() == ["1 of 2"] * 3


def test_a_network_agrees_wholly_with_itself():
    arl = made_study({"arl_cnn14": 0.1}, seeds=(0,)).runs[0]
    copies = tuple(
        made_run(experiment, 0, scores(0.1, 0)) if experiment.network.name == "resnet14" else arl
        for experiment in ISIC2017_256.experiments()
    )
    table = calibration.agreement(Study(ISIC2017_256, copies))
    assert table["pair"].tolist() == ["ResNet-14 and ARL-CNN14"] * 2
    assert table["correlation of scores"].tolist() == ["1.00", "1.00"]
    assert table["correlation of AUC estimates"].tolist() == ["1.00", "1.00"]


def test_agreement_compares_seeds_and_networks():
    table = calibration.agreement(STUDY)
    assert table["pair"].tolist()[:3] == [
        *("two seeds of ResNet-14", "two seeds of ARL-CNN14", "ResNet-14 and ARL-CNN14")
    ]
    assert table["pairs"].tolist()[:3] == [1, 1, 2]


def test_a_single_seed_has_no_other_to_agree_with():
    table = calibration.agreement(made_study(GAINS, seeds=(0,)))
    assert table["pair"].unique().tolist() == ["ResNet-14 and ARL-CNN14"]


def people_of(split: str) -> pd.DataFrame:
    """Ages and sexes of the made lesions but the last two: every second a woman's, ages 30, 50 and 70 in turn."""
    ids = STUDY.runs[0].of(split).index[:-2]
    sexes = np.where(np.arange(len(ids)) % 2 == 0, "female", "male")
    return pd.DataFrame({"image_id": ids, "age": np.resize([30.0, 50.0, 70.0], len(ids)), "sex": sexes})


def test_subgroups_count_their_lesions_and_score_them_alone():
    found = subgroups(STUDY, people_of("validation"))
    assert set(found["seeds"]) == {"seeds 0, 1"}
    table = baselines.subgroups_table(found).reset_index()
    of_melanoma = table[(table["network"] == "ARL-CNN14") & (table["task"] == "melanoma")].set_index("group")
    assert of_melanoma["lesions"].tolist() == [58, 29, 29, 20, 19, 19]
    assert of_melanoma["diseased"].tolist() == [12, 6, 6, 4, 4, 4]  # the first twelve lesions
    runs = STUDY.of("arl_cnn14")
    women = [run.of("validation").iloc[:58:2] for run in runs]
    expected = np.mean([roc_auc_score(one["melanoma_label"], one["melanoma"]) for one in women])
    assert of_melanoma.loc["female", "AUC [95 % CI]"].startswith(f"{expected:.3f} [")


def test_a_group_without_diseased_lesions_has_a_specificity_alone():
    people = people_of("test")
    healthy = people.assign(sex=np.where(np.arange(len(people)) < 21, "male", "female"))
    row = baselines.subgroups_table(subgroups(STUDY, healthy, "test"))
    row = row.loc[("ResNet-14", "melanoma", "female")]
    assert (row["diseased"], row["AUC [95 % CI]"], row["SEN [95 % CI]"]) == (0, "", "")
    assert row["SPE [95 % CI]"] != ""


def test_without_known_people_there_is_no_group():
    assert len(baselines.subgroups_table(subgroups(STUDY, people_of("test").iloc[:0], "test"))) == 0


@pytest.mark.parametrize("table", [calibration.calibration, calibration.operating_points, calibration.agreement])
def test_tables_of_a_study_without_runs_are_empty(table):
    assert len(table(EMPTY)) == 0


@pytest.mark.parametrize("draw", [curves.reliability, curves.decision_curve])
def test_figures_have_a_panel_a_task_and_a_curve_a_network(draw):
    panels = draw(STUDY).axes
    assert [panel.get_title() for panel in panels] == ["melanoma", "seborrheic keratosis"]
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["ResNet-14", "ARL-CNN14"]


@pytest.mark.parametrize("draw", [curves.reliability, curves.decision_curve])
def test_figures_of_a_study_without_runs_say_so(draw):
    assert repr(draw(EMPTY)) == "No completed run of isic2017-256 yet."


def test_networks_of_one_task_stand_in_its_panel_alone():
    study = made_study(GAINS, seeds=(0,), profile=separate_tasks())
    melanoma = replace(study, runs=tuple(run for run in study.runs if run.experiment.task == "melanoma"))
    left, right = curves.reliability(melanoma).axes
    assert (len(left.lines), len(right.lines)) == (5, 1)
