"""Lesions as pictures: where networks look, the patches they see, the signs that are drawn. Arrays in, Figure out.

A lesion is `(image, lesion_mask)`: uint8 pixels (side, side, 3) and a mask of the same sides.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from arlrepro import words
from arlrepro.archive import Study
from arlrepro.config import CLASSES
from arlrepro.errors import RunError
from arlrepro.figures import canvas

Pixels = UInt8[np.ndarray, "side side 3"]
Mask = Bool[np.ndarray, "side side"]
Plane = Float[np.ndarray, "height width"]


def enlarge(values: Plane, side: int) -> Plane:
    """A map at the side of an image, bilinearly, as `attention.focus` does it.

    Example:
        >>> enlarge(np.array([[0.0, 4.0]]), 4)[0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    resized = Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)


def map_of(maps: pd.DataFrame, image_id: str, name: str) -> Plane:
    """One archived map, from the rows of `maps.csv`."""
    rows = maps[(maps["image_id"] == image_id) & (maps["map"] == name)]
    if rows.empty:
        raise RunError(f"no map {name} of {image_id} in maps.csv")
    return rows.pivot(index="row", columns="column", values="value").to_numpy(dtype=np.float64)


def class_activation(maps: pd.DataFrame, image_id: str) -> Plane:
    """The mean of the outputs' class activation maps of a lesion, its lowest value set to 0."""
    names = [one for one in CLASSES if (maps["map"] == one).any()]
    mean = np.mean([map_of(maps, image_id, one) for one in names], axis=0)
    return mean - mean.min()


def _show(axis: Axes, image: Pixels, mask: Mask | None = None) -> None:
    axis.imshow(image, interpolation="antialiased")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if mask is not None:
        _outline(axis, mask)


def _outline(axis: Axes, mask: Mask) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors="black", linewidths=2.2)
        axis.contour(mask, levels=[0.5], colors="white", linewidths=1.1)


def _grey(image: Pixels) -> Pixels:
    return np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


def attention_maps(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], study: Study, seed: int = 0) -> Figure:
    """Where each network looks: the lesion with its outline, and over it each network's class activation map.

    Args:
        lesions: by id, image and lesion mask; the ids of archived maps.
        study: runs with the measure `maps`.
        seed: which run of each network.

    Returns:
        A row a lesion; under each map the share of it that lies inside the outline.
    """
    networks = [one for one in study.profile.networks if any(run.seed == seed for run in study.of(one))]
    maps = {one: next(run for run in study.of(one) if run.seed == seed).measures["maps"] for one in networks}
    return activation_grid(lesions, maps)


def activation_grid(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], maps: Mapping[str, pd.DataFrame]) -> Figure:
    """`attention_maps` for maps that are at hand: by network, a table as `attention.maps_of` gives it."""
    rows, columns = len(lesions), 1 + len(maps)
    with canvas(rows, columns, width=2.3 * columns, height=2.45 * rows + 0.2) as (figure, axes):
        for line, (image_id, (image, mask)) in zip(axes, lesions.items(), strict=True):
            _show(line[0], image, mask)
            line[0].set_ylabel(image_id.rpartition("-")[0].replace("_", " ") or image_id)
            for axis, table in zip(line[1:], maps.values(), strict=True):
                activation = enlarge(class_activation(table, image_id), len(image))
                _show(axis, _grey(image))
                axis.imshow(activation, cmap="inferno", alpha=0.6)
                _outline(axis, mask)
                axis.set_xlabel(f"{(activation * mask).sum() / activation.sum():.0%} inside")
        for axis, title in zip(axes[0], ["image, outline", *map(words.network, maps)], strict=True):
            axis.set_title(title)
    return figure
