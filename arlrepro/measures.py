"""What is measured of a network at the end of its run, because it needs weights or images, and archived as numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from torch import nn

from arlrepro import attention, material
from arlrepro.archive import PREDICTION_COLUMNS, Run
from arlrepro.config import CLASSES, Experiment, classes_of
from arlrepro.deletion import curves
from arlrepro.focus import activations, drawn_focus, focus, sanity
from arlrepro.lesion_frame import mean_maps
from arlrepro.maps import maps_of
from arlrepro.patches import evaluation_boxes
from arlrepro.predict import Lesions, aucs_by_scale, mean_over_patches, patch_scores, score
from arlrepro.train import build

#: Lesions of a measure that is not taken of all, drawn by the evaluation seed: they bound what the end of a run costs.
TRAINING_LESIONS, SANITY_LESIONS, DELETION_LESIONS = 600, 200, 60
#: Added to a run's seed for the weights of a network that learned nothing, which its maps are compared with.
UNTRAINED = 1000


def of_run(run: Run, network: nn.Module, bench: material.Bench) -> Run:
    """Score both held-out splits and measure all that needs weights or images, as numbers for the archive.

    Args:
        run: as trained, with its settings and seed.
        network: its network, in evaluation mode.
        bench: its images.

    Returns:
        The run with its predictions, the sizes of its attention terms and its measures; no measure is an empty table.
    """
    experiment, classes = run.experiment, classes_of(run.experiment.task)
    boxes = evaluation_boxes(experiment.evaluation_patches, experiment.evaluation)
    tables = []
    for split in ("validation", "test"):
        lesions = bench.lesions(split)
        by_patch = patch_scores(network, lesions, boxes, experiment.evaluation_patches, experiment.train.precision)
        table = pd.DataFrame(mean_over_patches(by_patch), columns=list(classes))
        table["image_id"], table["split"] = lesions.image_ids, split
        for column, name in enumerate(CLASSES):
            table[f"{name}_label"] = lesions.labels[:, column]
        tables.append(table.reindex(columns=PREDICTION_COLUMNS))
    test = bench.lesions("test")
    terms = attention.terms(network, test, experiment)
    of_classes = test.labels[:, [CLASSES.index(name) for name in classes]]
    measured = {
        "scales": aucs_by_scale(by_patch, boxes, of_classes, classes),
        **of_images(network, test, material.gallery(experiment, bench.device), experiment),
        "terms": ratios(terms),
        **_of_outlined(network, test, mean_over_patches(by_patch), run, bench),
    }
    return replace(
        run,
        predictions=pd.concat(tables, ignore_index=True),
        attention=attention.term_sizes(terms),
        measures={name: table for name, table in measured.items() if len(table)},
    )


def _of_outlined(
    network: nn.Module, test: Lesions, scores: Float[np.ndarray, "lesions outputs"], run: Run, bench: material.Bench
) -> dict[str, pd.DataFrame]:
    """What needs a mask, of the lesions that have one; nothing where the images came without."""
    experiment, masks = run.experiment, bench.images.masks
    if masks is None:
        return {}
    found: dict[str, pd.DataFrame] = {}
    rows = bench.rows("test")
    outlined = np.flatnonzero(bench.images.has_mask[rows])
    if len(outlined):
        random = replace(experiment, network=replace(experiment.network, weights="none"))
        untrained = build(random, run.seed + UNTRAINED, bench.device)
        there, inside = test.at(outlined), masks[rows[outlined]]
        found |= of_masks(network, untrained, there, inside, experiment)
        maps = activations(network, there, experiment)
        found["mean_maps"] = mean_maps(maps, inside, there.labels, scores[outlined], experiment)
    rows = bench.rows("training")
    rows = drawn_by_seed(rows[bench.images.has_mask[rows]], TRAINING_LESIONS, experiment)
    if len(rows):
        found["focus_training"] = focus(network, bench.at(rows), masks[rows], experiment)
    return found


def drawn_by_seed(rows: Int[np.ndarray, " rows"], number: int, experiment: Experiment) -> Int[np.ndarray, " drawn"]:
    """As many of the rows, in their order, or all where there are no more; the same in every run of a protocol."""
    generator = np.random.default_rng(experiment.evaluation.seed)
    return np.sort(generator.choice(rows, min(number, len(rows)), replace=False))


def ratios(terms: pd.DataFrame) -> pd.DataFrame:
    r"""For each test lesion and block, the size of the attention term over what it is added to, from `attention.terms`.

    Returns:
        `image_id`, `block`, `to_shortcut` (root mean square of :math:`\alpha M \odot x` over that of :math:`x`),
        `to_residual` (over that of :math:`F(x)`).
    """
    return terms[["image_id", "block"]].assign(
        to_shortcut=terms["rms_attention"] / terms["rms_shortcut"],
        to_residual=terms["rms_attention"] / terms["rms_residual"],
    )


def of_images(network: nn.Module, test: Lesions, drawn: Lesions, experiment: Experiment) -> dict[str, pd.DataFrame]:
    """What needs no mask: scores without the attention term, deletion, the drawn lesions' maps, scores and signs."""
    boxes = evaluation_boxes(experiment.evaluation_patches, experiment.evaluation)
    scores = score(network, drawn, boxes, experiment.evaluation_patches, experiment.train.precision)
    gallery = pd.DataFrame(scores, columns=list(classes_of(experiment.task)))
    gallery.insert(0, "image_id", drawn.image_ids)
    some = drawn_by_seed(np.arange(len(test)), DELETION_LESIONS, experiment)
    return {
        "removal": attention.removal(network, test, experiment),
        "deletion": curves(network, test.at(some), experiment),
        "maps": maps_of(network, drawn, experiment),
        "gallery": gallery,
        "patches": pd.DataFrame({"x": boxes.centre[:, 0], "y": boxes.centre[:, 1], "scale": boxes.scale}),
        **drawn_focus(network, experiment, test.device),
    }


def of_masks(
    network: nn.Module,
    untrained: nn.Module,
    test: Lesions,
    masks: Bool[np.ndarray, "lesions side side"],
    experiment: Experiment,
) -> dict[str, pd.DataFrame]:
    """What holds the maps against the masks of the test lesions, and against those of an untrained network."""
    some = drawn_by_seed(np.arange(len(test)), SANITY_LESIONS, experiment)
    return {
        "focus": focus(network, test, masks, experiment),
        "sanity": sanity(network, untrained, test.at(some), masks[some], experiment),
    }
