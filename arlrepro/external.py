"""An external test: the archived networks on another data set, several images of one lesion kept together."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from arlrepro import isic, runs
from arlrepro.archive import Run, read_study
from arlrepro.comparisons import paired_difference
from arlrepro.config import classes_of, profile
from arlrepro.errors import RunError
from arlrepro.intervals import auc_interval
from arlrepro.progress import bar

#: Numbers of the external test, beside the archived runs; no id, label or score of a lesion of that data set.
HAM10000 = "ham10000.json"
TASK = "melanoma"


def score_lesions(run: Run, dataset: isic.IsicDataset, device: str = "auto") -> pd.Series:
    """A network's melanoma score for each lesion of a data set, the mean over the lesion's images.

    Args:
        run: a live run, with weights.
        dataset: with a column `lesion_id`; its test split is scored.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        Scores in [0, 1] by lesion id.
    """
    from arlrepro.patches import evaluation_boxes
    from arlrepro.predict import score

    experiment, where = run.experiment, runs.choose_device(device)
    lesions = runs.Bench(dataset, runs.decode(dataset, experiment), where, experiment.patches.side).lesions("test")
    boxes = evaluation_boxes(experiment.patches, experiment.evaluation)
    column = classes_of(experiment.task).index(TASK)
    scores = score(runs.load_network(run, device), lesions, boxes, experiment.patches, experiment.train.precision)
    by_image = pd.Series(scores[:, column], index=list(lesions.image_ids))
    return by_image.groupby(dataset.lesions.loc[by_image.index, "lesion_id"].to_numpy()).mean()


def external_test(profile_name: str, root: Path, device: str = "auto") -> dict[str, Any]:
    """Score HAM10000 with every run of a profile whose weights are here, and compare networks of one seed.

    Melanoma against all the rest. Seborrheic keratosis is not asked: that data set's nearest class holds other
    keratoses too.

    Args:
        profile_name: the profile of the runs.
        root: folder of HAM10000 in its original layout.
        device: see `score_lesions`.

    Returns:
        Numbers of lesions, images and melanomas; for each run its AUC with a 95 % interval; for each seed the paired
        difference of the profile's second network minus its first, with interval and p value.

    Raises:
        RunError: no run of the profile has its weights here.
    """
    study = read_study(profile(profile_name), runs.live_folder(profile_name))
    if not study.runs:
        raise RunError(f"{runs.live_folder(profile_name)}: no runs with weights; `arlrepro reproduce` makes them")
    dataset = isic.read_ham10000(root)
    labels = dataset.lesions.groupby("lesion_id")[TASK].max()
    scores = {run.id: score_lesions(run, dataset, device) for run in bar(study.runs, desc="external", unit="run")}
    truth = labels.to_numpy(dtype=bool)
    found: dict[str, Any] = {
        "lesions": len(labels),
        "images": len(dataset.lesions),
        "melanoma": int(labels.sum()),
        "runs": {},
        "differences": {},
    }
    for run in study.runs:
        area = auc_interval(truth, scores[run.id].loc[labels.index].to_numpy())
        found["runs"][run.id] = {"auc": area.value, "auc_ci": [area.low, area.high]}
    first, second = study.profile.networks[:2]
    for ours, theirs in study.pairs(second, first):
        both = [scores[run.id].loc[labels.index].to_numpy() for run in (theirs, ours)]
        gain = paired_difference(truth, *both)
        found["differences"][f"{second} minus {first}, seed {ours.seed}"] = {
            "value": gain.value,
            "ci": [gain.low, gain.high],
            "p": gain.p,
        }
    return found


def write(profile_name: str, found: dict[str, Any]) -> Path:
    """Archive the numbers beside the profile's runs."""
    path = runs.archived_folder(profile_name) / HAM10000
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf8")
    return path
