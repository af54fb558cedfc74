"""Inject faults of every kind, count what is survived by group, and write the table to `results/faults.json`."""

import argparse
import json
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from arlrepro import storage
from arlrepro.paths import RESULTS, root
from arlrepro.progress import bar
from benchmarks.faults import brought, machines, stored
from benchmarks.faults.damage import Damage, cut, flipped, foreign

#: Faults of each group in the campaign; of groups that take longer one in so many.
FULL, LONG, OF_PROCESSES, OF_TRAININGS = 200, 4, 20, 50
TOTAL = "every group"

#: Gives one outcome a fault, without end: whether it was survived.
Faults = Callable[[Path, random.Random], Iterator[bool]]


def damaged(what: Callable[[Path, random.Random, Damage], Iterator[bool]], damage: Damage) -> Faults:
    """A group whose faults are damages to files."""
    return lambda folder, draw: what(folder, draw, damage)


BIT, CUT, OTHER = "a bit that changed", "cut off", "another file"
FILES: dict[str, tuple[Callable[[Path, random.Random, Damage], Iterator[bool]], int]] = {
    "picture": (brought.pictures, 1),
    "table of scores or labels": (brought.tables, 1),
    "table of a folder of images": (brought.data_sets, 1),
    "zip archive of images": (brought.archives, 1),
    "claims and published numbers": (brought.files_of_the_paper, LONG),
    "weights to start from": (stored.weights, 1),
    "weights of a run": (stored.weights_of_a_run, LONG),
    "checkpoint": (stored.checkpoints, 1),
    "archived run": (stored.run_with_manifest, 1),
    "decoded images": (stored.decoded_images, 1),
}
WORKS: dict[str, tuple[Callable[[Path], machines.Work], int]] = {
    "training": (machines.training, OF_TRAININGS),
    "decoding images": (machines.decoding, OF_PROCESSES),
    "drawing a synthetic set": (machines.drawing, OF_PROCESSES),
    "archiving a run": (machines.archiving, OF_PROCESSES),
}
ENDS = {"killed": machines.killed, "disk full": machines.full_disk, "two at once": machines.at_once}

#: Each group, and how many of its faults go for one of the others.
GROUPS: dict[str, tuple[Faults, int]] = {
    **{
        f"{name}, {how}": (damaged(what, damage), share)
        for name, (what, share) in FILES.items()
        for how, damage in ((BIT, flipped), (CUT, cut), (OTHER, foreign))
    },
    **{
        f"run without checksums, {how}": (damaged(stored.run_without_manifest, damage), 1)
        for how, damage in ((CUT, cut), (OTHER, foreign))
    },
    "settings out of range": (damaged(brought.settings, flipped), 1),
    **{
        f"{name}, {how}": (partial(end, work), share)
        for name, (work, share) in WORKS.items()
        for how, end in ENDS.items()
    },
    "output of a command that cannot be written": (machines.commands, OF_PROCESSES),
}


def campaign(faults: int, names: Sequence[str] = tuple(GROUPS), seed: int = 0) -> pd.DataFrame:
    """Inject faults into every group.

    Args:
        faults: of each group; fewer, but one at least, of those that start processes.
        names: of the groups.
        seed: of what is damaged where, and when.

    Returns:
        A row a group, and one of all: `injected` and `survived`.
    """
    rows = {}
    for name in bar(names, desc="faults", unit="group"):
        group, share = GROUPS[name]
        injected = max(1, faults // share)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes = group(Path(folder), random.Random(f"{seed} {name}"))
            rows[name] = {"injected": injected, "survived": sum(next(outcomes) for _ in range(injected))}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.loc[TOTAL] = table.sum()
    return table


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=FULL, help="of each group; fewer of those that start processes")
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=list(GROUPS), metavar="GROUP")
    parser.add_argument("--out", type=Path, default=root() / RESULTS / "faults.json")
    told = parser.parse_args()
    # Reason: processes are forked, and a fork has none of the threads of torch or of the bar.
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0
    table = campaign(told.faults, told.groups)
    print(table.to_string())
    storage.write_text(told.out, json.dumps(table.to_dict("index"), indent=2) + "\n")


if __name__ == "__main__":
    main()
