"""What a cluster is not asked for, and where checkpoints lie: no Ray is needed here."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import arlrepro
from arlrepro.errors import ConfigError
from arlrepro.runs.cluster import nodes
from arlrepro.runs.cluster.engine import Checkpoints
from arlrepro.runs.cluster.nodes import Resources


def test_the_package_that_is_not_here_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as caught, nodes.connected("auto"):
        pass
    assert str(caught.value) == "--on auto needs a package that is not here: pip install arlrepro[cluster]"


@pytest.mark.parametrize("asked", [{"cpus_per_run": 0.0}, {"cpus_per_run": math.nan}])
def test_a_run_without_a_cpu_is_refused(asked):
    with pytest.raises(ConfigError, match=r"^--cpus-per-run (0|nan): a run needs more than none$"):
        Resources("auto", **asked)


@pytest.mark.parametrize("gpus", [-1.0, 1.5, math.inf, math.nan])
def test_gpus_that_nobody_can_give_are_refused(gpus):
    with pytest.raises(ConfigError, match=rf"^--gpus-per-run {gpus:g}: give a fraction of one GPU, or a whole number"):
        Resources("auto", gpus_per_run=gpus)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError) as caught, nodes.connected("slurm"):
        pass
    assert str(caught.value) == "unknown engine 'slurm'; known: local, ray, auto, ray://HOST:10001"


def test_a_client_whose_process_is_dead_at_once_connects_again(monkeypatch):
    calls = []

    def init(**_settings):
        calls.append("init")
        if len(calls) == 1:
            raise ConnectionAbortedError("Starting Ray client server failed.")

    ray = ModuleType("ray")
    ray.init, ray.shutdown = init, lambda: calls.append("shutdown")
    monkeypatch.setitem(sys.modules, "ray", ray)
    with nodes.connected("ray"):
        assert calls == ["init", "shutdown", "init"]


def test_the_last_checkpoint_is_kept_until_it_is_dropped(tmp_path):
    store = Checkpoints(str(tmp_path / "storage"))
    assert store.kept("run") is None
    store.keep("run", b"first")
    store.keep("run", b"second")
    assert Checkpoints(f"file://{tmp_path}/storage").kept("run") == b"second"
    assert [path.name for path in (tmp_path / "storage").iterdir()] == ["run"]
    store.drop("run")
    store.drop("run")
    assert store.kept("run") is None


def test_a_storage_of_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match=r"^--storage cloud://runs: cannot be used \(.*\); name another place$"):
        Checkpoints("cloud://runs")


def test_code_that_differs_anywhere_in_the_package_is_another_version(tmp_path):
    told = nodes.versions()
    assert set(told) == {"arlrepro", "torch", "Python"}
    package = Path(arlrepro.__file__).parent
    shutil.copytree(package, tmp_path / "arlrepro", ignore=shutil.ignore_patterns("__pycache__"))
    ask = [sys.executable, "-c", "from arlrepro.runs.cluster import nodes; print(nodes.versions()['arlrepro'])"]
    there = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(tmp_path)}, "text": True}
    assert subprocess.check_output(ask, **there).strip() == told["arlrepro"]
    with (tmp_path / "arlrepro" / "models" / "arl_cnn.py").open("a") as file:
        file.write("\n")
    assert subprocess.check_output(ask, **there).strip() != told["arlrepro"]
