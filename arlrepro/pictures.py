"""Lesions as pictures: where networks look, the patches they see, the signs that are drawn. Arrays in, Figure out.

A lesion is `(image, lesion_mask)`: uint8 pixels (side, side, 3) and a mask of the same sides.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from arlrepro import words
from arlrepro.archive import Study
from arlrepro.config import CLASSES
from arlrepro.errors import RunError
from arlrepro.figures import canvas, no_runs

Pixels = UInt8[np.ndarray, "side side 3"]
Mask = Bool[np.ndarray, "side side"]
#: Paul Tol's muted colours, told apart with any colour vision, and one more: a sign each.
SIGN_COLOURS = (
    *("#CC6677", "#88CCEE", "#DDCC77", "#117733", "#332288", "#AA4499"),
    *("#44AA99", "#999933", "#882255", "#DDDDDD", "#EE7733"),
)
SIGN_WORDS = {"blue_white_veil": "blue-white veil", "milia_like_cysts": "milia-like cysts"}
MOST_OCTAVES = 3  # masks are drawn from an eighth to eight times a flat one's weight
#: Corners for the numbers of patches, in turn: (right, below).
NUMBER_AT = ((False, False), (True, True), (True, False))
Plane = Float[np.ndarray, "height width"]


def enlarge(values: Plane, side: int) -> Float[np.ndarray, "{side} {side}"]:
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


def seed_shown(study: Study) -> int:
    """Whose maps are shown: the first seed in which every network's run has gradient maps too, else the first seed."""
    having = [
        {run.seed for run in study.of(network) if _gradient_maps(run.measures.get("maps"))}
        for network in study.profile.networks
        if study.of(network)
    ]
    shared = set.intersection(*having) if having else set()
    return min(shared or {run.seed for run in study.runs} or {0})


def _gradient_maps(maps: pd.DataFrame | None) -> bool:
    return maps is not None and bool(maps["map"].astype(str).str.startswith("grad_cam.").any())


def maps_of_runs(study: Study, seed: int, measure: str = "maps") -> dict[str, pd.DataFrame]:
    """A table of the runs of one seed, by network; networks whose run lacks it are left out."""
    runs = {network: [run for run in study.of(network) if run.seed == seed] for network in study.profile.networks}
    return {
        network: found[0].measures[measure] for network, found in runs.items() if found and measure in found[0].measures
    }


def attention_maps(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], study: Study, seed: int = 0) -> Figure:
    """Where each network looks: the lesion with its outline, and over it each network's class activation map.

    Args:
        lesions: by id, image and lesion mask; the ids of archived maps.
        study: runs with the measure `maps`.
        seed: which run of each network.

    Returns:
        A row a lesion; under each map the share of it that lies inside the outline and, where the run has scored the
        lesion, whether it is a hit or a miss.
    """
    maps = maps_of_runs(study, seed)
    if not maps:
        return no_runs(study, f" with seed {seed}")
    return activation_grid(lesions, maps, maps_of_runs(study, seed, "gallery"))


