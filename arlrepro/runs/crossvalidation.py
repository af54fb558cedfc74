"""The paired difference of two networks by repeated cross-validation: AUCs by fold, and what they say together."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from arlrepro import registry
from arlrepro.errors import RunError
from arlrepro.evaluation.comparisons import cross_validated_difference
from arlrepro.evaluation.intervals import Difference
from arlrepro.paths import RESULTS, root
from arlrepro.profiles import PROFILES, Profile
from arlrepro.registry import Quantity
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Study, partners, read_study


def read(profile: Profile) -> Study:
    """The archived runs of the cross-validation that repeats a profile; none where none is planned."""
    planned = PROFILES.get(f"{profile.name}-cv", replace(profile, name=f"{profile.name}-cv", seeds=()))
    return read_study(planned, root() / RESULTS / planned.name)


def about(study: Study) -> str:
    """What is planned and how much of it is there, in a sentence."""
    chosen = study.profile
    if not chosen.seeds:
        return f"No cross-validation is planned for {chosen.name.removesuffix('-cv')}."
    planned = len(chosen.experiments()) * len(chosen.seeds)
    return (
        f"{len(study.runs)} of {planned} planned runs of {chosen.name} are there:\n{len(chosen.seeds)} repetitions of "
        f"{chosen.experiment.data.folds} folds for each of {', '.join(map(registry.network, chosen.networks))}."
    )


def pairs(study: Study) -> Iterator[tuple[tuple[str, str], int, int, Run | None, Run | None]]:
    """Each planned pair of runs, there or not: networks, repetition, fold, both runs."""
    there = {(run.network, run.seed, run.experiment.data.fold): run for run in study.runs}
    for networks in partners(study):
        for seed in study.profile.seeds:
            for fold in range(study.profile.experiment.data.folds):
                first, second = (there.get((network, seed, fold)) for network in networks)
                yield networks, seed, fold, first, second


def fold_auc(run: Run, quantity: str) -> float:
    """A test AUC of a run, by its name in `metrics.json`."""
    asked, figures = Quantity.parse(quantity), run.metrics["test"]
    return figures["mean_auc"] if asked.task == "mean" else figures[asked.task][asked.metric]


def difference(study: Study, networks: tuple[str, str], quantity: str) -> tuple[Difference, int]:
    """The second network's AUC minus the first's, over the folds that both have.

    Args:
        study: of cross-validation.
        networks: two names.
        quantity: an AUC of `metrics.json`.

    Returns:
        The mean over the folds with Nadeau and Bengio's interval, and the number of folds. A test fold is held against
        the lesions trained on, without those that validate.

    Raises:
        RunError: the two were not tested on the same lesions.
        MetricError: fewer than two folds.
    """
    gains = []
    for pair, _, _, first, second in pairs(study):
        if pair == networks and first and second:
            if not first.of("test").index.equals(second.of("test").index):
                raise RunError(f"{first.id} and {second.id} have not the same test lesions; make both again")
            gains.append(fold_auc(second, quantity) - fold_auc(first, quantity))
    folds = study.profile.experiment.data.folds
    return cross_validated_difference(np.array(gains), 1 / (folds - 2)), len(gains)


def out_of_fold(study: Study) -> Study:
    """Each network's repetitions as if they were runs tested on all lesions, each scored in the fold that held it out.

    Returns:
        A run for each network and repetition of which all folds are there; its scores are of as many trained networks
        as there are folds, and it has nothing else.
    """
    whole = replace(study.profile.experiment.data, folds=0, fold=0)
    runs = []
    for network in study.profile.networks:
        for seed in study.profile.seeds:
            folds = [run for run in study.of(network) if run.seed == seed]
            if len(folds) == study.profile.experiment.data.folds:
                tested = pd.concat([run.predictions[run.predictions["split"] == "test"] for run in folds])
                predictions = tested.sort_values("image_id", ignore_index=True)
                experiment = replace(folds[0].experiment, data=whole)
                runs.append(replace(folds[0], experiment=experiment, predictions=predictions, measures={}, folder=None))
    profile = replace(study.profile, experiment=replace(study.profile.experiment, data=whole))
    return replace(study, profile=profile, runs=tuple(runs))
