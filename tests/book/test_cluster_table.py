"""The archived simulation of a cluster as the book shows it."""

import json
import math
import re

import pytest

from arlrepro.book.tables import cluster
from arlrepro.paths import RESULTS, root
from arlrepro.runs.cluster.engine import RayEngine


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
    assert all(row["lost"] < 0.02 for (_, what), row in rows.items() if what == "a node an hour")


def test_equal_runs_reach_what_waves_of_whole_runs_allow():
    stored = json.loads((root() / RESULTS / "cluster.json").read_text())
    runs = stored["assumed"]["runs"]
    for row in stored["rows"]:
        if row["failures"].endswith("equal length"):
            waves = math.ceil(runs / row["gpus"])
            assert row["share of linear"] == pytest.approx(runs / (waves * row["gpus"]), rel=1e-3)


def test_the_page_on_clusters_tells_the_rows_that_it_means():
    rows = json.loads((root() / RESULTS / "cluster.json").read_text())["rows"]
    page = (root() / "book" / "cluster.md").read_text()
    told = {int(number): rows[int(number)] for number in re.findall(r"cluster\.json:rows\.(\d+)\.", page)}
    assert {number: (row["gpus"], row["failures"]) for number, row in told.items()} == {
        24: (64, "no failures"),
        26: (64, "a node an hour"),
        27: (64, "no failures, runs of equal length"),
    }


def test_checkpoints_were_simulated_as_often_as_the_engine_writes_them():
    stored = json.loads((root() / RESULTS / "cluster.json").read_text())["assumed"]
    assert stored["checkpoint, minutes"] * 60 == RayEngine.checkpoint_every
