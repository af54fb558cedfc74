"""A profile's matrix of runs: the ones that lack are made by an engine, here or on a cluster; the others are read."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config

from arlrepro import paths, progress
from arlrepro.config import Experiment
from arlrepro.errors import ConfigError, RunError
from arlrepro.profiles import Profile, profile
from arlrepro.runs.archive import Run
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


#: Makes the runs that a matrix lacks: `one_after_another`, `side_by_side`, or `engine.RayEngine` on a cluster.
Engine = Callable[[Matrix], None]


def one_after_another(matrix: Matrix) -> None:
    """Make the runs of a matrix in this process, with a progress bar over the runs."""
    datamodule = set_up_data(matrix.profile.experiment, matrix.data, matrix.device)
    runs = (
        train_or_load(experiment, seed, matrix.folder, datamodule=datamodule, log=matrix.log)
        for experiment, seed in matrix.missing
    )
    _count(matrix, runs, at_once=1)


def side_by_side(matrix: Matrix) -> None:
    """Make the runs of a matrix on the cores of this machine, as many at once as its memory holds; on a GPU in turn.

    Reason: threads do not share every operation of a step. On two cores, two trainings of a thread each see a tenth
    more images a second than one of two threads with ResNet-50, nearly a third more with EfficientNet-Lite0.
    """
    from arlrepro.models.devices import choose_device
    from arlrepro.training.distributed import is_one_of_several

    cores = cpu_count()
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    at_once = min(len(matrix.missing), cores, int(memory_gb / gb_of_training(matrix.profile.experiment)))
    if at_once < 2 or choose_device(matrix.device).type != "cpu" or is_one_of_several():
        return one_after_another(matrix)
    set_up_data(matrix.profile.experiment, matrix.data, matrix.device)  # drawn and decoded once, for all
    jobs = [
        delayed(_in_process)(1 + number % at_once, experiment, seed, matrix.folder, matrix.data, matrix.log)
        for number, (experiment, seed) in enumerate(matrix.missing)
    ]
    with parallel_config("loky", n_jobs=at_once, inner_max_num_threads=cores // at_once):
        try:
            _count(matrix, Parallel(return_as="generator_unordered", pre_dispatch=at_once)(jobs), at_once)
        except BrokenProcessPool as error:
            raise RunError(
                f"one of {at_once} runs side by side was ended from outside, as systems do when memory is short. Start "
                "again, and each goes on from its checkpoint; with LOKY_MAX_CPU_COUNT=1 they are made in turn"
            ) from error


def gb_of_training(experiment: Experiment) -> float:
    """What a training takes of memory on a processor, rather too much: 50 layers, 32 patches of 128 px took 4.5."""
    patches = experiment.train.batch_size / experiment.train.parts
    return 1 + 5 * (patches / 32) * (experiment.patches.side / 128) ** 2


def _in_process(line: int, experiment: Experiment, seed: int, folder: Path, data: str, log: str) -> Run:
    """Make a run in a process of its own, its progress on a line of its own."""
    progress.draw_on_line(line)
    return train_or_load(experiment, seed, folder, data=data, device="cpu", log=log)


def _count(matrix: Matrix, runs: Iterable[Run], at_once: int) -> None:
    """Show how many runs are done, and how long those that are left will take."""
    seconds: list[float] = []
    with progress.bar(
        total=matrix.here + len(matrix.missing), initial=matrix.here, desc=f"runs of {matrix.profile.name}", unit="run"
    ) as shown:
        for run in runs:
            seconds.append(run.environment["seconds"])
            hours = (len(matrix.missing) - len(seconds)) / at_once * float(np.mean(seconds)) / 3600
            shown.set_postfix_str(f"about {hours:.1f} h of training left" if hours else "", refresh=False)
            shown.update()


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


def open_study(profile_name: str, data: str = "", engine: Engine = one_after_another) -> Study:
    """What a notebook starts from: the runs of a profile.

    A synthetic profile is run here and now where runs are missing. A profile of real images is read from its archive;
    with `data`, the first seed of each network is trained where its weights are not here, to draw pictures with. The
    engine makes what is missing.
    """
    chosen = profile(profile_name)
    if chosen.experiment.data.folds:
        raise ConfigError(f"profile {chosen.name} is cross-validation, shown on the pages of the profile it repeats")
    if chosen.experiment.data.source == "synthetic":
        return reproduce(profile_name, engine=engine)
    if not data:
        return _with_archived(Study(chosen, ()))
    return _with_archived(reproduce(profile_name, data, first_seed_only=True, engine=engine))
