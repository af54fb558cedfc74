"""Cross-validation read from runs: by fold, together, and half done."""

from dataclasses import replace

import numpy as np
import pytest

from arlrepro.book.tables import comparison
from arlrepro.errors import MetricError, RunError
from arlrepro.evaluation.comparisons import cross_validated_difference
from arlrepro.profiles import DEMO, ISIC2017_256, ISIC2017_256_CV
from arlrepro.runs import crossvalidation
from arlrepro.runs.archive import read_run, write_run
from arlrepro.runs.study import Study
from helpers.made_runs import made_run, scores

PAIR = ("resnet14", "arl_cnn14")
GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
OURS = "ours [95 % CI]"


def made_folds(count: int) -> Study:
    """The first folds of the first repetition, each tested on scores of its own."""
    experiments = [one for one in ISIC2017_256_CV.experiments() if one.data.fold < count]
    return Study(
        ISIC2017_256_CV,
        tuple(made_run(one, 0, scores(GAINS[one.network.name], 10 + one.data.fold)) for one in experiments),
    )


WHOLE = made_folds(10)


def test_the_difference_is_nadeau_and_bengios_over_the_folds_differences():
    areas = {
        name: np.array([run.metrics["test"]["melanoma"]["auc"] for run in WHOLE.runs if run.network == name])
        for name in PAIR
    }
    found, folds = crossvalidation.difference(WHOLE, PAIR, "melanoma.auc")
    gains = areas["arl_cnn14"] - areas["resnet14"]
    assert found == cross_validated_difference(gains, 1 / 8)  # 275 lesions tested, 2,200 trained on
    assert found.value == pytest.approx(gains.mean())
    assert folds == 10
    assert found.standard_error**2 == pytest.approx((1 / 10 + 1 / 8) * gains.var(ddof=1))


def test_every_planned_fold_has_a_row_which_is_empty_where_it_is_not_there():
    table = comparison.by_fold(made_folds(3))
    assert table.index.tolist() == [("ARL-CNN14", seed, fold) for seed in (0, 1) for fold in range(10)]
    assert table["", "lesions"].tolist() == ["60"] * 3 + [""] * 17
    first = table.iloc[0]["AUC, melanoma"]
    assert float(first["difference"]) == pytest.approx(
        float(first["ARL-CNN14"]) - float(first["ResNet-14"]), abs=0.0011
    )
    assert (table.iloc[5] == "").all()


def test_differences_say_over_how_many_folds_they_are():
    table = comparison.cross_validated_differences(made_folds(3))
    assert table["folds"].tolist() == ["3 of 20"] * 3
    assert table[OURS].str.match(r"[+-]0\.\d{3} \[").all()


@pytest.mark.parametrize("folds", [0, 1])
def test_fewer_than_two_folds_give_a_table_that_says_so(folds):
    table = comparison.cross_validated_differences(made_folds(folds))
    assert table["folds"].tolist() == [f"{folds} of 20"] * 3
    assert (table[[OURS, "p", "p (Holm)"]] == "").all(axis=None)
    with pytest.raises(MetricError) as error:
        crossvalidation.difference(made_folds(folds), PAIR, "mean_auc")
    assert str(error.value) == f"the variance among folds needs at least two folds; got {folds}"


def test_an_empty_archive_is_said():
    assert crossvalidation.about(Study(ISIC2017_256_CV, ())) == (
        "0 of 40 planned runs of isic2017-256-cv are there:\n"
        "2 repetitions of 10 folds for each of ResNet-14, ARL-CNN14."
    )
    assert crossvalidation.about(WHOLE).startswith("20 of 40 planned runs")


def test_a_profile_without_cross_validation_says_so_and_has_no_rows():
    study = crossvalidation.read(DEMO)
    assert crossvalidation.about(study) == "No cross-validation is planned for demo."
    assert len(comparison.by_fold(study)) == 0


def test_archived_folds_are_read_where_design_says(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    run = WHOLE.runs[0]
    folder = tmp_path / "results" / "isic2017-256-cv" / run.id
    folder.mkdir(parents=True)
    write_run(run, folder)
    assert read_run(folder).experiment.data.fold == 0
    assert [one.id for one in crossvalidation.read(ISIC2017_256).runs] == [run.id]


def test_runs_tested_on_other_lesions_are_not_compared():
    first, second, *rest = WHOLE.runs
    moved = second.predictions.assign(image_id=second.predictions["image_id"] + "x")
    study = replace(WHOLE, runs=(first, replace(second, predictions=moved), *rest))
    with pytest.raises(RunError) as error:
        crossvalidation.difference(study, PAIR, "mean_auc")
    assert str(error.value) == f"{first.id} and {second.id} have not the same test lesions; make both again"


def test_out_of_fold_scores_are_those_of_the_fold_that_held_the_lesion_out():
    runs = []
    for run in WHOLE.runs:  # made lesions have the same names in each fold; here six lesions a fold
        tested = run.predictions[run.predictions["split"] == "test"].iloc[run.experiment.data.fold :: 10]
        runs.append(replace(run, predictions=tested))
    pooled = crossvalidation.out_of_fold(replace(WHOLE, runs=tuple(runs)))
    assert [run.network for run in pooled.runs] == list(PAIR)
    first = pooled.runs[0].of("test")
    assert len(first) == 60
    held_out = runs[2 * 3].of("test")  # fold 3 of the first network
    assert first.loc[held_out.index, "melanoma"].equals(held_out["melanoma"])


def test_a_repetition_that_lacks_a_fold_has_no_out_of_fold_scores():
    assert crossvalidation.out_of_fold(made_folds(9)).runs == ()
