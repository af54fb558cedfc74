"""What machines do to a process: it is killed, its disk fills up, another does the same work at the same time.

Each piece of work runs in a process forked from this one. However it ends, one that is started again must find or make
what one that was left alone makes, to the bit, and nothing else may lie beside it then but a file of a lock.
"""

import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path

from arlrepro import cli
from arlrepro.config import TrainConfig
from arlrepro.data import cache, isic
from arlrepro.data.synthetic.dataset import write_dataset
from arlrepro.errors import ArlReproError
from arlrepro.profiles import SMOKE
from arlrepro.runs import runner
from arlrepro.runs.archive import WEIGHTS, read_run, write_run
from benchmarks.faults.stored import an_archived_run

LESIONS = {"training": 12, "validation": 6, "test": 6}
#: Seconds after which a process hangs.
PATIENCE = 900


class Process:
    """A piece of work in a process of its own, with its output."""

    def __init__(self, work: Callable[[], object], room: int | None = None) -> None:
        """Start it.

        Args:
            work: what to do.
            room: bytes that a file may have, if it is limited: a disk that fills up.
        """
        self.output, end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(end, 1)
            os.dup2(end, 2)
            signal.alarm(PATIENCE)
            if room is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            os._exit(_status(work))
        os.close(end)

    def kill(self, seconds: float) -> None:
        """End it after some time as nothing can catch, unless it has ended by then."""
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)
        self.end()

    def end(self) -> tuple[int, str]:
        """Wait for it: what it ended with, and all that it said."""
        with os.fdopen(self.output, "rb") as output:
            said = output.read().decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), said

    def survived(self) -> bool:
        """Wait for it: whether it did its work, or said why not."""
        status, said = self.end()
        return status in (0, 1, 2) and "Traceback" not in said and (status == 0 or bool(said.strip()))


def _status(work: Callable[[], object]) -> int:
    """What a command would end with."""
    try:
        work()
        status = 0
    except ArlReproError as error:
        print(f"arlrepro: {error}", file=sys.stderr)
        status = 2 if "\n" not in str(error) else 70
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    return status


@dataclass(frozen=True)
class Work:
    """Something that takes long and leaves files in a folder; made once undisturbed, to be compared with."""

    folder: Path
    make: Callable[[Path], object]  # does it, in a folder of its own
    result: Callable[[Path], object]  # what came of it, and the names of all that lies there
    begin: Callable[[Path], object] = lambda place: None  # what lies there before it begins
    is_whole: Callable[[Path], bool] = lambda place: True  # asked however it ended

    @cached_property
    def undisturbed(self) -> tuple[object, float, int]:
        """What comes of one that is left alone, the seconds it takes, and the bytes of its largest file."""
        place, began = self.place("undisturbed"), time.perf_counter()
        status, said = Process(lambda: self.make(place)).end()
        assert status == 0, said
        seconds = time.perf_counter() - began
        return self.result(place), seconds, max(path.stat().st_size for path in place.rglob("*"))

    def place(self, name: object) -> Path:
        """A folder for one more."""
        place = self.folder / f"{name}"
        place.mkdir()
        self.begin(place)
        return place

    def goes_on(self, place: Path) -> bool:
        """Whether what is there is whole, and one that is started again makes what one makes that is left alone."""
        good = self.is_whole(place) and Process(lambda: self.make(place)).end()[0] == 0
        good = good and self.result(place) == self.undisturbed[0]
        shutil.rmtree(place)
        return good


