"""Colour statistics: numbers a reader can count, and a class that colour tells is told."""

import numpy as np
from sklearn.metrics import roc_auc_score

from arlrepro.archive import PREDICTION_COLUMNS
from arlrepro.baselines import PERCENTILES, SQUARES, colour_statistics, score_by_colour
from arlrepro.isic import read_dataset
from arlrepro.synthetic import write_dataset


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
