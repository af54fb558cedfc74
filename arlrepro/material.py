"""What a run works on: images found or drawn, decoded once, dealt into splits, and put on a device."""

import ast
import hashlib
import inspect
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arlrepro import cache, folds, isic, scene, signs, synthetic
from arlrepro.archive import root
from arlrepro.config import CLASSES, DataConfig, Experiment
from arlrepro.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    import torch

    from arlrepro.predict import Lesions

DEFAULT_DATA = Path("data/isic2017")
EXTRA = "extra"  # folder beside the official files, as `arlrepro data extra` makes it
#: Drawn lesions whose maps are archived with every run, so that the published book can show where a network looks.
GALLERY = (
    *(("melanoma", seed) for seed in (1, 2)),
    *(("seborrheic_keratosis", seed) for seed in (3, 4)),
    *(("nevus", seed) for seed in (5, 6)),
)


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
    """Six digits of a hash of what decides which lesions are drawn: the code, without its comments, and `GALLERY`."""
    code = [ast.dump(ast.parse(inspect.getsource(module))) for module in (scene, signs, synthetic)]
    return hashlib.sha256(repr((code, GALLERY)).encode()).hexdigest()[:6]


def open_images(experiment: Experiment, data: str = "") -> tuple[isic.IsicDataset, cache.ImageArray]:
    """Open an experiment's data and decode them."""
    dataset = open_data(experiment.data, data)
    return dataset, decode(dataset, experiment)


def decode(dataset: isic.IsicDataset, experiment: Experiment) -> cache.ImageArray:
    """Decode a data set at the side that an experiment's networks see, once for all runs."""
    side = experiment.data.side
    return cache.prepare(dataset, side, root() / "data" / "cache" / f"{dataset.fingerprint[:12]}-{side}")


def choose_device(name: str) -> "torch.device":
    """The device of a name: `auto` is a GPU where there is one.

    Raises:
        ConfigError: no such name, or no such device here.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: this machine has no CUDA device that torch can use; give cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun says which one is this process's


@dataclass(frozen=True)
class Bench:
    """An experiment's images, decoded and on the device, a split at a time."""

    dataset: isic.IsicDataset
    images: cache.ImageArray
    device: "torch.device"

    @classmethod
    def set_up(cls, experiment: Experiment, data: str, device: str) -> "Bench":
        """Choose the device, open and decode the data; of several processes one decodes, and the others wait."""
        from arlrepro.machine import launch

        where = choose_device(device)
        with launch(where).rank_zero_first():
            return cls(*open_images(experiment, data), where)

    @cached_property
    def groups(self) -> np.ndarray:
        """Which images may show the same lesion, see `folds.look_alikes`."""
        return folds.look_alikes(self.images.pixels)

    def for_run(self, experiment: Experiment, seed: int) -> "Bench":
        """The same images, in cross-validation with the splits of the experiment's fold; the seed draws the folds."""
        if not experiment.data.folds:
            return self
        lesions = folds.with_fold(self.dataset.lesions, self.groups, experiment.data.folds, experiment.data.fold, seed)
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
        from arlrepro.predict import Lesions

        ids = tuple(self.images.image_ids[row] for row in rows)
        labels = self.dataset.lesions.loc[list(ids), list(CLASSES)].to_numpy(dtype=np.int64)
        return Lesions.load(ids, self.images.pixels, labels, self.device, rows)


def gallery(experiment: Experiment, device: "torch.device") -> "Lesions":
    """The drawn lesions of `GALLERY` as a network of this experiment sees them; ids are `<kind>-<seed>`."""
    from arlrepro.predict import Lesions

    side = experiment.data.side
    drawn = [synthetic.draw_lesion(kind, seed, side) for kind, seed in GALLERY]
    labels = np.array([[int(kind == name) for name in CLASSES] for kind, _ in GALLERY])
    ids = tuple(f"{kind}-{seed}" for kind, seed in GALLERY)
    return Lesions.load(ids, np.stack([one.image for one in drawn]), labels, device)
