"""What a cluster makes of a matrix of runs: simulated, with Ray's own part measured."""

from typing import Any

import pandas as pd

from arlrepro import storage
from arlrepro.evaluation import formatting
from arlrepro.paths import RESULTS, root


def _stored() -> dict[str, Any]:
    return storage.read_json(root() / RESULTS / "cluster.json", "python -m benchmarks.cluster_simulation")


def assumptions() -> str:
    """What was measured and what was assumed, in lines."""
    stored = _stored()
    told, measured = stored["assumed"], stored["overhead"]
    return (
        f"{told['runs']} runs as long as those of the archive, one a GPU, {told['gpus a node']} GPUs a node.\n"
        f"Ray's own part: {measured['a run, s']:.2f} s a run, after {measured['start, s']:.0f} s until the first was "
        f"home, measured on {measured['runs']} runs that do nothing, on {measured['cores']} cores that "
        f"{measured['load']:.0f} processes shared.\n"
        f"A node fails once in {1 / told['failures a node and hour'] / 24:,.0f} days by the published rate "
        f"({told['source']}); another takes its place after {told['replaced after, minutes']:g} minutes (assumed).\n"
        f"Checkpoints every {told['checkpoint, minutes']:g} minutes; means of {told['simulations']} simulations."
    )


def scaling() -> pd.DataFrame:
    """How long a matrix takes on more and more GPUs, and how much of them is idle or lost.

    Returns:
        A row a number of GPUs and a rate of failures: hours until the last run is home; the speed over that of as many
        GPUs without any wait; the share of the GPUs' time that no run uses; the share of the work that was done twice;
        how many nodes fail in that time, on average.
    """
    rows = pd.DataFrame(_stored()["rows"])
    columns = {
        "hours": (rows["hours"], 1),
        "of linear speed, %": (100 * rows["share of linear"], 1),
        "idle, %": (100 * rows["idle"], 1),
        "work lost, %": (100 * rows["lost"], 2),
        "failures expected": (rows["failures expected"], 2),
    }
    shown = {
        title: [formatting.number(float(one), places) for one in found] for title, (found, places) in columns.items()
    }
    return pd.DataFrame({"GPUs": rows["gpus"], "nodes that fail": rows["failures"], **shown}).set_index(
        ["GPUs", "nodes that fail"]
    )
