"""From a network and images to one score a lesion: the mean over its evaluation patches."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from arlrepro.config import PatchConfig
from arlrepro.data.lesions import Lesions
from arlrepro.data.patches import Boxes
from arlrepro.models.devices import autocast

#: Wraps an iterable of a known length in a progress bar, or leaves it as it is.
Progress = Callable[[Iterable[int], str], Iterable[int]]


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
