"""Is it the lesion that a network looks at? Maps held against masks, and against maps of networks that learned nothing.

The maps are the class activation maps of the whole image: their mean over the network's outputs, and each on its own.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arlrepro.attention.cam import Maps, class_activation_maps, enlarged
from arlrepro.data.patches import Lesions
from arlrepro.data.synthetic import dataset as synthetic
from arlrepro.models.inference import Predictor
from arlrepro.registry import CLASSES, classes_of

Masks = Bool[Tensor, "batch side side"]
COLUMNS = ("area", "share", "peak_inside", "overlap")
#: Lesions of each kind that are drawn with their signs known; none of them stands in a drawn data set.
DRAWN_OF_EACH_KIND = 32
DRAWN_SEED = 2018


def share_inside(maps: Maps, masks: Masks) -> Float[Tensor, " batch"]:
    """Share of a map's energy that lies inside the lesion, the map's lowest value counted as none.

    Args:
        maps: any real values; bilinearly enlarged to the masks.
        masks: True inside the lesion.

    Returns:
        In [0, 1]; NaN where the map is flat. A map that ignores the lesion gets the lesion's share of the area.

    Example:
        >>> inside = torch.tensor([[[True, True], [False, False]]])
        >>> share_inside(torch.tensor([[[3.0, 4.0], [1.0, 1.0]]]), inside)
        tensor([1.])
    """
    energy = enlarged(maps - maps.amin(dim=(1, 2), keepdim=True), masks.shape[1])
    return (energy * masks).sum(dim=(1, 2)) / energy.sum(dim=(1, 2))


def peak_inside(maps: Maps, masks: Masks) -> Float[Tensor, " batch"]:
    """The pointing game: 1 where the highest point of the enlarged map is inside the mask, else 0.

    Source:
        Zhang, Bargal, Lin, Brandt, Shen, Sclaroff: Top-down neural attention by excitation backprop, IJCV 2018.
    """
    peak = enlarged(maps, masks.shape[1]).flatten(1).argmax(dim=1, keepdim=True)
    return masks.flatten(1).gather(1, peak).squeeze(1).float()


def overlap(maps: Maps, masks: Masks) -> Float[Tensor, " batch"]:
    """Intersection over union of the mask and as large an area of the map's highest values.

    Returns:
        In [0, 1]; NaN where the map is flat or the mask empty. Where the mask covers a share `a` of the image, a map
        that ignores it gets about `a / (2 - a)`.

    Example:
        >>> inside = torch.tensor([[[True, True], [False, False]]])
        >>> overlap(torch.tensor([[[3.0, 1.0], [2.0, 0.0]]]), inside)
        tensor([0.3333])
    """
    values = enlarged(maps, masks.shape[1]).flatten(1)
    found = []
    for value, inside in zip(values, masks.flatten(1), strict=True):
        area = int(inside.sum())
        if area == 0 or value.min() == value.max():
            found.append(torch.tensor(torch.nan, device=value.device))
            continue
        highest = value >= value.kthvalue(len(value) - area + 1).values
        found.append((highest & inside).sum() / (highest | inside).sum())
    return torch.stack(found)


def held_against(maps: Maps, masks: Masks) -> pd.DataFrame:
    """A row a lesion: `area` (the mask's share of the image), `share`, `peak_inside`, `overlap`."""
    measured = (masks.float().mean(dim=(1, 2)), *(one(maps, masks) for one in (share_inside, peak_inside, overlap)))
    table = pd.DataFrame(dict(zip(COLUMNS, (one.cpu().numpy() for one in measured), strict=True)))
    return table.astype({"peak_inside": int})


def activations(predictor: Predictor, lesions: Lesions) -> Float[Tensor, "lesions outputs height width"]:
    """The class activation maps of each lesion's whole image, one an output."""
    found = []
    for _, patches in predictor.whole_images(lesions):
        with predictor.computing() as network:
            found.append(class_activation_maps(network, patches).float())
    return torch.cat(found)


def focus(predictor: Predictor, lesions: Lesions, masks: Bool[np.ndarray, "lesions side side"]) -> pd.DataFrame:
    """Where a network looks: how each lesion's class activation maps lie beside its mask.

    Returns:
        A row a lesion: `image_id`; the columns of `held_against`, of the mean map; `energy_<class>` and
        `pointing_<class>`, proportion of energy in the mask and pointing game of each output's own map; `energy`, the
        mean over the outputs.
    """
    return by_lesion(lesions, activations(predictor, lesions), masks, classes_of(predictor.experiment.task))


def by_lesion(
    lesions: Lesions,
    maps: Float[Tensor, "lesions outputs height width"],
    masks: Bool[np.ndarray, "lesions side side"],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Each lesion's map held against its mask: what `held_against` gives, a row a lesion."""
    parts = []
    for rows in np.array_split(np.arange(len(maps)), -(-len(maps) // 32)):  # enlarged maps are large
        inside = torch.from_numpy(np.ascontiguousarray(masks[rows])).to(maps.device)
        some = maps[rows[0] : rows[-1] + 1]
        table = held_against(some.mean(dim=1), inside)
        for name, own in zip(classes, some.unbind(dim=1), strict=True):
            table[f"energy_{name}"] = share_inside(own, inside).cpu().numpy()
            table[f"pointing_{name}"] = peak_inside(own, inside).int().cpu().numpy()
        table["energy"] = table[[f"energy_{name}" for name in classes]].mean(axis=1, skipna=False)
        parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "image_id", list(lesions.image_ids))
    return table


def drawn_focus(predictor: Predictor, device: torch.device) -> dict[str, pd.DataFrame]:
    """`focus` on synthetic lesions, which no network was trained on: beside the lesion, and beside its signs.

    The signs are what tells the kinds of synthetic lesions apart, all that a lesion has; one without any is left out.

    Returns:
        `focus_drawn` against the masks of the lesions, `focus_signs` against those of their signs together.
    """
    side = predictor.experiment.data.side
    kinds = [kind for kind in synthetic.KINDS for _ in range(DRAWN_OF_EACH_KIND)]
    drawn = [synthetic.draw_lesion(kind, (DRAWN_SEED, number), side) for number, kind in enumerate(kinds)]
    kept = [(number, one) for number, one in enumerate(drawn) if one.structures]
    labels = np.array([[int(one.kind == name) for name in CLASSES] for _, one in kept])
    ids = tuple(f"{one.kind}-{number}" for number, one in kept)
    pixels = np.stack([one.image for _, one in kept])
    lesions = Lesions.load(ids, pixels, labels, device)
    maps, classes = activations(predictor, lesions), classes_of(predictor.experiment.task)
    masks = {
        "focus_drawn": np.stack([one.lesion_mask for _, one in kept]),
        "focus_signs": np.stack([np.logical_or.reduce(list(one.structures.values())) for _, one in kept]),
    }
    return {name: by_lesion(lesions, maps, mask, classes) for name, mask in masks.items()}
