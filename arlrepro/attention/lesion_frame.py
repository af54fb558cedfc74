"""Where a network looks, in the lesion's own coordinates: each mask brought to one circle, the maps averaged there.

Pictures of the real images may not be shown where the data are not; a mean over hundreds of lesions may. The frame of a
lesion has its origin at the mask's centre and its axes along the principal axes of the mask, scaled so that the ellipse
of the mask's second moments is the circle of radius 1; the longer axis lies horizontally, and the heavier tail of the
mask points to the right and down.
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from arlrepro.config import Experiment
from arlrepro.registry import CLASSES, classes_of

#: Positions a side of the frame, and how far it reaches, in radii of the lesion.
SIDE, REACH = 64, 2.0


def frames(masks: Bool[Tensor, "lesions side side"]) -> Float[Tensor, "lesions 2 3"]:
    r"""The affine map from a lesion's frame to its image, both with the middle at 0.

    .. math:: p = c + R \, \mathrm{diag}(2\sqrt{\lambda_1}, 2\sqrt{\lambda_2}) \, u

    with centre :math:`c`, and :math:`R`, :math:`\lambda` the eigenvectors and eigenvalues of the covariance of the
    mask's positions: of a filled ellipse, twice the root of an eigenvalue is a semi-axis.

    Args:
        masks: True inside the lesion; NaN comes from a mask with fewer than three positions.

    Returns:
        Rows as `torch.nn.functional.affine_grid` takes them; the image reaches from -1 to 1, x before y.
    """
    side = masks.shape[1]
    axis = (2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1
    found = []
    for mask in masks.cpu():
        rows, columns = mask.nonzero(as_tuple=True)
        positions = torch.stack([axis[columns], axis[rows]], dim=1)
        centre = positions.mean(dim=0)
        centred = positions - centre
        if len(positions) < 3:
            found.append(torch.full((2, 3), torch.nan, dtype=torch.float64))
            continue
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        values, vectors = values.flip(0), vectors.flip(1)  # the longer axis first
        # Reason: an eigenvector has no sign of its own; the third moment gives it one, the same for mirrored masks.
        vectors = vectors * torch.where((centred @ vectors).pow(3).mean(dim=0) < 0, -1.0, 1.0)
        found.append(torch.cat([vectors * 2 * values.sqrt(), centre[:, None]], dim=1))
    return torch.stack(found).float()


def in_frame(
    maps: Float[Tensor, "lesions outputs height width"], masks: Bool[Tensor, "lesions side side"]
) -> Float[Tensor, "lesions outputs 64 64"]:
    """Maps resampled in the frames of their lesions, in units of their own mean over the image.

    Args:
        maps: any real values; the lowest of each counts as none, as in `localisation.share_inside`.
        masks: of the same lesions.

    Returns:
        0 or more, 1 where the map is as high as on average; NaN outside the image and where a map is flat.
    """
    lowest = maps - maps.amin(dim=(2, 3), keepdim=True)
    relative = lowest / lowest.mean(dim=(2, 3), keepdim=True)
    affine = frames(masks).to(maps.device)
    affine[:, :, :2] *= REACH
    grid = F.affine_grid(affine, [len(maps), 1, SIDE, SIDE], align_corners=False)
    values = F.grid_sample(relative, grid, mode="bilinear", padding_mode="border", align_corners=False)
    outside = (grid.abs() > 1).any(dim=3) | grid.isnan().any(dim=3)
    return values.masked_fill(outside[:, None], torch.nan)


def mean_maps(
    maps: Float[Tensor, "lesions outputs height width"],
    masks: Bool[np.ndarray, "lesions side side"],
    labels: np.ndarray,
    scores: Float[np.ndarray, "lesions outputs"],
    experiment: Experiment,
) -> pd.DataFrame:
    """The mean map of each output in the lesions' frame, by the lesions' class and by whether the output is right.

    Args:
        maps: class activation maps of whole images.
        masks: of the lesions.
        labels: 0 or 1, in the order of `registry.CLASSES`.
        scores: of the outputs, in [0, 1]; above 0.5 a lesion is called positive.
        experiment: of the network.

    Returns:
        A row a group and row of the frame: `map` (the output), `lesion` (`melanoma`, `seborrheic_keratosis`, `nevus`),
        `right` (0 or 1), `lesions` (how many), `row` (from the top), and a column for each position from the left,
        `0` to `63`, in units of a map's mean over its image, in three decimals.
    """
    kinds = np.where(labels[:, 0] == 1, CLASSES[0], np.where(labels[:, 1] == 1, CLASSES[1], "nevus"))
    tables = []
    parts = [
        in_frame(maps[start : start + 32], torch.from_numpy(np.ascontiguousarray(masks[start : start + 32])))
        for start in range(0, len(maps), 32)
    ]
    framed = torch.cat(parts).cpu()
    for output, name in enumerate(classes_of(experiment.task)):
        right = (scores[:, output] > 0.5) == (labels[:, CLASSES.index(name)] == 1)
        for kind in (*CLASSES, "nevus"):
            for hit in (True, False):
                chosen = np.flatnonzero((kinds == kind) & (right == hit))
                if not len(chosen):
                    continue
                mean = framed[chosen, output].nanmean(dim=0).double().numpy().round(3)
                table = pd.DataFrame(mean, columns=[str(column) for column in range(SIDE)])
                table.insert(0, "row", range(SIDE))
                for place, (key, value) in enumerate(
                    {"map": name, "lesion": kind, "right": int(hit), "lesions": len(chosen)}.items()
                ):
                    table.insert(place, key, value)
                tables.append(table)
    return pd.concat(tables, ignore_index=True)
