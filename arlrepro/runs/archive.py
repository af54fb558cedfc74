"""The format of a finished run on disk, read and written, with its checks. No torch: a reader of results needs none.

A run's folder is named `<network>-<task>-s<seed>-<hash>`, in cross-validation `...-s<seed>-f<fold>-<hash>`, and holds
small text files:

- `config.yaml`: the experiment, the seed, the fingerprint of the data, the format's version;
- `environment.json`: versions, device, threads, seconds;
- `history.csv`: an epoch a row;
- `attention.csv`: an ARL block a row (no rows for a ResNet);
- `metrics.json`: the test and validation metrics, unrounded;
- `predictions.csv`: a lesion a row, scores in [0, 1];
- what else was measured with the weights, a CSV each (`MEASURES`), where the run has it;
- `SHA256SUMS`: the SHA-256 of every other file, to which each is held when it is read. Runs made before there was one
  are read without it.

Live folders (`runs/<profile>/`) hold the weights too; archived ones (`results/<profile>/`) do not.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml

from arlrepro import storage
from arlrepro.config import Experiment, from_dict, to_dict
from arlrepro.errors import ConfigError, MetricError, RunError, short, some
from arlrepro.evaluation.summary import summary
from arlrepro.registry import CLASSES, NETWORKS, SPLITS, TASKS, classes_of

FORMAT_VERSION = 1
WEIGHTS = "weights.safetensors"
FILES = ("config.yaml", "environment.json", "history.csv", "attention.csv", "metrics.json", "predictions.csv")
#: Measured at the end of a run, because they need weights or images; each is a CSV of this name.
MEASURES = (
    *("removal", "terms", "focus", "focus_training", "focus_drawn", "focus_signs", "sanity", "deletion"),
    *("maps", "mean_maps", "gallery", "patches", "scales"),
)
#: Columns of numbers that a table of a run has at least; of a table without rows nothing is asked.
NUMBERS = {
    "history": ("epoch", "learning_rate", "training_loss"),
    "attention": ("alpha",),
    "terms": ("to_shortcut", "to_residual"),
    **dict.fromkeys(("focus", "focus_training", "focus_drawn", "focus_signs", "sanity"), ("share",)),
    "deletion": ("fraction", "deletion", "insertion"),
    "maps": ("row", "column", "value"),
    "patches": ("x", "y", "scale"),
    "scales": ("scale", "auc"),
}
PREDICTION_COLUMNS = ["image_id", "split", *CLASSES, *(f"{one}_label" for one in CLASSES)]
LESION_COLUMNS = ["image_id", "split", *(f"{one}_label" for one in CLASSES)]

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
    """Write a run's text files into an existing folder, and the manifest of all that is in it then."""
    stored = {
        "format": FORMAT_VERSION,
        "seed": run.seed,
        "data_fingerprint": run.data_fingerprint,
        **to_dict(run.experiment),
    }
    tables = {"history": run.history, "attention": run.attention, **run.measures}
    texts = {
        "config.yaml": yaml.safe_dump(stored, sort_keys=False),
        "environment.json": _json(run.environment),
        "metrics.json": _json(run.metrics),
        **{f"{name}.csv": _csv(table, "%.6g") for name, table in tables.items()},
        # Reason: nine digits give a float32 score back exactly, so metrics are the same from the file as from the
        # network.
        "predictions.csv": _csv(run.predictions[PREDICTION_COLUMNS], "%.9g"),
    }
    for name, text in texts.items():
        storage.write_text(folder / name, text)
    storage.write_sums(folder, [*texts, *([WEIGHTS] if (folder / WEIGHTS).is_file() else [])])


