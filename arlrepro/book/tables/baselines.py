"""Beside a profile's runs: its images, near-duplicates across splits, baselines, subgroups, external tests.

What needs the images, or who is on them, is archived as numbers in files of its own; of a synthetic data set it is
computed here.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from arlrepro import paths, registry, storage
from arlrepro.data import datasets
from arlrepro.errors import MetricError, RunError
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Estimate
from arlrepro.evaluation.summary import summary
from arlrepro.profiles import PROFILES
from arlrepro.registry import CLASSES, Quantity
from arlrepro.runs import baselines, estimates, external
from arlrepro.runs.baselines import AGE_AND_SEX, COLOUR, OF_GROUP, SUBGROUPS
from arlrepro.runs.study import Study, present, scored, shared_runs

#: What `arlrepro data check --json` said of a profile's images, beside its archived runs.
DATA_REPORT = "data.json"
COLOUR_ALONE = "colour statistics, no network"
#: The classes of each column of AUCs.
AUCS = {registry.QUANTITIES[name]: Quantity.parse(name).classes for name in (*registry.AUCS[1:], registry.AUCS[0])}


def of_images(study: Study, name: str) -> Path:
    """A file on a profile's images: beside its archived runs, or beside those of another profile on the same images."""
    images = study.profile.experiment.data
    same = [one.name for one in PROFILES.values() if one.experiment.data == images and not one.variants]
    folders = [paths.archived_folder(one) for one in dict.fromkeys([study.profile.name, *same])]
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)


def data_report(study: Study) -> dict[str, Any] | None:
    """The archived report of the data check, if this profile's images have one."""
    path = of_images(study, DATA_REPORT)
    return storage.read_json(path, "arlrepro data check --json") if path.is_file() else None


def composition(study: Study) -> pd.DataFrame:
    """Images of each split by kind, from the archived report of the data check, or counted for a synthetic data set."""
    report = data_report(study)
    if report is not None:
        counts = pd.DataFrame.from_dict(report["counts"], orient="index")
    else:
        lesions = datasets.open_data(study.profile.experiment.data).lesions
        counts = lesions.groupby("split", sort=False)[list(CLASSES)].sum().astype(int)
        counts.insert(0, "images", lesions.groupby("split", sort=False).size())
        counts["neither"] = counts["images"] - counts[list(CLASSES)].sum(axis=1)
    shown = counts[["images", *CLASSES, "neither"]]
    return shown.rename_axis("split").rename(columns=lambda name: name.replace("_", " "))


def near_duplicates(study: Study) -> pd.DataFrame:
    """Near-duplicates across splits, identical or alike; no rows for a synthetic data set.

    Returns:
        `image`, `split`, `other image`, `other split`, `pixels` (identical or alike), `correlation` in [-1, 1].
    """
    pairs = (data_report(study) or {"pairs": []})["pairs"]
    rows = [
        {
            "image": pair["first"],
            "split": pair["first_split"],
            "other image": pair["second"],
            "other split": pair["second_split"],
            "pixels": "identical" if pair["is_identical"] else "alike",
            "correlation": round(pair["correlation"], 3),
        }
        for pair in pairs
    ]
    return pd.DataFrame(rows, columns=["image", "split", "other image", "other split", "pixels", "correlation"])


def without_near_duplicates(study: Study) -> Study:
    """The same runs, scored without the test lesions of which another split has a near-duplicate."""
    pairs = near_duplicates(study)
    twins = {
        *pairs.loc[pairs["split"] == "test", "image"],
        *pairs.loc[pairs["other split"] == "test", "other image"],
    }
    runs_without = [
        replace(run, predictions=run.predictions[~run.predictions["image_id"].isin(twins)]) for run in study.runs
    ]
    return replace(study, runs=tuple(runs_without))


def colour_baseline(study: Study) -> pd.DataFrame:
    """Test AUCs of a logistic regression on colour statistics, beside those of the study's networks.

    Its scores are archived beside the runs as `colour.csv`; of a synthetic data set they are computed here.

    Returns:
        A row for it, where it is archived, and for each network; AUC of each task and their mean, with 95 % intervals
        over lesions, for a network of several seeds over seeds and lesions.
    """
    of_colour = _by_colour(study)
    rows = {} if of_colour is None else {COLOUR_ALONE: _aucs(of_colour)}
    rows |= {_over_seeds(study, network): _aucs_of(study, network, "test") for network in present(study)}
    return pd.DataFrame.from_dict(rows, orient="index")


def colour_mean_auc(study: Study) -> float | None:
    """Test mean AUC of the regression on colour statistics; None where it is not archived."""
    figures = _by_colour(study)
    return None if figures is None else float(figures["mean_auc"])


def _by_colour(study: Study) -> dict[str, Any] | None:
    path = of_images(study, COLOUR)
    if path.is_file():
        return summary(pd.read_csv(path))["test"]
    if study.profile.experiment.data.source != "synthetic":
        return None
    dataset, images = datasets.open_images(study.profile.experiment)
    return summary(baselines.score_by_colour(dataset.lesions, images.image_ids, images.pixels))["test"]


