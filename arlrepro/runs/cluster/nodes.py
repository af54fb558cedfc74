"""A cluster that Ray runs: joined, held to what a matrix needs of it, and given the images and weights, once a node."""

import hashlib
import logging
import os
import platform
import shutil
import socket
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

import arlrepro
from arlrepro import paths
from arlrepro.config import Experiment
from arlrepro.data import cache, datasets, isic
from arlrepro.errors import ConfigError, DatasetError, some
from arlrepro.registry import PRETRAINED

if TYPE_CHECKING:
    from arlrepro.data.datasets import DataModule

#: Seconds that an address may take to answer, and all nodes to say their versions.
ANSWER, START = 10.0, 300.0
#: Of a cluster's Ray client server, unless it is told another.
CLIENT_PORT = 10001
#: Times that Ray is asked to connect. Reason: for each client a cluster forks a process beside gRPC's threads, and now
#: and then that process is dead at once.
JOINS = 3
#: Bytes of a file that travel as one object of Ray's store.
PIECE = 64 * 2**20
#: Reason: nobody's use is reported to Ray's makers unless they say so; Ray warns that one day a task without a GPU will
#: see them all, which makes no difference here, where a task is told its device; and its client, which tries three
#: times, is to give up within `ANSWER`.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "3",
    "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "3",
}


@dataclass(frozen=True)
class Resources:
    """Where runs are made and what each is given."""

    on: str = "ray"  # ray: this machine alone; auto: the cluster that it is in; ray://HOST:PORT: any, by Ray's client
    cpus_per_run: float = 1.0
    gpus_per_run: float | None = None  # fractions share a GPU; None: one, where a node has one

    def __post_init__(self) -> None:
        if not self.cpus_per_run > 0:
            raise ConfigError(f"--cpus-per-run {self.cpus_per_run:g}: a run needs more than none")
        gpus = float(self.gpus_per_run or 0)
        if not (0 <= gpus <= 1 or (gpus > 1 and gpus.is_integer())):
            raise ConfigError(f"--gpus-per-run {gpus:g}: give a fraction of one GPU, or a whole number of them")


@contextmanager
def connected(on: str) -> Iterator[ModuleType]:
    """Join a cluster, or start Ray on this machine, for as long as the context lasts.

    Args:
        on: see `Resources`; `auto` looks for the address in RAY_ADDRESS first, as Ray does.

    Yields:
        The module `ray`.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster, or it does not answer within ten seconds, or is of
            another version of Ray or Python.
    """
    if on not in ("ray", "auto") and not on.startswith("ray://"):
        raise ConfigError(f"unknown engine {on!r}; known: local, ray, auto, ray://HOST:{CLIENT_PORT}")
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(f"--on {on} needs a package that is not here: pip install arlrepro[cluster]") from error
    address = "local" if on == "ray" else _listening(on)
    try:
        _join(ray, address)
    except (ConnectionError, TimeoutError) as error:
        raise _no_answer(on, address, error) from error
    except RuntimeError as error:  # its versions, here and there, in several lines
        raise ConfigError(f"--on {on}: {' '.join(str(error).split())}; install the same on both") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _listening(on: str) -> str:
    """The address that `on` means, where something listens: Ray itself would try one where nothing does for minutes."""
    address = on
    try:
        if on == "auto":
            # Reason: Ray has no public name for where `auto` leads to.
            from ray._private.services import get_ray_address_from_environment

            address = get_ray_address_from_environment("auto", None)
        parts = urlsplit(address if "://" in address else f"//{address}")
        socket.create_connection((parts.hostname or "", parts.port or CLIENT_PORT), ANSWER).close()
    except (OSError, ValueError) as error:
        raise _no_answer(on, address, error) from error
    return address


