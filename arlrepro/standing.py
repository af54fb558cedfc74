"""Where the networks stand: among those of the paper, among the challenge's entries and later work."""

from collections.abc import Callable

import pandas as pd

from arlrepro import companions, crossvalidated, outcomes, paper, tables, words
from arlrepro.archive import Study
from arlrepro.claims import parameters
from arlrepro.config import CLASSES
from arlrepro.paper import published_value
from arlrepro.tables import AUCS, OURS, PAPER

ORIGINS = {
    "challenge": "entry of the challenge",
    "later": "later work",
    "paper": "the paper",
    "reimplementation": "re-implementation",
}


def networks(study: Study) -> pd.DataFrame:
    """ResNet, ARL-CNN and the other attention networks at both depths: the paper's AUCs, ours, parameters, time.

    Returns:
        A row a network that has a name here, whether or not it was run by the study's protocol; AUCs of ours averaged
        over seeds with their 95 % intervals; what their weights started from. Empty: not known, or not run.
    """
    every = companions.every_network(study)
    rows = {}
    for network in words.NETWORKS:
        row: dict[tuple[str, str], str] = {}
        over = ""
        for quantity in AUCS:
            ours = outcomes.known(outcomes.figure, every, network, quantity)
            row[words.QUANTITIES[quantity], PAPER] = words.number(published_value(network, quantity))
            row[words.QUANTITIES[quantity], OURS] = words.with_interval(ours.estimate) if ours else ""
            over = ours.over if ours else over
        runs = every.of(network)
        count = parameters().get(network)
        minutes = [run.environment["seconds"] / 60 for run in runs]
        row["", "parameters"] = f"{count:,}" if count else ""
        row["our runs", "seeds"] = words.seeds(tuple(run.seed for run in runs)) if runs else "not run"
        row["our runs", "interval over"] = over
        row["our runs", "started from"] = words.start(runs[0].experiment.network.weights) if runs else ""
        row["our runs", "minutes each"] = words.over_seeds(minutes, 1) if minutes else ""
        rows[words.network(network)] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "network"
    return table


def entries(study: Study) -> pd.DataFrame:
    """Published AUCs on the same test set, and ours: the challenge's entries, later work, the paper, its repetitions.

    Returns:
        A row for each report with an AUC that a source gives, then a row a network of the study; the source of each, or
        the seeds. Other networks, other training images and other sizes of image: not a comparison like with like.
    """
    numbers = paper.published()
    areas = numbers[(numbers["metric"] == "auc") & numbers["value"].notna() & numbers["origin"].isin(list(ORIGINS))]
    tasks = ("mean", *CLASSES)
    rows = []
    for (report, origin), figures in areas.groupby(["row", "origin"], sort=False):
        shown = {one.task: words.number(one.value, one.decimals) for one in figures.itertuples()}
        sources = ", ".join(dict.fromkeys(figures["source"]))
        rows.append((ORIGINS[origin], report, *(shown.get(task, "") for task in tasks), sources))
    rows.sort(key=lambda row: list(ORIGINS.values()).index(row[0]))
    for network in study.profile.networks:
        found = [outcomes.known(outcomes.figure, study, network, quantity) for quantity in AUCS]
        shown_ours = [words.with_interval(one.estimate) if one else "" for one in found]
        seeds = next((words.seeds(one.seeds) for one in found if one), "not run")
        rows.append((f"ours, {study.profile.name}", words.network(network), *shown_ours, seeds))
    columns = ["kind", "who", "mean AUC", *(f"AUC, {words.TASKS[one]}" for one in CLASSES), "known from"]
    return pd.DataFrame(rows, columns=columns)


def main_tables(study: Study) -> list[pd.DataFrame]:
    """What a terminal shows of a study, the most wanted first: figures, differences and runs; differences of folds."""
    if study.profile.experiment.data.folds:
        return [crossvalidated.differences(study), crossvalidated.by_fold(study)]
    return [tables.resnet_vs_arl(study), tables.differences(study), tables.runs_table(study)]


#: The tables of a study that a paper would print, by the name of their files.
PRINTED: dict[str, Callable[[Study], pd.DataFrame]] = {
    "resnet-against-arl": tables.resnet_vs_arl,
    "differences": tables.differences,
    "networks": networks,
    "entries": entries,
    "costs": tables.costs,
    "runs": tables.runs_table,
}
