"""The archived simulation of a cluster as the book shows it."""

import json

from arlrepro.book.tables import cluster
from arlrepro.paths import RESULTS, root


def test_the_table_is_that_of_the_archived_simulation():
    stored = json.loads((root() / RESULTS / "cluster.json").read_text())["rows"]
    table = cluster.scaling()
    assert [float(value) for value in table["hours"]] == [round(row["hours"], 1) for row in stored]
    assert table.index.tolist() == [(row["gpus"], row["failures"]) for row in stored]


def test_the_goals_of_the_cluster_are_told_as_they_came_out():
    rows = {
        (row["gpus"], row["failures"]): row
        for row in json.loads((root() / RESULTS / "cluster.json").read_text())["rows"]
    }
    assert rows[64, "no failures"]["share of linear"] > 0.9
    assert all(row["lost"] < 0.02 for (gpus, what), row in rows.items() if what == "a node an hour" and gpus >= 8)
