"""Training: an epoch, the halving schedule, the validation watch, checkpoints that survive a kill.

Everything random in an epoch is a pure function of the run's seed and the epoch's number, so a checkpoint needs no
random state, and a run that was killed and started again ends with the weights of one that never was.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from arlrepro.config import CLASSES, Experiment, classes_of
from arlrepro.errors import DatasetError, RunError
from arlrepro.models import create
from arlrepro.patches import cut, epoch, evaluation_boxes
from arlrepro.precision import autocast
from arlrepro.predict import Lesions, score

#: What the history says of one epoch.
Row = dict[str, int | float]
#: Told the epoch (from 1), the number of epochs, and the history's newest row, after each epoch.
Watcher = Callable[[int, int, Row], None]


@dataclass
class Trained:
    """A network in its best state, and how it got there."""

    network: nn.Module
    history: pd.DataFrame  # an epoch a row


def build(experiment: Experiment, seed: int, device: torch.device) -> nn.Module:
    """The network of an experiment as it starts: with one seed, ResNet and ARL-CNN begin from the same weights."""
    torch.manual_seed(seed)
    ours = experiment.network
    return create(
        ours.name,
        outputs=len(classes_of(experiment.task)),
        mask=ours.mask,
        alpha=ours.alpha,
        alpha_learned=ours.alpha_learned,
        weights=ours.weights,
        stages=ours.stages,
    ).to(device)


def train(
    experiment: Experiment,
    seed: int,
    training: Lesions,
    validation: Lesions,
    checkpoint: Path | None = None,
    watch: Watcher | None = None,
) -> Trained:
    """Train a network and return it in the state with the best validation AUC.

    Args:
        experiment: network, task and protocol.
        seed: of the weights and of every patch drawn.
        training: images to learn from, on the device to train on.
        validation: images to watch.
        checkpoint: file to resume from if it is there and to write after each epoch.
        watch: told after each epoch.

    Returns:
        The network on its device, in evaluation mode, and the history.

    Raises:
        DatasetError: a split is smaller than a batch, or has lesions of one kind only.
        RunError: the loss is not a number, or the checkpoint is another run's.
    """
    config = experiment.train
    columns = [CLASSES.index(one) for one in classes_of(experiment.task)]
    _check(experiment, training, validation, columns)
    device = training.levels[0].device
    network = build(experiment, seed, device)
    optimiser = _optimiser(network, experiment)
    labels = torch.from_numpy(training.labels[:, columns]).float().to(device)
    boxes = evaluation_boxes(experiment.patches, experiment.evaluation)
    history: list[Row] = []
    best: dict[str, Any] = {"auc": -1.0, "epoch": 0, "network": network.state_dict()}
    if checkpoint is not None and checkpoint.is_file():
        saved = _read_checkpoint(checkpoint, experiment, seed)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        history, best = saved["history"], saved["best"]

    for number in range(len(history), config.epochs):
        if config.patience and number - best["epoch"] >= config.patience:
            break
        began = time.perf_counter()
        rate = config.learning_rate * 0.5 ** (number // config.halve_every)
        for group in optimiser.param_groups:
            group["lr"] = rate
        row: Row = {"epoch": number + 1, "learning_rate": rate}
        row["training_loss"] = _epoch(network, optimiser, training, labels, experiment, seed, number)
        if (number + 1) % config.validate_every == 0 or number + 1 == config.epochs:
            scores = score(network, validation, boxes, experiment.patches, config.precision)
            aucs = {CLASSES[c]: roc_auc_score(validation.labels[:, c], scores[:, i]) for i, c in enumerate(columns)}
            row |= {f"validation_auc_{name}": float(auc) for name, auc in aucs.items()}
            mean = float(np.mean(list(aucs.values())))
            if mean > best["auc"]:
                best = {"auc": mean, "epoch": number + 1, "network": _copy(network)}
        row |= {f"alpha_{name.removesuffix('.alpha')}": value.item() for name, value in _alphas(network)}
        row["seconds"] = time.perf_counter() - began
        history.append(row)
        if checkpoint is not None:
            _write_checkpoint(checkpoint, experiment, seed, network, optimiser, history, best)
        if watch is not None:
            watch(number + 1, config.epochs, row)
    network.load_state_dict(best["network"])
    return Trained(network.eval(), pd.DataFrame(history))


def _check(experiment: Experiment, training: Lesions, validation: Lesions, columns: list[int]) -> None:
    patches = len(training) * experiment.train.patches_per_image
    if patches < experiment.train.batch_size:
        raise DatasetError(
            f"{patches} training patches an epoch do not fill a batch of {experiment.train.batch_size}; "
            "lower train.batch_size or give more images"
        )
    for split, lesions in (("training", training), ("validation", validation)):
        for column in columns:
            if len(np.unique(lesions.labels[:, column])) < 2:
                raise DatasetError(
                    f"the {split} split has {int(lesions.labels[:, column].sum())} {CLASSES[column]} among "
                    f"{len(lesions)} lesions: its AUC is not defined; add lesions of both kinds"
                )


def _optimiser(network: nn.Module, experiment: Experiment) -> torch.optim.SGD:
    """SGD over all parameters, without weight decay on alpha."""
    # Departure: weight decay is not applied to alpha; the paper does not say.
    # Reason: decay pulls alpha to zero, which would decide the question that the replication asks.
    alphas = [value for _, value in _alphas(network)]
    others = [value for name, value in network.named_parameters() if not name.endswith("alpha")]
    groups: list[dict[str, Any]] = [{"params": others, "weight_decay": experiment.train.weight_decay}]
    if alphas:
        groups.append({"params": alphas, "weight_decay": 0.0})
    return torch.optim.SGD(groups, lr=experiment.train.learning_rate, momentum=experiment.train.momentum)


def _alphas(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in network.named_parameters() if name.endswith("alpha")]


def _epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    training: Lesions,
    labels: Tensor,
    experiment: Experiment,
    seed: int,
    number: int,
) -> float:
    """One pass over the training patches; returns the mean loss of its steps."""
    config = experiment.train
    network.train()
    total, steps = torch.zeros((), device=labels.device), 0
    batches = epoch(len(training), config.patches_per_image, config.batch_size, experiment.patches, seed, number)
    for image, boxes in batches:
        patches = cut(training.levels, image, boxes, experiment.patches)
        with autocast(labels.device, config.precision):
            logits = network(patches)
        # Source: V (binary cross-entropy on the logit); with two outputs, their mean.
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels[image.to(labels.device)])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total += loss.detach()
        steps += 1
    mean = float(total) / steps
    if not np.isfinite(mean):
        raise RunError(
            f"the loss of epoch {number + 1} is {mean} at learning rate {optimiser.param_groups[0]['lr']:g}; "
            "the checkpoint holds the epoch before: lower train.learning_rate"
        )
    return mean


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _write_checkpoint(
    path: Path,
    experiment: Experiment,
    seed: int,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: list[Row],
    best: dict[str, Any],
) -> None:
    """Write under a temporary name, sync, rename: the last good checkpoint is never touched."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(
            {
                "run": experiment.run_id(seed),
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "history": history,
                "best": best,
            },
            file,
        )
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _read_checkpoint(path: Path, experiment: Experiment, seed: int) -> dict[str, Any]:
    saved = torch.load(path, weights_only=True)
    if saved["run"] != experiment.run_id(seed):
        raise RunError(f"{path}: a checkpoint of {saved['run']}, not of {experiment.run_id(seed)}; remove it")
    return saved