def _join(ray: ModuleType, address: str) -> None:
    """Join the cluster at an address, or start one where it is `local`."""
    for left in reversed(range(JOINS)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Reason: what Ray's client says in three lines is said here in one
                ray.init(
                    address=address,
                    namespace="arlrepro",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    include_dashboard=False if address == "local" else None,
                )
            return
        except ConnectionAbortedError:
            ray.shutdown()  # Reason: a client that half connected is in the way of every further call
            if not left:
                raise


def _no_answer(on: str, address: str, error: Exception) -> ConfigError:
    start = "start one with `ray start --head`, or name another in RAY_ADDRESS"
    if address == "auto":
        return ConfigError(f"--on auto: this machine is in no cluster; {start}")
    port = f"is the cluster up, and the port of its Ray client server, by default {CLIENT_PORT}, open to this machine?"
    reason = str(error).strip().splitlines()[-1]  # of what a server says, its traceback stands before
    return ConfigError(f"--on {on}: no cluster answers at {address} ({reason}); {start if on == 'auto' else port}")


def require_nodes(ray: ModuleType, asked: Resources, device: str) -> float:
    """Hold every node to what a run needs, before the first one is sent.

    Args:
        ray: of `connected`.
        asked: for a run.
        device: see `runner.train_or_load`.

    Returns:
        The GPUs that a run gets, 0 on CPUs.

    Raises:
        ConfigError: no node has room for a run, or one has another version of the project, of torch or of Python.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    room = sorted((node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in nodes)
    gpus = 0.0 if device == "cpu" else asked.gpus_per_run
    if gpus is None:
        gpus = min(1.0, max(there for _, there in room))
    if device == "cuda" and not gpus:
        raise ConfigError("--device cuda: no node has a GPU for a run; start one that has, or give --device cpu")
    if not any(cpus_there >= asked.cpus_per_run and gpus_there >= gpus for cpus_there, gpus_there in room):
        has = some([f"{cpus_there:g} CPUs and {gpus_there:g} GPUs" for cpus_there, gpus_there in dict.fromkeys(room)])
        raise ConfigError(
            f"--cpus-per-run {asked.cpus_per_run:g} --gpus-per-run {gpus:g}: none of {len(nodes)} nodes has so much "
            f"({has}); ask for less, or start a node that has it"
        )
    _require_versions(ray, nodes)
    return gpus


def versions() -> dict[str, str]:
    """What must be the same at the head and on every node, or a run would depend on where it was made."""
    package = Path(arlrepro.__file__).parent
    code = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        code.update(str(file.relative_to(package)).encode() + file.read_bytes())
    return {
        "arlrepro": f"{version('arlrepro')} (code {code.hexdigest()[:8]})",
        "torch": version("torch"),
        "Python": platform.python_version(),
    }


def _require_versions(ray: ModuleType, nodes: list[dict[str, Any]]) -> None:
    ours = versions()
    ask = ray.remote(versions)
    answers = [ask.options(**on_node(ray, node["NodeID"])).remote() for node in nodes]
    for host, answer in zip([node["NodeManagerHostname"] for node in nodes], answers, strict=True):
        try:
            theirs = ray.get(answer, timeout=START)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"node {host}: arlrepro does not start there ({reason}); install it as here") from error
        for name, here in ours.items():
            if theirs[name] != here:
                raise ConfigError(f"node {host} has {name} {theirs[name]}, here it is {here}; install the same on both")


def on_node(ray: ModuleType, node_id: str) -> dict[str, Any]:
    """Options of a task or actor that costs nothing and runs on one node."""
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
    return {"num_cpus": 0, "scheduling_strategy": strategy}


def ask(reference: Any) -> Any:
    """The value of an object, from within a task that keeps its CPU meanwhile.

    Reason: while a task's main thread waits for Ray, its CPU is lent to another task and not asked back, so that more
    runs would train on a node than it has room for.
    """
    import ray

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(ray.get, reference).result()


@dataclass(frozen=True)
class Parcel:
    """Files of the head for all nodes: a node that does not see the head's disk fetches them once, for all its runs."""

    folder: Path  # at the head
    name: str  # of the folder in a node's cache; tells its content
    pieces: tuple[tuple[str, Any], ...]  # file and reference of an object, in order; none where Ray is on one machine

    def fetch(self) -> Path:
        """The folder in this node's cache, filled by the first task that asks; on one machine the head's own."""
        if not self.pieces:
            return self.folder
        folder = paths.node_cache() / self.name
        part = folder.with_name(f"{self.name}.part")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{self.name}.lock")):
            if not folder.is_dir():
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                for name, piece in self.pieces:
                    with (part / name).open("ab") as file:
                        file.write(ask(piece))
                part.rename(folder)
        return folder


def pack(ray: ModuleType, name: str, files: Sequence[Path], asked: Resources) -> Parcel:
    """Put files of one folder into Ray's object store, for nodes to fetch; of one machine all see the folder itself."""
    pieces = []
    for path in () if asked.on == "ray" else files:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                pieces.append((path.name, ray.put(piece)))
    return Parcel(files[0].parent, name, tuple(pieces))


@dataclass(frozen=True)
class Supplies:
    """What all tasks of a matrix need on a node: the data set, its decoded images, the weights to start from."""

    dataset: isic.IsicDataset
    images: Parcel
    weights: dict[str, Parcel]  # by name
    device: str  # cpu or cuda
    threads: int
    deterministic: bool  # see `distributed.use_deterministic_kernels`

    def open(self, experiment: Experiment) -> "DataModule":
        """The images on this node's device, those of the head to the byte, and the weights where they are looked for.

        Raises:
            DatasetError: the images that came are not those of the head.
            ConfigError: the weights that came have another SHA-256 than those of the name.
        """
        import torch

        from arlrepro.data.datasets import DataModule
        from arlrepro.models import pretrained
        from arlrepro.training.distributed import use_deterministic_kernels

        torch.set_num_threads(self.threads)
        if self.deterministic:
            use_deterministic_kernels()
        if (name := experiment.network.weights) in self.weights:
            try:
                pretrained.locate(name, fetch=False)
            except ConfigError:
                pretrained.use_folder(self.weights[name].fetch())
                pretrained.locate(name, fetch=False)
        return DataModule(self.dataset, self._images(), torch.device(self.device))

    def _images(self) -> cache.ImageArray:
        seen = cache.reopen(self.images.folder, self.dataset.fingerprint)
        if seen is None:
            folder = self.images.fetch()
            seen = cache.reopen(folder, self.dataset.fingerprint)
            if seen is None:
                raise DatasetError(f"{folder}: not the images of {self.dataset.root}; remove it to fetch them again")
        return seen


def supply(ray: ModuleType, experiments: Sequence[Experiment], data: str, device: str, asked: Resources) -> Supplies:
    """Open and decode the images of experiments that share them, and pack what nodes may lack.

    Args:
        ray: of `connected`.
        experiments: of one data set.
        data: see `datasets.open_data`.
        device: cpu or cuda.
        asked: for a run.

    Raises:
        ConfigError: weights to start from are not here.
        DatasetError: see `datasets.open_data`.
    """
    import torch

    from arlrepro.models import pretrained

    dataset, images = datasets.open_images(experiments[0], data)
    decoded = sorted(Path(str(images.pixels.filename)).parent.iterdir())
    weights = {}
    for name in {one.network.weights for one in experiments} & set(PRETRAINED):
        weights[name] = pack(ray, f"weights-{PRETRAINED[name].sha256[:12]}", [pretrained.locate(name)], asked)
    parcel = pack(ray, f"images-{dataset.fingerprint[:12]}-{images.side}", decoded, asked)
    threads, deterministic = max(1, int(asked.cpus_per_run)), torch.are_deterministic_algorithms_enabled()
    return Supplies(dataset, parcel, weights, device, threads, deterministic)
