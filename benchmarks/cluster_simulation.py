"""What would a cluster make of a matrix of runs? Measured run times replayed on 1 to 256 GPUs whose nodes fail.

    python -m benchmarks.cluster_simulation

times Ray's own part first, on a matrix of runs that do nothing, and writes both to `results/cluster.json`; with
`--simulate` it keeps the stored times.

Runs are sent as `runs.cluster.engine` sends them, the longest first, and none is divided. A failed node sends its runs
back to their last checkpoints; another takes its place a while later. The matrix is of runs as long as those of the
archive; one of equal runs stands beside it for what waves of whole runs cost by arithmetic alone, where the number of
runs is no multiple of the GPUs'.
"""

import argparse
import heapq
import json
import os
import platform
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from arlrepro.data import datasets
from arlrepro.paths import RESULTS, root
from arlrepro.profiles import SMOKE
from arlrepro.runs.cluster.engine import RayEngine
from arlrepro.runs.cluster.nodes import Resources
from arlrepro.runs.matrix import Matrix
from arlrepro.runs.study import list_runs

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RUNS = 200
TRIVIAL = 50
REPEATS = 20  # of a simulation with failures, another seed each
GPUS_A_NODE = 8
CHECKPOINT_MINUTES = RayEngine.checkpoint_every / 60  # the engine's default
REPLACED_MINUTES = 10.0  # until another node takes a failed one's place; our assumption
#: Source: Grattafiori et al. 2024, The Llama 3 Herd of Models (arXiv:2407.21783), as the press reports its numbers: 419
#: unexpected interruptions in 54 days on 16,384 GPUs. Eight GPUs a node is our assumption.
INTERRUPTIONS, DAYS, CLUSTER_GPUS = 419, 54, 16_384
FAILURES_A_NODE_HOUR = INTERRUPTIONS / (DAYS * 24 * CLUSTER_GPUS / GPUS_A_NODE)
SOURCE = "Grattafiori et al. 2024, The Llama 3 Herd of Models, arXiv:2407.21783"


@dataclass(frozen=True)
class Replay:
    """What a simulated matrix took."""

    makespan: float  # hours until the last run was home
    work: float  # GPU hours that the runs needed
    lost: float  # GPU hours that were done again


