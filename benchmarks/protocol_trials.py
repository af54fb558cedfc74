"""Which protocol fine-tunes a ResNet-50 best in the time there is? Tried on training and validation images alone.

A fifth of the official training images, dealt by kind with near-duplicates kept together, and the official validation
images are held out together; the other four fifths train. No test image is opened, and no network but the plain ResNet
is trained: the networks that are compared later are trained by what it chose.

    python -m benchmarks.protocol_trials --data FOLDER --name "side 128" --set patches.side=128

adds a row for each evaluation side to `results/protocol_trials.csv`.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from arlrepro.config import Experiment, with_settings
from arlrepro.data.datasets import assign_folds
from arlrepro.data.lesions import DataModule
from arlrepro.data.patches import evaluation_boxes
from arlrepro.models.inference import score
from arlrepro.paths import root
from arlrepro.profiles import profile
from arlrepro.registry import CLASSES
from arlrepro.runs.runner import set_up_data
from arlrepro.training.trainer import train

FOLDS = 5
TRIALS_CSV = Path("results") / "protocol_trials.csv"


def held_out(datamodule: DataModule, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to judge by, of the training and validation images alone."""
    training, validation = datamodule.rows("training"), datamodule.rows("validation")
    labels = datamodule.dataset.lesions[list(CLASSES)].to_numpy()[training]
    folds = assign_folds(labels @ np.arange(1, len(CLASSES) + 1), datamodule.groups[training], FOLDS, seed)
    return training[folds != 0], np.concatenate([training[folds == 0], validation])


def trial(experiment: Experiment, datamodule: DataModule, seed: int, sides: list[int]) -> list[dict[str, object]]:
    """Train once, and score what was held out at each side.

    Returns:
        A row a side: `evaluation_side`, `minutes` of training, the AUC of each class, `mean_auc`, `lesions` held out.
    """
    rows_in, rows_out = held_out(datamodule, experiment.evaluation.seed)
    judged = datamodule.at(rows_out)
    # Reason: a look at what is held out costs time and chooses nothing here, so there is one, after the last pass.
    plain = replace(experiment, train=replace(experiment.train, keep="last", validate_every=experiment.train.epochs))
    began = time.perf_counter()
    trained = train(plain, seed, datamodule.at(rows_in), datamodule.lesions("validation"))
    minutes = (time.perf_counter() - began) / 60
    found: list[dict[str, object]] = []
    for side in sides:
        patches = replace(plain.patches, side=side)
        boxes = evaluation_boxes(patches, plain.evaluation)
        scores = score(trained.network, judged, boxes, patches, plain.train.precision)
        aucs = {name: float(roc_auc_score(judged.labels[:, i], scores[:, i])) for i, name in enumerate(CLASSES)}
        mean = float(np.mean(list(aucs.values())))
        found.append({"evaluation_side": side, "minutes": minutes, **aucs, "mean_auc": mean, "lesions": len(judged)})
    return found


def main() -> None:
    """Make one trial and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="isic2017-256-imagenet", help="its protocol and first network are varied")
    parser.add_argument("--data", default="", help="folder of the real images")
    parser.add_argument("--name", required=True, help="what is tried, in words")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="one field, as for arlrepro train")
    parser.add_argument("--sides", type=int, nargs="*", default=[], help="evaluation sides, px")
    parser.add_argument("--seed", type=int, default=100, help="of the training; none of a registered run")
    given = parser.parse_args()
    chosen = profile(given.profile)
    experiment = with_settings(chosen.experiments()[0], given.settings)
    datamodule = set_up_data(experiment, given.data, "auto")
    rows = trial(experiment, datamodule, given.seed, given.sides or [experiment.evaluation_patches.side])
    described = {"trial": given.name, "network": experiment.network.name, "seed": given.seed}
    table = pd.DataFrame([{**described, "settings": " ".join(given.settings), **row} for row in rows])
    path = root() / TRIALS_CSV
    table.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.4f", lineterminator="\n")
    print(table.to_string())


if __name__ == "__main__":
    main()
