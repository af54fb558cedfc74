"""From a network and images to one score a lesion: the mean over its evaluation patches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import nn

from arlrepro.config import PatchConfig
from arlrepro.intervals import auc_interval
from arlrepro.patches import Boxes, Levels, cut, pyramid
from arlrepro.precision import autocast

#: Wraps an iterable of a known length in a progress bar, or leaves it as it is.
Progress = Callable[[Iterable[int], str], Iterable[int]]


@dataclass(frozen=True)
class Lesions:
    """Images of one split on a device, with their labels, in one order."""

    image_ids: tuple[str, ...]
    levels: Levels  # the images and their reduced copies, see `patches.pyramid`
    labels: Int[np.ndarray, "lesions classes"]  # 0 or 1, in the order of `config.CLASSES`

    def __len__(self) -> int:
        return len(self.image_ids)

    @classmethod
    def load(
        cls,
        image_ids: tuple[str, ...],
        pixels: UInt8[np.ndarray, "lesions side side 3"],
        labels: Int[np.ndarray, "lesions classes"],
        patch_side: int,
        device: torch.device,
    ) -> "Lesions":
        """Put decoded images on the device, whole, with the reduced copies that shrinking patches are read from."""
        on_device = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
        return cls(image_ids, pyramid(on_device, patch_side), labels)

    def at(self, rows: Int[np.ndarray, " rows"]) -> "Lesions":
        """Some of the lesions, in the order of the rows."""
        index = torch.from_numpy(rows)
        return Lesions(
            tuple(self.image_ids[row] for row in rows),
            [level[index.to(level.device)] for level in self.levels],
            self.labels[rows],
        )


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
    device = lesions.levels[0].device
    scores = []
    with torch.inference_mode(), autocast(device, precision):
        for start in range(0, len(lesions), lesions_per_batch):
            image = torch.arange(start, min(start + lesions_per_batch, len(lesions)))
            every = torch.arange(len(boxes)).repeat(len(image))
            patches = cut(lesions.levels, image.repeat_interleave(len(boxes)), boxes[every], config)
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
