"""Baselines without a network: logistic regressions on colour statistics, and on age and sex; the runs by subgroup.

What needs the images, or who is on them, is written beside a profile's archived runs as numbers.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from arlrepro import paths, storage
from arlrepro.data import datasets
from arlrepro.errors import DatasetError, MetricError
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Estimate
from arlrepro.profiles import profile
from arlrepro.registry import CLASSES
from arlrepro.runs import crossvalidation, estimates
from arlrepro.runs.archive import PREDICTION_COLUMNS
from arlrepro.runs.study import Study, read_study, runs_by_seed, scored, shared_runs

#: Shares of the side whose central square is described: all of the image, its middle, the middle of that.
SQUARES = (1.0, 0.5, 0.25)
PERCENTILES = (5, 25, 75, 95)
REGULARISATION = 0.1  # scikit-learn's C, fixed beforehand; our choice
PEOPLE_COLUMNS = ["image_id", "split", "age", "sex", *CLASSES]
FOLDS = 5

#: What `arlrepro baseline` scored and counted, beside the archived runs.
COLOUR, AGE_AND_SEX, SUBGROUPS = "colour.csv", "age-and-sex.csv", "subgroups.csv"

#: Ages in years at which a group begins.
AGES = {"under 40 years": 0, "40 to 59 years": 40, "60 years and over": 60}
#: Metrics of a group, as the archive has them and as a page does.
OF_GROUP = {"auc": "AUC [95 % CI]", "sensitivity": "SEN [95 % CI]", "specificity": "SPE [95 % CI]"}


def _regression() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=2000))


def colour_statistics(pixels: UInt8[np.ndarray, "side side 3"]) -> Float[np.ndarray, " features"]:
    """Mean, standard deviation and four percentiles of each channel, in three central squares: 54 numbers.

    Example:
        >>> colour_statistics(np.full((8, 8, 3), 100, dtype=np.uint8))[:4].tolist()
        [100.0, 100.0, 100.0, 0.0]
    """
    side, found = len(pixels), []
    for share in SQUARES:
        edge = round(side * (1 - share) / 2)
        square = pixels[edge : side - edge, edge : side - edge].reshape(-1, 3).astype(np.float64)
        found += [square.mean(axis=0), square.std(axis=0), *np.percentile(square, PERCENTILES, axis=0)]
    return np.concatenate(found)


def score_by_colour(
    lesions: pd.DataFrame, image_ids: Sequence[str], pixels: Iterable[UInt8[np.ndarray, "side side 3"]]
) -> pd.DataFrame:
    """Fit a logistic regression for each class on the training lesions and score the held-out ones.

    Args:
        lesions: split and labels by image id, as `IsicDataset.lesions`.
        image_ids: of the images, in their order.
        pixels: decoded images, as `cache.prepare` gives them.

    Returns:
        The columns of a run's `predictions.csv`; scores in [0, 1].
    """
    lesions = lesions.loc[list(image_ids)]
    # Reason: every second pixel has the same statistics, to the second decimal, at a quarter of the cost.
    features = np.stack([colour_statistics(one[::2, ::2]) for one in pixels])
    is_training = (lesions["split"] == "training").to_numpy()
    table = lesions.loc[~is_training, ["split"]].rename_axis("image_id").reset_index()
    for name in CLASSES:
        labels = lesions[name].to_numpy()
        model = _regression().fit(features[is_training], labels[is_training])
        table[name] = model.predict_proba(features[~is_training])[:, 1]
        table[f"{name}_label"] = labels[~is_training]
    return table[PREDICTION_COLUMNS]


def people(lesions: pd.DataFrame) -> pd.DataFrame:
    """The lesions whose patient's age and sex are both known, with their labels; see `PEOPLE_COLUMNS`.

    Args:
        lesions: as `IsicDataset.lesions`.
    """
    known = lesions[lesions["age"].notna() & (lesions["sex"] != "")]
    return known.rename_axis("image_id").reset_index()[PEOPLE_COLUMNS]


def score_by_age_and_sex(known: pd.DataFrame) -> pd.DataFrame:
    """Fit a logistic regression for each class on age, its square and sex of the training lesions, and score all.

    Args:
        known: from `people`.

    Returns:
        The columns of a run's `predictions.csv`. Training lesions are scored out of fold, by a model of the other four
        fifths; those of another split by the model of all training lesions. Scores in [0, 1].

    Raises:
        DatasetError: fewer than two training lesions of a class.
    """
    age = known["age"].to_numpy(dtype=np.float64)
    features = np.stack([age, age**2, known["sex"] == "female"], axis=1).astype(np.float64)
    is_training = (known["split"] == "training").to_numpy()
    table = known[["image_id", "split"]].copy()
    for name in CLASSES:
        labels = known[name].to_numpy(dtype=np.int64)
        if (fewest := int(np.bincount(labels[is_training], minlength=2).min())) < 2:
            raise DatasetError(f"a regression on age and sex needs two training lesions with {name}; got {fewest}")
        scores = np.empty(len(known))
        if not is_training.all():
            model = _regression().fit(features[is_training], labels[is_training])
            scores[~is_training] = model.predict_proba(features[~is_training])[:, 1]
        folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
        scores[is_training] = cross_val_predict(
            _regression(), features[is_training], labels[is_training], cv=folds, method="predict_proba"
        )[:, 1]
        table[name], table[f"{name}_label"] = scores, labels
    return table[PREDICTION_COLUMNS]


def write(profile_name: str, data: str = "") -> list[Path]:
    """Write what stands beside a profile's archived runs, because it needs the images or who is on them.

    Scores by colour alone and by age and sex alone; and the metrics of the archived runs by sex and age group, in
    cross-validation those of the lesions out of fold, else of the validation lesions. No age or sex itself is written.

    Returns:
        The files.
    """
    chosen = profile(profile_name)
    folder = paths.archived_folder(profile_name)
    study = read_study(chosen, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if chosen.experiment.data.folds:
        known = people(datasets.open_data(chosen.experiment.data, data).lesions)
        tables = {SUBGROUPS: subgroups(crossvalidation.out_of_fold(study), known, "test")}
    else:
        dataset, images = datasets.open_images(chosen.experiment, data)
        known = people(dataset.lesions)
        tables = {
            COLOUR: score_by_colour(dataset.lesions, images.image_ids, images.pixels),
            AGE_AND_SEX: score_by_age_and_sex(known) if len(known) else pd.DataFrame(),
            SUBGROUPS: subgroups(study, known),
        }
    written = {folder / name: table for name, table in tables.items() if len(table)}
    for path, table in written.items():
        storage.write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    return list(written)


def subgroups(study: Study, people: pd.DataFrame, split: str = "validation") -> pd.DataFrame:
    """Does a network do as well for women as for men, for the young as for the old?

    Args:
        study: the runs.
        people: `image_id`, `age` and `sex` of lesions of which they are known, as `baselines.people` gives them.
        split: whose lesions.

    Returns:
        A row a network, task and group: its `lesions` and those `diseased`; `auc`, `sensitivity` and `specificity` at
        0.5 over seeds and lesions, each with its 95 % interval as `_low` and `_high`, NaN where a group has too few
        lesions for it; and the `seeds`.
    """
    place = np.digitize(people["age"], list(AGES.values())) - 1
    known = people.assign(age=np.array(list(AGES))[place]).set_index("image_id")
    rows = []
    for network in study.profile.networks:
        for task in CLASSES:
            if not runs_by_seed(study, network, [task]):
                continue
            chosen = shared_runs(study, [network], [task])
            truth, scores = scored(chosen, [task], split)
            of_lesions = known.reindex(chosen[network][0][0].of(split).index)
            groups = {"all of these": of_lesions["sex"].notna()}
            groups |= {sex: of_lesions["sex"] == sex for sex in ("female", "male")}
            groups |= {age: of_lesions["age"] == age for age in AGES}
            for group, members in groups.items():
                inside = members.to_numpy()
                if inside.any():
                    figures = _of_group(truth[:, inside], scores[network][..., inside])
                    seeds = formatting.seeds(tuple(of_seed[0].seed for of_seed in chosen[network]))
                    where = {"network": network, "task": task, "group": group, "seeds": seeds}
                    rows.append(
                        {**where, "lesions": int(inside.sum()), "diseased": int(truth[:, inside].sum()), **figures}
                    )
    return pd.DataFrame(rows)


def _of_group(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The metrics of `OF_GROUP` with their intervals, NaN where not defined."""
    called = scores[:, 0] > 0.5
    figures: dict[str, Callable[[], Estimate]] = {
        "auc": lambda: estimates.area(truth, scores),
        "sensitivity": lambda: estimates.share("sensitivity", truth[0], called),
        "specificity": lambda: estimates.share("specificity", truth[0], called),
    }
    found: dict[str, float] = {}
    for name, figure in figures.items():
        try:
            one = figure()
        except MetricError:
            one = Estimate(np.nan, np.nan, np.nan)
        found |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return found
