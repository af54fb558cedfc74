"""From a network and images to scores: a network, and how its experiment has lesions seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from arlrepro.config import EvaluationConfig, Experiment
from arlrepro.data.patches import Boxes, Lesions, evaluation_boxes
from arlrepro.models.devices import autocast

#: It bounds the memory and does not change what is found.
WHOLE_IMAGES_PER_BATCH = 32


@dataclass(frozen=True)
class Predictor:
    """A network that sees lesions as its experiment says: which patches, of what side, at what precision."""

    network: nn.Module  # gives logits (patches, outputs); put into evaluation mode
    experiment: Experiment

    @cached_property
    def boxes(self) -> Boxes:
        """The patches that every lesion is scored by, the same for all; see `patches.evaluation_boxes`."""
        return evaluation_boxes(self.experiment.evaluation_patches, self.experiment.evaluation)

    @contextmanager
    def computing(self) -> Iterator[nn.Module]:
        """The network in evaluation mode, at the precision that it was trained at, with no gradients kept."""
        self.network.eval()
        device = next(self.network.parameters()).device
        with torch.inference_mode(), autocast(device, self.experiment.train.precision):
            yield self.network

    def scores(self, lesions: Lesions) -> Float[np.ndarray, "lesions outputs"]:
        """Score every lesion by the mean probability over its patches.

        Args:
            lesions: on the network's device.

        Returns:
            Probabilities in [0, 1], in the order of the lesions.

        Source:
            AP code (nine patches, probabilities averaged); V averages logits.
        """
        return mean_over_patches(self.patch_scores(lesions))

    def patch_scores(self, lesions: Lesions, lesions_per_batch: int = 16) -> Float[Tensor, "lesions patches outputs"]:
        """Score every patch of every lesion.

        Args:
            lesions: on the network's device.
            lesions_per_batch: memory against speed; it does not change the scores.

        Returns:
            Probabilities in [0, 1], in the order of the lesions and of `boxes`.
        """
        scores, boxes, config = [], self.boxes, self.experiment.evaluation_patches
        with self.computing() as network:
            for image in torch.arange(len(lesions)).split(lesions_per_batch):
                every = torch.arange(len(boxes)).repeat(len(image))
                patches = lesions.cut(image.repeat_interleave(len(boxes)), boxes[every], config)
                probabilities = network(patches).float().sigmoid()
                # (lesions * patches, outputs) -> (lesions, patches, outputs)
                scores.append(probabilities.view(len(image), len(boxes), -1).cpu())
        return torch.cat(scores)

    def whole_images(self, lesions: Lesions) -> Iterator[tuple[list[str], Float[Tensor, "batch 3 side side"]]]:
        """The lesions as whole-image patches, what every map is drawn over, with their ids."""
        config = self.experiment.evaluation_patches
        box = evaluation_boxes(config, EvaluationConfig(patches_per_scale=0))
        for image in torch.arange(len(lesions)).split(WHOLE_IMAGES_PER_BATCH):
            patches = lesions.cut(image, box[torch.zeros(len(image), dtype=torch.long)], config)
            yield [lesions.image_ids[i] for i in image], patches


def mean_over_patches(scores: Float[Tensor, "lesions patches outputs"]) -> Float[np.ndarray, "lesions outputs"]:
    """One score a lesion from those of its patches."""
    return scores.mean(dim=1).double().clamp(0, 1).numpy()
