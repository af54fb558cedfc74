"""Training: an epoch, the schedule, the validation watch, checkpoints that survive a kill.

Everything random in an epoch is a pure function of the run's seed and the epoch's number, so a checkpoint needs no
random state, and a run that was killed at any step and started again ends with the weights of one that never was.

One process trains, or as many as `torchrun` started, on one machine or several, on CPUs or a GPU each: a batch is cut
into `train.parts`, and whether one process passes them one after another or several share them, the weights are the
same but for the order of sums. So the number of processes is no part of a run's config.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from arlrepro.config import Experiment, TrainConfig
from arlrepro.data.patches import Boxes, Lesions, epoch
from arlrepro.errors import ConfigError, DatasetError, RunError
from arlrepro.models.arl_cnn import build
from arlrepro.models.devices import autocast
from arlrepro.models.inference import Predictor
from arlrepro.registry import CLASSES, classes_of
from arlrepro.training.checkpoint import Checkpoint
from arlrepro.training.distributed import keep_freed_memory, launch

#: What the history says of one epoch.
Row = dict[str, int | float]
#: Told the epoch (from 1), the number of epochs, and the history's newest row, after each epoch.
Watcher = Callable[[int, int, Row], None]


@dataclass
class Trained:
    """A network in the state that is kept, and how it got there."""

    network: nn.Module
    history: pd.DataFrame  # an epoch a row


def train(
    experiment: Experiment,
    seed: int,
    training: Lesions,
    validation: Lesions,
    checkpoint: Checkpoint | None = None,
    watch: Watcher | None = None,
) -> Trained:
    """Train a network and return it in the state that `train.keep` names.

    Args:
        experiment: network, task and protocol.
        seed: of the weights and of every patch drawn.
        training: images to learn from, on the device to train on.
        validation: images to watch.
        checkpoint: file to resume from if it is there, and to write.
        watch: told after each epoch.

    Returns:
        The network on its device, in evaluation mode, and the history; in every process the same.

    Raises:
        DatasetError: a split is smaller than a batch, or has lesions of one kind only.
        ConfigError: the parts of a batch cannot be shared evenly by the processes.
        RunError: the loss is not a number, the GPU's memory is too small, or the checkpoint is another run's.
    """
    columns = [CLASSES.index(one) for one in classes_of(experiment.task)]
    _check(experiment, training, validation, columns)
    try:
        return _Training(experiment, seed, training, validation, columns, checkpoint).run(watch)
    except torch.OutOfMemoryError as error:
        config = experiment.train
        raise RunError(
            f"the GPU's memory is too small for {experiment.network.name} on {config.batch_size // config.parts} "
            f"patches of {experiment.patches.side} px at once: raise train.parts from {config.parts}, which passes "
            "a batch in smaller parts, or lower train.batch_size"
        ) from error


class _Training:
    """A training under way: what its steps share, and what a checkpoint holds."""

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        training: Lesions,
        validation: Lesions,
        columns: list[int],
        checkpoint: Checkpoint | None,
    ) -> None:
        self.experiment, self.config, self.seed = experiment, experiment.train, seed
        self.training, self.validation, self.columns = training, validation, columns
        self.checkpoint = checkpoint
        device = training.device
        if device.type == "cpu":
            keep_freed_memory()
        self.fabric = launch(device)
        if self.config.parts % self.fabric.world_size:
            raise ConfigError(
                f"{self.fabric.world_size} processes cannot share a batch of train.parts={self.config.parts} evenly; "
                f"give --set train.parts={self.fabric.world_size}, or start fewer processes"
            )
        self.network = build(experiment, seed, device)
        self.predictor = Predictor(self.network, experiment)
        self.wrapped = self.fabric.setup(self.network)
        self.optimiser = _optimiser(self.network, experiment)
        self.statistics = list(self.network.buffers())  # running means and variances of the batch norms, and counts
        self.labels = torch.from_numpy(training.labels[:, columns]).float().to(device)
        self.history: list[Row] = []
        self.best: dict[str, Any] = {"auc": -1.0, "epoch": 0, "network": {}}
        steps = len(training) * self.config.patches_per_image // self.config.batch_size
        self.losses = torch.zeros(steps, device=device)  # of the epoch under way
        self.done = 0  # steps of the epoch under way
        self.spent = 0.0  # seconds in the epoch under way, until the process began it
        self.saved = "no checkpoint was written"
        if checkpoint is not None and (state := checkpoint.read(experiment.run_id(seed))) is not None:
            self._restore(state)

    def run(self, watch: Watcher | None) -> Trained:
        """Train from where the checkpoint is, or from the start, to the end."""
        config = self.config
        for number in range(len(self.history), config.epochs):
            if config.patience and number - self.best["epoch"] >= config.patience:
                break
            began = self.began = time.perf_counter()
            loss = self._epoch(number)
            row: Row = {"epoch": number + 1, "learning_rate": self._rate(), "training_loss": loss}
            if (number + 1) % config.validate_every == 0 or number + 1 == config.epochs:
                row |= self._validate(number)
            row |= {f"alpha_{name.removesuffix('.alpha')}": value.item() for name, value in _alphas(self.network)}
            row["seconds"] = self.spent + time.perf_counter() - began
            self.history.append(row)
            self.done, self.spent = 0, 0.0
            self._save()
            if watch is not None:
                watch(number + 1, config.epochs, row)
        self.network.load_state_dict(self.best["network"])
        return Trained(self.network.eval(), pd.DataFrame(self.history))

    def _epoch(self, number: int) -> float:
        """One pass over the training patches, or what is left of it; returns the mean loss of its steps."""
        config, last_saved = self.config, time.perf_counter()
        self.network.train()
        batches = epoch(
            len(self.training), config.patches_per_image, config.batch_size, self.experiment.patches, self.seed, number
        )
        for image, boxes in islice(batches, self.done, None):
            rate = learning_rate(config, number, self.done, len(self.losses))
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.losses[self.done] = self._step(image, boxes)
            self.done += 1
            due = self.checkpoint is not None and time.perf_counter() - last_saved >= self.checkpoint.every
            # Reason: to look at a loss on a GPU is to wait for it.
            if due or self.losses.is_cpu or self.done == len(self.losses):
                self._check_losses(number)
            if due:
                self._save()
                last_saved = time.perf_counter()
        return float(cast(Tensor, self.fabric.all_reduce(self.losses.double().mean())))

    def _rate(self) -> float:
        """The learning rate of the last step."""
        return self.optimiser.param_groups[0]["lr"]

    def _step(self, image: Int[Tensor, " batch"], boxes: Boxes) -> Float[Tensor, ""]:
        """One step of the optimiser; returns the mean loss over this process's patches of the batch.

        A part's batch norms move their running statistics from where the batch found them, and the mean over the parts
        is kept, so that it does not matter which process passes which part.
        """
        config, device = self.config, self.labels.device
        parts = range(self.fabric.global_rank, config.parts, self.fabric.world_size)
        before, after = _joined(self.statistics), torch.zeros((), device=device)
        total = torch.zeros((), device=device)
        self.optimiser.zero_grad(set_to_none=True)
        for part in parts:
            rows = torch.arange(len(image)).chunk(config.parts)[part]
            patches = self.training.cut(image[rows], boxes[rows], self.experiment.patches)
            with self.fabric.no_backward_sync(self.wrapped, enabled=part != parts[-1]):
                with autocast(device, config.precision):
                    logits = self.wrapped(patches)
                # Source: V (binary cross-entropy on the logit); with two outputs, their mean.
                truth = self.labels[image[rows].to(device)]
                loss = F.binary_cross_entropy_with_logits(logits.float(), truth) / len(parts)
                self.fabric.backward(loss)
            total += loss.detach()
            if config.parts > 1:
                after = after + _joined(self.statistics)
                _spread(before, self.statistics)
        if config.parts > 1:
            every = cast(Tensor, self.fabric.all_reduce(after, reduce_op="sum"))
            _spread(every / config.parts, self.statistics)
        self.optimiser.step()
        return total

    def _validate(self, number: int) -> Row:
        """The validation AUCs; where their mean is the best so far, or the last state counts, the network is kept."""
        scores = self.predictor.scores(self.validation)
        truth = self.validation.labels[:, self.columns]
        aucs = {CLASSES[c]: float(roc_auc_score(truth[:, i], scores[:, i])) for i, c in enumerate(self.columns)}
        aucs = self.fabric.broadcast(aucs)  # or processes whose last bits differ might stop at different epochs
        mean = float(np.mean(list(aucs.values())))
        if mean > self.best["auc"] or self.config.keep == "last":
            self.best = {"auc": mean, "epoch": number + 1, "network": _copy(self.network)}
        return {f"validation_auc_{name}": auc for name, auc in aucs.items()}

    def _check_losses(self, number: int) -> None:
        wrong = (~self.losses[: self.done].isfinite()).nonzero().flatten().tolist()
        if wrong:
            raise RunError(
                f"the loss of step {wrong[0] + 1} of epoch {number + 1} is {self.losses[wrong[0]].item()} at learning "
                f"rate {self._rate():g}; {self.saved}: lower train.learning_rate"
            )

    def _save(self) -> None:
        """Write the checkpoint, in the first process."""
        if self.checkpoint is None or not self.fabric.is_global_zero:
            return
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "best": self.best,
            "losses": self.losses,
            "done": self.done,
            "spent": self.spent + (time.perf_counter() - self.began if self.done else 0.0),
        }
        self.checkpoint.write(self.experiment.run_id(self.seed), state)
        self.saved = self._where()

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.history, self.best, self.done, self.spent = (state[key] for key in ("history", "best", "done", "spent"))
        self.losses.copy_(state["losses"])
        self.saved = self._where()

    def _where(self) -> str:
        """What the checkpoint holds now, for a message."""
        assert self.checkpoint is not None
        return f"{self.checkpoint.path} holds epoch {len(self.history) + (self.done > 0)}" + (
            f" after step {self.done}" if self.done else ""
        )


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


def learning_rate(config: TrainConfig, epoch: int, step: int, steps: int) -> float:
    """The learning rate of one step.

    Args:
        config: its schedule.
        epoch: from 0.
        step: of the epoch, from 0.
        steps: of an epoch.

    Returns:
        Under `halving` the same in all of an epoch. Under `cosine` the share of its peak that its place among all steps
        gives: rising linearly over the warm-up, then falling as half a cosine towards 0.

    Example:
        >>> one = TrainConfig(epochs=10, learning_rate=1.0, schedule="cosine", warm_up=0.2)
        >>> [round(learning_rate(one, epoch, 0, 1), 2) for epoch in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    if config.schedule == "halving":
        return config.learning_rate * 0.5 ** (epoch // config.halve_every)
    place, every = epoch * steps + step, config.epochs * steps
    rising = round(config.warm_up * every)
    if place < rising:
        return config.learning_rate * (place + 1) / rising
    return config.learning_rate * (1 + math.cos(math.pi * (place - rising) / (every - rising))) / 2


def _optimiser(network: nn.Module, experiment: Experiment) -> torch.optim.Optimizer:
    """The optimiser of all parameters, without weight decay on alpha."""
    # Departure: weight decay is not applied to alpha; the paper does not say.
    # Reason: decay pulls alpha to zero, which would decide the question that the replication asks.
    config = experiment.train
    alphas = [value for _, value in _alphas(network)]
    others = [value for name, value in network.named_parameters() if not name.endswith("alpha")]
    groups: list[dict[str, Any]] = [{"params": others, "weight_decay": config.weight_decay}]
    if alphas:
        groups.append({"params": alphas, "weight_decay": 0.0})
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def _alphas(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in network.named_parameters() if name.endswith("alpha")]


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _joined(tensors: list[Tensor]) -> Float[Tensor, " values"]:
    return torch.cat([one.flatten() for one in tensors])


def _spread(values: Float[Tensor, " values"], tensors: list[Tensor]) -> None:
    """Write joined values back to where they came from."""
    for one, part in zip(tensors, values.split([one.numel() for one in tensors]), strict=True):
        one.copy_(part.view_as(one))
