"""Finished networks on another data set, whose labels are known: scored, compared, archived as numbers alone."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from arlrepro import paths, storage
from arlrepro.config import Experiment, to_dict, with_settings
from arlrepro.data import datasets, duplicates, isic
from arlrepro.errors import ConfigError, DatasetError, RunError, printable, some
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.evaluation.summary import summary
from arlrepro.profiles import profile
from arlrepro.progress import bar
from arlrepro.registry import CLASSES, classes_of
from arlrepro.runs import baselines, estimates, weights
from arlrepro.runs.archive import PREDICTION_COLUMNS, WEIGHTS, Run
from arlrepro.runs.study import Study, partners, present, read_study


def external_test(
    profile_name: str, root: Path, device: str = "auto", settings: Sequence[str] = (), data: str = ""
) -> dict[str, Any]:
    """Score a data set with every run of a profile whose weights are here, and compare the networks over their seeds.

    A run's scores are kept beside the live runs as soon as they are there, and an interrupted test goes on after them.

    Args:
        profile_name: the profile of the runs.
        root: HAM10000 in its original layout, the official layout, or a folder of images with one CSV of labels.
            HAM10000 is asked for melanoma alone: its class nearest to seborrheic keratosis holds other keratoses too.
        device: `auto`, `cpu` or `cuda`.
        settings: how lesions are scored where not as in the runs' own test, such as
            ``["evaluation.patches_per_scale=0"]`` for the whole image alone, a ninth of the time.
        data: the images that the runs were made from. Where given, images that show one of their lesions are left out,
            and a regression on colour statistics, fitted to their training images, is scored beside the networks.

    Returns:
        Numbers of images and lesions, of patches a lesion and, with `data`, of images left out; by class: how many
        lesions have it; the AUC of each run and of colours with a 95 % interval over lesions; of each network over its
        seeds, and of the difference of network and partner by the seeds of both, with one over seeds and lesions.

    Raises:
        RunError: no run of the profile has its weights here.
        ConfigError: a setting is none of how lesions are scored.
        DatasetError: the data set has no class with lesions of both kinds.
    """
    study = read_study(profile(profile_name), paths.live_folder(profile_name))
    if not study.runs:
        raise RunError(f"{paths.live_folder(profile_name)}: no runs with weights; `arlrepro reproduce` makes them")
    experiment = _scored_by(study.profile.experiment, settings)
    dataset = isic.read_dataset(root)
    seen = _seen_before(dataset, experiment, data) if data else []
    images = dataset.lesions[dataset.lesions["split"] == "test"].drop(index=seen, errors="ignore")
    labels = images[list(CLASSES)].groupby(_lesion_ids(images)).max()
    asked = [one for one in CLASSES if labels[one].nunique() == 2 and not (one != "melanoma" and "dx" in images)]
    if not asked:
        raise DatasetError(f"{root}: no class has lesions of both kinds among {len(labels)}: an AUC is not defined")
    # Reason: by seed, as runs are made, so that what is there of an interrupted test is paired.
    runs = sorted(study.runs, key=lambda run: run.seed)
    others = {
        run.id: replace(run, predictions=_by_lesion(_scores(run, dataset, device, settings), images, asked))
        for run in bar(runs, desc="external", unit="run")
    }
    elsewhere = replace(study, runs=tuple(others[run.id] for run in study.runs))
    classes = {name: {"positives": int(labels[name].sum()), **_figures(elsewhere, name)} for name in asked}
    if data:
        of_colour = summary(_by_lesion(_by_colour(dataset, experiment, data), images, asked))["test"]
        for name in asked:
            classes[name]["colour"] = {key: of_colour[name][key] for key in ("auc", "auc_ci")}
    boxes = experiment.evaluation
    return {
        "images": len(images),
        "lesions": len(labels),
        "patches": boxes.patches_per_scale * len(experiment.patches.scales) + boxes.whole_image,
        "left_out": len(seen) if data else None,
        "classes": classes,
    }


def _scored_by(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """An experiment whose lesions are scored in another way."""
    changed = with_settings(experiment, settings)
    if replace(changed, evaluation=experiment.evaluation) != experiment:
        raise ConfigError(
            f"--set {some(list(settings))}: of a trained network only `evaluation.` can be set, how lesions are scored"
        )
    return changed


def scores_by_image(run: Run, dataset: isic.IsicDataset, device: str = "auto") -> pd.DataFrame:
    """A network's scores for each image of a data set's test split.

    Args:
        run: a live run, with weights.
        dataset: any.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        Scores in [0, 1] by image id, a column a class that the network scores.
    """
    from arlrepro.data.datasets import DataModule
    from arlrepro.models.devices import choose_device
    from arlrepro.models.inference import Predictor

    where = choose_device(device)
    lesions = DataModule(dataset, datasets.decode(dataset, run.experiment), where).lesions("test")
    scores = Predictor(weights.load_network(run, device), run.experiment).scores(lesions)
    return pd.DataFrame(scores, index=list(lesions.image_ids), columns=list(classes_of(run.experiment.task)))


def _scores(run: Run, dataset: isic.IsicDataset, device: str, settings: Sequence[str]) -> pd.DataFrame:
    """`scores_by_image`, kept in a file beside the live runs, by what was scored, how and with which weights."""
    assert run.folder is not None
    scored = replace(run, experiment=_scored_by(run.experiment, settings))
    how = [dataset.fingerprint, to_dict(scored.experiment)["evaluation"], storage.read_sums(run.folder).get(WEIGHTS)]
    key = hashlib.sha256(json.dumps(how).encode()).hexdigest()[:12]
    path = run.folder.parent / f"external-{key}" / f"{run.id}.csv"
    if not path.is_file():
        scores = scores_by_image(scored, dataset, device)
        with storage.writing(path):
            path.parent.mkdir(exist_ok=True)
            storage.write_text(path, scores.rename_axis("image_id").to_csv(float_format="%.9g", lineterminator="\n"))
    return pd.read_csv(path, index_col="image_id")


def _by_lesion(scores: pd.DataFrame, images: pd.DataFrame, asked: Sequence[str]) -> pd.DataFrame:
    """The columns of a run's `predictions.csv` with a row a lesion: the mean over its images, the labels of any."""
    lesion = _lesion_ids(images)
    table = scores.reindex(index=images.index, columns=asked).groupby(lesion).mean()
    labels = images[list(asked)].groupby(lesion).max().add_suffix("_label")
    table = pd.concat([table, labels], axis=1).rename_axis("image_id").reset_index().assign(split="test")
    return table.reindex(columns=PREDICTION_COLUMNS)


