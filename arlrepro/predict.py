"""From a network and images to one score a lesion: the mean over its evaluation patches."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from arlrepro.config import PatchConfig
from arlrepro.intervals import auc_interval
from arlrepro.patches import Boxes, Pixels, cut
from arlrepro.precision import autocast

#: Wraps an iterable of a known length in a progress bar, or leaves it as it is.
Progress = Callable[[Iterable[int], str], Iterable[int]]


@dataclass(frozen=True)
class Lesions:
    """Images of one split, with their labels, in one order."""

    image_ids: tuple[str, ...]
    pixels: Pixels  # these images among others: on a CPU those of a mapped file, on a GPU no others
    rows: Int[Tensor, " lesions"]  # where each lies in `pixels`; on the CPU
    labels: Int[np.ndarray, "lesions classes"]  # 0 or 1, in the order of `config.CLASSES`

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
            return cls(image_ids, torch.from_numpy(pixels).to(device), torch.from_numpy(where), labels)

    def at(self, rows: Int[np.ndarray, " rows"]) -> "Lesions":
        """Some of the lesions, in the order of the rows."""
        ids = tuple(self.image_ids[row] for row in rows)
        return Lesions(ids, self.pixels, self.rows[torch.from_numpy(rows)], self.labels[rows])

    def cut(
        self, lesion: Int[Tensor, " boxes"], boxes: Boxes, config: PatchConfig
    ) -> Float[Tensor, "boxes 3 patch patch"]:
        """Patches of the lesions, each box with the number of its lesion here; see `patches.cut`."""
        return cut(self.pixels, self.rows[lesion], boxes, config)


def score(
    network: nn.Module,
    lesions: Lesions,
    boxes: Boxes,
    config: PatchConfig,
    precision: str = "bf16",
    lesions_per_batch: int = 16,
) -> Float[np.ndarray, "lesions outputs"]:
    """Score every lesion by the mean probability over its patches; see `patch_scores`.

    Returns:
        Probabilities in [0, 1], in the order of the lesions.

    Source:
        AP code (nine patches, probabilities averaged); V averages logits.
    """
    return mean_over_patches(patch_scores(network, lesions, boxes, config, precision, lesions_per_batch))


def mean_over_patches(scores: Float[torch.Tensor, "lesions patches outputs"]) -> Float[np.ndarray, "lesions outputs"]:
    """One score a lesion from those of its patches."""
    return scores.mean(dim=1).double().clamp(0, 1).numpy()


def patch_scores(
    network: nn.Module,
    lesions: Lesions,
    boxes: Boxes,
    config: PatchConfig,
    precision: str = "bf16",
    lesions_per_batch: int = 16,
) -> Float[torch.Tensor, "lesions patches outputs"]:
    """Score every patch of every lesion.

    Args:
        network: gives logits `(patches, outputs)`; put into evaluation mode.
        lesions: on the network's device.
        boxes: the patches of each lesion, the same for all; see `patches.evaluation_boxes`.
        config: side and normalisation of the patches.
        precision: `bf16` or `fp32`, as the network was trained.
        lesions_per_batch: memory against speed; it does not change the scores.

    Returns:
        Probabilities in [0, 1], in the order of the lesions and of the boxes.
    """
    network.eval()
    scores = []
    with torch.inference_mode(), autocast(lesions.device, precision):
        for start in range(0, len(lesions), lesions_per_batch):
            image = torch.arange(start, min(start + lesions_per_batch, len(lesions)))
            every = torch.arange(len(boxes)).repeat(len(image))
            patches = lesions.cut(image.repeat_interleave(len(boxes)), boxes[every], config)
            probabilities = network(patches).float().sigmoid()
            # (lesions * patches, outputs) -> (lesions, patches, outputs)
            scores.append(probabilities.view(len(image), len(boxes), -1).cpu())
    return torch.cat(scores)


def aucs_by_scale(
    scores: Float[torch.Tensor, "lesions patches outputs"],
    boxes: Boxes,
    labels: Int[np.ndarray, "lesions outputs"],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Which patches carry the ranking? AUCs of the mean score over the patches of each scale alone.

    Args:
        scores: from `patch_scores`.
        boxes: the patches.
        labels: 0 or 1, a column for each output.
        classes: names of the outputs.

    Returns:
        `scale` (1 is the whole image), `patches`, `class`, `auc` and its 95 % interval over lesions, `low`, `high`.
    """
    rows = []
    for scale in sorted(set(boxes.scale.tolist())):
        chosen = boxes.scale == scale
        means = mean_over_patches(scores[:, chosen])
        for column, name in enumerate(classes):
            area = auc_interval(labels[:, column], means[:, column])
            rows.append((scale, int(chosen.sum()), name, area.value, area.low, area.high))
    return pd.DataFrame(rows, columns=["scale", "patches", "class", "auc", "low", "high"])
