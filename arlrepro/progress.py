"""Progress for the person at the terminal, never for the page: from a notebook it shows where papermill runs."""

import io
import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

#: Seconds between two lines in a log, where there is no terminal to draw a bar on.
LOG_EVERY = 30.0
#: Further options of every bar of this process.
_everywhere: dict[str, Any] = {}


def bar(iterable: Iterable | None = None, **options: Any) -> tqdm:
    """A tqdm bar on the terminal that this process, or the Jupyter kernel around it, was started from.

    Args:
        iterable: what to walk through; or give `total` and call `update`.
        options: tqdm's own.
    """
    stream = _terminal()
    if stream is None:
        return tqdm(iterable, **{**options, "disable": True})
    every = 0.1 if stream.isatty() else LOG_EVERY
    return tqdm(iterable, file=stream, mininterval=every, **_everywhere, **options)


def draw_on_line(number: int) -> None:
    """Draw this process's bars so many lines below those of the process that started it, and wipe them when done."""
    _everywhere.update(position=number, leave=False)


def advance(shown: tqdm, done: int) -> None:
    """Move a bar to what is done by now; what was done before its first step counts as no work of this process.

    So a job that was resumed shows its own pace, and the time left by it.
    """
    if shown.n == 0:
        shown.initial = shown.n = shown.last_print_n = done - 1
    shown.update(done - shown.n)


class _Heedless(io.FileIO):
    """A pipe or terminal that may lose its reader: what nobody reads is dropped, and the work goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return memoryview(data).nbytes


def go_on_unread() -> None:
    """Let this process go on where stderr is closed, as some schedulers leave it, or its reader goes away.

    Reason: bars, and who waits for whom, are a courtesy; a training must not end with the pager that showed them.
    """
    if sys.stderr is None:
        # Reason: it stays open for as long as the process lives.
        sys.stderr = open(os.devnull, "w", encoding="utf8")  # noqa: SIM115, PTH123
    elif (heedless := _terminal()) is not None:
        sys.stderr = heedless


def _terminal() -> io.TextIOWrapper | None:
    """The stream behind stderr: in a kernel `sys.stderr` writes to the page, its descriptor still to the terminal."""
    try:
        raw = _Heedless(sys.stderr.fileno(), "w", closefd=False)
    except (AttributeError, OSError, ValueError, io.UnsupportedOperation):
        return None
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf8", errors="backslashreplace", line_buffering=True)