def read_run(folder: Path) -> Run:
    """Read and check a run's folder.

    Raises:
        RunError: the folder is no complete run of this format; the message names the file, what is wrong with it and
            what to do.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run; `arlrepro reproduce` makes the runs of a profile")
    sums = storage.read_sums(folder)
    wanted = dict.fromkeys((*FILES, *(name for name in sums if name != WEIGHTS)))  # a live run may do without weights
    if absent := [name for name in wanted if not (folder / name).is_file()]:
        raise RunError(f"{folder}: not a finished run, it lacks {some(absent)}; train it again or remove the folder")

    def read(name: str, parse: "Callable[[bytes], Parsed]") -> "Parsed":
        return _parsed(folder / name, storage.read_checked(folder / name, sums), parse)

    stored = read("config.yaml", _config)
    if stored.get("format") != FORMAT_VERSION:
        raise RunError(
            f"{folder / 'config.yaml'}: format {short(stored.get('format'))}, this version of arlrepro reads format "
            f"{FORMAT_VERSION}; use the version that wrote it, or train the run again"
        )
    experiment, seed, fingerprint = read("config.yaml", lambda content: _settings(_config(content)))
    measured = [name for name in MEASURES if (folder / f"{name}.csv").is_file()]
    numbers = NUMBERS | dict.fromkeys(("removal", "gallery"), classes_of(experiment.task))  # a score for each class
    run = Run(
        experiment=experiment,
        seed=seed,
        data_fingerprint=fingerprint,
        environment=read("environment.json", _environment),
        history=read("history.csv", _table(NUMBERS["history"], empty=False)),
        attention=read("attention.csv", _table(NUMBERS["attention"])),
        predictions=read("predictions.csv", _predictions),
        measures={name: read(f"{name}.csv", _table(numbers.get(name, ()))) for name in measured},
        folder=folder,
    )
    if run.id != folder.name:
        raise RunError(f"{folder}: its config is that of {run.id}; give the folder that name or remove it")
    scored = classes_of(run.experiment.task)
    if empty := [one for one in scored if run.predictions[one].isna().any()]:
        raise RunError(f"{folder / 'predictions.csv'}: no score for {some(empty)}, which {run.experiment.task} scores")
    read("metrics.json", lambda content: _check_metrics(_values(content), run))
    check_lesions(run, folder.parent.parent)
    return run


def lesions_csv(run: Run, results: Path) -> Path:
    """Where an archive lists the lesions that runs of the same images are scored on.

    Args:
        run: any of them.
        results: folder of the archived profiles, `results`.
    """
    return results / f"lesions-{run.data_fingerprint[:12]}.csv"


def write_lesions(run: Run, results: Path) -> None:
    """List the lesions that a run was scored on, with their labels, for `check_lesions`."""
    storage.write_text(lesions_csv(run, results), _csv(run.predictions[LESION_COLUMNS], "%.9g"))


def check_lesions(run: Run, results: Path) -> None:
    """Hold a run's rows to the lesions of its images, where the archive lists them; a fold has lesions of its own.

    Raises:
        RunError: lesions are missing, are none of the data set's, or have another split or label.
    """
    path = lesions_csv(run, results)
    if run.experiment.data.folds or not path.is_file():
        return
    listed = _parsed(path, path.read_bytes(), _lesions).set_index("image_id")
    scored = run.predictions[LESION_COLUMNS].set_index("image_id")
    where = f"{(run.folder or Path(run.id)) / 'predictions.csv'}"
    for what, ids in (
        (f"{len(listed)} lesions that it must score are missing", listed.index.difference(scored.index)),
        (f"{len(scored)} lesions are none of its images", scored.index.difference(listed.index)),
    ):
        if len(ids):
            raise RunError(f"{where}: {len(ids)} of {what}, by {path}: {some(list(ids))}; {_RESTORE}")
    other = scored.index[(scored != listed.loc[scored.index]).any(axis=1)]
    if len(other):
        raise RunError(
            f"{where}: {len(other)} lesions have another split or label in {path}: {some(list(other))}; {_RESTORE}"
        )


def _check_metrics(stored: dict[str, Any], run: Run) -> None:
    if _differ(stored, run.metrics):
        raise ValueError("not the metrics of predictions.csv beside it, so one of the two was changed")


Parsed = TypeVar("Parsed")

#: What to do about a damaged file of a run.
_RESTORE = "restore it from where the run was copied or committed, or train the run again"


def _parsed(path: Path, content: bytes, parse: "Callable[[bytes], Parsed]") -> Parsed:
    """What a file of a run holds.

    Raises:
        RunError: it is not what this file of a run holds: the file, what is wrong, what to do.
    """
    with storage.reading(path, RunError, _RESTORE, ConfigError, MetricError):
        return parse(content)


def _config(content: bytes) -> dict[str, Any]:
    stored = yaml.safe_load(content.decode())
    if not isinstance(stored, dict):
        raise ValueError("not a mapping of settings")
    return stored


def _settings(stored: dict[str, Any]) -> tuple[Experiment, int, str]:
    """Experiment, seed and fingerprint of the images."""
    rest = {key: value for key, value in stored.items() if key not in ("format", "seed", "data_fingerprint")}
    if absent := [key for key in ("seed", "data_fingerprint") if key not in stored]:
        raise ValueError(f"no {some(absent)}")
    if type(stored["seed"]) is not int or not isinstance(stored["data_fingerprint"], str):
        raise ValueError("seed must be a whole number and data_fingerprint text")
    experiment = from_dict(rest)
    experiment.run_id(stored["seed"])
    return experiment, stored["seed"], stored["data_fingerprint"]


def _values(content: bytes) -> dict[str, Any]:
    values = json.loads(content.decode())
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _environment(content: bytes) -> dict[str, Any]:
    values = _values(content)
    kinds: dict[str, type | tuple[type, ...]] = {"python": str, "system": str, "device": str, "packages": dict}
    kinds |= {"seconds": (int, float), "threads": int}
    if wrong := [key for key, kind in kinds.items() if not isinstance(values.get(key), kind)]:
        raise ValueError(f"without {some(wrong)}, or not as a run writes it")
    return values


def _json(values: object) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _csv(table: pd.DataFrame, numbers: str) -> str:
    return table.to_csv(index=False, float_format=numbers, lineterminator="\n")


def _table(columns: Iterable[str], empty: bool = True) -> Callable[[bytes], pd.DataFrame]:
    """A reader of tables that have at least some columns of numbers, and unless `empty` at least one row."""

    def parse(content: bytes) -> pd.DataFrame:
        content.decode()
        if not content.strip() and empty:
            return pd.DataFrame()
        table = pd.read_csv(io.BytesIO(content))
        if not len(table) and empty:
            return table
        if not len(table):
            raise ValueError("no rows")
        _refuse_other_columns(table, list(columns))
        return table

    return parse


def _refuse_other_columns(table: pd.DataFrame, numbers: list[str]) -> None:
    if absent := [name for name in numbers if name not in table.columns]:
        raise ValueError(f"no column {some(absent)}")
    if text := [name for name in numbers if not pd.api.types.is_numeric_dtype(table[name])]:
        raise ValueError(f"not only numbers in {some(text)}")
    if endless := [name for name in numbers if np.isinf(table[name].to_numpy(dtype=np.float64)).any()]:
        raise ValueError(f"infinite numbers in {some(endless)}")


def _predictions(content: bytes) -> pd.DataFrame:
    table = pd.read_csv(io.BytesIO(content), dtype={"image_id": str, "split": str})
    if list(table.columns) != PREDICTION_COLUMNS:
        raise ValueError(f"columns {short(list(table.columns))}; they must be {PREDICTION_COLUMNS}")
    if not len(table):
        raise ValueError("no rows")
    if table["image_id"].isna().any():
        raise ValueError(f"{int(table['image_id'].isna().sum())} rows without an image_id")
    doubled = table["image_id"][table["image_id"].duplicated()]
    if len(doubled):
        raise ValueError(f"{len(doubled)} image ids stand twice: {some(list(doubled))}")
    _refuse_other_columns(table, PREDICTION_COLUMNS[2:])
    scores = table[list(CLASSES)]
    outside = table["image_id"][((scores < 0) | (scores > 1)).any(axis=1)]
    if len(outside):
        raise ValueError(f"{len(outside)} scores are outside [0, 1]: {some(list(outside))}")
    labels = table[[f"{one}_label" for one in CLASSES]]
    if len(unlabelled := table["image_id"][~labels.isin([0, 1]).all(axis=1)]):
        raise ValueError(f"{len(unlabelled)} labels are not 0 or 1: {some(list(unlabelled))}")
    if len(elsewhere := table["image_id"][~table["split"].isin(SPLITS)]):
        raise ValueError(f"{len(elsewhere)} rows are of no split ({', '.join(SPLITS)}): {some(list(elsewhere))}")
    return table


def _lesions(content: bytes) -> pd.DataFrame:
    table = pd.read_csv(io.BytesIO(content), dtype={"image_id": str, "split": str})
    if list(table.columns) != LESION_COLUMNS:
        raise ValueError(f"columns {short(list(table.columns))}; they must be {LESION_COLUMNS}")
    return table


def _differ(stored: Any, computed: Any) -> bool:
    """Whether two metrics differ, interval ends apart: how those are computed may change, the metrics cannot."""
    if isinstance(computed, dict):
        return not isinstance(stored, dict) or any(
            _differ(stored.get(name), value) for name, value in computed.items() if not name.endswith("_ci")
        )
    return not isinstance(stored, int | float) or not abs(stored - computed) < 1e-9
