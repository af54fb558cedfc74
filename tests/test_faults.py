"""The campaign of faults, in its short form: every fault is noticed or does no harm. `make faults` runs the whole."""

import json
import subprocess
import sys

import pytest

from arlrepro.paths import RESULTS, root
from benchmarks.faults.__main__ import GROUPS, TOTAL

TRAININGS = [name for name in GROUPS if name.startswith("training")]


@pytest.mark.parametrize(
    "names", [[name for name in GROUPS if name not in TRAININGS], pytest.param(TRAININGS, marks=pytest.mark.slow)]
)
def test_every_fault_is_survived(tmp_path, names):
    """In a process of its own: it forks."""
    command = [sys.executable, "-m", "benchmarks.faults", "--faults", "3", "--out", tmp_path / "faults.json"]
    done = subprocess.run([*command, "--groups", *names], capture_output=True, text=True, cwd=root())
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "faults.json").read_text())
    assert list(table) == [*names, TOTAL]
    for name, counted in table.items():
        assert 0 < counted["survived"] == counted["injected"], name


def test_the_archived_campaign_has_every_group():
    assert list(json.loads((root() / RESULTS / "faults.json").read_text())) == [*GROUPS, TOTAL]
