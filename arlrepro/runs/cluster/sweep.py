"""Which settings of a protocol are best? Tried on training and validation images alone, by Ray Tune or one by one.

No test image is scored. On Ray, trials that fall behind at the same epoch are stopped early (ASHA: Li et al. 2020, A
System for Massively Parallel Hyperparameter Tuning), and a trial that is lost with its node starts anew.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from arlrepro import paths
from arlrepro.config import Experiment, with_settings
from arlrepro.data.datasets import assign_folds
from arlrepro.errors import ConfigError, RunError, check_known, some
from arlrepro.progress import bar
from arlrepro.registry import CLASSES
from arlrepro.runs.cluster import nodes
from arlrepro.runs.cluster.nodes import Resources, Supplies
from arlrepro.runs.runner import set_up_data

if TYPE_CHECKING:
    from arlrepro.data.datasets import DataModule

#: What trials are judged by: the official validation images, and with `held-out` a fifth of the training images, too.
JUDGES = ("held-out", "validation")
FOLDS = 5
COLUMNS = ["trial", "network", "seed", "settings", "evaluation_side", "minutes", *CLASSES, "mean_auc", "lesions"]


def settings_of(over: Sequence[str]) -> list[tuple[str, ...]]:
    """Every combination of the values that fields are varied over, each as `config.with_settings` takes it.

    Args:
        over: a field and its values, `section.field=value,value`.

    Raises:
        ConfigError: a field has no values.

    Example:
        >>> settings_of(["train.epochs=1,2", "train.optimiser=sgd"])
        [('train.epochs=1', 'train.optimiser=sgd'), ('train.epochs=2', 'train.optimiser=sgd')]
        >>> settings_of(["network.stages=[4],[3, 4]"])
        [('network.stages=[4]',), ('network.stages=[3, 4]',)]
    """
    fields = []
    for one in over:
        name, equals, text = one.partition("=")
        if not (name and equals and text):
            raise ConfigError(f"--over {one}: write section.field=value,value, for example train.epochs=4,8")
        try:
            values = [json.dumps(value) for value in json.loads(f"[{text}]")]
        except json.JSONDecodeError:
            values = text.split(",")
        fields.append([f"{name}={value}" for value in values])
    return list(product(*fields))


def held_out(datamodule: "DataModule", seed: int, by: str = "held-out") -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to judge by, of the training and validation images alone.

    Args:
        datamodule: of the experiment.
        seed: deals the training images into folds, by kind, near-duplicates kept together.
        by: one of `JUDGES`.
    """
    training, validation = datamodule.rows("training"), datamodule.rows("validation")
    if by == "validation":
        return training, validation
    labels = datamodule.dataset.lesions[list(CLASSES)].to_numpy()[training]
    folds = assign_folds(labels @ np.arange(1, len(CLASSES) + 1), datamodule.groups[training], FOLDS, seed)
    return training[folds != 0], np.concatenate([training[folds == 0], validation])


@dataclass(frozen=True)
class Trials:
    """What the trials of a sweep share."""

    supplies: Supplies
    experiment: Experiment
    seed: int
    by: str


def try_settings(chosen: dict[str, Any], trials: Trials) -> None:
    """Train with some settings, and report to Tune each look at the images that judge."""
    from ray import tune

    experiment = with_settings(trials.experiment, chosen["settings"])
    train_and_judge(experiment, trials.supplies.open(experiment), trials.seed, trials.by, tune.report)


def train_and_judge(
    experiment: Experiment, datamodule: "DataModule", seed: int, by: str, report: Callable[[dict[str, Any]], None]
) -> None:
    """Train on what `held_out` leaves, and report each look at the images that judge: AUCs, minutes so far, lesions."""
    from arlrepro.training.trainer import train

    rows_in, rows_out = held_out(datamodule, experiment.evaluation.seed, by)
    judges = datamodule.at(rows_out)
    seconds = 0.0

    def watch(epoch: int, _epochs: int, row: dict[str, int | float]) -> None:
        nonlocal seconds
        seconds += row["seconds"]
        aucs = {name: row[f"validation_auc_{name}"] for name in CLASSES if f"validation_auc_{name}" in row}
        if aucs:
            mean = float(np.mean(list(aucs.values())))
            report({"epoch": epoch, **aucs, "mean_auc": mean, "minutes": seconds / 60, "lesions": len(judges)})

    train(experiment, seed, datamodule.at(rows_in), judges, watch=watch)


