"""A study, the runs of one profile: read from a folder, paired by network and seed, with its companion profiles.

Companions are named after the study's profile: `<profile>-ablation` varies a setting of the ARL block at a time,
`<profile>-networks` has other kinds of attention. Both keep the protocol and are read from the archive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from arlrepro import registry
from arlrepro.errors import RunError, some
from arlrepro.paths import RESULTS, root
from arlrepro.profiles import PROFILES, Profile
from arlrepro.registry import CLASSES, NETWORKS
from arlrepro.runs.archive import RUN_ID, Run, read_run

#: The runs of each network, by seed: of one seed a joint run, or one run a class.
Paired = dict[str, list[list[Run]]]

#: What each holds, by the end of its name.
COMPANIONS = {"ablation": "variants of the ARL block", "networks": "other kinds of attention"}


@dataclass(frozen=True)
class Study:
    """The runs of one profile that are there, and what its matrix still lacks."""

    profile: Profile
    runs: tuple[Run, ...]

    @property
    def missing(self) -> list[str]:
        """Ids of the runs that the profile's matrix names and nobody has made yet."""
        there = {run.id for run in self.runs}
        wanted = [one.run_id(seed) for one in self.profile.experiments() for seed in self.profile.seeds]
        return [run_id for run_id in wanted if run_id not in there]

    @property
    def about(self) -> str:
        """What a reader of a page must know first: which experiment this is, and how much of it is completed."""
        drawn = self.profile.experiment.data.source == "synthetic"
        images = "synthetic images, not real ones" if drawn else "real dermoscopic images"
        planned = len(self.runs) + len(self.missing)
        return (
            f"Experiment {self.profile.name}, on {images}.\n"
            f"{self.profile.purpose[0].upper()}{self.profile.purpose[1:]}.\n"
            f"{len(self.runs)} of {planned} planned runs are completed."
        )

    def of(self, network: str) -> list[Run]:
        """The runs of one network by seed; by the profile's own protocol, for a variant is another experiment."""
        own = [run for run in self.runs if run.experiment.hash == self.profile.experiment.hash]
        return sorted((run for run in own if run.network == network), key=lambda run: run.seed)

    def pairs(self, network: str, other: str) -> list[tuple[Run, Run]]:
        """The runs of two networks that share task, fold and seed, by seed."""
        theirs = {_place(run): run for run in self.of(other)}
        keys = [(run, theirs.get(_place(run))) for run in self.of(network)]
        return [(run, partner) for run, partner in keys if partner is not None]


def partners(study: Study) -> list[tuple[str, str]]:
    """Each network of a study that has attention, after the same without.

    Example:
        >>> from arlrepro.profiles import PAPER
        >>> partners(Study(PAPER, ()))
        [('resnet50', 'arl_cnn50')]
    """
    networks = study.profile.networks
    return [(base, other) for base in networks for other in networks if NETWORKS[other].plain == base != other]


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
    if without := [registry.network(network) for network, found in by_seed.items() if not found]:
        raise RunError(f"no run of {some(without)} in the archive of {study.profile.name}")
    shared = sorted(set.intersection(*(set(found) for found in by_seed.values())))
    if not shared:
        names = some([registry.network(one) for one in by_seed])
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


def read_companions(study: Study, kind: str) -> dict[str, Study]:
    """The archived runs of a profile beside a study's own, a study for each of its parts; none where none is planned.

    Args:
        study: of the protocol that the others vary.
        kind: one of `KINDS`.
    """
    name = f"{study.profile.name}-{kind}"
    parts = PROFILES[name].parts() if name in PROFILES else {}
    return {variant: read_study(part, root() / RESULTS / name) for variant, part in parts.items()}


def every_network(study: Study) -> Study:
    """A study with the archived runs of the other kinds of attention; the same study where there are none."""
    for others in read_companions(study, "networks").values():
        if others.runs:
            networks = (*study.profile.networks, *others.profile.networks)
            study = Study(replace(study.profile, networks=networks), (*study.runs, *others.runs))
    return study


def about_companions(study: Study) -> str:
    """How many of the planned runs are there, a line for each kind."""
    lines = []
    for kind, what in COMPANIONS.items():
        parts = read_companions(study, kind).values()
        there = sum(len(part.runs) for part in parts)
        planned = there + sum(len(part.missing) for part in parts)
        none = f"No runs of {what} are planned beside those of {study.profile.name}."
        lines.append(f"{there} of {planned} planned runs of {what} are completed." if parts else none)
    return "\n".join(lines)


def present(study: Study) -> list[str]:
    """The networks of a study that have a run, in the profile's order."""
    return [network for network in study.profile.networks if study.of(network)]


def _place(run: Run) -> tuple[str, int, int]:
    """Where in a matrix a run stands, whichever its network."""
    return run.experiment.task, run.experiment.data.fold, run.seed


def read_study(profile: Profile, folder: Path, known: Sequence[Run] = ()) -> Study:
    """The runs of a profile that lie in a folder; a folder that is not there holds none.

    Only runs of the profile's own experiments are read: a run of another hash is another experiment.

    Args:
        profile: names the runs.
        folder: where they lie.
        known: some that have been read already.
    """
    read = {run.id: run for run in known}
    wanted = [one.run_id(seed) for one in profile.experiments() for seed in profile.seeds]
    there = [run_id for run_id in wanted if run_id in read or (folder / run_id).is_dir()]
    return Study(profile, tuple(read.get(run_id) or read_run(folder / run_id) for run_id in there))


def list_runs(folder: Path) -> list[Run]:
    """Every run in a folder, whatever its experiment, by name."""
    return [read_run(one) for one in sorted(folder.glob("*")) if RUN_ID.fullmatch(one.name)]
