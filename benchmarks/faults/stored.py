"""Damage to what a run leaves on disk: what is read afterwards must be what was written, or nothing."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from arlrepro import storage
from arlrepro.data import cache, isic
from arlrepro.data.synthetic.dataset import write_dataset
from arlrepro.models.pretrained import read_state
from arlrepro.paths import RESULTS, committed_weights, root
from arlrepro.runs.archive import Run, read_run, write_run
from arlrepro.runs.weights import load_network
from arlrepro.training.checkpoint import Checkpoint
from benchmarks.faults.damage import Damage, survives


def an_archived_run() -> Run:
    """The first of the archive."""
    return read_run(next(path.parent for path in sorted((root() / RESULTS).glob("*/*/config.yaml"))))


def exactly(state: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors by name as their bytes, in which no bit can hide, and what else there is."""
    return {
        name: (value.dtype, value.shape, value.numpy().tobytes()) if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }


def checkpoints(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Checkpoints of a training."""
    checkpoint = Checkpoint(folder / "state")
    state = {"network": torch.arange(500.0), "history": [{"epoch": 1}], "done": 3}
    checkpoint.write("one", state)
    whole = checkpoint.path.read_bytes()
    while True:
        checkpoint.path.write_bytes(damage(whole, draw))
        yield survives(lambda: checkpoint.read("one"), lambda read: exactly(read) == exactly(state))


def weights(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Weights in a `.pth` that a run starts from."""
    path, state = folder / "weights.pth", {"conv1.weight": torch.arange(500.0)}
    torch.save(state, path)
    whole = path.read_bytes()
    while True:
        path.write_bytes(damage(whole, draw))
        yield survives(lambda: read_state(path), lambda read: exactly(read) == exactly(state))


def run_with_manifest(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Files of an archived run, with its manifest."""
    return _run(folder, draw, damage, manifest=True)


def run_without_manifest(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Files of a run made before there were manifests: no traceback; a changed number may go unnoticed."""
    return _run(folder, draw, damage, manifest=False)


def _run(folder: Path, draw: random.Random, damage: Damage, manifest: bool) -> Iterator[bool]:
    run = an_archived_run()
    place = folder / run.id
    place.mkdir()
    write_run(run, place)
    if not manifest:
        (place / storage.MANIFEST).unlink()
    files = sorted(place.iterdir())

    def tables(of: Run) -> dict[str, pd.DataFrame]:
        return {"predictions": of.predictions, "history": of.history, "attention": of.attention, **of.measures}

    def same(read: Run) -> bool:
        if manifest:
            found, written = tables(read), tables(run)
            assert found.keys() == written.keys()
            for name, table in found.items():
                pd.testing.assert_frame_equal(table, written[name], check_exact=True)
        return True

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

    def contents(array: cache.ImageArray) -> tuple[bytes, bytes]:
        assert array.masks is not None
        return array.pixels.tobytes(), array.masks.tobytes()

    written = contents(cache.prepare(dataset, 16, folder / "array"))
    while True:
        path = folder / "array" / draw.choice(cache.FILES)
        path.write_bytes(damage(path.read_bytes(), draw))
        yield survives(lambda: cache.prepare(dataset, 16, folder / "array"), lambda read: contents(read) == written)


def weights_of_a_run(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """The weights of a run, in safetensors, with its manifest."""
    archived = next(path for path in sorted((root() / RESULTS).glob("*/*")) if committed_weights(path.name).is_file())
    run = read_run(archived)
    place = folder / run.id
    place.mkdir()
    weights = place / "weights.safetensors"
    whole = committed_weights(run.id).read_bytes()
    weights.write_bytes(whole)
    write_run(run, place)
    live = read_run(place)
    state = exactly(load_network(live, "cpu").state_dict())
    while True:
        weights.write_bytes(damage(whole, draw))
        yield survives(lambda: load_network(live, "cpu"), lambda network: exactly(network.state_dict()) == state)
