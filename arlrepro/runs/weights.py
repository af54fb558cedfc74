"""Weights of a run: saved, loaded, and rounded to float16 for anyone to try, held to the scores they give."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from arlrepro import storage
from arlrepro.config import from_dict, to_dict
from arlrepro.errors import RunError, some
from arlrepro.evaluation.calibration import fit_temperature
from arlrepro.paths import committed_weights
from arlrepro.registry import CLASSES, PRETRAINED, classes_of
from arlrepro.runs.archive import WEIGHTS, Run, read_run

if TYPE_CHECKING:
    import torch

#: A rounded network's scores may differ by this much, of 1, from those of the network as it was trained.
TOLERANCE = 0.005
#: Of weights from a random start: this repository's own.
LICENCE = "MIT"


def round_weights(network: "torch.nn.Module") -> "dict[str, torch.Tensor]":
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

    The synthetic lesions of the gallery are scored by both networks, so that no rounding that matters is committed.

    Args:
        folder: of the run, with its weights.

    Returns:
        `weights/<id>.safetensors`. Its model card lies beside it, see `book.model_card.write`.

    Raises:
        RunError: the weights are not here, or may not be given away; float16 cannot hold them, or a score changes by
            more than `TOLERANCE`.
    """
    import torch
    from safetensors.torch import save

    from arlrepro.data.datasets import gallery
    from arlrepro.models.inference import Predictor

    run = read_run(folder)
    start = PRETRAINED.get(run.experiment.network.weights)
    if start is not None and not start.given_away:
        raise RunError(f"{run.id}: its training started from {start.name}, licence {start.licence}: not given away")
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"{folder}: no {WEIGHTS}; only a live run has weights to round, runs/<profile>/<id>")
    experiment, network = run.experiment, load_network(run, "cpu")
    rounded = round_weights(network)
    drawn = gallery(experiment, torch.device("cpu"))
    predictor = Predictor(network, experiment)
    before = predictor.scores(drawn)
    network.load_state_dict(rounded)
    if (change := float(np.abs(predictor.scores(drawn) - before).max())) > TOLERANCE:
        raise RunError(f"{run.id}: rounding to float16 changes a score by {change:.4f}, more than {TOLERANCE}")
    path = committed_weights(run.id)
    storage.require_writable(path.parent)
    with storage.writing(path), storage.alone(path.parent, "writes weights"):
        with storage.replacing(path) as new:
            new.write_bytes(save(rounded, metadata=describe(run) | {"model_card": f"weights/{run.id}.md"}))
        storage.write_sums(path.parent, [one.name for one in path.parent.glob("*.safetensors")])
    return path


def describe(run: Run) -> dict[str, str]:
    """What a file of weights says of itself, in the metadata of safetensors.

    Returns:
        `network`, `task`, `seed`, `run` (its id), `protocol` (the hash of its settings), `config` (all of them, as
        JSON), `temperature` (by class, as JSON; see `temperatures`), `licence`, and `model_card` (where what the
        network is not for is said, a path in this repository).
    """
    return {
        "network": run.network,
        "task": run.experiment.task,
        "seed": str(run.seed),
        "run": run.id,
        "protocol": run.experiment.hash,
        "config": json.dumps(to_dict(run.experiment)),
        "temperature": json.dumps(temperatures(run)),
        "licence": licence(run),
        "model_card": "book/model_card.md",
    }


def licence(run: Run) -> str:
    """The licence of a network's weights: that of the weights that it started from, else this repository's."""
    start = PRETRAINED.get(run.experiment.network.weights)
    return start.licence if start else LICENCE


def temperatures(run: Run) -> dict[str, float]:
    """What the log-odds of a network's scores are divided by to make probabilities of them, fitted on validation.

    Returns:
        A temperature above 0 by class; none of a class of which all validation lesions, or none, have the disease.
    """
    lesions, found = run.of("validation"), {}
    for name in classes_of(run.experiment.task):
        truth = lesions[f"{name}_label"].to_numpy(dtype=bool)
        if truth.any() and not truth.all():
            found[name] = fit_temperature(truth, lesions[name].to_numpy(dtype=float))
    return found


def run_of(path: Path) -> Run:
    """The run that a file of weights says it comes from: settings and seed, without any of its results.

    Raises:
        RunError: the file is none of weights, or does not say which network's: it was not written by `save_weights`.
    """
    said = _said_by(path)
    try:
        experiment, seed = from_dict(json.loads(said["config"])), int(said["seed"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: no weights that say which network they are of; a run's {WEIGHTS} does") from error
    nothing = pd.DataFrame()
    return Run(experiment, seed, "", {}, nothing, nothing, nothing)


def temperatures_of(path: Path) -> dict[str, float]:
    """The temperatures that a file of weights carries; none where it was written before they were."""
    try:
        said = json.loads(_said_by(path).get("temperature", "{}"))
        return {name: float(said[name]) for name in CLASSES if name in said}
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: its metadata say no temperatures that can be read; take the file anew") from error


def _said_by(path: Path) -> dict[str, str]:
    """The metadata of a file of weights."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RunError(f"{path}: no such file of weights")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise RunError(f"{path}: no weights that say which network they are of; a run's {WEIGHTS} does") from error


def load_network(run: Run, device: str = "auto", path: Path | None = None) -> "torch.nn.Module":
    """The trained network of a run, in evaluation mode: of a live one as trained, else from its committed weights.

    Args:
        run: what the network is.
        device: `auto`, `cpu` or `cuda`.
        path: of a file of weights to load in place of these.

    Raises:
        RunError: the run's weights are not here; the message says how to get them. Or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from arlrepro.models.arl_cnn import build
    from arlrepro.models.devices import choose_device

    places = [*([run.folder / WEIGHTS] if run.folder else []), committed_weights(run.id)]
    path = path or next((place for place in places if place.is_file()), None)
    if path is None:
        profile_name = run.folder.parent.name if run.folder else "NAME"
        raise RunError(
            f"{run.id}: no {WEIGHTS} in {run.folder}; archived runs keep none: train it with `arlrepro train "
            f"--profile {profile_name} --network {run.network} --task {run.experiment.task} --seed {run.seed}`"
        )
    where = choose_device(device)
    # Reason: the weights that it started from are replaced, and need not be here any more.
    blank = replace(run.experiment, network=replace(run.experiment.network, weights="none"))
    network = build(blank, run.seed, where)
    sums = storage.read_sums(path.parent)
    content = storage.read_checked(path, sums if path.name in sums else {})  # weights may be put there by hand
    try:
        state = load(content)
        network.load_state_dict(state)  # rounded weights are widened again
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{path}: not the weights of {run.id} ({reason}); restore the file, or train the run again"
        ) from error
    if broken := [name for name, value in state.items() if not value.isfinite().all()]:
        raise RunError(f"{path}: NaN or infinity in {some(broken)}; restore the file, or train the run again")
    return network.eval()


def save_weights(network: "torch.nn.Module", path: Path, run: Run | None = None) -> None:
    """Write a network's state dict as safetensors, with what `describe` says of the run that it comes from."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with storage.replacing(path) as new:
        new.write_bytes(save(state, metadata=describe(run) if run else None))
