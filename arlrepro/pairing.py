"""Runs of a study paired for a comparison: by network and seed, on the same lesions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from arlrepro import words
from arlrepro.archive import Run, Study
from arlrepro.config import CLASSES
from arlrepro.errors import RunError, some

#: The runs of each network, by seed: of one seed a joint run, or one run a class.
Paired = dict[str, list[list[Run]]]


def partners(study: Study) -> list[tuple[str, str]]:
    """Each network of a study that is no ResNet, after the ResNet of its depth.

    Example:
        >>> from arlrepro.profiles import PAPER
        >>> partners(Study(PAPER, ()))
        [('resnet50', 'arl_cnn50')]
    """
    networks = study.profile.networks
    return [
        (base, other)
        for base in networks
        for other in networks
        if base.startswith("resnet") and other != base and other[-2:] == base[-2:]
    ]


def runs_by_seed(study: Study, network: str, classes: Sequence[str] = CLASSES) -> dict[int, list[Run]]:
    """The runs of a network that together score all of some classes: one run where it is joint, else one a class.

    Returns:
        By seed, in order; only seeds in which each class is scored.

    Raises:
        RunError: the runs are of folds, of which each scores lesions of its own.
    """
    if study.profile.experiment.data.folds:
        raise RunError(f"{study.profile.name} is cross-validation: its runs are read by fold")
    found: dict[int, list[Run]] = {}
    for run in study.of(network):
        if any(run.predictions[one].notna().any() for one in classes):
            found.setdefault(run.seed, []).append(run)
    return {
        seed: runs
        for seed, runs in sorted(found.items())
        if all(any(run.predictions[one].notna().any() for run in runs) for one in classes)
    }


def run_of(task: str, runs: Sequence[Run]) -> Run:
    """The run, of those of one network and seed, that scores a task."""
    return next(run for run in runs if run.predictions[task].notna().any())


def shared_runs(study: Study, networks: Sequence[str], classes: Sequence[str] = CLASSES) -> Paired:
    """The runs of several networks in the seeds that all of them have: pairs, where there are two networks.

    Raises:
        RunError: a network has no run that scores the classes, or the networks have no seed in common.
    """
    return in_shared_seeds({network: runs_by_seed(study, network, classes) for network in networks}, study)


def in_shared_seeds(by_seed: dict[str, dict[int, list[Run]]], study: Study) -> Paired:
    """The runs in the seeds that every one of several has.

    Args:
        by_seed: from `runs_by_seed`, by the network, or by whatever else is compared.
        study: which archive lacks them, for the message.

    Raises:
        RunError: one has no run, or they have no seed in common.
    """
    if without := [words.network(network) for network, found in by_seed.items() if not found]:
        raise RunError(f"no run of {some(without)} in the archive of {study.profile.name}")
    shared = sorted(set.intersection(*(set(found) for found in by_seed.values())))
    if not shared:
        names = some([words.network(one) for one in by_seed])
        raise RunError(f"{names} have no seed in common in the archive of {study.profile.name}")
    return {network: [found[seed] for seed in shared] for network, found in by_seed.items()}


def scored(
    chosen: Paired, classes: Sequence[str] = CLASSES, split: str = "test"
) -> tuple[Bool[np.ndarray, "classes lesions"], dict[str, Float[np.ndarray, "seeds classes lesions"]]]:
    """Truth and scores of a split's lesions.

    Args:
        chosen: from `shared_runs`.
        classes: which, in this order.
        split: validation or test.

    Returns:
        The truth, and by network the scores in each seed.

    Raises:
        RunError: the runs were not scored on the same lesions.
    """
    truth = _truth(chosen, classes, split).to_numpy().T

    def scores(runs: list[Run]) -> np.ndarray:
        return np.stack([run_of(one, runs).of(split)[one].to_numpy(dtype=np.float64) for one in classes])

    return truth, {network: np.stack([scores(runs) for runs in seeds]) for network, seeds in chosen.items()}


def _truth(chosen: Paired, classes: Sequence[str], split: str) -> pd.DataFrame:
    """The labels of a split's lesions, which all runs must share."""
    labels = [f"{one}_label" for one in classes]
    every = [run for seeds in chosen.values() for runs in seeds for run in runs]
    truth = every[0].of(split)[labels]
    if other := [run.id for run in every if not run.of(split)[labels].equals(truth)]:
        raise RunError(f"{every[0].id} and {some(other)} have not the same {split} lesions; compare runs of one set")
    return truth.astype(bool)
