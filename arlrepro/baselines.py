"""What no network gives: a logistic regression on colour statistics, scored on the same lesions as the networks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arlrepro.archive import PREDICTION_COLUMNS
from arlrepro.config import CLASSES

#: Shares of the side whose central square is described: all of the image, its middle, the middle of that.
SQUARES = (1.0, 0.5, 0.25)
PERCENTILES = (5, 25, 75, 95)
REGULARISATION = 0.1  # scikit-learn's C, fixed beforehand; our choice


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
        model = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=2000))
        model.fit(features[is_training], labels[is_training])
        table[name] = model.predict_proba(features[~is_training])[:, 1]
        table[f"{name}_label"] = labels[~is_training]
    return table[PREDICTION_COLUMNS]
