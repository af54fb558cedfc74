"""The images of an experiment: found or drawn, decoded once, dealt into splits or into the folds of a cross-validation.

Images that may show the same lesion stay together, or a network would be tested on what it was trained on.
"""

import ast
import hashlib
import inspect
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Integer
from sklearn.model_selection import StratifiedGroupKFold

from arlrepro.config import DataConfig, Experiment
from arlrepro.data import cache, isic
from arlrepro.data.synthetic import dataset as synthetic
from arlrepro.data.synthetic import scene, signs
from arlrepro.errors import ConfigError, DatasetError
from arlrepro.paths import root
from arlrepro.registry import CLASSES

if TYPE_CHECKING:
    import torch

    from arlrepro.data.patches import Lesions

DEFAULT_DATA = Path("data/isic2017")
EXTRA = "extra"  # folder beside the official files, as `arlrepro data extra` makes it
#: Synthetic lesions whose maps are archived with every run, so that the published book can show where a network looks.
GALLERY = (
    *(("melanoma", seed) for seed in (1, 2)),
    *(("seborrheic_keratosis", seed) for seed in (3, 4)),
    *(("nevus", seed) for seed in (5, 6)),
)


@dataclass(frozen=True)
class DataModule:
    """An experiment's images, decoded and on the device, a split at a time."""

    dataset: isic.IsicDataset
    images: cache.ImageArray
    device: "torch.device"

    @cached_property
    def groups(self) -> np.ndarray:
        """Which images may show the same lesion, see `duplicates.groups`."""
        from arlrepro.data import duplicates

        return duplicates.groups(self.images.pixels)

    def for_run(self, experiment: Experiment, seed: int) -> "DataModule":
        """The same images, in cross-validation with the splits of the experiment's fold; the seed draws the folds."""
        if not experiment.data.folds:
            return self
        lesions = with_fold(self.dataset.lesions, self.groups, experiment.data.folds, experiment.data.fold, seed)
        return replace(self, dataset=self.dataset.with_splits(lesions["split"]))

    def rows(self, split: str) -> np.ndarray:
        """The rows of the array that hold a split."""
        return np.flatnonzero(self.dataset.lesions["split"] == split)

    def lesions(self, split: str) -> "Lesions":
        """One split's images on the device."""
        rows = self.rows(split)
        if not len(rows):
            raise DatasetError(f"{self.dataset.root}: the {split} split has no images")
        return self.at(rows)

    def at(self, rows: np.ndarray) -> "Lesions":
        """Some rows of the array on the device."""
        from arlrepro.data.patches import Lesions

        ids = tuple(self.images.image_ids[row] for row in rows)
        labels = self.dataset.lesions.loc[list(ids), list(CLASSES)].to_numpy(dtype=np.int64)
        return Lesions.load(ids, self.images.pixels, labels, self.device, rows)


def open_data(config: DataConfig, data: str = "") -> isic.IsicDataset:
    """Open the images of an experiment; the synthetic set is drawn first where it is not there yet.

    Its folder is named after what is drawn and by which code, so that other code draws it again.

    Args:
        config: says which source.
        data: folder in the official layout; if empty, the environment variable ARLREPRO_DATA (an absolute path),
            else `data/isic2017`. Synthetic data have a place of their own.

    Raises:
        DatasetError: the folder is missing or not in the official layout.
    """
    if config.source == "synthetic":
        counts = dict(
            zip(
                ("training", "validation", "test"),
                (config.synthetic_training, config.synthetic_validation, config.synthetic_test),
                strict=True,
            )
        )
        kind = f"synthetic-{config.side}px-{'-'.join(str(count) for count in counts.values())}-{drawing()}"
        folder = root() / "data" / kind
        if not folder.is_dir():
            synthetic.write_dataset(folder, side=config.side, counts=counts)
        return isic.read_dataset(folder)
    where = data or os.environ.get("ARLREPRO_DATA") or str(root() / DEFAULT_DATA)
    if not data and where == os.environ.get("ARLREPRO_DATA") and not Path(where).is_absolute():
        raise ConfigError(f"ARLREPRO_DATA is {where!r}; it must be an absolute path")
    dataset = isic.read_dataset(Path(where))
    if config.extra:
        dataset = isic.with_extra(dataset, isic.read_dataset(Path(where) / EXTRA, ["training"]))
    return dataset


def drawing() -> str:
    """Six digits of a hash of what decides what is drawn: `GALLERY`, and the code but for its comments and imports."""
    trees = [ast.parse(inspect.getsource(module)) for module in (scene, signs, synthetic)]
    code = [
        [ast.dump(node) for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)] for tree in trees
    ]
    return hashlib.sha256(repr((code, GALLERY)).encode()).hexdigest()[:6]


def open_images(experiment: Experiment, data: str = "") -> tuple[isic.IsicDataset, cache.ImageArray]:
    """Open an experiment's data and decode them."""
    dataset = open_data(experiment.data, data)
    return dataset, decode(dataset, experiment)


def decode(dataset: isic.IsicDataset, experiment: Experiment) -> cache.ImageArray:
    """Decode a data set at the side that an experiment's networks see, once for all runs."""
    side = experiment.data.side
    return cache.prepare(dataset, side, root() / "data" / "cache" / f"{dataset.fingerprint[:12]}-{side}")


def gallery(experiment: Experiment, device: "torch.device") -> "Lesions":
    """The synthetic lesions of `GALLERY` as a network of this experiment sees them; ids are `<kind>-<seed>`."""
    from arlrepro.data.patches import Lesions

    side = experiment.data.side
    drawn = [synthetic.draw_lesion(kind, seed, side) for kind, seed in GALLERY]
    labels = np.array([[int(kind == name) for name in CLASSES] for kind, _ in GALLERY])
    ids = tuple(f"{kind}-{seed}" for kind, seed in GALLERY)
    return Lesions.load(ids, np.stack([one.image for one in drawn]), labels, device)


def assign_folds(
    kinds: Integer[np.ndarray, " lesions"], groups: Integer[np.ndarray, " lesions"], folds: int, seed: int
) -> Integer[np.ndarray, " lesions"]:
    """Deal lesions into folds: each kind as evenly as the groups allow, each group into one fold.

    Args:
        kinds: number of the lesion's kind.
        groups: from `duplicates.groups`.
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
        groups: from `duplicates.groups`, in the same order.
        folds: how many.
        fold: which, from 0.
        seed: of the repetition.

    Returns:
        The same lesions in the same order, with another column `split`.
    """
    kinds = lesions[list(CLASSES)].to_numpy() @ np.arange(1, len(CLASSES) + 1)
    dealt = assign_folds(kinds, groups, folds, seed)
    roles = {fold: "test", (fold + 1) % folds: "validation"}
    return lesions.assign(split=[roles.get(one, "training") for one in dealt])
