"""Progress for the person at the terminal, never for the page: from a notebook it shows where papermill runs."""

import io
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

#: Seconds between two lines in a log, where there is no terminal to draw a bar on.
LOG_EVERY = 30.0


def bar(iterable: Iterable | None = None, **options: Any) -> tqdm:
    """A tqdm bar on the terminal that this process, or the Jupyter kernel around it, was started from.

    Args:
        iterable: what to walk through; or give `total` and call `update`.
        options: tqdm's own.
    """
    stream = _terminal()
    if stream is None:
        return tqdm(iterable, **{**options, "disable": True})
    return tqdm(iterable, file=stream, mininterval=0.1 if stream.isatty() else LOG_EVERY, **options)


def advance(shown: tqdm, done: int) -> None:
    """Move a bar to what is done by now; what was done before its first step counts as no work of this process.

    So a job that was resumed shows its own pace, and the time left by it.
    """
    if shown.n == 0:
        shown.initial = shown.n = shown.last_print_n = done - 1
    shown.update(done - shown.n)


def _terminal() -> TextIO | None:
    """The stream behind stderr: in a kernel `sys.stderr` writes to the page, its descriptor still to the terminal."""
    try:
        return open(sys.stderr.fileno(), "w", buffering=1, closefd=False, encoding="utf8")
    except (OSError, ValueError, io.UnsupportedOperation):
        return None
