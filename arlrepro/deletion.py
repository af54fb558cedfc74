"""Does a map show what a score rests on? The image taken away, or put back, in the order of the map."""

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from arlrepro.attention import whole_images
from arlrepro.config import Experiment, classes_of
from arlrepro.maps import class_activation_maps, enlarged
from arlrepro.precision import autocast
from arlrepro.predict import Lesions

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


def curves(network: nn.Module, lesions: Lesions, experiment: Experiment) -> pd.DataFrame:
    """Deletion and insertion: the score as more and more of the image is taken away, or put back, highest first.

    Each lesion is scored as a whole image for the class that the network scores highest, in the order of that class's
    activation map; and, to compare with, in the order of the same map with its positions shuffled, each lesion's anew.

    Returns:
        A row a lesion and fraction of the image: `image_id`, `class`, `fraction`, and scores in [0, 1]: `deletion` (low
        is good), `insertion` (high is good), `deletion_shuffled`, `insertion_shuffled`.

    Source:
        Petsiuk, Das, Saenko: RISE, BMVC 2018. Our choice: blurred is taken away in both, ten steps.
    """
    network.eval()
    generator = torch.Generator().manual_seed(experiment.evaluation.seed)
    classes, tables = classes_of(experiment.task), []
    for image, patches in whole_images(lesions, experiment.evaluation_patches):
        with torch.inference_mode(), autocast(patches.device, experiment.train.precision):
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
                table = pd.DataFrame({"image_id": [lesions.image_ids[i] for i in image], "fraction": fraction})
                table.insert(1, "class", [classes[one] for one in best.tolist()])
                for ending, place in places.items():
                    first = (place < fraction * place[0].numel())[:, None]
                    for name, kept in (("deletion", ~first), ("insertion", first)):
                        scores = network(torch.where(kept, patches, empty)).float().sigmoid()
                        table[name + ending] = scores[torch.arange(len(best)), best].double().cpu().numpy()
                tables.append(table)
    return pd.concat(tables, ignore_index=True)
