"""A matrix on a cluster of two nodes, each in processes of its own: killed, and still the bits of the local engine."""

import json
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from arlrepro.config import DataConfig
from arlrepro.errors import ConfigError, RunError
from arlrepro.profiles import PROFILES, SMOKE, Profile
from arlrepro.runs import matrix as matrices
from arlrepro.runs.archive import WEIGHTS
from arlrepro.runs.cluster import nodes
from arlrepro.runs.cluster.engine import RayEngine
from arlrepro.runs.cluster.nodes import Resources
from arlrepro.runs.cluster.sweep import sweep

ray = pytest.importorskip("ray", reason="ray is not installed: pip install arlrepro[cluster]")
from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own, and of processes that are killed here
]

EPOCHS = 16
SMALL = {"object_store_memory": 256 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def matrix() -> Profile:
    """Both networks, a few seconds each."""
    data = DataConfig(source="synthetic", side=64, synthetic_training=18, synthetic_validation=9, synthetic_test=9)
    train = replace(SMOKE.experiment.train, epochs=EPOCHS, batch_size=8, validate_every=4)
    experiment = replace(SMOKE.experiment, data=data, train=train)
    return replace(SMOKE, name="matrix", experiment=experiment)


@pytest.fixture(scope="module")
def place(tmp_path_factory, matrix):
    """A checkout of its own, in which the profile `matrix` exists, and a cache of its own for the nodes."""
    root = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLREPRO_ROOT", str(root))
        patch.setenv("ARLREPRO_CACHE", str(root / "cache"))
        patch.delenv("ARLREPRO_DATA", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setitem(PROFILES, "matrix", matrix)
        yield root


@pytest.fixture(scope="module")
def by_hand(place, matrix) -> dict[str, Path]:
    """The same runs one after another in this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    study = matrices.reproduce("matrix")
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


def make_at_once(*, fails: int = -1):
    """A task that makes no run, only a file; of one seed it fails."""

    def make(_job, _experiment, seed, attempt, _log):
        if seed == fails:
            raise RunError("the loss of step 1 of epoch 1 is nan")
        return {"made.txt": f"seed {seed}, attempt {attempt}".encode()}

    return make


def on(two_nodes, **settings) -> RayEngine:
    return RayEngine(Resources("auto"), **settings)


def a_matrix(matrix: Profile, folder: Path) -> matrices.Matrix:
    missing = [(experiment, seed) for seed in (0, 1) for experiment in matrix.experiments()]
    return matrices.Matrix(matrix, folder, missing, 0, device="cpu")


def test_a_run_that_no_node_has_room_for_is_refused_at_once(two_nodes, matrix, tmp_path):
    engine = RayEngine(Resources("auto", gpus_per_run=2.0))
    with pytest.raises(ConfigError) as caught:
        engine(replace(a_matrix(matrix, tmp_path), device="auto"))
    assert str(caught.value) == (
        "--gpus-per-run 2: no node of 3 has more than 0 GPUs; ask for fewer, or start a node that has them"
    )


def test_another_version_on_a_node_is_refused_with_both(two_nodes, matrix, tmp_path, monkeypatch):
    monkeypatch.setattr(nodes, "version", lambda _name: "0.0")
    both = r"^node \S+ has arlrepro \S+ \(code \w{8}\), here it is 0\.0 \(code \w{8}\); install the same on both$"
    with pytest.raises(ConfigError, match=both):
        on(two_nodes)(a_matrix(matrix, tmp_path))


def test_an_address_that_does_not_answer_is_said(two_nodes):
    told = r"^--on ray://127\.0\.0\.1:9: no answer within 10 s \(.*refused\); is the"
    with pytest.raises(ConfigError, match=told), nodes.connected("ray://127.0.0.1:9"):
        pass


def test_a_node_that_does_not_see_the_heads_disk_fetches_its_files_once(two_nodes, tmp_path, monkeypatch):
    (tmp_path / "one").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "two").write_bytes(b"two")
    monkeypatch.setattr(nodes, "PIECE", 1000)
    with nodes.connected("auto"):
        parcel = nodes.pack(ray, "fetched", [tmp_path / "one", tmp_path / "two"], Resources("auto"))
        assert [name for name, _ in parcel.pieces] == ["one", "one", "one", "two"]

        def fetch(parcel):
            folder = parcel.fetch()
            return folder, {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}

        answers = ray.get([ray.remote(fetch).remote(parcel) for _ in range(3)])
    assert answers[0] == answers[1] == answers[2]
    assert {name: content for name, (content, _) in answers[0][1].items()} == {
        "one": bytes(range(256)) * 10,
        "two": b"two",
    }


def test_a_run_that_fails_by_its_own_fault_does_not_stop_the_others(two_nodes, matrix, tmp_path):
    with pytest.raises(RunError) as caught:
        on(two_nodes, make=make_at_once(fails=1))(a_matrix(matrix, tmp_path))
    first, second = (one.run_id(1) for one in matrix.experiments())
    told = str(caught.value)
    assert told.startswith("2 of 4 runs failed, the others are made. ")
    assert all(f"{one}: the loss of step 1 of epoch 1 is nan" in told for one in (first, second))
    made = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert made == {one.run_id(0) for one in matrix.experiments()}


def test_a_run_that_another_head_makes_is_waited_for_and_not_made_twice(two_nodes, matrix, tmp_path):
    theirs = matrix.experiments()[0].run_id(0)
    lock = FileLock(tmp_path / f"{theirs}.lock", thread_local=False)
    lock.acquire()

    def finish():
        time.sleep(3)
        (tmp_path / theirs).mkdir()
        lock.release()

    other = threading.Thread(target=finish)
    other.start()
    on(two_nodes, make=make_at_once())(a_matrix(matrix, tmp_path))
    other.join()
    assert list((tmp_path / theirs).iterdir()) == []
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 4


def test_a_sweep_reports_each_trial_on_the_images_held_out(two_nodes, matrix):
    trials = sweep(
        matrix.experiments()[0], ["train.epochs=1,4", "train.validate_every=1"], Resources("auto"), device="cpu"
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


STEPS = 30


def make_step_by_step():
    """A task that trains nothing: it counts, and goes on from where its checkpoint says."""

    def make(job, experiment, seed, attempt, _log):
        name = job.name(experiment.run_id(seed))
        began, state = time.time(), nodes.ask(job.desk.kept.remote(name))
        first = int(state or 0)
        for step in range(first, STEPS):
            time.sleep(0.2)
            nodes.ask(job.desk.keep.remote(name, str(step + 1).encode()))
        told = {"attempt": attempt, "first": first, "node": ray.get_runtime_context().get_node_id(), "began": began}
        return {"told.json": json.dumps({**told, "ended": time.time()}).encode()}

    return make


def test_lost_tasks_go_on_from_their_checkpoints_and_no_node_makes_two_at_once(two_nodes, place, matrix, tmp_path):
    killer = Killer(two_nodes, place / "cache" / "checkpoints")
    killer.start()
    on(two_nodes, make=make_step_by_step())(a_matrix(matrix, tmp_path))
    killer.join(10)
    killer.put_in_place()
    told = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/told.json")}
    assert len(told) == 4
    again = {run_id: one for run_id, one in told.items() if one["attempt"] > 1}
    assert len(again) == 2
    assert all(int(killer.left[run_id]) <= one["first"] < STEPS for run_id, one in again.items())
    for one in told.values():
        beside = [other for other in told.values() if other["node"] == one["node"] and other is not one]
        assert all(other["ended"] < one["began"] or one["ended"] < other["began"] for other in beside)


def test_runs_survive_the_kill_of_a_worker_and_of_a_node_to_the_bits_of_the_local_engine(
    two_nodes, by_hand, place, matrix
):
    killer = Killer(two_nodes, place / "cache" / "checkpoints")
    killer.start()
    study = matrices.reproduce("matrix", device="cpu", engine=on(two_nodes))
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
    assert not list((place / "cache" / "checkpoints").iterdir())