def activation_grid(
    lesions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    maps: Mapping[str, pd.DataFrame],
    scores: Mapping[str, pd.DataFrame] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Figure:
    """`attention_maps` for maps that are at hand.

    Args:
        lesions: by id, image and lesion mask.
        maps: by network, a table as `maps.maps_of` gives it.
        scores: by network, `image_id` and a score for each class.
        kinds: of the lesions, by id; if not given, what stands before the last hyphen of the id.
    """
    kinds = kinds or {image_id: image_id.rpartition("-")[0] for image_id in lesions}
    rows, columns = len(lesions), 1 + len(maps)
    cell = min(2.3, 9.2 / columns)  # inches: many networks make smaller maps, not a heavier page
    with canvas(rows, columns, width=cell * columns, height=(cell + 0.3) * rows + 0.2) as (figure, axes):
        for line, (image_id, (image, mask)) in zip(axes, lesions.items(), strict=True):
            _show(line[0], image, mask)
            line[0].set_ylabel(kinds[image_id].replace("_", " "))
            line[0].set_xlabel(f"{mask.mean():.0%} of the image")
            for axis, (network, table) in zip(line[1:], maps.items(), strict=True):
                activation = enlarge(class_activation(table, image_id), len(image))
                _show(axis, _grey(image))
                axis.imshow(activation, cmap="inferno", alpha=0.6)
                _outline(axis, mask)
                share = f"{(activation * mask).sum() / activation.sum():.0%} inside"
                scored = (scores or {}).get(network)
                axis.set_xlabel(
                    share if scored is None else f"{share}\n{hit_or_miss(kinds[image_id], scored, image_id)}"
                )
        for axis, title in zip(axes[0], ["image, outline", *map(words.network, maps)], strict=True):
            axis.set_title(title)
    return figure


def hit_or_miss(kind: str, scores: pd.DataFrame, image_id: str) -> str:
    """What a network said of a lesion at the threshold of 0.5, with the score that decides.

    A lesion of a class is a hit where its score is above 0.5, another one where no score is.

    Example:
        >>> scores = pd.DataFrame({"image_id": ["a"], "melanoma": [0.7], "seborrheic_keratosis": [0.1]})
        >>> hit_or_miss("melanoma", scores, "a"), hit_or_miss("nevus", scores, "a")
        ('hit: melanoma 0.70', 'miss: melanoma 0.70')
    """
    row = scores.set_index("image_id").loc[image_id]
    classes = [one for one in CLASSES if one in row.index and not pd.isna(row[one])]
    decisive = kind if kind in classes else max(classes, key=lambda one: row[one])
    hit = (row[decisive] > 0.5) == (kind in classes)
    return f"{'hit' if hit else 'miss'}: {words.TASKS[decisive]} {row[decisive]:.2f}"


def masks(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], study: Study, seed: int = 0) -> Figure:
    """Where an ARL network's attention lies, block by block: its masks' mean over channels, over that of a flat mask.

    Args:
        lesions: by id, image and lesion mask; the ids of archived maps.
        study: runs with the measure `maps`; the first network with ARL blocks is shown.
        seed: which of its runs.
    """
    run = next((run for run in study.runs if run.seed == seed and len(run.attention)), None)
    if run is None:
        return no_runs(study, f" with ARL blocks and seed {seed}")
    blocks = list(run.attention["block"])
    table = run.measures["maps"]
    rows, columns = len(lesions), 1 + len(blocks)
    with canvas(rows, columns, width=1.75 * columns + 0.7, height=1.75 * rows + 0.3) as (figure, axes):
        for line, (image_id, (image, mask)) in zip(axes, lesions.items(), strict=True):
            _show(line[0], image, mask)
            line[0].set_ylabel(_kind(image_id))
            for axis, block in zip(line[1:], blocks, strict=True):
                octaves = np.log2(np.clip(map_of(table, image_id, block), 2.0**-MOST_OCTAVES, 2.0**MOST_OCTAVES))
                _show(axis, _grey(image))
                values = enlarge(octaves, len(image))
                drawn = axis.imshow(values, cmap="PuOr_r", vmin=-MOST_OCTAVES, vmax=MOST_OCTAVES, alpha=0.75)
                _outline(axis, mask)
        for axis, block in zip(axes[0, 1:], blocks, strict=True):
            axis.set_title(words.block(block), fontsize=9)
        bar = figure.colorbar(drawn, ax=axes, shrink=0.6, label="weight over that of a flat mask")
        bar.set_ticks([-3, -2, -1, 0, 1, 2, 3], labels=["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    return figure


def patches(
    image: Pixels,
    boxes: Float[np.ndarray, "patches 3"],
    cut: UInt8[np.ndarray, "patches patch patch 3"],
) -> Figure:
    """The patches that score a lesion: where they lie on it, and what a network sees of them.

    Args:
        image: the lesion.
        boxes: a row (x, y, scale) a patch: its centre and side in fractions of the image's side.
        cut: the pixels of each.
    """
    columns = 1 + -(-len(cut) // 3)
    with canvas(3, columns + 2, width=1.35 * (columns + 2), height=4.1) as (figure, axes):
        grid = axes[0, 0].get_gridspec()
        for axis in axes[:, :3].ravel():
            axis.remove()
        whole = figure.add_subplot(grid[:, :3])
        _show(whole, image)
        scales = np.unique(boxes[:, 2])
        of_scale = dict(zip(scales, mpl.colormaps["viridis"](np.linspace(0.1, 1, len(scales))), strict=True))
        for number, (x, y, scale) in enumerate(boxes, start=1):
            side = scale * len(image)
            corner = np.array([x, y]) * len(image) - side / 2 - 0.5
            whole.add_patch(Rectangle(corner, side, side, fill=False, lw=1.6, ec=of_scale[scale], clip_on=False))
            right, below = NUMBER_AT[number % len(NUMBER_AT)]
            inside = 0.015 * len(image)
            at = corner + np.where([right, below], side - inside, inside)
            align = {"ha": "right" if right else "left", "va": "bottom" if below else "top"}
            whole.text(*at, str(number), color="white", fontsize=8, **align)
        for axis in axes[:, 3:].ravel():
            axis.set_axis_off()
        for number, (axis, pixels) in enumerate(zip(axes[:, 3:].ravel(), cut, strict=False), start=1):
            scale = boxes[number - 1, 2]
            axis.set_axis_on()
            _show(axis, pixels)
            _frame(axis, of_scale[scale])
            axis.set_title(f"{number}: {scale:.0%}", fontsize=8, pad=2)
    return figure


def signs(drawn: Mapping[str, Any]) -> Figure:
    """Drawn lesions with the signs that each has: the picture, and its outline and signs over it.

    Args:
        drawn: by id, a `synthetic.SyntheticLesion`.
    """
    every = list(dict.fromkeys(sign for lesion in drawn.values() for sign in lesion.structures))
    colour = dict(zip(every, SIGN_COLOURS, strict=False))
    columns = len(drawn)
    with canvas(2, columns, width=1.75 * columns, height=4.3) as (figure, axes):
        for (above, below), (image_id, lesion) in zip(axes.T, drawn.items(), strict=True):
            _show(above, lesion.image)
            above.set_title(_kind(image_id), fontsize=9)
            _show(below, _grey(lesion.image), lesion.lesion_mask)
            for sign, mask in lesion.structures.items():
                layer = np.zeros((*mask.shape, 4))
                layer[mask] = to_rgba(colour[sign], 0.8)
                below.imshow(layer)
        handles = [Patch(color=colour[sign], label=SIGN_WORDS.get(sign, sign.replace("_", " "))) for sign in every]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _kind(image_id: str) -> str:
    """The kind of a drawn lesion, in words, from its id `<kind>-<seed>`; another id as it is."""
    return (image_id.rpartition("-")[0] or image_id).replace("_", " ")


def _frame(axis: Axes, colour: Any) -> None:
    for spine in axis.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=2)


def one_by_one(signs: Mapping[str, tuple[str, str, Any, Any]]) -> Figure:
    """Each sign on a lesion of its own: the lesion without it, with it, and where it is.

    Args:
        signs: by name, as `shown.each_sign` gives them.
    """
    with canvas(len(signs), 3, width=7.2, height=2.25 * len(signs)) as (figure, axes):
        for line, (name, (kind, what, without, lesion)) in zip(axes, signs.items(), strict=True):
            for axis, image in zip(line, (without.image, lesion.image, _grey(lesion.image)), strict=True):
                _show(axis, image)
            layer = np.zeros((*lesion.lesion_mask.shape, 4))
            layer[lesion.structures[name]] = to_rgba(SIGN_COLOURS[0], 0.85)
            line[2].imshow(layer)
            title = SIGN_WORDS.get(name, name.replace("_", " "))
            line[0].set_ylabel(f"{title}\n({kind.replace('_', ' ')})", fontsize=8)
            line[1].set_title(what, fontsize=8, wrap=True)
        for axis, heading in zip(axes[-1], ("without", "with", "where"), strict=True):
            axis.set_xlabel(heading)
    return figure
