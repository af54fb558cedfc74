"""A finished network on other images: anyone's photographs, or an external data set with its labels."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, PngImagePlugin

from arlrepro import paths
from arlrepro.attention.overlay import overlay
from arlrepro.data import datasets, isic
from arlrepro.data.files import IMAGE_SUFFIXES, StoredFile, decode_image
from arlrepro.errors import DatasetError, RunError, some
from arlrepro.evaluation.delong import auc_interval, paired_difference
from arlrepro.profiles import profile
from arlrepro.progress import bar
from arlrepro.registry import CLASSES, classes_of
from arlrepro.runs import archive, weights
from arlrepro.runs.archive import Run
from arlrepro.runs.study import read_study

STATEMENT = "Research software, not a medical device: these numbers must not guide the care of any person."
DRAWN = "The network was trained on drawn images and knows nothing about real lesions."


@dataclass(frozen=True)
class Scored:
    """What came out for a list of photographs."""

    table: pd.DataFrame  # image_id, a probability for each class the network scores (else empty), note
    failed: dict[str, str]  # file -> the one line that says what is wrong with it


def find_photographs(inputs: Sequence[Path]) -> list[Path]:
    """The files given, and the image files in the folders given; other files in a folder are passed over.

    Raises:
        DatasetError: an input does not exist, or there is no image file at all.
    """
    found: list[Path] = []
    for one in inputs:
        if not one.exists():
            raise DatasetError(f"{one}: no such file or folder")
        inside = sorted(path for path in one.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
        found += inside if one.is_dir() else [one]
    if not found:
        raise DatasetError(f"{inputs[0]}: no image files in it; known suffixes: {', '.join(IMAGE_SUFFIXES)}")
    return list(dict.fromkeys(found))


def score_photographs(inputs: Sequence[Path], run: Run, out: Path, device: str = "auto") -> Scored:
    """Score photographs by the test protocol, the mean over the evaluation patches, and draw where the network looked.

    Args:
        inputs: image files of any size and usual format, and folders of them.
        run: its weights are in its folder or committed.
        out: folder to make: `predictions.csv`, and `<image_id>.png` for each photograph.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        The table that was written, and what failed; one bad file does not keep the others from being scored.

    Raises:
        DatasetError: no photographs.
        RunError: the run has no weights here, or the output folder exists and is not empty.
    """
    import torch

    from arlrepro.attention.cam import class_activation_maps
    from arlrepro.attention.terms import whole_image
    from arlrepro.data.lesions import Lesions
    from arlrepro.data.patches import evaluation_boxes
    from arlrepro.models.devices import autocast, choose_device
    from arlrepro.models.inference import score

    photographs = find_photographs(inputs)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: exists and is not an empty folder; name another with --out")
    network = weights.load_network(run, device)
    experiment, classes = run.experiment, list(classes_of(run.experiment.task))
    boxes = evaluation_boxes(experiment.evaluation_patches, experiment.evaluation)
    note = f"{STATEMENT} {DRAWN}" if experiment.data.source == "synthetic" else STATEMENT
    out.mkdir(parents=True, exist_ok=True)
    rows, failed = [], {}
    for path, image_id in zip(bar(photographs, unit="photograph"), _names(photographs), strict=True):
        try:
            # The photograph is decoded once for the picture, and reduced from there for the network.
            image = decode_image(StoredFile(path.parent, path.name, path.stat().st_size))
        except DatasetError as error:
            failed[str(path)] = str(error)
            continue
        side = experiment.data.side
        pixels = np.array(image.resize((side, side), Image.Resampling.LANCZOS))[None]
        where, unknown = choose_device(device), np.zeros((1, 2), dtype=np.int64)
        lesion = Lesions.load((image_id,), pixels, unknown, where)
        probabilities = score(network, lesion, boxes, experiment.evaluation_patches, experiment.train.precision)[0]
        whole = lesion.cut(
            torch.zeros(1, dtype=torch.long), whole_image(experiment.evaluation_patches), experiment.evaluation_patches
        )
        with autocast(whole.device, experiment.train.precision):
            activation = class_activation_maps(network, whole)[0].mean(dim=0).cpu().numpy()
        rows.append({"image_id": image_id, **dict(zip(classes, probabilities, strict=True)), "note": note})
        information = PngImagePlugin.PngInfo()
        information.add_text("Comment", note)
        overlay(image, activation.astype(np.float64)).save(out / f"{image_id}.png", pnginfo=information)
    table = pd.DataFrame(rows, columns=["image_id", *CLASSES, "note"])
    table.to_csv(out / "predictions.csv", index=False, float_format="%.9g", lineterminator="\n")
    return Scored(table, failed)


def _names(photographs: Sequence[Path]) -> list[str]:
    """An id for each file: its name without suffix, and where two would be the same, numbered."""
    seen: Counter[str] = Counter()
    names = []
    for path in photographs:
        seen[path.stem] += 1
        names.append(path.stem if seen[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}")
    return names


def find_run(name: str) -> Run:
    """A run by its folder, or by its id: a live one of any profile here, else an archived one.

    Raises:
        RunError: there is no such run here; the message lists those whose weights are.
    """
    if Path(name).is_dir():
        return archive.read_run(Path(name))
    live = sorted((paths.root() / paths.RUNS).glob("*/*-s*-????????"))
    archived = sorted((paths.root() / paths.RESULTS).glob("*/*-s*-????????"))
    for folder in (*live, *archived):
        if folder.name == name:
            return archive.read_run(folder)
    committed = [folder for folder in archived if paths.committed_weights(folder.name).is_file()]
    there = list(dict.fromkeys(folder.name for folder in (*live, *committed)))
    known = some(there) if there else "none; `arlrepro train` makes one"
    raise RunError(f"{name}: neither a run's folder nor the id of a run here ({known})")


def score_lesions(run: Run, dataset: isic.IsicDataset, device: str = "auto") -> pd.DataFrame:
    """A network's scores for each lesion of a data set's test split, the mean over the lesion's images.

    Args:
        run: a live run, with weights.
        dataset: a column `lesion_id` says which images show one lesion; without it, each image is a lesion.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        Scores in [0, 1] by lesion id, a column a class that the network scores.
    """
    from arlrepro.data.lesions import DataModule
    from arlrepro.data.patches import evaluation_boxes
    from arlrepro.models.devices import choose_device
    from arlrepro.models.inference import score

    experiment, where = run.experiment, choose_device(device)
    images = datasets.decode(dataset, experiment)
    lesions = DataModule(dataset, images, where).lesions("test")
    boxes = evaluation_boxes(experiment.evaluation_patches, experiment.evaluation)
    scores = score(
        weights.load_network(run, device), lesions, boxes, experiment.evaluation_patches, experiment.train.precision
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
    study = read_study(profile(profile_name), paths.live_folder(profile_name))
    if not study.runs:
        raise RunError(f"{paths.live_folder(profile_name)}: no runs with weights; `arlrepro reproduce` makes them")
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


def external_test_path(profile_name: str, name: str) -> Path:
    """Where the numbers of an external test lie, beside the profile's archived runs."""
    return paths.archived_folder(profile_name) / f"external-{name}.json"


def write_external_test(profile_name: str, name: str, found: dict[str, Any]) -> Path:
    """Archive the numbers; no id, label or score of a lesion of the other data set is among them."""
    path = external_test_path(profile_name, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf8")
    return path


def read_external_tests(profile_name: str) -> dict[str, dict[str, Any]]:
    """The archived external tests of a profile, by name; none if there are none."""
    found = sorted(paths.archived_folder(profile_name).glob("external-*.json"))
    return {one.stem.removeprefix("external-"): json.loads(one.read_text(encoding="utf8")) for one in found}
