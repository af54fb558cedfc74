"""Baselines: numbers a reader can count, and a class that colour, or age and sex, tells is told."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from arlrepro.data.isic import read_dataset
from arlrepro.data.synthetic.dataset import write_dataset
from arlrepro.errors import DatasetError
from arlrepro.runs.archive import PREDICTION_COLUMNS
from arlrepro.runs.baselines import (
    PEOPLE_COLUMNS,
    PERCENTILES,
    SQUARES,
    colour_statistics,
    people,
    score_by_age_and_sex,
    score_by_colour,
)
from helpers.made_people import drawn_people


def test_statistics_of_a_square_are_its_pixels():
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[2:6, 2:6, 0] = 200  # red, in the middle half
    found = colour_statistics(pixels).reshape(len(SQUARES), 2 + len(PERCENTILES), 3)
    assert found[0, 0].tolist() == [50.0, 0.0, 0.0], "a quarter of the image at 200"
    assert found[1, 0].tolist() == found[2, 0].tolist() == [200.0, 0.0, 0.0]
    assert found[1, 1].tolist() == [0.0, 0.0, 0.0]


def test_a_class_that_colour_tells_is_told_on_lesions_never_fitted(tmp_path):
    write_dataset(tmp_path / "drawn", side=16, counts={"training": 30, "validation": 12, "test": 12}, workers=1)
    dataset = read_dataset(tmp_path / "drawn")
    pixels = np.full((len(dataset.lesions), 16, 16, 3), 150, dtype=np.uint8)
    pixels[dataset.lesions["melanoma"].to_numpy() == 1, :, :, 2] += 40
    scores = score_by_colour(dataset.lesions, list(dataset.lesions.index), pixels)
    assert list(scores.columns) == PREDICTION_COLUMNS
    assert scores["split"].value_counts().to_dict() == {"validation": 12, "test": 12}
    assert roc_auc_score(scores["melanoma_label"], scores["melanoma"]) == 1.0
    assert scores[["melanoma", "seborrheic_keratosis"]].stack().between(0, 1).all()


def test_people_are_those_of_whom_both_age_and_sex_are_known():
    lesions = drawn_people(8)
    lesions.iloc[0, 1], lesions.iloc[1, 2] = np.nan, ""
    known = people(lesions)
    assert list(known.columns) == PEOPLE_COLUMNS
    assert known["image_id"].tolist() == [f"MADE_{n:03d}" for n in range(2, 8)]


def test_a_class_that_age_tells_is_told_on_lesions_never_fitted():
    scores = score_by_age_and_sex(people(drawn_people()))
    assert list(scores.columns) == PREDICTION_COLUMNS
    for split, count in (("training", 80), ("validation", 40)):
        of_split = scores[scores["split"] == split]
        assert len(of_split) == count
        assert roc_auc_score(of_split["melanoma_label"], of_split["melanoma"]) == 1.0
        assert roc_auc_score(of_split["seborrheic_keratosis_label"], of_split["seborrheic_keratosis"]) == 1.0


def test_training_lesions_are_scored_by_models_that_have_not_seen_them():
    known = people(drawn_people())
    known["melanoma"] = np.random.default_rng(0).permutation(known["melanoma"])
    known["age"] = np.random.default_rng(1).uniform(20, 80, len(known))  # nothing to learn, much to memorise
    training = score_by_age_and_sex(known).query("split == 'training'")
    assert roc_auc_score(training["melanoma_label"], training["melanoma"]) < 0.6


def test_a_class_that_is_hardly_there_is_refused():
    lesions = drawn_people().assign(melanoma=0)
    with pytest.raises(DatasetError) as error:
        score_by_age_and_sex(people(lesions))
    assert str(error.value) == "a regression on age and sex needs two training lesions with melanoma; got 0"
