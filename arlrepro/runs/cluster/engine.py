"""The runs of a matrix as tasks of a Ray cluster: a task that is lost is sent again, a finished run comes home whole.

The head is the process that asked for the runs. While a run trains, its checkpoints lie where a dying node cannot take
them along, at the head or in a storage that all nodes see; the next attempt goes on from the last one, to the bits of a
run that nothing disturbed.
"""

import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from filelock import FileLock, Timeout

from arlrepro import paths, storage
from arlrepro.config import Experiment
from arlrepro.errors import ArlReproError, ConfigError, RunError, some
from arlrepro.progress import bar
from arlrepro.registry import NETWORKS
from arlrepro.runs.cluster import nodes
from arlrepro.runs.cluster.nodes import Resources, Supplies
from arlrepro.runs.matrix import Matrix
from arlrepro.runs.runner import STATE, train_or_load

#: How often a run is sent again after its worker or node was lost: one that takes its worker along is given up.
RETRIES = 5


class Checkpoints:
    """The last checkpoint of each run, at an address of fsspec: a folder, s3://..., gs://... and others."""

    def __init__(self, address: str) -> None:
        import fsspec  # comes with torch, which a reader of results need not have

        try:
            self.files, self.folder = fsspec.core.url_to_fs(address)
            self.files.makedirs(self.folder, exist_ok=True)
        except (ImportError, ValueError, OSError) as error:
            raise ConfigError(f"--storage {address}: cannot be used ({error}); name another place") from error

    def keep(self, name: str, state: bytes) -> None:
        """Keep a checkpoint in place of the last one, which stays until the new one is whole."""
        path = f"{self.folder}/{name}"
        self.files.pipe_file(f"{path}.part", state)
        self.files.mv(f"{path}.part", path)

    def kept(self, name: str) -> bytes | None:
        """The last checkpoint; None where there is none."""
        try:
            return self.files.cat_file(f"{self.folder}/{name}")
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        """Forget a run's checkpoint, once the run is home."""
        with suppress(FileNotFoundError):
            self.files.rm_file(f"{self.folder}/{name}")


class Desk(Checkpoints):
    """An actor at the head: it keeps the checkpoints where no storage is given, and how far each run is."""

    def __init__(self, address: str) -> None:
        super().__init__(address or str(paths.node_cache() / "checkpoints"))
        self.told: dict[str, tuple[int, int, float]] = {}

    def tell(self, run_id: str, epoch: int, epochs: int, loss: float) -> None:
        """Note how far a run is."""
        self.told[run_id] = (epoch, epochs, loss)

    def news(self) -> dict[str, tuple[int, int, float]]:
        """The newest epoch of each run, of how many, and its training loss."""
        return self.told


@dataclass(frozen=True)
class Job:
    """What all tasks of a matrix are given."""

    supplies: Supplies
    desk: Any  # handle of the actor
    storage: str
    checkpoint_every: float
    engine: str

    def name(self, run_id: str) -> str:
        """Under which the checkpoint of a run is kept: trained on other images, it is another training."""
        return f"{run_id}-{self.supplies.dataset.fingerprint[:12]}"


def make_run(job: Job, experiment: Experiment, seed: int, attempt: int, log: str) -> dict[str, bytes]:
    """Train and measure a run on a node, from its last checkpoint if there is one.

    Args:
        job: of the matrix.
        experiment: what to run.
        seed: of the run.
        attempt: from 1.
        log: see `runner.train_or_load`.

    Returns:
        The files of the finished run, by their paths in its folder.
    """
    run_id = experiment.run_id(seed)
    name = job.name(run_id)
    store = Checkpoints(job.storage) if job.storage else None

    def keep(path: Path) -> None:
        if store is not None:
            store.keep(name, path.read_bytes())
        else:
            nodes.ask(job.desk.keep.remote(name, path.read_bytes()))

    def tell(epoch: int, epochs: int, row: dict[str, int | float]) -> None:
        job.desk.tell.remote(run_id, epoch, epochs, float(row["training_loss"]))

    state = store.kept(name) if store is not None else nodes.ask(job.desk.kept.remote(name))
    with TemporaryDirectory(prefix=run_id) as scratch:
        if state is not None:
            part = Path(scratch) / f"{run_id}.part"
            part.mkdir()
            (part / STATE).write_bytes(state)
        run = train_or_load(
            experiment,
            seed,
            Path(scratch),
            datamodule=job.supplies.open(experiment),
            log=log,
            checkpoint_every=job.checkpoint_every,
            written=keep,
            watch=tell,
            place={"engine": job.engine, "node": platform.node(), "attempt": attempt},
        )
        assert run.folder is not None
        files = [path for path in run.folder.rglob("*") if path.is_file()]
        return {path.relative_to(run.folder).as_posix(): path.read_bytes() for path in files}