def _files(place: Path) -> dict[str, bytes]:
    """Every file below a folder, but for those of locks."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def training(folder: Path) -> Work:
    """A run: trained, measured and written."""
    training, validation, test = LESIONS.values()
    data = replace(SMOKE.experiment.data, synthetic_training=training, synthetic_validation=validation)
    experiment = replace(
        SMOKE.experiment,
        data=replace(data, side=64, synthetic_test=test),
        train=TrainConfig(epochs=2, patches_per_image=1, batch_size=6, patience=0),
        network=replace(SMOKE.experiment.network, name="resnet14"),
    )

    def make(place: Path) -> object:
        os.environ["ARLREPRO_ROOT"] = str(folder)  # of images, which are drawn and decoded once
        return runner.train_or_load(experiment, 0, place, checkpoint_every=0.0)

    def result(place: Path) -> object:
        files, run = _files(place), experiment.run_id(0)
        # Reason: the other files hold how long it took.
        return sorted(files), [files.get(f"{run}/{name}") for name in (WEIGHTS, "predictions.csv", "metrics.json")]

    return Work(folder, make, result)


def decoding(folder: Path) -> Work:
    """Images decoded into the mapped array."""
    write_dataset(folder / "set", side=64, counts=LESIONS, workers=1, progress=False)
    return Work(folder, lambda place: cache.prepare(isic.read_dataset(folder / "set"), 64, place / "array"), _files)


def drawing(folder: Path) -> Work:
    """A synthetic data set."""
    return Work(
        folder,
        lambda place: write_dataset(place / "set", side=16, counts=LESIONS, workers=1, progress=False),
        _files,
    )


def archiving(folder: Path) -> Work:
    """A run put into the archive, where it lies already as it was before it was measured."""
    run = an_archived_run()
    live = folder / "live" / run.id
    live.mkdir(parents=True)
    write_run(run, live)

    def begin(place: Path) -> None:
        (place / run.id).mkdir()
        write_run(replace(run, measures={}), place / run.id)

    def is_whole(place: Path) -> bool:
        return set(read_run(place / run.id).measures) in (set(), set(run.measures))

    return Work(folder, lambda place: runner.archive(live, place), _files, begin, is_whole)


def killed(work: Callable[[Path], Work], folder: Path, draw: random.Random) -> Iterator[bool]:
    """Killed at any moment, and started again."""
    one = work(folder)
    _, seconds, _ = one.undisturbed
    for number in count():
        place = one.place(number)
        Process(partial(one.make, place)).kill(draw.uniform(0, 1.2 * seconds))
        yield one.goes_on(place)


def full_disk(work: Callable[[Path], Work], folder: Path, draw: random.Random) -> Iterator[bool]:
    """A disk that is full after any number of bytes, and started again with room."""
    one = work(folder)
    _, _, largest = one.undisturbed
    for number in count():
        place = one.place(number)
        survived = Process(partial(one.make, place), room=draw.randrange(2 * largest)).survived()
        yield one.goes_on(place) and survived


def at_once(work: Callable[[Path], Work], folder: Path, draw: random.Random) -> Iterator[bool]:
    """Two processes that do the same, the second from any moment of the first."""
    one = work(folder)
    _, seconds, _ = one.undisturbed
    for number in count():
        place = one.place(number)
        first = Process(partial(one.make, place))
        time.sleep(draw.uniform(0, seconds))
        second = Process(partial(one.make, place))
        ended = [first.end()[0], second.end()[0]]
        yield one.goes_on(place) and ended == [0, 0]


def commands(folder: Path, draw: random.Random) -> Iterator[bool]:
    """Commands whose output has no place: a full disk, a file in the way, a folder that is none."""
    write_dataset(folder / "set", side=16, counts=LESIONS, workers=1, progress=False)
    run = an_archived_run()
    assert run.folder is not None
    for number in count():
        place = folder / f"{number}"
        place.mkdir()
        (place / "file").touch()
        into = place / draw.choice(["out", "file/out", "file", "x" * 300])
        command = draw.choice(
            [
                ["data", "synth", into, "--side", "16", "--training", "3", "--validation", "3", "--test", "3"],
                ["data", "check", folder / "set", "--pairs", into],
                ["results", "--profile", "demo", "--out", into],
                ["score", run.folder / "predictions.csv", "--truth", into],
                ["external", folder / "set", "--name", f"../../{into.name}"],
            ]
        )

        def run_it(command: list[object] = command) -> None:
            sys.argv = ["arlrepro", *map(str, command)]
            cli.main()

        yield Process(run_it, room=draw.choice([0, 100, 1000, 10_000])).survived()
        shutil.rmtree(place)
