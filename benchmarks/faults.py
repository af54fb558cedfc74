"""Faults injected into what a run leaves on disk: how many are noticed, by group. `make faults` writes the table.

A fault survives if what is read afterwards is what was written, or nothing is read and one line says why. Another
result without a word, and any exception but the library's own, is lost.
"""

import argparse
import json
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from arlrepro import storage
from arlrepro.config import Experiment, to_dict, with_settings
from arlrepro.data import cache, isic
from arlrepro.data.synthetic.dataset import write_dataset
from arlrepro.errors import ArlReproError
from arlrepro.models.pretrained import read_state
from arlrepro.paths import RESULTS, root
from arlrepro.progress import bar
from arlrepro.runs.archive import Run, read_run, write_run
from arlrepro.training.checkpoint import Checkpoint

#: Faults of each group in the campaign, and in its short form.
FULL, SHORT = 400, 5

#: Damages a file's bytes.
Damage = Callable[[bytes, random.Random], bytes]


def flipped(whole: bytes, draw: random.Random) -> bytes:
    """One bit that changed."""
    place, damaged = draw.randrange(len(whole)), bytearray(whole)
    damaged[place] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def cut(whole: bytes, draw: random.Random) -> bytes:
    """The end is missing."""
    return whole[: draw.randrange(len(whole))]


def foreign(whole: bytes, draw: random.Random) -> bytes:
    """Another file of that name."""
    return draw.choice(
        [b"", b"thesis, chapter 1", b"[" * 100_000, b"\x89PNG\r\n\xff\xfe", bytes(len(whole)), b"{}", b"a,b\n1\n"]
    )


def survives(read: Callable[[], Any], same: Callable[[Any], bool]) -> bool:
    """Whether what is read is right, or an error of the library in one line."""
    try:
        return same(read())
    except ArlReproError as error:
        return "\n" not in str(error)
    except Exception:
        return False


def checkpoints(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Checkpoints of a training."""
    checkpoint = Checkpoint(folder / "state")
    state = {"network": torch.arange(500.0), "history": [{"epoch": 1}], "done": 3}
    checkpoint.write("one", state)
    whole = checkpoint.path.read_bytes()
    while True:
        checkpoint.path.write_bytes(damage(whole, draw))
        yield survives(lambda: checkpoint.read("one"), lambda read: repr(read) == repr(state))


def weights(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Weights in a `.pth` that a run starts from."""
    path, state = folder / "weights.pth", {"conv1.weight": torch.arange(500.0)}
    torch.save(state, path)
    whole = path.read_bytes()
    while True:
        path.write_bytes(damage(whole, draw))
        yield survives(lambda: read_state(path), lambda read: repr(read) == repr(state))


def run_with_manifest(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Files of an archived run, with its manifest."""
    return _run(folder, draw, damage, manifest=True)


def run_without_manifest(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Files of a run made before there were manifests: no traceback; a changed number may go unnoticed."""
    return _run(folder, draw, damage, manifest=False)


def _run(folder: Path, draw: random.Random, damage: Damage, manifest: bool) -> Iterator[bool]:
    archived = next(path.parent for path in sorted((root() / RESULTS).glob("*/*/config.yaml")))
    run = read_run(archived)
    place = folder / run.id
    place.mkdir()
    write_run(run, place)
    if not manifest:
        (place / storage.MANIFEST).unlink()
    files = sorted(place.iterdir())

    def same(read: Run) -> bool:
        return not manifest or pd.testing.assert_frame_equal(read.predictions, run.predictions) is None

    while True:
        path = draw.choice(files)
        whole = path.read_bytes()
        path.write_bytes(damage(whole, draw))
        yield survives(lambda: read_run(place), same)
        path.write_bytes(whole)


def decoded_images(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Decoded images and masks: noticed, and made again."""
    write_dataset(folder / "set", side=16, counts={"training": 3, "validation": 3, "test": 3}, progress=False)
    dataset = isic.read_dataset(folder / "set")
    array = np.array(cache.prepare(dataset, 16, folder / "array").pixels)
    while True:
        path = folder / "array" / draw.choice(cache.FILES)
        path.write_bytes(damage(path.read_bytes(), draw))
        yield survives(
            lambda: cache.prepare(dataset, 16, folder / "array"), lambda read: (np.array(read.pixels) == array).all()
        )


def settings(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Settings given on the command line: a config that comes back, or a line."""
    fields = [
        f"{section}.{name}"
        for section, entries in to_dict(Experiment()).items()
        if section != "task"
        for name in entries
    ]
    values = [
        "-1",
        "0",
        "NaN",
        "Infinity",
        "1e400",
        "[" * 5000,
        "9" * 5000,
        "[5]",
        "[]",
        "{}",
        "null",
        "true",
        "x" * 9999,
        '""',
    ]
    while True:
        read = partial(with_settings, Experiment(), [f"{draw.choice(fields)}={draw.choice(values)}"])
        yield survives(read, lambda made: to_dict(made) is not None)


#: What is damaged, and how.
GROUPS: dict[str, tuple[Callable[[Path, random.Random, Damage], Iterator[bool]], Damage]] = {
    "checkpoint, a bit that changed": (checkpoints, flipped),
    "checkpoint, cut off": (checkpoints, cut),
    "checkpoint, another file": (checkpoints, foreign),
    "weights to start from, a bit that changed": (weights, flipped),
    "weights to start from, cut off": (weights, cut),
    "weights to start from, another file": (weights, foreign),
    "archived run, a bit that changed": (run_with_manifest, flipped),
    "archived run, a file cut off": (run_with_manifest, cut),
    "archived run, another file": (run_with_manifest, foreign),
    "run without checksums, a file cut off": (run_without_manifest, cut),
    "run without checksums, another file": (run_without_manifest, foreign),
    "decoded images, a bit that changed": (decoded_images, flipped),
    "decoded images, cut off": (decoded_images, cut),
    "decoded images, another file": (decoded_images, foreign),
    "settings out of range": (settings, flipped),
}


def campaign(faults: int, seed: int = 0) -> pd.DataFrame:
    """Inject faults into every group.

    Args:
        faults: of each group.
        seed: of what is damaged where.

    Returns:
        A row a group: `injected` and `survived`.
    """
    rows = []
    for name, (group, damage) in bar(GROUPS.items(), total=len(GROUPS), desc="faults", unit="group"):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcomes = group(Path(folder), random.Random(f"{seed} {name}"), damage)
            survived = sum(next(outcomes) for _ in range(faults))
        rows.append({"group": name, "injected": faults, "survived": survived})
    return pd.DataFrame(rows).set_index("group")


def main() -> None:
    """Print the table, and write it to `results/faults.json`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=FULL, help="of each group")
    table = campaign(parser.parse_args().faults)
    print(table.to_string())
    storage.write_text(root() / RESULTS / "faults.json", json.dumps(table.to_dict("index"), indent=2) + "\n")


if __name__ == "__main__":
    main()
