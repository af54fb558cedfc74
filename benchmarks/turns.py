"""Cases timed in turn, and what is written of each."""

import statistics
import time
from collections.abc import Callable

import torch

from arlrepro.progress import bar

Row = dict[str, str | float]


def turns(cases: dict[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each case: one warm-up, then all cases in turn, so that a drift of the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in bar(range(repeats + 1), desc=" | ".join(cases)[:40], unit="turn"):
        for name, case in cases.items():
            began = time.perf_counter()
            case()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - began)
    return times


def timed_row(what: str, times: dict[str, list[float]], name: str, base: str, number: int, precision: str = "") -> Row:
    """A case's median time, and its time over another's in the same turn: the median, least and most over the turns."""
    seconds = statistics.median(times[name])
    ratios = [ours / theirs for ours, theirs in zip(times[name], times[base], strict=True)]
    return {
        "what": f"{what}, {name}",
        "precision": precision,
        "seconds": seconds,
        "a second": number / seconds,
        "unit": "patches",
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "ratio to": base,
    }
