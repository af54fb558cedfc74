"""What a cluster is not asked for, and where checkpoints lie: no Ray is needed here."""

import sys

import pytest

from arlrepro.errors import ConfigError
from arlrepro.runs.cluster import nodes
from arlrepro.runs.cluster.engine import Checkpoints


def test_the_package_that_is_not_here_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError) as caught, nodes.connected("auto"):
        pass
    assert str(caught.value) == "--on auto needs a package that is not here: pip install arlrepro[cluster]"


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


def test_versions_tell_other_code_from_this():
    told = nodes.versions()
    assert set(told) == {"arlrepro", "torch", "Python"}
    assert told == nodes.versions()
