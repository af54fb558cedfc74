"""Lesions that the book shows: drawn ones for everybody, real ones for who has the data, each chosen by a rule."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from arlrepro import material, runs, signs, synthetic
from arlrepro.archive import Run, Study
from arlrepro.config import CLASSES, Experiment, classes_of

#: An image uint8 (side, side, 3) and its lesion mask, bool (side, side).
Shown = tuple[np.ndarray, np.ndarray]


def drawn_lesions(experiment: Experiment) -> dict[str, synthetic.SyntheticLesion]:
    """The drawn lesions whose maps every run archives, at the side that its networks saw; ids are `<kind>-<seed>`."""
    side = experiment.data.side
    return {f"{kind}-{seed}": synthetic.draw_lesion(kind, seed, side) for kind, seed in material.GALLERY}


def each_sign(side: int = 192) -> dict[str, tuple[str, str, synthetic.SyntheticLesion, synthetic.SyntheticLesion]]:
    """One lesion for each dermoscopic sign, drawn without any sign and with that one alone.

    Rule: the kind in which the sign is most frequent, the first seed of it whose lesion shows the sign.

    Returns:
        By sign: the kind, what the sign is (the first sentence of the function that draws it), and both lesions.
    """
    found = {}
    for draw, frequencies in signs.SIGNS.items():
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


@dataclass(frozen=True)
class Looked:
    """Lesions with what networks made of them: what `pictures.activation_grid` draws."""

    lesions: dict[str, Shown]  # by id
    maps: dict[str, pd.DataFrame]  # by network, as `maps.maps_of` gives it
    scores: dict[str, pd.DataFrame]  # by network, image_id and a score for each class
    kinds: dict[str, str]  # of the lesions, by id


def hits_and_misses(run: Run, seed: int = 0, each: int = 1) -> dict[str, str]:
    """Test lesions of each kind that a run called rightly and wrongly, drawn at random.

    Rule: of each kind (melanoma, seborrheic keratosis, neither), `each` lesions at random by `seed` among the hits and
    as many among the misses, at a threshold of 0.5 (see `pictures.hit_or_miss`); where a kind has no hit or no miss,
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
    from arlrepro.maps import maps_of

    of_runs = {network: _with_weights(study, network, study.profile.seeds[0]) for network in study.profile.networks}
    kinds = hits_and_misses(of_runs[study.profile.networks[-1]], seed)
    bench = material.Bench.set_up(study.profile.experiment, data, "auto")
    row = {image_id: number for number, image_id in enumerate(bench.images.image_ids)}
    rows = np.array([row[one] for one in kinds])
    masks: Bool[np.ndarray, "lesions side side"] = (
        np.zeros((len(rows), bench.images.side, bench.images.side), dtype=bool)
        if bench.images.masks is None
        else bench.images.masks[rows]
    )
    lesions = {one: (bench.images.pixels[row[one]], mask) for one, mask in zip(kinds, masks, strict=True)}
    loaded = bench.at(rows)
    maps = {network: maps_of(runs.load_network(run), loaded, run.experiment) for network, run in of_runs.items()}
    scores = {network: run.predictions for network, run in of_runs.items()}
    return Looked(lesions, maps, scores, kinds)


def _with_weights(study: Study, network: str, seed: int) -> Run:
    """The live run of a network, whose folder has the weights."""
    experiment = next(one for one in study.profile.experiments() if one.network.name == network)
    folder: Path = runs.live_folder(study.profile.name) / experiment.run_id(seed)
    return runs.read_run(folder)
