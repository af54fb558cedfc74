"""The format of a finished run on disk, read and written, with its checks. No torch: a reader of results needs none.

A run's folder is named `<network>-<task>-s<seed>-<hash>`, in cross-validation `...-s<seed>-f<fold>-<hash>`, and holds
small text files:

- `config.yaml`: the experiment, the seed, the fingerprint of the data, the format's version;
- `environment.json`: versions, device, threads, seconds;
- `history.csv`: an epoch a row;
- `attention.csv`: an ARL block a row (no rows for a ResNet);
- `metrics.json`: the test and validation figures, unrounded;
- `predictions.csv`: a lesion a row, scores in [0, 1];
- what else was measured with the weights, a CSV each (`MEASURES`), where the run has it.

Live folders (`runs/<profile>/`) hold the weights too; archived ones (`results/<profile>/`) do not.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from arlrepro.config import Experiment, from_dict, to_dict
from arlrepro.errors import MetricError, RunError, some
from arlrepro.evaluation.delong import auc_interval, mean_auc_interval
from arlrepro.evaluation.intervals import Estimate, confusion_intervals
from arlrepro.evaluation.metrics import Labels, Scores, confusion
from arlrepro.registry import CLASSES, NETWORKS, TASKS, classes_of

FORMAT_VERSION = 1
WEIGHTS = "weights.safetensors"
FILES = ("config.yaml", "environment.json", "history.csv", "attention.csv", "metrics.json", "predictions.csv")
#: Measured at the end of a run, because they need weights or images; each is a CSV of this name.
MEASURES = (
    *("removal", "terms", "focus", "focus_training", "focus_drawn", "focus_signs", "sanity", "deletion"),
    *("maps", "mean_maps", "gallery", "patches", "scales"),
)
PREDICTION_COLUMNS = ["image_id", "split", *CLASSES, *(f"{one}_label" for one in CLASSES)]

RUN_ID = re.compile(rf"({'|'.join(NETWORKS)})-({'|'.join(TASKS)})-s(\d+)(-f\d+)?-([0-9a-f]{{8}})")


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked for and what came out."""

    experiment: Experiment
    seed: int
    data_fingerprint: str  # of the images and labels it was trained and scored on
    environment: dict[str, Any]
    history: pd.DataFrame
    attention: pd.DataFrame
    predictions: pd.DataFrame
    measures: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def id(self) -> str:
        """The name of its folder, see `Experiment.run_id`."""
        return self.experiment.run_id(self.seed)

    @property
    def network(self) -> str:
        """The network's name."""
        return self.experiment.network.name

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The contents of `metrics.json`, computed from the predictions."""
        return summary(self.predictions)

    def of(self, split: str) -> pd.DataFrame:
        """The predictions for one split, indexed by image id."""
        return self.predictions[self.predictions["split"] == split].set_index("image_id")


def write_run(run: Run, folder: Path) -> None:
    """Write a run's text files into an existing folder."""
    stored = {
        "format": FORMAT_VERSION,
        "seed": run.seed,
        "data_fingerprint": run.data_fingerprint,
        **to_dict(run.experiment),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(stored, sort_keys=False), encoding="utf8")
    (folder / "environment.json").write_text(_json(run.environment), encoding="utf8")
    (folder / "metrics.json").write_text(_json(run.metrics), encoding="utf8")
    predictions = run.predictions[PREDICTION_COLUMNS]
    for name, table in {"history": run.history, "attention": run.attention, **run.measures}.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    # Reason: nine digits give a float32 score back exactly, so metrics are the same from the file as from the network.
    predictions.to_csv(folder / "predictions.csv", index=False, float_format="%.9g", lineterminator="\n")


