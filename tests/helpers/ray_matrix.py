"""A small matrix, and tasks that train nothing; as a program, one head that makes it: `ray_matrix.py FOLDER LOG`."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from arlrepro.config import DataConfig
from arlrepro.errors import RunError
from arlrepro.profiles import SMOKE, Profile
from arlrepro.runs.cluster import nodes
from arlrepro.runs.cluster.engine import RayEngine
from arlrepro.runs.cluster.nodes import Resources
from arlrepro.runs.matrix import Matrix

EPOCHS = 16
STEPS = 30
#: Of a node of Ray.
SMALL: dict[str, Any] = {"object_store_memory": 256 * 2**20, "include_dashboard": False}


def small_profile() -> Profile:
    """Both networks of 14 layers, each a run of a few seconds."""
    data = DataConfig(source="synthetic", side=64, synthetic_training=18, synthetic_validation=9, synthetic_test=9)
    train = replace(SMOKE.experiment.train, epochs=EPOCHS, batch_size=8, validate_every=4)
    return replace(SMOKE, name="matrix", experiment=replace(SMOKE.experiment, data=data, train=train))


def a_matrix(folder: Path, device: str = "cpu") -> Matrix:
    """Two seeds of both networks, none of them made yet."""
    profile = small_profile()
    missing = [(experiment, seed) for seed in (0, 1) for experiment in profile.experiments()]
    return Matrix(profile, folder, missing, 0, device=device)


def make_at_once(*, fails: int = -1):
    """A task that makes no run, only a file; of one seed it fails."""

    def make(_job, _experiment, seed, attempt, _log):
        if seed == fails:
            raise RunError("the loss of step 1 of epoch 1 is nan")
        return {"made.txt": f"seed {seed}, attempt {attempt}".encode()}

    return make


def make_step_by_step():
    """A task that trains nothing: it counts, and goes on from where its checkpoint says."""

    def make(job, experiment, seed, attempt, _log):
        import ray

        name = job.name(experiment.run_id(seed))
        began, state = time.time(), nodes.ask(job.desk.kept.remote(name))
        first = int(state or 0)
        for step in range(first, STEPS):
            time.sleep(0.2)
            nodes.ask(job.desk.keep.remote(name, str(step + 1).encode()))
        told = {"attempt": attempt, "first": first, "node": ray.get_runtime_context().get_node_id(), "began": began}
        return {"told.json": json.dumps({**told, "ended": time.time()}).encode()}

    return make


def make_and_log(log: Path, seconds: float):
    """A task that writes a line when it begins, and takes some seconds."""

    def make(_job, experiment, seed, _attempt, _log):
        with log.open("a") as file:
            file.write(f"{experiment.run_id(seed)}\n")
        time.sleep(seconds)
        return {"made.txt": b""}

    return make


if __name__ == "__main__":
    RayEngine(Resources("auto"), make=make_and_log(Path(sys.argv[2]), 1.0))(a_matrix(Path(sys.argv[1])))
