"""Lesions on a device as a network sees them, and the data module that hands them out split by split."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from arlrepro.config import Experiment, PatchConfig
from arlrepro.data import cache, datasets, duplicates, isic
from arlrepro.data.datasets import GALLERY
from arlrepro.data.patches import Boxes, Pixels, cut
from arlrepro.data.synthetic import dataset as synthetic
from arlrepro.errors import DatasetError
from arlrepro.registry import CLASSES


@dataclass(frozen=True)
class Lesions:
    """Images of one split, with their labels, in one order."""

    image_ids: tuple[str, ...]
    pixels: Pixels  # these images among others: on a CPU those of a mapped file, on a GPU no others
    rows: Int[Tensor, " lesions"]  # where each lies in `pixels`; on the CPU
    labels: Int[np.ndarray, "lesions classes"]  # 0 or 1, in the order of `registry.CLASSES`
    mapped: np.memmap | None = None  # the file that `pixels` are read from as they are looked at, where they are

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def device(self) -> torch.device:
        """Where the images are, and so the patches cut from them."""
        return self.pixels.device

    @classmethod
    def load(
        cls,
        image_ids: tuple[str, ...],
        pixels: UInt8[np.ndarray, "images side side 3"],
        labels: Int[np.ndarray, "lesions classes"],
        device: torch.device,
        rows: Int[np.ndarray, " lesions"] | None = None,
    ) -> "Lesions":
        """Decoded images for a device: put on a GPU whole, left where they are for a CPU, mapped file or not.

        Args:
            image_ids: of the lesions.
            pixels: these images, perhaps among others.
            labels: of the lesions, 0 or 1.
            device: of the network that will see them.
            rows: where each lesion lies in `pixels`; by default they are these lesions in their order.
        """
        where = np.arange(len(image_ids)) if rows is None else rows
        if device.type != "cpu":
            pixels, where = pixels[where], np.arange(len(where))
        with warnings.catch_warnings():
            # Reason: of a read-only mapped file PyTorch says that writing would be undefined; nobody writes.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            there = torch.from_numpy(pixels).to(device)
        return cls(image_ids, there, torch.from_numpy(where), labels, pixels if isinstance(pixels, np.memmap) else None)

    def at(self, rows: Int[np.ndarray, " rows"]) -> "Lesions":
        """Some of the lesions, in the order of the rows."""
        ids = tuple(self.image_ids[row] for row in rows)
        return Lesions(ids, self.pixels, self.rows[torch.from_numpy(rows)], self.labels[rows], self.mapped)

    def cut(
        self, lesion: Int[Tensor, " boxes"], boxes: Boxes, config: PatchConfig
    ) -> Float[Tensor, "boxes 3 patch patch"]:
        """Patches of the lesions, each box with the number of its lesion here; see `patches.cut`.

        Raises:
            DatasetError: the file that they are cut from was itself cut off since it was opened.
        """
        if self.mapped is not None:
            cache.require_whole(self.mapped)
        return cut(self.pixels, self.rows[lesion], boxes, config)


@dataclass(frozen=True)
class DataModule:
    """An experiment's images, decoded and on the device, a split at a time."""

    dataset: isic.IsicDataset
    images: cache.ImageArray
    device: torch.device

    @cached_property
    def groups(self) -> np.ndarray:
        """Which images may show the same lesion, see `duplicates.groups`."""
        return duplicates.groups(self.images.pixels)

    def for_run(self, experiment: Experiment, seed: int) -> "DataModule":
        """The same images, in cross-validation with the splits of the experiment's fold; the seed draws the folds."""
        if not experiment.data.folds:
            return self
        lesions = datasets.with_fold(
            self.dataset.lesions, self.groups, experiment.data.folds, experiment.data.fold, seed
        )
        return replace(self, dataset=self.dataset.with_splits(lesions["split"]))

    def rows(self, split: str) -> np.ndarray:
        """The rows of the array that hold a split."""
        return np.flatnonzero(self.dataset.lesions["split"] == split)

    def lesions(self, split: str) -> Lesions:
        """One split's images on the device."""
        rows = self.rows(split)
        if not len(rows):
            raise DatasetError(f"{self.dataset.root}: the {split} split has no images")
        return self.at(rows)

    def at(self, rows: np.ndarray) -> Lesions:
        """Some rows of the array on the device."""
        ids = tuple(self.images.image_ids[row] for row in rows)
        labels = self.dataset.lesions.loc[list(ids), list(CLASSES)].to_numpy(dtype=np.int64)
        return Lesions.load(ids, self.images.pixels, labels, self.device, rows)


def gallery(experiment: Experiment, device: torch.device) -> Lesions:
    """The synthetic lesions of `GALLERY` as a network of this experiment sees them; ids are `<kind>-<seed>`."""
    side = experiment.data.side
    drawn = [synthetic.draw_lesion(kind, seed, side) for kind, seed in GALLERY]
    labels = np.array([[int(kind == name) for name in CLASSES] for kind, _ in GALLERY])
    ids = tuple(f"{kind}-{seed}" for kind, seed in GALLERY)
    return Lesions.load(ids, np.stack([one.image for one in drawn]), labels, device)
