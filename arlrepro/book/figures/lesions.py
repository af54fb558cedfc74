"""Lesions as pictures: synthetic ones for everybody, real ones for who has the data, each chosen by a rule.

A lesion is `(image, lesion_mask)`: uint8 pixels (side, side, 3) and a mask of the same sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
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

from arlrepro import paths
from arlrepro.book.figures.style import Drawn, Pixels, canvas, grey, no_runs, show
from arlrepro.config import Experiment
from arlrepro.data import datasets
from arlrepro.data.synthetic import dataset as synthetic
from arlrepro.data.synthetic.signs import SIGNS
from arlrepro.registry import CLASSES, classes_of
from arlrepro.runs import archive, runner, weights
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Study

#: An image uint8 (side, side, 3) and its lesion mask, bool (side, side).
Shown = tuple[np.ndarray, np.ndarray]

#: Paul Tol's muted colours, told apart with any colour vision, and one more: a sign each.
SIGN_COLOURS = (
    *("#CC6677", "#88CCEE", "#DDCC77", "#117733", "#332288", "#AA4499"),
    *("#44AA99", "#999933", "#882255", "#DDDDDD", "#EE7733"),
)
SIGN_WORDS = {"blue_white_veil": "blue-white veil", "milia_like_cysts": "milia-like cysts"}
#: Corners for the numbers of patches, in turn: (right, below).
NUMBER_AT = ((False, False), (True, True), (True, False))


def synthetic_lesions(experiment: Experiment) -> dict[str, synthetic.SyntheticLesion]:
    """Synthetic lesions whose maps every run archives, at the side that its networks saw; ids are `<kind>-<seed>`."""
    side = experiment.data.side
    return {f"{kind}-{seed}": synthetic.draw_lesion(kind, seed, side) for kind, seed in datasets.GALLERY}


def each_sign(side: int = 192) -> dict[str, tuple[str, str, synthetic.SyntheticLesion, synthetic.SyntheticLesion]]:
    """One lesion for each dermoscopic sign, drawn without any sign and with that one alone.

    Rule: the kind in which the sign is most frequent, the first seed of it whose lesion shows the sign.

    Returns:
        By sign: the kind, what the sign is (the first sentence of the function that draws it), and both lesions.
    """
    found = {}
    for draw, frequencies in SIGNS.items():
        name, kind = draw.__name__, synthetic.KINDS[int(np.argmax(frequencies))]
        for seed in count():
            lesion = synthetic.draw_lesion(kind, seed, side, signs=[name])
            if lesion.structures[name].any():
                break
        what = " ".join((draw.__doc__ or "").split())
        found[name] = (kind, what, synthetic.draw_lesion(kind, seed, side, signs=[]), lesion)
    return found


def outlined(lesions: dict[str, synthetic.SyntheticLesion]) -> dict[str, Shown]:
    """Image and lesion mask of each."""
    return {image_id: (lesion.image, lesion.lesion_mask) for image_id, lesion in lesions.items()}


def evaluation_patches(
    image: UInt8[np.ndarray, "side side 3"], study: Study
) -> tuple[Float[np.ndarray, "patches 3"], UInt8[np.ndarray, "patches patch patch 3"]]:
    """The patches that score a lesion, as the study's runs archived their places.

    Returns:
        A row (x, y, scale) a patch: its centre and side in fractions of the image's side; and its pixels.
    """
    where = study.runs[0].measures["patches"][["x", "y", "scale"]].to_numpy(dtype=np.float64)
    whole, patch = len(image), study.profile.experiment.patches.side
    corners = np.column_stack([where[:, :2] - where[:, 2:] / 2, where[:, :2] + where[:, 2:] / 2]) * whole
    picture = Image.fromarray(image)
    cut = [picture.resize((patch, patch), Image.Resampling.BILINEAR, box=tuple(box)) for box in corners.clip(0, whole)]
    return where, np.stack([np.asarray(one) for one in cut])


def evaluation(image: UInt8[np.ndarray, "side side 3"], study: Study) -> Drawn:
    """`patches` of `evaluation_patches`, where a completed run says where they lie."""
    if not any("patches" in run.measures for run in study.runs):
        return no_runs(study)
    return patches(image, *evaluation_patches(image, study))


@dataclass(frozen=True)
class Looked:
    """Lesions with what networks made of them: what `attention.activation_grid` draws."""

    lesions: dict[str, Shown]  # by id
    maps: dict[str, pd.DataFrame]  # by network, as `cam.maps_of` gives it
    scores: dict[str, pd.DataFrame]  # by network, image_id and a score for each class
    kinds: dict[str, str]  # of the lesions, by id


def hits_and_misses(run: Run, seed: int = 0, each: int = 1) -> dict[str, str]:
    """Test lesions of each kind that a run called rightly and wrongly, drawn at random.

    Rule: of each kind (melanoma, seborrheic keratosis, neither), `each` lesions at random by `seed` among the hits and
    as many among the misses, at a threshold of 0.5 (see `attention.hit_or_miss`); where a kind has no hit or no miss,
    there is none.

    Returns:
        The kind by image id.
    """
    test, generator = run.of("test"), np.random.default_rng(seed)
    scores = test[list(classes_of(run.experiment.task))]
    found: dict[str, str] = {}
    for kind in (*CLASSES, "neither"):
        labels = test[[f"{one}_label" for one in CLASSES]].to_numpy().astype(bool)
        of_kind = labels[:, CLASSES.index(kind)] if kind in CLASSES else ~labels.any(axis=1)
        hit = scores[kind] > 0.5 if kind in scores else (scores <= 0.5).all(axis=1)
        for group in (test.index[of_kind & hit], test.index[of_kind & ~hit]):
            chosen = generator.choice(np.array(group, dtype=str), min(each, len(group)), replace=False)
            found |= dict.fromkeys(map(str, chosen), kind)
    return found


def real_lesions(study: Study, data: str, seed: int = 0) -> Looked:
    """Test lesions with each network's maps, for a site that is built beside the data.

    Rule: hits and misses of the profile's last network with the first seed; see `hits_and_misses`.

    Args:
        study: runs whose weights are here.
        data: folder in the official layout.
        seed: of the choice.
    """
    from arlrepro.attention.cam import maps_of
    from arlrepro.models.inference import Predictor

    of_runs = {network: _with_weights(study, network, study.profile.seeds[0]) for network in study.profile.networks}
    kinds = hits_and_misses(of_runs[study.profile.networks[-1]], seed)
    datamodule = runner.set_up_data(study.profile.experiment, data, "auto")
    row = {image_id: number for number, image_id in enumerate(datamodule.images.image_ids)}
    rows = np.array([row[one] for one in kinds])
    masks: Bool[np.ndarray, "lesions side side"] = (
        np.zeros((len(rows), datamodule.images.side, datamodule.images.side), dtype=bool)
        if datamodule.images.masks is None
        else datamodule.images.masks[rows]
    )
    lesions = {one: (datamodule.images.pixels[row[one]], mask) for one, mask in zip(kinds, masks, strict=True)}
    loaded = datamodule.at(rows)
    maps = {
        network: maps_of(Predictor(weights.load_network(run), run.experiment), loaded)
        for network, run in of_runs.items()
    }
    scores = {network: run.predictions for network, run in of_runs.items()}
    return Looked(lesions, maps, scores, kinds)


def _with_weights(study: Study, network: str, seed: int) -> Run:
    """The live run of a network, whose folder has the weights."""
    experiment = next(one for one in study.profile.experiments() if one.network.name == network)
    folder: Path = paths.live_folder(study.profile.name) / experiment.run_id(seed)
    return archive.read_run(folder)


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
        show(whole, image)
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
            show(axis, pixels)
            _frame(axis, of_scale[scale])
            axis.set_title(f"{number}: {scale:.0%}", fontsize=8, pad=2)
    return figure


def signs(drawn: Mapping[str, Any]) -> Figure:
    """Synthetic lesions with the signs that each has: the picture, and its outline and signs over it.

    Args:
        drawn: by id, a `dataset.SyntheticLesion`.
    """
    every = list(dict.fromkeys(sign for lesion in drawn.values() for sign in lesion.structures))
    colour = dict(zip(every, SIGN_COLOURS, strict=False))
    columns = len(drawn)
    with canvas(2, columns, width=1.75 * columns, height=4.3) as (figure, axes):
        for (above, below), (image_id, lesion) in zip(axes.T, drawn.items(), strict=True):
            show(above, lesion.image)
            above.set_title(kind_of(image_id), fontsize=9)
            show(below, grey(lesion.image), lesion.lesion_mask)
            for sign, mask in lesion.structures.items():
                layer = np.zeros((*mask.shape, 4))
                layer[mask] = to_rgba(colour[sign], 0.8)
                below.imshow(layer)
        handles = [Patch(color=colour[sign], label=SIGN_WORDS.get(sign, sign.replace("_", " "))) for sign in every]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def kind_of(image_id: str) -> str:
    """The kind of a synthetic image, in words, from its id `<kind>-<seed>`; another id as it is."""
    return (image_id.rpartition("-")[0] or image_id).replace("_", " ")


def _frame(axis: Axes, colour: Any) -> None:
    for spine in axis.spines.values():
        spine.set(visible=True, edgecolor=colour, linewidth=2)


def one_by_one(signs: Mapping[str, tuple[str, str, Any, Any]]) -> Figure:
    """Each sign on a lesion of its own: the lesion without it, with it, and where it is.

    Args:
        signs: by name, as `lesions.each_sign` gives them.
    """
    with canvas(len(signs), 3, width=7.2, height=2.25 * len(signs)) as (figure, axes):
        for line, (name, (kind, what, without, lesion)) in zip(axes, signs.items(), strict=True):
            for axis, image in zip(line, (without.image, lesion.image, grey(lesion.image)), strict=True):
                show(axis, image)
            layer = np.zeros((*lesion.lesion_mask.shape, 4))
            layer[lesion.structures[name]] = to_rgba(SIGN_COLOURS[0], 0.85)
            line[2].imshow(layer)
            title = SIGN_WORDS.get(name, name.replace("_", " "))
            line[0].set_ylabel(f"{title}\n({kind.replace('_', ' ')})", fontsize=8)
            line[1].set_title(what, fontsize=8, wrap=True)
        for axis, heading in zip(axes[-1], ("without", "with", "where"), strict=True):
            axis.set_xlabel(heading)
    return figure
