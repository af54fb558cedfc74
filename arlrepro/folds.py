"""Cross-validation over the images of all splits: which lesions train, validate and test in a fold.

Images that may show the same lesion stay together, or a network would be tested on what it was trained on.
"""

import numpy as np
import pandas as pd
from jaxtyping import Integer, UInt8
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from arlrepro.config import CLASSES
from arlrepro.duplicates import near_duplicates, thumbnail


def look_alikes(pixels: UInt8[np.ndarray, "images side side 3"]) -> Integer[np.ndarray, " images"]:
    """Number the images so that those which may show the same lesion have one number, also through a third image.

    Args:
        pixels: decoded images, as `cache.prepare` gives them.

    Returns:
        One number an image, from 0.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
        >>> look_alikes(noise[[0, 1, 0, 2]]).tolist()
        [0, 1, 0, 2]
    """
    thumbnails = np.stack([thumbnail(Image.fromarray(np.asarray(one))) for one in pixels])
    pairs = [(match.first, match.second) for match in near_duplicates(thumbnails, thumbnails)]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(len(pixels), len(pixels)))
    return connected_components(graph, directed=False)[1]


def assign(
    kinds: Integer[np.ndarray, " lesions"], groups: Integer[np.ndarray, " lesions"], folds: int, seed: int
) -> Integer[np.ndarray, " lesions"]:
    """Deal lesions into folds: each kind as evenly as the groups allow, each group into one fold.

    Args:
        kinds: number of the lesion's kind.
        groups: from `look_alikes`.
        folds: how many.
        seed: another seed deals otherwise: a repetition.

    Returns:
        The fold of each lesion, from 0.

    Source:
        scikit-learn's StratifiedGroupKFold.
    """
    dealt = np.empty(len(kinds), dtype=np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(kinds, kinds, groups)):
        dealt[held_out] = fold
    return dealt


def with_fold(
    lesions: pd.DataFrame, groups: Integer[np.ndarray, " lesions"], folds: int, fold: int, seed: int
) -> pd.DataFrame:
    """The lesions with the splits of one fold: it tests, the next one validates, the others train.

    Args:
        lesions: as `IsicDataset.lesions`, of all splits.
        groups: from `look_alikes`, in the same order.
        folds: how many.
        fold: which, from 0.
        seed: of the repetition.

    Returns:
        The same lesions in the same order, with another column `split`.
    """
    kinds = lesions[list(CLASSES)].to_numpy() @ np.arange(1, len(CLASSES) + 1)
    dealt = assign(kinds, groups, folds, seed)
    roles = {fold: "test", (fold + 1) % folds: "validation"}
    return lesions.assign(split=[roles.get(one, "training") for one in dealt])
