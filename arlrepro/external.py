"""An external test: a profile's networks on another data set, several images of one lesion kept together."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from arlrepro import isic, material, runs
from arlrepro.archive import Run, read_study
from arlrepro.comparisons import paired_difference
from arlrepro.config import CLASSES, classes_of
from arlrepro.errors import DatasetError, RunError
from arlrepro.intervals import auc_interval
from arlrepro.profiles import profile
from arlrepro.progress import bar


def score_lesions(run: Run, dataset: isic.IsicDataset, device: str = "auto") -> pd.DataFrame:
    """A network's scores for each lesion of a data set's test split, the mean over the lesion's images.

    Args:
        run: a live run, with weights.
        dataset: a column `lesion_id` says which images show one lesion; without it, each image is a lesion.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        Scores in [0, 1] by lesion id, a column a class that the network scores.
    """
    from arlrepro.patches import evaluation_boxes
    from arlrepro.predict import score

    experiment, where = run.experiment, material.choose_device(device)
    images = material.decode(dataset, experiment)
    lesions = material.Bench(dataset, images, where).lesions("test")
    boxes = evaluation_boxes(experiment.evaluation_patches, experiment.evaluation)
    scores = score(
        runs.load_network(run, device), lesions, boxes, experiment.evaluation_patches, experiment.train.precision
    )
    by_image = pd.DataFrame(scores, index=list(lesions.image_ids), columns=list(classes_of(experiment.task)))
    return by_image.groupby(_lesion_ids(dataset).loc[by_image.index]).mean()


def external_test(profile_name: str, root: Path, device: str = "auto") -> dict[str, Any]:
    """Score a data set with every run of a profile whose weights are here, and compare networks of one seed.

    Args:
        profile_name: the profile of the runs.
        root: HAM10000 in its original layout, the official layout, or a folder of images with one CSV of labels.
            HAM10000 is asked for melanoma alone: its class nearest to seborrheic keratosis holds other keratoses too.
        device: see `score_lesions`.

    Returns:
        Numbers of images and lesions, and by class: how many lesions have it; for each run its AUC with a 95 %
        interval; for each seed the paired difference of the profile's second network minus its first.

    Raises:
        RunError: no run of the profile has its weights here.
        DatasetError: the data set has no class with lesions of both kinds.
    """
    study = read_study(profile(profile_name), runs.live_folder(profile_name))
    if not study.runs:
        raise RunError(f"{runs.live_folder(profile_name)}: no runs with weights; `arlrepro reproduce` makes them")
    dataset = isic.read_dataset(root)
    images = dataset.lesions[dataset.lesions["split"] == "test"]
    labels = images[list(CLASSES)].groupby(_lesion_ids(dataset).loc[images.index]).max()
    asked = [one for one in CLASSES if labels[one].nunique() == 2 and not (one != "melanoma" and "dx" in images)]
    if not asked:
        raise DatasetError(f"{root}: no class has lesions of both kinds among {len(labels)}: an AUC is not defined")
    scores = {run.id: score_lesions(run, dataset, device) for run in bar(study.runs, desc="external", unit="run")}
    found: dict[str, Any] = {"images": len(images), "lesions": len(labels), "classes": {}}
    first, second = study.profile.networks[:2]
    for name in asked:
        truth = labels[name].to_numpy(dtype=bool)
        of_run = {key: table.loc[labels.index, name].to_numpy() for key, table in scores.items() if name in table}
        areas = {key: auc_interval(truth, one) for key, one in of_run.items()}
        pairs = [(one, two) for one, two in study.pairs(second, first) if {one.id, two.id} <= set(of_run)]
        gains = {pair[0].seed: paired_difference(truth, of_run[pair[1].id], of_run[pair[0].id]) for pair in pairs}
        found["classes"][name] = {
            "positives": int(truth.sum()),
            "runs": {key: {"auc": one.value, "auc_ci": [one.low, one.high]} for key, one in areas.items()},
            "differences": {
                f"{second} minus {first}, seed {seed}": {"value": one.value, "ci": [one.low, one.high], "p": one.p}
                for seed, one in gains.items()
            },
        }
    return found


def _lesion_ids(dataset: isic.IsicDataset) -> pd.Series:
    """Which lesion each image shows."""
    lesions = dataset.lesions
    return lesions["lesion_id"] if "lesion_id" in lesions else pd.Series(lesions.index, index=lesions.index)


def path_of(profile_name: str, name: str) -> Path:
    """Where the numbers of an external test lie, beside the profile's archived runs."""
    return runs.archived_folder(profile_name) / f"external-{name}.json"


def write(profile_name: str, name: str, found: dict[str, Any]) -> Path:
    """Archive the numbers; no id, label or score of a lesion of the other data set is among them."""
    path = path_of(profile_name, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf8")
    return path


def read(profile_name: str) -> dict[str, dict[str, Any]]:
    """The archived external tests of a profile, by name; none if there are none."""
    found = sorted(runs.archived_folder(profile_name).glob("external-*.json"))
    return {one.stem.removeprefix("external-"): json.loads(one.read_text(encoding="utf8")) for one in found}
