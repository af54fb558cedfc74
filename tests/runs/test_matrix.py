"""The runs of a matrix are the same whether they are made in turn or side by side."""

import os
import signal
from dataclasses import replace

import pandas as pd
import pytest

from arlrepro.config import DataConfig
from arlrepro.errors import DatasetError, RunError
from arlrepro.profiles import SMOKE
from arlrepro.runs import matrix
from arlrepro.runs.matrix import Matrix, one_after_another, side_by_side
from arlrepro.runs.study import read_study


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """Makes a matrix of two short runs, of so many training images, in a folder of its own."""
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    monkeypatch.setattr(matrix, "cpu_count", lambda: 2)

    def make(name: str, training: int = 18) -> Matrix:
        data = DataConfig(
            source="synthetic", side=64, synthetic_training=training, synthetic_validation=9, synthetic_test=9
        )
        train = replace(SMOKE.experiment.train, batch_size=8)
        tiny = replace(SMOKE, name=name, experiment=replace(SMOKE.experiment, data=data, train=train))
        missing = [(experiment, 0) for experiment in tiny.experiments()]
        return Matrix(tiny, tmp_path / "runs" / name, missing, 0, device="cpu")

    return make


def test_runs_made_side_by_side_are_those_made_in_turn(two_runs):
    first, second = two_runs("together"), two_runs("in-turn")
    side_by_side(first)
    one_after_another(second)
    together, in_turn = (read_study(one.profile, one.folder).runs for one in (first, second))
    assert [run.id for run in together] == [run.id for run in in_turn]
    for one, other in zip(together, in_turn, strict=True):
        assert one.environment["threads"] == 1
        pd.testing.assert_frame_equal(one.predictions, other.predictions, rtol=0, atol=1e-4)


def test_runs_are_made_in_turn_where_memory_holds_one(two_runs, monkeypatch):
    made = []
    monkeypatch.setattr(matrix, "gb_of_training", lambda _: 10**6)
    monkeypatch.setattr(matrix, "one_after_another", made.append)
    only = two_runs("small")
    side_by_side(only)
    assert made == [only]


def test_what_ends_one_of_the_runs_is_said_as_if_it_were_alone(two_runs):
    with pytest.raises(DatasetError, match=r"batch"):
        side_by_side(two_runs("few", training=6))


def test_a_run_that_the_system_ends_is_one_line(two_runs, monkeypatch):
    monkeypatch.setattr(matrix, "_in_process", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RunError, match=r"^one of 2 runs side by side was ended from outside, .* checkpoint"):
        side_by_side(two_runs("killed"))


def test_larger_patches_take_more_memory_and_parts_of_a_batch_less():
    small = SMOKE.experiment
    large = replace(small, patches=replace(small.patches, side=2 * small.patches.side))
    shared = replace(small, train=replace(small.train, parts=2))
    assert matrix.gb_of_training(shared) < matrix.gb_of_training(small) < matrix.gb_of_training(large)