def sweep(
    experiment: Experiment,
    over: Sequence[str],
    resources: Resources,
    *,
    data: str = "",
    device: str = "auto",
    seed: int = 100,
    by: str = "held-out",
) -> pd.DataFrame:
    """Try every combination of settings; on Ray those that fall behind stop early.

    Args:
        experiment: what is varied; of the same data set in every trial.
        over: see `settings_of`.
        resources: where trials are made and what each is given; on `local` they are made here, one after another.
        data: see `datasets.open_data`.
        device: see `runner.train_or_load`.
        seed: of the trainings; by default none of a registered run.
        by: one of `JUDGES`.

    Returns:
        A trial a row, the best first: `settings`, `epochs` until it ended or was stopped, `minutes` of training, and
        what it had then, the AUC of each class and their mean over the `lesions` that judge.

    Raises:
        ConfigError: a field does not exist, or Ray or the cluster cannot make these trials.
        RunError: every trial failed.
    """
    check_known("images to judge by", by, JUDGES)
    every = {settings: with_settings(experiment, settings) for settings in settings_of(over)}
    if len({one.data for one in every.values()}) > 1:
        raise ConfigError("--over data...: all trials of a sweep read the same images; sweep each data set by itself")
    ended: list[tuple[tuple[str, ...], dict[str, Any]]] = []  # settings, and the last look at what judges
    if resources.on == "local":
        datamodule = set_up_data(experiment, data, device)
        for settings, one in bar(every.items(), desc="trials", unit="trial"):
            looks: list[dict[str, Any]] = []
            train_and_judge(one, datamodule, seed, by, looks.append)
            ended.append((settings, looks[-1]))
    else:
        ended = _on_ray(experiment, every, resources, data, device, seed, by)
    rows = []
    for settings, look in ended:
        told = {name: look.get(name) for name in ("minutes", *CLASSES, "mean_auc", "lesions")}
        described = {"network": experiment.network.name, "seed": seed, "settings": " ".join(settings)}
        side = every[settings].evaluation_patches.side
        rows.append({**described, "evaluation_side": side, **told, "epochs": look["epoch"]})
    return pd.DataFrame(rows).sort_values("mean_auc", ascending=False, ignore_index=True)


def _on_ray(
    experiment: Experiment,
    every: Mapping[tuple[str, ...], Experiment],
    resources: Resources,
    data: str,
    device: str,
    seed: int,
    by: str,
) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """The settings of each trial that did not fail, with its last look at what judges."""
    with nodes.connected(resources.on) as ray, TemporaryDirectory() as scratch:
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler

        gpus = nodes.require_nodes(ray, resources, device)
        supplies = nodes.supply(ray, list(every.values()), data, "cuda" if gpus else "cpu", resources)
        trial = tune.with_parameters(try_settings, trials=Trials(supplies, experiment, seed, by))
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": resources.cpus_per_run, "gpu": gpus}),
            param_space={"settings": tune.grid_search([list(settings) for settings in every])},
            tune_config=tune.TuneConfig(
                metric="mean_auc",
                mode="max",
                scheduler=ASHAScheduler(time_attr="epoch", max_t=max(one.train.epochs for one in every.values())),
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=1,  # Tune's own words on how far the trials are
                failure_config=tune.FailureConfig(max_failures=2),
            ),
        )
        results = tuner.fit()
    found = [
        (tuple(one.config["settings"]), one.metrics)
        for one in (results[number] for number in range(len(results)))
        if one.error is None and one.metrics and one.config
    ]
    if not found:
        raise RunError(f"every trial failed: {some([str(error).strip().splitlines()[-1] for error in results.errors])}")
    return found


def write_trials(profile_name: str, name: str, trials: pd.DataFrame) -> Path:
    """Add a sweep's trials to the archived ones of a profile, `paths.trials_csv`.

    Args:
        profile_name: whose protocol is varied.
        name: what was tried, in words.
        trials: from `sweep`.
    """
    path = paths.trials_csv(profile_name)
    path.parent.mkdir(exist_ok=True)
    before = [pd.read_csv(path)] if path.is_file() else []
    table = pd.concat([*before, trials.assign(trial=name)])[[*COLUMNS, "epochs"]]
    table.astype({"epochs": "Int64"}).to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    return path
