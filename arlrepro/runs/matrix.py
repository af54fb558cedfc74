"""A profile's matrix of runs: the ones that lack are made by an engine, here or on a cluster; the others are read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arlrepro import paths
from arlrepro.config import Experiment
from arlrepro.errors import ConfigError
from arlrepro.profiles import Profile, profile
from arlrepro.progress import bar
from arlrepro.runs.runner import set_up_data, train_or_load
from arlrepro.runs.study import Study, read_study


@dataclass(frozen=True)
class Matrix:
    """What is still to be made of a profile's runs, and how."""

    profile: Profile
    folder: Path  # where its runs lie; each becomes `folder/<id>`
    missing: list[tuple[Experiment, int]]  # experiments and seeds
    here: int  # number of completed runs
    data: str = ""  # see `datasets.open_data`
    device: str = "auto"  # see `train_or_load`
    log: str = "none"  # see `train_or_load`


#: Makes the runs that a matrix lacks; `one_after_another` here, or `engine.RayEngine` on a cluster.
Engine = Callable[[Matrix], None]


def one_after_another(matrix: Matrix) -> None:
    """Make the runs of a matrix in this process, with a progress bar over the runs."""
    datamodule = set_up_data(matrix.profile.experiment, matrix.data, matrix.device)
    done, every = matrix.here, matrix.here + len(matrix.missing)
    seconds: list[float] = []
    with bar(total=every, initial=done, desc=f"runs of {matrix.profile.name}", unit="run") as progress:
        for left, (experiment, seed) in zip(range(len(matrix.missing), 0, -1), matrix.missing, strict=True):
            if seconds:
                progress.set_postfix_str(f"about {left * float(np.mean(seconds)) / 3600:.1f} h of training left")
            run = train_or_load(experiment, seed, matrix.folder, datamodule=datamodule, log=matrix.log)
            seconds.append(run.environment["seconds"])
            progress.set_postfix_str("", refresh=False)
            progress.update()


def reproduce(
    profile_name: str,
    data: str = "",
    device: str = "auto",
    *,
    first_seed_only: bool = False,
    missing_only: bool = False,
    log: str = "none",
    engine: Engine = one_after_another,
) -> Study:
    """Run what a profile's matrix lacks, with a progress bar over the runs; runs that are here are read.

    Args:
        profile_name: the profile.
        data: see `datasets.open_data`.
        device: see `train_or_load`.
        first_seed_only: make one run of each network and task, enough to draw pictures with.
        missing_only: leave out the runs that are archived, made here or elsewhere.
        log: see `train_or_load`.
        engine: makes the missing ones.

    Returns:
        The runs that are here; with `missing_only` the archived ones, too.
    """
    chosen = profile(profile_name)
    folder = paths.live_folder(chosen.name)
    seeds = chosen.seeds[:1] if first_seed_only else chosen.seeds
    wanted = [(experiment, seed) for seed in seeds for experiment in chosen.experiments()]
    if missing_only:
        archived = paths.archived_folder(chosen.name)
        wanted = [
            (experiment, seed) for experiment, seed in wanted if not (archived / experiment.run_id(seed)).is_dir()
        ]
    missing = [(experiment, seed) for experiment, seed in wanted if not (folder / experiment.run_id(seed)).is_dir()]
    # Reason: it refuses what today's code would not make.
    read = [train_or_load(*one, folder) for one in wanted if one not in missing]
    if missing:
        engine(Matrix(chosen, folder, missing, len(wanted) - len(missing), data, device, log))
    study = read_study(chosen, folder, read)
    return _with_archived(study) if missing_only else study


def _with_archived(here: Study) -> Study:
    """The archived runs of a study's profile, and those of the study that are not archived yet."""
    archived = read_study(here.profile, paths.archived_folder(here.profile.name)).runs
    known = {run.id for run in archived}
    return Study(here.profile, (*archived, *(run for run in here.runs if run.id not in known)))


def open_study(profile_name: str, data: str = "") -> Study:
    """What a notebook starts from: the runs of a profile.

    A synthetic profile is run here and now where runs are missing. A profile of real images is read from its archive;
    with `data`, the first seed of each network is trained where its weights are not here, to draw pictures with.
    """
    chosen = profile(profile_name)
    if chosen.experiment.data.folds:
        raise ConfigError(f"profile {chosen.name} is cross-validation, shown on the pages of the profile it repeats")
    if chosen.experiment.data.source == "synthetic":
        return reproduce(profile_name)
    return _with_archived(reproduce(profile_name, data, first_seed_only=True) if data else Study(chosen, ()))