def age_and_sex_baseline(study: Study) -> pd.DataFrame:
    """AUCs of a logistic regression on age and sex, out of fold on training and on validation, beside the networks.

    Returns:
        A row for each, all validation rows on the same lesions, those whose age and sex are known; no rows where they
        are known of none. AUC of each task and their mean, with 95 % intervals over lesions, for a network of several
        seeds over seeds and lesions.
    """
    scores = _scored_by_age_and_sex(study)
    if scores.empty:
        return scores
    by_split = dict(list(scores.groupby("split")))
    rows = {("training, out of fold", "age and sex, no network"): _aucs_of_table(by_split["training"])}
    if "validation" in by_split:
        known = by_split["validation"]["image_id"]
        rows["validation", "age and sex, no network"] = _aucs_of_table(by_split["validation"])
        if (colour := of_images(study, COLOUR)).is_file():
            table = pd.read_csv(colour)
            of_known = table[(table["split"] == "validation") & table["image_id"].isin(known)]
            rows["validation", COLOUR_ALONE] = _aucs_of_table(of_known)
        for network in present(study):
            shown = _aucs_of(study, network, "validation", known)
            number = int(study.of(network)[0].of("validation").index.isin(known).sum())
            rows["validation", _over_seeds(study, network)] = {"lesions": number, **shown}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.names = ["lesions of", "scored by"]
    return table


def _scored_by_age_and_sex(study: Study) -> pd.DataFrame:
    path = of_images(study, AGE_AND_SEX)
    if path.is_file():
        return pd.read_csv(path)
    if study.profile.experiment.data.source != "synthetic":
        return pd.DataFrame()
    known = baselines.people(datasets.open_data(study.profile.experiment.data).lesions)
    return baselines.score_by_age_and_sex(known) if len(known) else pd.DataFrame()


def _over_seeds(study: Study, network: str) -> str:
    """A network by its name in words, with its seeds."""
    return f"{registry.network(network)}, {formatting.seeds(tuple(sorted({run.seed for run in study.of(network)})))}"


def _aucs_of(study: Study, network: str, split: str, among: pd.Series | None = None) -> dict[str, str]:
    """The AUCs of a network over its seeds, on a split's lesions or on those among others; empty where it has none."""
    shown = {}
    for title, classes in AUCS.items():
        with suppress(RunError, MetricError):
            chosen = shared_runs(study, [network], classes)
            truth, scores = scored(chosen, classes, split)
            lesions = chosen[network][0][0].of(split).index
            inside = np.full(len(lesions), True) if among is None else lesions.isin(among)
            shown[title] = estimates.area(truth[:, inside], scores[network][..., inside]).text()
    return {title: shown.get(title, "") for title in AUCS}


def _aucs_of_table(scores: pd.DataFrame) -> dict[str, str | int]:
    """The number of lesions and the AUCs of a table of predictions for one split."""
    return {"lesions": len(scores), **_aucs(summary(scores)[scores["split"].iloc[0]])}


def _aucs(figures: dict[str, Any]) -> dict[str, str]:
    """The AUC of each task and their mean, with their intervals, from what `summary` says of a split."""
    by_task = [_with_interval(figures.get(one, {}), "auc") for one in CLASSES]
    return dict(zip(AUCS, [*by_task, _with_interval(figures, "mean_auc")], strict=True))


def _with_interval(figures: dict[str, Any], name: str) -> str:
    return Estimate(figures[name], *figures[f"{name}_ci"]).text() if name in figures else ""


def subgroups(study: Study) -> pd.DataFrame:
    """The archived metrics by sex and age group, or those of a synthetic data set; no rows where there are none."""
    path = paths.archived_folder(study.profile.name) / SUBGROUPS
    if path.is_file():
        return subgroups_table(pd.read_csv(path))
    if study.profile.experiment.data.source != "synthetic":
        return pd.DataFrame()
    known = baselines.people(datasets.open_data(study.profile.experiment.data).lesions)
    return subgroups_table(baselines.subgroups(study, known))


def external_tests(study: Study) -> pd.DataFrame:
    """The archived external tests: AUC of each network on another data set and the differences; empty if not run.

    Returns:
        A row a data set, class, and network, difference or baseline: `AUC [95 % CI]` over seeds and lesions, for a
        difference `p`, and the `seeds`.
    """
    rows: dict[tuple[str, str, str], tuple[str, str, str]] = {}
    for name, found in external.read(study.profile.name).items():
        patches = "the whole image" if found["patches"] == 1 else f"{found['patches']} patches"
        of = f"{name}, {found['lesions']} lesions by {patches}"
        for task, figures in found["classes"].items():
            where = (of, f"{registry.TASK_WORDS[task]} ({figures['positives']})")
            for network, one in figures["networks"].items():
                auc, seeds = Estimate(one["auc"], *one["auc_ci"]), formatting.seeds(tuple(one["seeds"]))
                rows[(*where, registry.network(network))] = (auc.text(), "", seeds)
            for pair, one in figures["differences"].items():
                words = " minus ".join(map(registry.network, pair.split(" minus ")))
                gain, seeds = Estimate(one["value"], *one["ci"]), formatting.seeds(tuple(one["seeds"]))
                rows[(*where, words)] = (gain.signed(), formatting.p_value(one["p"]), seeds)
            if one := figures.get("colour"):
                rows[(*where, COLOUR_ALONE)] = (Estimate(one["auc"], *one["auc_ci"]).text(), "", "")
    index = pd.MultiIndex.from_tuples(list(rows), names=["data set", "class", "of"]) if rows else None
    return pd.DataFrame(list(rows.values()), index=index, columns=["AUC [95 % CI]", "p", "seeds"])


def subgroups_table(figures: pd.DataFrame) -> pd.DataFrame:
    """What `subgroups` found, to be read: an empty cell where a group has too few lesions."""
    if figures.empty:
        return figures
    shown = pd.DataFrame(
        {
            "network": figures["network"].map(registry.network),
            "task": figures["task"].map(registry.TASK_WORDS),
            **{name: figures[name] for name in ("group", "lesions", "diseased")},
        }
    )
    for name, title in OF_GROUP.items():
        triples = figures[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
        shown[title] = ["" if np.isnan(one[0]) else Estimate(*one).text() for one in triples]
    return shown.assign(seeds=figures["seeds"]).set_index(["network", "task", "group"])
