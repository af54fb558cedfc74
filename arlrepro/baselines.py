"""What no network gives: logistic regressions on colour statistics, and on age and sex, beside the networks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from arlrepro.archive import PREDICTION_COLUMNS
from arlrepro.config import CLASSES
from arlrepro.errors import DatasetError

#: Shares of the side whose central square is described: all of the image, its middle, the middle of that.
SQUARES = (1.0, 0.5, 0.25)
PERCENTILES = (5, 25, 75, 95)
REGULARISATION = 0.1  # scikit-learn's C, fixed beforehand; our choice
PEOPLE_COLUMNS = ["image_id", "split", "age", "sex", *CLASSES]
FOLDS = 5


def _regression() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=2000))


def colour_statistics(pixels: UInt8[np.ndarray, "side side 3"]) -> Float[np.ndarray, " features"]:
    """Mean, standard deviation and four percentiles of each channel, in three central squares: 54 numbers.

    Example:
        >>> colour_statistics(np.full((8, 8, 3), 100, dtype=np.uint8))[:4].tolist()
        [100.0, 100.0, 100.0, 0.0]
    """
    side, found = len(pixels), []
    for share in SQUARES:
        edge = round(side * (1 - share) / 2)
        square = pixels[edge : side - edge, edge : side - edge].reshape(-1, 3).astype(np.float64)
        found += [square.mean(axis=0), square.std(axis=0), *np.percentile(square, PERCENTILES, axis=0)]
    return np.concatenate(found)


def score_by_colour(
    lesions: pd.DataFrame, image_ids: Sequence[str], pixels: UInt8[np.ndarray, "images side side 3"]
) -> pd.DataFrame:
    """Fit a logistic regression for each class on the training lesions and score the held-out ones.

    Args:
        lesions: split and labels by image id, as `IsicDataset.lesions`.
        image_ids: of the images, in their order.
        pixels: decoded images, as `cache.prepare` gives them.

    Returns:
        The columns of a run's `predictions.csv`; scores in [0, 1].
    """
    lesions = lesions.loc[list(image_ids)]
    # Reason: every second pixel has the same statistics, to the second decimal, at a quarter of the cost.
    features = np.stack([colour_statistics(one[::2, ::2]) for one in pixels])
    is_training = (lesions["split"] == "training").to_numpy()
    table = lesions.loc[~is_training, ["split"]].rename_axis("image_id").reset_index()
    for name in CLASSES:
        labels = lesions[name].to_numpy()
        model = _regression().fit(features[is_training], labels[is_training])
        table[name] = model.predict_proba(features[~is_training])[:, 1]
        table[f"{name}_label"] = labels[~is_training]
    return table[PREDICTION_COLUMNS]


def people(lesions: pd.DataFrame) -> pd.DataFrame:
    """The lesions whose patient's age and sex are both known, with their labels; see `PEOPLE_COLUMNS`.

    Args:
        lesions: as `IsicDataset.lesions`.
    """
    known = lesions[lesions["age"].notna() & (lesions["sex"] != "")]
    return known.rename_axis("image_id").reset_index()[PEOPLE_COLUMNS]


def score_by_age_and_sex(known: pd.DataFrame) -> pd.DataFrame:
    """Fit a logistic regression for each class on age, its square and sex of the training lesions, and score all.

    Args:
        known: from `people`.

    Returns:
        The columns of a run's `predictions.csv`. Training lesions are scored out of fold, by a model of the other four
        fifths; those of another split by the model of all training lesions. Scores in [0, 1].

    Raises:
        DatasetError: fewer than two training lesions of a class.
    """
    age = known["age"].to_numpy(dtype=np.float64)
    features = np.stack([age, age**2, known["sex"] == "female"], axis=1).astype(np.float64)
    is_training = (known["split"] == "training").to_numpy()
    table = known[["image_id", "split"]].copy()
    for name in CLASSES:
        labels = known[name].to_numpy(dtype=np.int64)
        if (fewest := int(np.bincount(labels[is_training], minlength=2).min())) < 2:
            raise DatasetError(f"a regression on age and sex needs two training lesions with {name}; got {fewest}")
        scores = np.empty(len(known))
        if not is_training.all():
            model = _regression().fit(features[is_training], labels[is_training])
            scores[~is_training] = model.predict_proba(features[~is_training])[:, 1]
        folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
        scores[is_training] = cross_val_predict(
            _regression(), features[is_training], labels[is_training], cv=folds, method="predict_proba"
        )[:, 1]
        table[name], table[f"{name}_label"] = scores, labels
    return table[PREDICTION_COLUMNS]
