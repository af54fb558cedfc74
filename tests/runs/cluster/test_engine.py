"""A matrix on a cluster of two nodes, each in processes of its own: killed, and still the bits of the local engine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file

from arlrepro.errors import RunError
from arlrepro.runs.archive import WEIGHTS
from arlrepro.runs.cluster.engine import RayEngine
from arlrepro.runs.cluster.nodes import Resources
from arlrepro.runs.cluster.sweep import sweep
from arlrepro.runs.matrix import reproduce
from helpers.ray_matrix import (
    EPOCHS,
    SMALL,
    STEPS,
    a_matrix,
    make_and_log,
    make_at_once,
    make_step_by_step,
    small_profile,
)

ray = pytest.importorskip("ray", reason="ray is not installed: pip install arlrepro[cluster]")
from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own, and of processes that are killed here
]


@pytest.fixture(scope="module")
def by_hand(place) -> dict[str, Path]:
    """The same runs one after another in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    study = reproduce("matrix")
    torch.set_num_threads(threads)
    elsewhere = place / "runs" / "by-hand"
    (place / "runs" / "matrix").rename(elsewhere)
    return {run.id: elsewhere / run.id for run in study.runs}


@pytest.fixture(scope="module")
def two_nodes(place):
    """A head that computes nothing, and two nodes with a CPU each."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    for _ in range(2):
        started.add_node(num_cpus=1, **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", started.address)
        yield started
    started.shutdown()


def on(_two_nodes, **settings) -> RayEngine:
    return RayEngine(Resources("auto"), **settings)


def test_a_run_that_fails_by_its_own_fault_does_not_stop_the_others(two_nodes, tmp_path):
    with pytest.raises(RunError) as caught:
        on(two_nodes, make=make_at_once(fails=1))(a_matrix(tmp_path))
    first, second = (one.run_id(1) for one in small_profile().experiments())
    told = str(caught.value)
    assert told.startswith("2 of 4 runs failed, the others are made. ")
    assert all(f"{one}: the loss of step 1 of epoch 1 is nan" in told for one in (first, second))
    made = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert made == {one.run_id(0) for one in small_profile().experiments()}


def test_two_heads_on_one_matrix_do_not_make_a_run_twice(two_nodes, tmp_path):
    folder, log = tmp_path / "runs", tmp_path / "log"
    command = [sys.executable, "-m", "helpers.ray_matrix", str(folder), str(log)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment) as other:
        while not log.is_file():  # the other head has begun
            assert other.poll() is None
            time.sleep(0.05)
        on(two_nodes, make=make_and_log(log, 1.0))(a_matrix(folder))
    assert other.returncode == 0
    made = sorted(path.parent.name for path in folder.glob("*/made.txt"))
    assert len(made) == 4
    assert sorted(log.read_text().split()) == made


def test_a_sweep_reports_each_trial_on_the_images_held_out(two_nodes):
    trials = sweep(
        small_profile().experiments()[0],
        ["train.epochs=1,4", "train.validate_every=1"],
        Resources("auto"),
        device="cpu",
    )
    assert set(trials["settings"]) == {f"train.epochs={epochs} train.validate_every=1" for epochs in (1, 4)}
    assert trials["mean_auc"].is_monotonic_decreasing and trials["mean_auc"].between(0, 1).all()
    assert (trials["lesions"] > 9).all() and (trials["lesions"] < 27).all()  # of 18 training and 9 validation images
    assert trials["epochs"].between(1, 4).all()


def workers(node) -> list[psutil.Process]:
    """The processes of a node that make a run now."""
    found = []
    for one in psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if " ".join(one.cmdline()).startswith(("ray::run", "ray::make_run")):
                found.append(one)
    return found


class Killer(threading.Thread):
    """Once both nodes are in the middle of a run: kill the worker of one; a little later, all of the other node."""

    def __init__(self, started: Cluster, checkpoints: Path) -> None:
        super().__init__(daemon=True)
        self.started, self.checkpoints = started, checkpoints
        self.nodes = list(started.worker_nodes)
        self.left: dict[str, bytes] = {}  # by run, its checkpoint after the kills
        self.killed: list[int] = []

    def run(self) -> None:
        one, other = self.nodes
        while len(list(self.checkpoints.glob("*[0-9a-f]"))) < 2 or not (workers(one) and workers(other)):
            time.sleep(0.02)
        (worker,) = workers(one)
        self.kill([worker])
        time.sleep(1)
        raylet = psutil.Process(other.all_processes["raylet"][0].process.pid)
        assert workers(other), "the run of the node that is to be killed has ended: make runs longer"
        self.kill([raylet, *raylet.children(recursive=True)])
        for path in self.checkpoints.glob("*[0-9a-f]"):
            self.left[path.name.rpartition("-")[0]] = path.read_bytes()

    def put_in_place(self) -> None:
        """Start another node for the one that was killed."""
        assert self.killed, "nothing was killed"
        self.started.worker_nodes.discard(self.nodes[1])
        self.started.add_node(num_cpus=1, **SMALL)

    def kill(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
                self.killed.append(process.pid)


def test_lost_tasks_go_on_from_their_checkpoints_and_no_node_makes_two_at_once(two_nodes, place, tmp_path):
    killer = Killer(two_nodes, place / "cache" / "checkpoints")
    killer.start()
    on(two_nodes, make=make_step_by_step())(a_matrix(tmp_path))
    killer.join(10)
    killer.put_in_place()
    told = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*[0-9a-f]/told.json")}
    assert len(told) == 4
    again = {run_id: one for run_id, one in told.items() if one["attempt"] > 1}
    assert len(again) == 2
    assert all(int(killer.left[run_id]) <= one["first"] < STEPS for run_id, one in again.items())
    for one in told.values():
        beside = [other for other in told.values() if other["node"] == one["node"] and other is not one]
        assert all(other["ended"] < one["began"] or one["ended"] < other["began"] for other in beside)


def test_ctrl_c_stops_the_tasks_and_keeps_what_is_finished(two_nodes, place, tmp_path):
    checkpoints = place / "cache" / "checkpoints"

    def interrupt():
        while not (list(tmp_path.glob("*[0-9a-f]/told.json")) and len(list(checkpoints.glob("*[0-9a-f]"))) >= 2):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    # Reason: what a shell runs in its background is deaf to Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        on(two_nodes, make=make_step_by_step())(a_matrix(tmp_path))
    signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 20
    while any(workers(node) for node in two_nodes.worker_nodes):
        assert time.monotonic() < until, "a task goes on"
        time.sleep(0.1)
    finished = {path: path.read_bytes() for path in tmp_path.glob("*[0-9a-f]/told.json")}
    assert 1 <= len(finished) <= 2
    left = {path.name.rpartition("-")[0]: int(path.read_bytes()) for path in checkpoints.glob("*[0-9a-f]")}
    on(two_nodes, make=make_step_by_step())(a_matrix(tmp_path))
    told = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*[0-9a-f]/told.json")}
    assert len(told) == 4
    assert all(path.read_bytes() == content for path, content in finished.items())
    # Reason: a checkpoint that was on its way as the task was stopped may still have come.
    assert left and all(told[run_id]["first"] >= step > 0 for run_id, step in left.items())


def test_runs_survive_the_kill_of_a_worker_and_of_a_node_to_the_bits_of_the_local_engine(two_nodes, by_hand, place):
    storage = place / "storage"
    killer = Killer(two_nodes, storage)
    killer.start()
    study = reproduce("matrix", device="cpu", engine=on(two_nodes, storage=f"file://{storage}"))
    killer.join(10)
    killer.put_in_place()
    assert [run.id for run in study.runs] == list(by_hand) and not study.missing
    again = [run for run in study.runs if run.environment["attempt"] > 1]
    assert len(again) == 2
    states = {run.id: torch.load(BytesIO(killer.left[run.id]), weights_only=True)["state"] for run in again}
    rows = {run_id: [row["seconds"] for row in state["history"]] for run_id, state in states.items()}
    assert min(map(len, rows.values())) in range(1, EPOCHS)
    for run in again:  # what was done before the kill was not done again
        done = rows[run.id]
        assert run.history["seconds"][: len(done)].tolist() == pytest.approx(done, rel=1e-5)
    for run in study.runs:
        assert run.environment["engine"] == f"ray {ray.__version__}" and run.environment["node"]
        # Reason: safetensors writes its metadata in no fixed order, so weights are held by their tensors.
        differing = {"environment.json", "history.csv", "SHA256SUMS", WEIGHTS}
        ours, local = (load_file(folder / WEIGHTS) for folder in (run.folder, by_hand[run.id]))
        assert ours.keys() == local.keys() and all(torch.equal(ours[name], local[name]) for name in ours)
        names = {path.name for path in run.folder.iterdir()}
        assert names == {path.name for path in by_hand[run.id].iterdir()}
        for name in names - differing:
            assert (run.folder / name).read_bytes() == (by_hand[run.id] / name).read_bytes(), f"{run.id}: {name}"
        theirs = pd.read_csv(by_hand[run.id] / "history.csv")
        pd.testing.assert_frame_equal(run.history.drop(columns="seconds"), theirs.drop(columns="seconds"))
    assert not list(storage.iterdir())