@dataclass(frozen=True)
class RayEngine:
    """Makes the runs of a matrix side by side, wherever a cluster has room; called with the matrix."""

    resources: Resources
    storage: str = ""  # for checkpoints, seen by every node: a folder, or an address of fsspec; "": at the head
    checkpoint_every: float = 120.0  # seconds; so much is lost at most: at a failed node an hour under 2 % of the work
    make: Callable[[Job, Experiment, int, int, str], dict[str, bytes]] = make_run  # the task

    def __call__(self, matrix: Matrix) -> None:
        """Make what a matrix lacks; each run appears under its name when it is whole.

        A run that fails by its own fault does not stop the others. Ctrl-C stops the tasks; what is finished stays, and
        the next call goes on from the checkpoints.

        Raises:
            ConfigError: Ray or the cluster cannot make these runs; see `nodes.connected`, `nodes.require_nodes`.
            RunError: some of the runs failed, each with its reason; all others are made.
        """
        address = self.storage if "://" in self.storage or not self.storage else str(Path(self.storage).resolve())
        with nodes.connected(self.resources.on) as ray:
            gpus = nodes.require_nodes(ray, self.resources, matrix.device)
            experiments = [experiment for experiment, _ in matrix.missing]
            device = "cuda" if gpus else "cpu"
            supplies = nodes.supply(ray, experiments, matrix.data, device, self.resources)
            here = nodes.on_node(ray, ray.get_runtime_context().get_node_id())
            desk = ray.remote(Desk).options(**here).remote(address)
            job = Job(supplies, desk, address, self.checkpoint_every, f"ray {ray.__version__}")
            task = ray.remote(self.make).options(
                num_cpus=self.resources.cpus_per_run, num_gpus=gpus, max_retries=0, name="run"
            )
            shared = ray.put(job)

            def send(experiment: Experiment, seed: int, attempt: int) -> Any:
                return task.remote(shared, experiment, seed, attempt, matrix.log)

            _Head(ray, matrix, job, send).run()


@dataclass
class _Sent:
    """A run that is a task now."""

    experiment: Experiment
    seed: int
    lock: FileLock
    attempt: int = 1

    @property
    def id(self) -> str:
        return self.experiment.run_id(self.seed)


@dataclass
class _Head:
    """The head of a matrix: it sends runs, takes them home, and shows how far they are."""

    ray: ModuleType
    matrix: Matrix
    job: Job
    send: Callable[[Experiment, int, int], Any]
    sent: dict[Any, _Sent] = field(default_factory=dict)  # by the reference of what the task returns
    failed: dict[str, str] = field(default_factory=dict)  # reasons, by run

    def run(self) -> None:
        """Send every run, and again what is lost, until each is home or has failed."""
        # Reason: the longest first leave the shortest wait for the last one.
        waiting = sorted(self.matrix.missing, key=lambda one: -NETWORKS[one[0].network.name].multiply_adds)
        total = self.matrix.here + len(waiting)
        style = "{l_bar}{bar}| {n:.1f} of {total} runs [{elapsed}<{remaining}{postfix}]"
        name = f"runs of {self.matrix.profile.name}"
        with bar(total=total, initial=self.matrix.here, desc=name, bar_format=style) as progress:
            try:
                while waiting or self.sent:
                    waiting = [one for one in waiting if not self._claim(*one)]
                    if self.sent:
                        ready, _ = self.ray.wait(list(self.sent), timeout=1.0)
                        for reference in ready:
                            self._settle(reference, self.sent.pop(reference))
                    else:
                        time.sleep(1.0)  # another head makes what is left
                    self._show(progress, total - len(waiting) - len(self.sent), waiting)
            finally:
                for reference, one in self.sent.items():
                    self.ray.cancel(reference, force=True)
                    one.lock.release()
        if self.failed:
            reasons = some([f"{run_id}: {reason}" for run_id, reason in self.failed.items()])
            raise RunError(f"{len(self.failed)} of {total} runs failed, the others are made. {reasons}")

    def _claim(self, experiment: Experiment, seed: int) -> bool:
        """Send a run that no other head makes; whether there is nothing more to wait for."""
        home = self.matrix.folder / experiment.run_id(seed)
        self.matrix.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home.with_name(f"{home.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        if home.is_dir():
            lock.release()
        else:
            self.sent[self.send(experiment, seed, 1)] = _Sent(experiment, seed, lock)
        return True

    def _settle(self, reference: Any, one: _Sent) -> None:
        """Take a run home whose task has ended, send it again where it was lost, or note why it failed."""
        errors = self.ray.exceptions
        try:
            self._take_home(one.id, self.ray.get(reference))
        except errors.RayTaskError as error:
            if isinstance(error.cause, ConfigError):
                one.lock.release()
                raise error.cause from error  # Reason: it would meet every run
            kind = "" if isinstance(error.cause, ArlReproError) else f"{type(error.cause).__name__}: "
            self.failed[one.id] = f"{kind}{error.cause}"
        except errors.RayError as error:
            if one.attempt <= RETRIES:
                one.attempt += 1
                self.sent[self.send(one.experiment, one.seed, one.attempt)] = one
                return
            lost = str(error).strip().splitlines()[0]
            self.failed[one.id] = f"lost {one.attempt} times with its worker or node, the last time by: {lost}"
        one.lock.release()

    def _take_home(self, run_id: str, files: dict[str, bytes]) -> None:
        """Write a run's files, and give the folder its name when it is whole."""
        with storage.replacing(self.matrix.folder / run_id) as new:
            for name, content in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(content)
        shutil.rmtree(self.matrix.folder / f"{run_id}.part", ignore_errors=True)  # of a training here that was stopped
        self.ray.get(self.job.desk.drop.remote(self.job.name(run_id)))

    def _show(self, progress: Any, done: int, waiting: list[tuple[Experiment, int]]) -> None:
        """Move the bar by whole runs and the epochs of those under way, with what each told last."""
        news = self.ray.get(self.job.desk.news.remote())
        under_way = {one.id: news[one.id] for one in self.sent.values() if one.id in news}
        progress.n = done + sum(epoch / epochs for epoch, epochs, _ in under_way.values())
        lines = [f"{run_id} {epoch}/{epochs} loss {loss:.3f}" for run_id, (epoch, epochs, loss) in under_way.items()]
        progress.set_postfix_str(some(lines), refresh=False)
        progress.update(0)
