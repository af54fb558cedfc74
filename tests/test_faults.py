"""The campaign of faults, in its short form: every fault is noticed or does no harm. `make faults` runs the whole."""

import json
import subprocess
import sys
from pathlib import Path

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


def test_the_page_shows_every_group_of_the_archived_campaign():
    archived = json.loads((root() / RESULTS / "faults.json").read_text())
    page = Path(root() / "book" / "reliability.md").read_text(encoding="utf8")
    assert list(archived) == [*GROUPS, TOTAL]
    for name in archived:
        for count in ("injected", "survived"):
            assert f"{{num}}`faults.json:{name}.{count}:,`" in page
