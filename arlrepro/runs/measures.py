"""What is measured of a network at the end of its run, because it needs weights or images, and archived as numbers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from arlrepro.attention import terms as attention_terms
from arlrepro.attention.cam import maps_of
from arlrepro.attention.faithfulness import curves, sanity
from arlrepro.attention.lesion_frame import mean_maps
from arlrepro.attention.localisation import activations, drawn_focus, focus
from arlrepro.config import Experiment
from arlrepro.data.datasets import DataModule, gallery
from arlrepro.data.patches import Boxes, Lesions
from arlrepro.evaluation.delong import auc_interval
from arlrepro.models.arl_cnn import build
from arlrepro.models.inference import Predictor, mean_over_patches
from arlrepro.registry import CLASSES, classes_of
from arlrepro.runs.archive import PREDICTION_COLUMNS, Run

#: Lesions of a measure that is not taken of all, drawn by the evaluation seed: they bound what the end of a run costs.
TRAINING_LESIONS, SANITY_LESIONS, DELETION_LESIONS = 600, 200, 60
#: Added to a run's seed for the weights of a network that learned nothing, which its maps are compared with.
UNTRAINED = 1000


def of_run(run: Run, network: nn.Module, datamodule: DataModule) -> Run:
    """Score both held-out splits and measure all that needs weights or images, as numbers for the archive.

    Args:
        run: as trained, with its settings and seed.
        network: its network, in evaluation mode.
        datamodule: its images.

    Returns:
        The run with its predictions, the sizes of its attention terms and its measures; no measure is an empty table.
    """
    experiment, classes = run.experiment, classes_of(run.experiment.task)
    predictor, tables = Predictor(network, experiment), []
    for split in ("validation", "test"):
        lesions = datamodule.lesions(split)
        by_patch = predictor.patch_scores(lesions)
        table = pd.DataFrame(mean_over_patches(by_patch), columns=list(classes))
        table["image_id"], table["split"] = lesions.image_ids, split
        for column, name in enumerate(CLASSES):
            table[f"{name}_label"] = lesions.labels[:, column]
        tables.append(table.reindex(columns=PREDICTION_COLUMNS))
    test = datamodule.lesions("test")
    terms = attention_terms.terms(predictor, test)
    of_classes = test.labels[:, [CLASSES.index(name) for name in classes]]
    measured = {
        "scales": aucs_by_scale(by_patch, predictor.boxes, of_classes, classes),
        **of_images(predictor, test, gallery(experiment, datamodule.device)),
        "terms": ratios(terms),
        **_of_outlined(predictor, test, mean_over_patches(by_patch), run, datamodule),
    }
    return replace(
        run,
        predictions=pd.concat(tables, ignore_index=True),
        attention=attention_terms.term_sizes(terms),
        measures={name: table for name, table in measured.items() if len(table)},
    )


def _of_outlined(
    predictor: Predictor, test: Lesions, scores: Float[np.ndarray, "lesions outputs"], run: Run, datamodule: DataModule
) -> dict[str, pd.DataFrame]:
    """What needs a mask, of the lesions that have one; nothing where the images came without."""
    experiment, masks = run.experiment, datamodule.images.masks
    if masks is None:
        return {}
    found: dict[str, pd.DataFrame] = {}
    rows = datamodule.rows("test")
    outlined = np.flatnonzero(datamodule.images.has_mask[rows])
    if len(outlined):
        random = replace(experiment, network=replace(experiment.network, weights="none"))
        untrained = build(random, run.seed + UNTRAINED, datamodule.device)
        there, inside = test.at(outlined), masks[rows[outlined]]
        found |= of_masks(predictor, untrained, there, inside)
        maps = activations(predictor, there)
        found["mean_maps"] = mean_maps(maps, inside, there.labels, scores[outlined], experiment)
    rows = datamodule.rows("training")
    rows = drawn_by_seed(rows[datamodule.images.has_mask[rows]], TRAINING_LESIONS, experiment)
    if len(rows):
        found["focus_training"] = focus(predictor, datamodule.at(rows), masks[rows])
    return found


def drawn_by_seed(rows: Int[np.ndarray, " rows"], number: int, experiment: Experiment) -> Int[np.ndarray, " drawn"]:
    """As many of the rows, in their order, or all where there are no more; the same in every run of a protocol."""
    generator = np.random.default_rng(experiment.evaluation.seed)
    return np.sort(generator.choice(rows, min(number, len(rows)), replace=False))


def ratios(terms: pd.DataFrame) -> pd.DataFrame:
    r"""For each test lesion and block, the size of the attention term over what it is added to, from `terms.terms`.

    Returns:
        `image_id`, `block`, `to_shortcut` (root mean square of :math:`\alpha M \odot x` over that of :math:`x`),
        `to_residual` (over that of :math:`F(x)`).
    """
    return terms[["image_id", "block"]].assign(
        to_shortcut=terms["rms_attention"] / terms["rms_shortcut"],
        to_residual=terms["rms_attention"] / terms["rms_residual"],
    )


def of_images(predictor: Predictor, test: Lesions, drawn: Lesions) -> dict[str, pd.DataFrame]:
    """What needs no mask: scores without the attention term, deletion, synthetic lesions' maps, scores and signs."""
    experiment, boxes = predictor.experiment, predictor.boxes
    gallery = pd.DataFrame(predictor.scores(drawn), columns=list(classes_of(experiment.task)))
    gallery.insert(0, "image_id", drawn.image_ids)
    some = drawn_by_seed(np.arange(len(test)), DELETION_LESIONS, experiment)
    return {
        "removal": attention_terms.removal(predictor, test),
        "deletion": curves(predictor, test.at(some)),
        "maps": maps_of(predictor, drawn),
        "gallery": gallery,
        "patches": pd.DataFrame({"x": boxes.centre[:, 0], "y": boxes.centre[:, 1], "scale": boxes.scale}),
        **drawn_focus(predictor, test.device),
    }


def of_masks(
    predictor: Predictor, untrained: nn.Module, test: Lesions, masks: Bool[np.ndarray, "lesions side side"]
) -> dict[str, pd.DataFrame]:
    """What holds the maps against the masks of the test lesions, and against those of an untrained network."""
    some = drawn_by_seed(np.arange(len(test)), SANITY_LESIONS, predictor.experiment)
    return {
        "focus": focus(predictor, test, masks),
        "sanity": sanity(predictor, untrained, test.at(some), masks[some]),
    }


def aucs_by_scale(
    scores: Float[torch.Tensor, "lesions patches outputs"],
    boxes: Boxes,
    labels: Int[np.ndarray, "lesions outputs"],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Which patches carry the ranking? AUCs of the mean score over the patches of each scale alone.

    Args:
        scores: from `patch_scores`.
        boxes: the patches.
        labels: 0 or 1, a column for each output.
        classes: names of the outputs.

    Returns:
        `scale` (1 is the whole image), `patches`, `class`, `auc` and its 95 % interval over lesions, `low`, `high`.
    """
    rows = []
    for scale in sorted(set(boxes.scale.tolist())):
        chosen = boxes.scale == scale
        means = mean_over_patches(scores[:, chosen])
        for column, name in enumerate(classes):
            area = auc_interval(labels[:, column], means[:, column])
            rows.append((scale, int(chosen.sum()), name, area.value, area.low, area.high))
    return pd.DataFrame(rows, columns=["scale", "patches", "class", "auc", "low", "high"])
