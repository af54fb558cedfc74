"""What training and scoring cost: the archived benchmark, as `make bench` measured it on one machine."""

import json
from typing import Any

import pandas as pd

from arlrepro.archive import RESULTS, root
from arlrepro.errors import RunError

#: Of a row of the archived benchmark; where a ratio was not taken turn by turn, the last two are lacking.
COLUMNS = ["what", "precision", "a second", "unit", "ratio", "ratio to", "least", "most"]


def _benchmark() -> dict[str, Any]:
    path = root() / RESULTS / "benchmark.json"
    if not path.is_file():
        raise RunError(f"{path}: not there; `make bench` writes it")
    return json.loads(path.read_text(encoding="utf8"))


def machine() -> str:
    """The machine of the archived benchmark, in a line."""
    told = _benchmark()["machine"]
    units = "with" if told["bfloat16_units"] else "without"
    return (
        f"Measured on {told['device']}, {units} bfloat16 units, {told['threads']} threads, "
        f"torch {told['torch']}, {told['batch_size']} patches a batch, medians of {told['repeats']}."
    )


def timings() -> pd.DataFrame:
    """The archived benchmark: what was timed, how much a second, and its time over another's.

    Returns:
        A row a case and precision; the ratio is the median over turns in which both were timed, beside the least and
        the most in a single turn, where those were kept.
    """
    rows = pd.DataFrame(_benchmark()["rows"]).reindex(columns=COLUMNS)
    shown = pd.DataFrame(
        {
            "what": rows["what"],
            "precision": rows["precision"],
            "a second": [f"{value:.1f} {unit}" for value, unit in zip(rows["a second"], rows["unit"], strict=True)],
            "time over another's": [
                f"{ratio:.2f} x {other}" for ratio, other in zip(rows["ratio"], rows["ratio to"], strict=True)
            ],
            "in single turns": [
                f"{least:.2f} to {most:.2f}" if most > least else ""
                for least, most in zip(rows["least"], rows["most"], strict=True)
            ],
        }
    )
    return shown.set_index(["what", "precision"])


def memory() -> pd.DataFrame:
    """The archived benchmark's peak memory of a training, by the number of images, and what each further image adds."""
    rows = pd.DataFrame(_benchmark().get("memory", []), columns=["what", "MiB", "MiB an image more"])
    return rows.set_index("what").round({"MiB": 0, "MiB an image more": 2}).astype({"MiB": int})
