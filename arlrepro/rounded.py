"""Weights for anyone to try: those of a live run in float16, half the size, held to the scores they give."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arlrepro import material, runs
from arlrepro.archive import committed_weights, read_run
from arlrepro.errors import RunError
from arlrepro.patches import evaluation_boxes
from arlrepro.predict import score

#: A rounded network's scores may differ by this much, of 1, from those of the network as it was trained.
TOLERANCE = 0.005


def round_weights(network: nn.Module) -> dict[str, Tensor]:
    """A network's state dict with its floating numbers in float16.

    Raises:
        RunError: a number is too large for float16.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    rounded = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    if large := [name for name, value in rounded.items() if not value.isfinite().all()]:
        raise RunError(f"float16 cannot hold the weights: too large in {', '.join(large[:5])}")
    return rounded


def commit_weights(folder: Path) -> Path:
    """Write a live run's weights, rounded, to where committed ones lie.

    The drawn lesions of the gallery are scored by both networks, so that no rounding that matters is committed.

    Args:
        folder: of the run, with its weights.

    Returns:
        `weights/<id>.safetensors`.

    Raises:
        RunError: the weights are not here, float16 cannot hold them, or a score changes by more than `TOLERANCE`.
    """
    run = read_run(folder)
    if not (folder / runs.WEIGHTS).is_file():
        raise RunError(f"{folder}: no {runs.WEIGHTS}; only a live run has weights to round, runs/<profile>/<id>")
    experiment, network = run.experiment, runs.load_network(run, "cpu")
    rounded = round_weights(network)
    drawn = material.gallery(experiment, torch.device("cpu"))
    boxes = evaluation_boxes(experiment.evaluation_patches, experiment.evaluation)

    def scores() -> np.ndarray:
        return score(network, drawn, boxes, experiment.evaluation_patches, experiment.train.precision)

    before = scores()
    network.load_state_dict(rounded)
    if (change := float(np.abs(scores() - before).max())) > TOLERANCE:
        raise RunError(f"{run.id}: rounding to float16 changes a score by {change:.4f}, more than {TOLERANCE}")
    path = committed_weights(run.id)
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    save_file(rounded, part)
    return part.replace(path)