def read_run(folder: Path) -> Run:
    """Read and check a run's folder.

    Raises:
        RunError: the folder is no complete run of this format; the message names the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run; `arlrepro reproduce` makes the runs of a profile")
    if absent := [name for name in FILES if not (folder / name).is_file()]:
        raise RunError(f"{folder}: not a finished run, it lacks {some(absent)}; train it again or remove the folder")
    stored = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf8"))
    if not isinstance(stored, dict) or stored.get("format") != FORMAT_VERSION:
        version = stored.get("format") if isinstance(stored, dict) else None
        raise RunError(
            f"{folder / 'config.yaml'}: format {version!r}, this version of arlrepro reads format {FORMAT_VERSION}; "
            "use the version that wrote it, or train the run again"
        )
    rest = {key: value for key, value in stored.items() if key not in ("format", "seed", "data_fingerprint")}
    run = Run(
        experiment=from_dict(rest),
        seed=int(stored["seed"]),
        data_fingerprint=str(stored["data_fingerprint"]),
        environment=json.loads((folder / "environment.json").read_text(encoding="utf8")),
        history=pd.read_csv(folder / "history.csv"),
        attention=_csv(folder / "attention.csv"),
        predictions=_predictions(folder / "predictions.csv"),
        measures={name: pd.read_csv(folder / f"{name}.csv") for name in MEASURES if (folder / f"{name}.csv").is_file()},
        folder=folder,
    )
    if run.id != folder.name:
        raise RunError(f"{folder}: its config is that of {run.id}; give the folder that name or remove it")
    scored = classes_of(run.experiment.task)
    if empty := [one for one in scored if run.predictions[one].isna().any()]:
        raise RunError(f"{folder / 'predictions.csv'}: no score for {some(empty)}, which {run.experiment.task} scores")
    return run


def _json(values: object) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _csv(path: Path) -> pd.DataFrame:
    """A table that may have no rows."""
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _predictions(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"image_id": str, "split": str})
    if list(table.columns) != PREDICTION_COLUMNS:
        raise RunError(f"{path}: columns {list(table.columns)}; they must be {PREDICTION_COLUMNS}")
    doubled = table["image_id"][table["image_id"].duplicated()]
    if len(doubled):
        raise RunError(f"{path}: {len(doubled)} image ids stand twice: {some(list(doubled))}")
    scores = table[list(CLASSES)]
    outside = table["image_id"][((scores < 0) | (scores > 1)).any(axis=1)]
    if len(outside):
        raise RunError(f"{path}: {len(outside)} scores are outside [0, 1]: {some(list(outside))}")
    return table


def summary(predictions: pd.DataFrame) -> dict[str, dict]:
    """Test figures of one network, as `metrics.json` holds them: unrounded, each with its 95 % interval.

    Args:
        predictions: The columns of a run's `predictions.csv`; the scores of a task that the network has not are empty.

    Returns:
        By split, by task: `auc`, `accuracy`, `sensitivity`, `specificity` and for each `*_ci`, a list `[low, high]`;
        beside the tasks, where the network has both, `mean_auc` and `mean_auc_ci`.

    Raises:
        MetricError: a figure is not defined; the message begins with split and task.
    """
    return {str(split): _summarise(str(split), lesions) for split, lesions in predictions.groupby("split", sort=False)}


def _summarise(split: str, lesions: pd.DataFrame) -> dict:
    tasks = [task for task in CLASSES if lesions[task].notna().any()]
    labels = lesions[[f"{task}_label" for task in tasks]].to_numpy(dtype=np.int64).T
    scores = lesions[tasks].to_numpy(dtype=np.float64).T
    figures: dict = {}
    for task, truth, task_scores in zip(tasks, labels, scores, strict=True):
        try:
            figures[task] = _flat(_task_estimates(truth, task_scores))
        except MetricError as error:
            raise MetricError(f"{split}, {task}: {error}") from error
    if len(tasks) == len(CLASSES):
        figures |= _flat({"mean_auc": mean_auc_interval(labels.astype(bool), scores)})
    return figures


def _task_estimates(labels: Labels, scores: Scores) -> dict[str, Estimate]:
    return {"auc": auc_interval(labels, scores), **confusion_intervals(confusion(labels, scores))}


def _flat(estimates: dict[str, Estimate]) -> dict[str, float | list[float]]:
    pairs = {name: (one.value, [one.low, one.high]) for name, one in estimates.items()}
    return {key: part for name, (value, ci) in pairs.items() for key, part in ((name, value), (f"{name}_ci", ci))}
