"""Where runs, results and weights lie."""

import os
from pathlib import Path

from arlrepro.errors import RunError

RESULTS = Path("results")

RUNS = Path("runs")


def root() -> Path:
    """The repository's root: notebooks run in other folders, so no path is relative to the working directory.

    Raises:
        RunError: neither the working directory nor this file lies in a checkout, and ARLREPRO_ROOT is not set.
    """
    if told := os.environ.get("ARLREPRO_ROOT"):
        return Path(told)
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "pyproject.toml").is_file() and (folder / "arlrepro").is_dir():
                return folder
    raise RunError("no checkout of the project around the working directory: go there, or set ARLREPRO_ROOT")


def committed_weights(run_id: str) -> Path:
    """Where the rounded weights of a run lie if they are committed, for anyone to try: `weights/<id>.safetensors`."""
    return root() / "weights" / f"{run_id}.safetensors"


def live_folder(profile_name: str) -> Path:
    """Where the runs of a profile are made, with their weights; not committed."""
    return root() / RUNS / profile_name


def archived_folder(profile_name: str) -> Path:
    """Where the archived runs of a profile lie; committed."""
    return root() / RESULTS / profile_name


def trials_csv(profile_name: str) -> Path:
    """Where the trials that chose a profile's protocol are archived; those of the first have the name without it."""
    of_profile = "" if profile_name == "isic2017-256-imagenet" else f"-{profile_name}"
    return root() / RESULTS / f"protocol_trials{of_profile}.csv"


def node_cache() -> Path:
    """Where a node of a cluster keeps what it fetched: ARLREPRO_CACHE, else `~/.cache/arlrepro`.

    Reason: a node needs no checkout of the project, only the installed package.
    """
    return Path(os.environ.get("ARLREPRO_CACHE") or Path.home() / ".cache" / "arlrepro")