def _lesion_ids(images: pd.DataFrame) -> pd.Series:
    """Which lesion each image shows: its column `lesion_id`, else each another."""
    return images["lesion_id"] if "lesion_id" in images else pd.Series(images.index, index=images.index)


def _figures(study: Study, name: str) -> dict[str, Any]:
    """What `external_test` says of the networks and one class."""
    quantity = f"{name}.auc"
    runs = {run.id: summary(run.predictions)["test"] for run in study.runs}
    networks = {one: estimates.known(estimates.metric, study, one, quantity) for one in present(study)}
    gains = {pair: estimates.known(estimates.difference, study, pair, quantity) for pair in partners(study)}
    return {
        "runs": {run: {key: one[name][key] for key in ("auc", "auc_ci")} for run, one in runs.items() if name in one},
        "networks": {
            network: {"seeds": list(one.seeds), "auc": one.estimate.value, "auc_ci": _interval(one.estimate)}
            for network, one in networks.items()
            if one is not None
        },
        "differences": {
            f"{other} minus {base}": {
                "seeds": list(one.seeds),
                "value": one.estimate.value,
                "ci": _interval(one.estimate),
                "p": one.estimate.p,
            }
            for (base, other), one in gains.items()
            if one is not None
        },
    }


def _interval(estimate: Estimate | Difference) -> list[float]:
    return [estimate.low, estimate.high]


def _by_colour(dataset: isic.IsicDataset, experiment: Experiment, data: str) -> pd.DataFrame:
    """Scores of a data set's test images by colours alone, as the training images of `data` teach them."""
    known, known_images = datasets.open_images(experiment, data)
    images = datasets.decode(dataset, experiment)
    training = known.lesions[known.lesions["split"] == "training"]
    test = dataset.lesions[dataset.lesions["split"] == "test"]
    pixels = [
        one.pixels[row]
        for one, rows in ((known_images, training.index), (images, test.index))
        for row in pd.Index(one.image_ids).get_indexer(rows)
    ]
    lesions = pd.concat([training, test], keys=["known", "other"])
    lesions.index = lesions.index.map("/".join)
    scores = baselines.score_by_colour(lesions, list(lesions.index), pixels).set_index("image_id")
    return scores.set_index(scores.index.str.removeprefix("other/"))


def _seen_before(dataset: isic.IsicDataset, experiment: Experiment, data: str) -> list[str]:
    """The ids of test images that show a lesion of `data`: one of the same id, or a near-duplicate."""
    known, other = datasets.open_images(experiment, data)[1], datasets.decode(dataset, experiment)
    rows = np.flatnonzero(dataset.lesions["split"] == "test")
    pairs = duplicates.near_duplicates(
        _thumbnails(other.pixels, rows), _thumbnails(known.pixels, np.arange(len(known.pixels)))
    )
    alike = {other.image_ids[rows[match.first]] for match in pairs}
    same = {other.image_ids[row] for row in rows} & set(known.image_ids)
    return sorted(alike | same)


def _thumbnails(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.stack([duplicates.thumbnail(Image.fromarray(np.asarray(pixels[row]))) for row in rows])


def path_of(profile_name: str, name: str) -> Path:
    """Where the numbers of an external test lie, beside the profile's archived runs.

    Raises:
        ConfigError: the name would lie elsewhere.
    """
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise ConfigError(
            f"--name {printable(repr(name), 100)}: letters, digits, `_`, `-` and `.` only, such as HAM10000"
        )
    return paths.archived_folder(profile_name) / f"external-{name}.json"


def write(profile_name: str, name: str, found: dict[str, Any]) -> Path:
    """Archive the numbers; no id, label or score of a lesion of the other data set is among them."""
    path = path_of(profile_name, name)
    with storage.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        storage.write_text(path, json.dumps(found, indent=2, allow_nan=False) + "\n")
    return path


def read(profile_name: str) -> dict[str, dict[str, Any]]:
    """The archived external tests of a profile, by name; none if there are none.

    Raises:
        RunError: a file of them is damaged.
    """
    found = sorted(paths.archived_folder(profile_name).glob("external-*.json"))
    return {one.stem.removeprefix("external-"): storage.read_json(one, "arlrepro external") for one in found}