def simulate(minutes: list[float], gpus: int, failures_an_hour: float, start_minutes: float, seed: int) -> Replay:
    """Replay runs on a cluster.

    Args:
        minutes: of each run, on one GPU.
        gpus: of the cluster, one a run, `GPUS_A_NODE` a node.
        failures_an_hour: of nodes, in all of the cluster.
        start_minutes: of a GPU, for each attempt at a run, before it trains.
        seed: of when nodes fail, and which.

    Example:
        >>> simulate([60.0, 30.0, 30.0], 2, 0.0, 0.0, 0)
        Replay(makespan=1.0, work=2.0, lost=0.0)
    """
    generator = np.random.default_rng(seed)
    waiting = sorted(minutes)  # the longest last, from where it is taken
    free = list(range(gpus))
    under_way: dict[int, tuple[float, float]] = {}  # by GPU: when the attempt began, and what the run still needs
    events: list[tuple[float, int, int]] = []  # when, attempt (-1: node back, -2: node fails), GPU or node
    current: dict[int, int] = {}  # by GPU, the number of the attempt
    attempt, now, lost = 0, 0.0, 0.0
    nodes = -(-gpus // GPUS_A_NODE)

    def fail_next() -> None:
        if failures_an_hour:
            then, node = now + generator.exponential(60 / failures_an_hour), int(generator.integers(nodes))
            heapq.heappush(events, (then, -2, node))

    fail_next()
    while waiting or under_way:
        while waiting and free:
            gpu, needed = free.pop(), waiting.pop()
            attempt += 1
            under_way[gpu], current[gpu] = (now, needed), attempt
            heapq.heappush(events, (now + start_minutes + needed, attempt, gpu))
        now, kind, where = heapq.heappop(events)
        if kind == -1:
            free.append(where)
        elif kind == -2:
            for gpu in range(where * GPUS_A_NODE, min((where + 1) * GPUS_A_NODE, gpus)):
                if gpu in under_way:
                    began, needed = under_way.pop(gpu)
                    trained = max(0.0, now - began - start_minutes)
                    kept = trained // CHECKPOINT_MINUTES * CHECKPOINT_MINUTES
                    lost += now - began - kept
                    waiting.append(needed - kept)
                elif gpu in free:
                    free.remove(gpu)
                else:
                    continue  # of a node that is being replaced
                heapq.heappush(events, (now + REPLACED_MINUTES, -1, gpu))
            fail_next()
        elif current.get(where) == kind and where in under_way:
            del under_way[where]
            free.append(where)
    return Replay(now / 60, sum(minutes) / 60, lost / 60)


def scaling(start_seconds: float) -> list[dict[str, object]]:
    """The matrix of 200 runs on each number of GPUs, with no failures, the published rate, and one node an hour."""
    folders = sorted(path for path in (root() / RESULTS).iterdir() if path.is_dir())
    measured = [run.environment["seconds"] / 60 for folder in folders for run in list_runs(folder)]
    mixed = [measured[number % len(measured)] for number in range(RUNS)]
    equal = [float(np.median(measured))] * RUNS
    rows: list[dict[str, object]] = []
    for gpus in GPUS:
        published = FAILURES_A_NODE_HOUR * -(-gpus // GPUS_A_NODE)
        for what, lengths, rate in (
            ("no failures", mixed, 0.0),
            ("the published rate", mixed, published),
            ("a node an hour", mixed, 1.0),
            ("no failures, runs of equal length", equal, 0.0),
        ):
            seeds = range(REPEATS if rate else 1)
            replays = [simulate(lengths, gpus, rate, start_seconds / 60, seed) for seed in seeds]
            hours = float(np.mean([one.makespan for one in replays]))
            work = replays[0].work
            lost = float(np.mean([one.lost for one in replays]))
            rows.append(
                {
                    "gpus": gpus,
                    "failures": what,
                    "failures expected": rate * hours,
                    "hours": hours,
                    "share of linear": work / (gpus * hours),
                    "idle": 1 - (work + lost) / (gpus * hours),
                    "lost": lost / (work + lost),
                }
            )
    return rows


def overhead() -> dict[str, Any]:
    """Seconds that Ray takes on this machine until the first run is home, and for each further one; they do nothing."""

    def nothing(*_task: object) -> dict[str, bytes]:
        return {"nothing.txt": b""}

    profile = replace(SMOKE, networks=SMOKE.networks[:1], seeds=tuple(range(TRIVIAL)))
    missing = [(experiment, seed) for seed in profile.seeds for experiment in profile.experiments()]
    datasets.open_images(profile.experiment)  # drawn and decoded before the clock starts
    with TemporaryDirectory() as folder:
        began = time.time()
        RayEngine(Resources(), make=nothing)(Matrix(profile, Path(folder), missing, 0, device="cpu"))
        home = sorted(path.stat().st_mtime for path in Path(folder).iterdir() if path.is_dir())
    return {
        "runs": len(home),
        "start, s": home[0] - began,
        "a run, s": (home[-1] - home[0]) / (len(home) - 1),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],  # processes that wanted a core meanwhile
        "system": f"{platform.system()} {platform.machine()}",
        "measured": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    """Measure, simulate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="keep the stored times of Ray's own part")
    path = root() / RESULTS / "cluster.json"
    stored = json.loads(path.read_text(encoding="utf8")) if parser.parse_args().simulate else {}
    measured = stored["overhead"] if stored else overhead()
    told = {
        "overhead": measured,
        "assumed": {
            "runs": RUNS,
            "gpus a node": GPUS_A_NODE,
            "failures a node and hour": FAILURES_A_NODE_HOUR,
            "source": SOURCE,
            "checkpoint, minutes": CHECKPOINT_MINUTES,
            "replaced after, minutes": REPLACED_MINUTES,
            "simulations": REPEATS,
        },
        "rows": scaling(measured["a run, s"]),
    }
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf8")
    print(path.read_text(encoding="utf8"))


if __name__ == "__main__":
    main()
