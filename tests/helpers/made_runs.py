"""Runs and studies made from arrays, for the tests of what reads them: scores are known, nothing is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from arlrepro.config import Experiment
from arlrepro.profiles import ISIC2017_256, SMOKE, Profile
from arlrepro.registry import CLASSES, classes_of
from arlrepro.runs.archive import PREDICTION_COLUMNS, Run
from arlrepro.runs.study import Study

LESIONS = 60
POSITIVES = {"melanoma": 12, "seborrheic_keratosis": 9}
BLOCKS = ("layer1.0", "layer2.0", "layer3.0", "layer4.0")
ENVIRONMENT = {"device": "cpu", "threads": 2, "seconds": 1800.0, "python": "3.11", "packages": {}, "system": "Linux"}


@cache
def truth(lesions: int = LESIONS) -> pd.DataFrame:
    """Labels of the made lesions: the melanomas first, then the seborrheic keratoses."""
    labels = pd.DataFrame(0, index=[f"MADE_{n:04d}" for n in range(lesions)], columns=list(CLASSES))
    first = POSITIVES["melanoma"]
    labels.iloc[:first, 0] = 1
    labels.iloc[first : first + POSITIVES["seborrheic_keratosis"], 1] = 1
    return labels


@cache
def scores(gain: float, seed: int, lesions: int = LESIONS, spread: float = 0.02) -> pd.DataFrame:
    """Scores that rank the diseased higher by `gain`; lesions vary alike in every network, seeds by `spread`."""
    labels = truth(lesions)
    of_lesions = np.random.Generator(np.random.PCG64(7)).uniform(0.2, 0.6, labels.shape)
    of_seed = np.random.Generator(np.random.PCG64([seed, int(1000 * gain)])).normal(0, spread, labels.shape)
    return (labels * gain + of_lesions + of_seed).clip(0, 1)


def made_run(
    experiment: Experiment,
    seed: int,
    test: pd.DataFrame,
    *,
    removed: pd.DataFrame | None = None,
    share: np.ndarray | None = None,
) -> Run:
    """A run whose test scores are given; validation has the same, three epochs of history, ARL blocks where due.

    Args:
        experiment: what it says it is.
        seed: of the run.
        test: scores by image id, a column a class.
        removed: scores without the attention term; those of `test` if not given.
        share: of the activation map inside each lesion's mask; a half if not given.
    """
    arl = experiment.network.name.startswith("arl")
    labels = truth(len(test))
    scored = classes_of(experiment.task)
    tables = []
    for split in ("validation", "test"):
        table = pd.DataFrame({"image_id": [f"{split}_{one}" for one in test.index], "split": split})
        for one in CLASSES:
            table[one] = test[one].to_numpy() if one in scored else np.nan
            table[f"{one}_label"] = labels[one].to_numpy()
        tables.append(table[PREDICTION_COLUMNS])
    ids = tables[1]["image_id"].to_numpy()
    history = pd.DataFrame({"epoch": [1, 2, 3], "learning_rate": 0.01, "training_loss": [0.7, 0.5, 0.4 + 0.01 * seed]})
    for one in scored:
        history[f"validation_auc_{one}"] = [0.6, np.nan, 0.7 + 0.01 * seed]
    attention = pd.DataFrame(columns=["block", "alpha", "positions", "rms_shortcut", "rms_residual", "rms_attention"])
    measures = {
        "focus": pd.DataFrame(
            {
                "image_id": ids,
                "area": 0.25,
                "share": 0.5 if share is None else share,
                "peak_inside": np.arange(len(ids)) % 2,
            }
        ),
        "maps": made_maps(scored, BLOCKS if arl else ()),
    }
    if arl:
        for place, block in enumerate(BLOCKS):
            history[f"alpha_{block}"] = [0.001, 0.002, 0.01 * (place + 1) + 0.001 * seed]
        attention = pd.DataFrame(
            {
                "block": BLOCKS,
                "alpha": [0.01 * (place + 1) + 0.001 * seed for place in range(len(BLOCKS))],
                "positions": [1024, 256, 64, 16],
                "rms_shortcut": 1.0,
                "rms_residual": 0.5,
                "rms_attention": [1e-5, 1e-4, 1e-3, 1e-2],
                "ratio": [1e-5, 1e-4, 1e-3, 1e-2],
                "mask_peak": [2 / 1024, 4 / 256, 6 / 64, 4 / 16],
            }
        )
        without = test if removed is None else removed
        measures["removal"] = pd.concat(
            [
                pd.DataFrame({"image_id": ids, "removed": name, **{one: without[one].to_numpy() for one in scored}})
                for name in ("all", *BLOCKS)
            ],
            ignore_index=True,
        )
    predictions = pd.concat(tables, ignore_index=True)
    return Run(experiment, seed, "0" * 64, ENVIRONMENT, history, attention, predictions, measures)


@cache
def made_maps(classes: Sequence[str], blocks: Sequence[str]) -> pd.DataFrame:
    """Maps of two gallery lesions, 4 x 4: of a class highest at one corner, of a block flat but for one position."""
    rows = []
    for image_id in ("melanoma-1", "nevus-1"):
        for name in (*classes, *blocks):
            for row in range(4):
                for column in range(4):
                    value = float(row + column) if name in classes else 1.0 + (row == column == 2)
                    rows.append((image_id, name, row, column, value))
    return pd.DataFrame(rows, columns=["image_id", "map", "row", "column", "value"])


def made_study(
    gains: Mapping[str, float], seeds: Sequence[int] = (0, 1, 2, 3, 4), profile: Profile = ISIC2017_256, **options
) -> Study:
    """A study whose networks separate the classes by given gains; see `scores` and `made_run`."""
    runs = []
    for experiment in profile.experiments():
        if experiment.network.name in gains:
            for seed in seeds:
                test = scores(gains[experiment.network.name], seed)
                runs.append(made_run(experiment, seed, test, **options))
    return Study(profile, tuple(runs))


def separate_tasks(profile: Profile = ISIC2017_256) -> Profile:
    """The profile with one network a class in place of one for both."""
    return replace(profile, tasks=CLASSES)


def small_run(network: str = "arl_cnn14", seed: int = 0, experiment: Experiment = SMOKE.experiment) -> Run:
    """A run of 24 lesions, half of them test lesions, with random scores and one measure."""
    generator = np.random.default_rng(seed)
    predictions = pd.DataFrame({"image_id": [f"MADE_{i:02}" for i in range(24)]})
    predictions["split"] = ["validation"] * 12 + ["test"] * 12
    for column, name in enumerate(CLASSES):
        predictions[f"{name}_label"] = (np.arange(24) % 3 == column).astype(int)
        predictions[name] = generator.random(24, dtype=np.float32).astype(float)
    return Run(
        experiment=replace(experiment, network=replace(experiment.network, name=network)),
        seed=seed,
        data_fingerprint="f" * 64,
        environment={**ENVIRONMENT, "seconds": 1.5},
        history=pd.DataFrame({"epoch": [1, 2], "learning_rate": [0.01, 0.01], "training_loss": [0.7, 0.6]}),
        attention=pd.DataFrame({"block": ["layer1.0"], "alpha": [0.012]}),
        predictions=predictions[PREDICTION_COLUMNS],
        measures={"focus": pd.DataFrame({"image_id": ["MADE_12"], "share": [0.25]})},
    )
