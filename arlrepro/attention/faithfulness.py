"""Does a map show what a score rests on? Deletion and insertion along the map, and maps of randomised networks."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from arlrepro.attention.cam import class_activation_maps, enlarged
from arlrepro.attention.localisation import COLUMNS, activations, by_lesion
from arlrepro.data.patches import Lesions
from arlrepro.models.inference import Predictor
from arlrepro.models.structure import structure
from arlrepro.registry import classes_of

FRACTIONS = tuple(step / 10 for step in range(11))
#: What is left of an image that is taken away: so many colours a side, without edges between them.
BLUR = 4


def blurred(patches: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 3 side side"]:
    """Patches reduced to 4 x 4 and enlarged again: their colours without what they show."""
    small = F.adaptive_avg_pool2d(patches, BLUR)
    return F.interpolate(small, size=patches.shape[2:], mode="bilinear", align_corners=False)


def ranks(maps: Float[Tensor, "batch height width"]) -> Int[Tensor, "batch height width"]:
    """The place of each position in the order of its map, 0 for the highest.

    Example:
        >>> ranks(torch.tensor([[[1.0, 4.0], [3.0, 2.0]]]))
        tensor([[[3, 0],
                 [1, 2]]])
    """
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1).view_as(maps)


def curves(predictor: Predictor, lesions: Lesions) -> pd.DataFrame:
    """Deletion and insertion: the score as more and more of the image is taken away, or put back, highest first.

    Each lesion is scored as a whole image for the class that the network scores highest, in the order of that class's
    activation map; and, to compare with, in the order of the same map with its positions shuffled, each lesion's anew.

    Returns:
        A row a lesion and fraction of the image: `image_id`, `class`, `fraction`, and scores in [0, 1]: `deletion` (low
        is good), `insertion` (high is good), `deletion_shuffled`, `insertion_shuffled`.

    Source:
        Petsiuk, Das, Saenko: RISE, BMVC 2018. Our choice: blurred is taken away in both, ten steps.
    """
    generator = torch.Generator().manual_seed(predictor.experiment.evaluation.seed)
    classes, tables = classes_of(predictor.experiment.task), []
    for ids, patches in predictor.whole_images(lesions):
        with predictor.computing() as network:
            best = network(patches).float().argmax(dim=1)
            maps = class_activation_maps(network, patches).float()[torch.arange(len(best)), best]
            flat = maps.flatten(1)
            orders = [torch.randperm(flat.shape[1], generator=generator) for _ in flat]
            shuffled = flat.gather(1, torch.stack(orders).to(maps.device)).view_as(maps)
            places = {
                "": ranks(enlarged(maps, patches.shape[2])),
                "_shuffled": ranks(enlarged(shuffled, patches.shape[2])),
            }
            empty = blurred(patches)
            for fraction in FRACTIONS:
                table = pd.DataFrame({"image_id": ids, "fraction": fraction})
                table.insert(1, "class", [classes[one] for one in best.tolist()])
                for ending, place in places.items():
                    first = (place < fraction * place[0].numel())[:, None]
                    for name, kept in (("deletion", ~first), ("insertion", first)):
                        scores = network(torch.where(kept, patches, empty)).float().sigmoid()
                        table[name + ending] = scores[torch.arange(len(best)), best].double().cpu().numpy()
                tables.append(table)
    return pd.concat(tables, ignore_index=True)


def sanity(
    predictor: Predictor, untrained: nn.Module, lesions: Lesions, masks: Bool[np.ndarray, "lesions side side"]
) -> pd.DataFrame:
    """Cascading randomisation: what a network learned is replaced from the output down, and its maps are made again.

    A map that shows what the network learned changes when that is lost; one that does not is a picture of the image.

    Args:
        predictor: of the trained network, which is left as it is.
        untrained: the same kind of network with other weights, as drawn.
        lesions: which.
        masks: of the lesions.

    Returns:
        A row a step and lesion: `image_id`, `untrained` (from which part on: `nothing`, the head, the last stage, ...,
        `everything`), `share`, `peak_inside`, `overlap`, `energy`, and `correlation` (Spearman's, of the mean map with
        the trained one).

    Source:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity checks for saliency maps, NeurIPS 2018.
    """
    classes, mixed = classes_of(predictor.experiment.task), copy.deepcopy(predictor.network)
    steps = {"nothing": [], **structure(predictor.network).from_the_top}
    tables, trained = [], None
    for step, parts in steps.items():
        for part in parts:
            mixed.get_submodule(part).load_state_dict(untrained.get_submodule(part).state_dict())
        every = activations(replace(predictor, network=mixed), lesions)
        maps = every.mean(dim=1)
        trained = maps if trained is None else trained
        table = by_lesion(lesions, every, masks, classes)[["image_id", *COLUMNS[1:], "energy"]]
        table["correlation"] = rank_correlation(trained.flatten(1), maps.flatten(1)).cpu().numpy()
        table.insert(1, "untrained", step)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def rank_correlation(
    one: Float[Tensor, "lesions positions"], other: Float[Tensor, "lesions positions"]
) -> Float[Tensor, " lesions"]:
    """Spearman's rank correlation of two maps of a lesion, ties in the order of their positions.

    Example:
        >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[9.0, 5.0, 4.0]]))
        tensor([-1.])
    """
    ranks = [(values.argsort(dim=1, stable=True).argsort(dim=1)).float() for values in (one, other)]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    return (centred[0] * centred[1]).sum(dim=1) / (centred[0].square().sum(dim=1))
