"""What is measured of a network at the end of its run, because it needs weights or images, and archived as numbers."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from torchvision.models import ResNet

from arlrepro.attention import removal
from arlrepro.config import Experiment, classes_of
from arlrepro.deletion import curves
from arlrepro.focus import drawn_focus, focus, sanity
from arlrepro.maps import maps_of
from arlrepro.patches import evaluation_boxes
from arlrepro.predict import Lesions, score

#: Lesions of a measure that is not taken of all, drawn by the evaluation seed: they bound what the end of a run costs.
TRAINING_LESIONS, SANITY_LESIONS, DELETION_LESIONS = 600, 200, 60


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


def of_images(network: ResNet, test: Lesions, drawn: Lesions, experiment: Experiment) -> dict[str, pd.DataFrame]:
    """What needs no mask: scores without the attention term, deletion, the drawn lesions' maps, scores and signs."""
    boxes = evaluation_boxes(experiment.patches, experiment.evaluation)
    scores = score(network, drawn, boxes, experiment.patches, experiment.train.precision)
    gallery = pd.DataFrame(scores, columns=list(classes_of(experiment.task)))
    gallery.insert(0, "image_id", drawn.image_ids)
    some = drawn_by_seed(np.arange(len(test)), DELETION_LESIONS, experiment)
    return {
        "removal": removal(network, test, experiment),
        "deletion": curves(network, test.at(some), experiment),
        "maps": maps_of(network, drawn, experiment),
        "gallery": gallery,
        "patches": pd.DataFrame({"x": boxes.centre[:, 0], "y": boxes.centre[:, 1], "scale": boxes.scale}),
        **drawn_focus(network, experiment, test.device),
    }


def of_masks(
    network: ResNet,
    untrained: ResNet,
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
