"""The networks from a checkout by `torch.hub`."""

import importlib.util
from pathlib import Path

import pytest
import torch

from arlrepro.models.arl_cnn import create
from arlrepro.registry import NETWORKS

ROOT = Path(__file__).parents[1]


def load(name: str, *given: object, **settings: object) -> torch.nn.Module:
    return torch.hub.load(str(ROOT), name, *given, source="local", **settings)


@pytest.mark.parametrize("name", ["arl_cnn14", "arl_efficientnet_lite0"])
def test_a_network_with_its_weights_comes_out_of_a_checkout(name, tmp_path):
    trained, patches = create(name, outputs=2, alpha=0.5), torch.randn(1, 3, 64, 64)
    path = tmp_path / "trained.pth"
    torch.save(trained.state_dict(), path)
    network = load(name, outputs=2, weights=str(path))
    with torch.no_grad():
        assert torch.equal(network.eval()(patches), trained.eval()(patches))


def test_entry_points_are_the_networks_and_add_attention():
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    entries = {name for name in dir(hubconf) if not name.startswith("_") and callable(getattr(hubconf, name))}
    assert entries == {*NETWORKS, "add_attention"}
    assert all(getattr(hubconf, name).__doc__ for name in NETWORKS)


def test_a_network_of_ones_own_gets_attention():
    network = load("add_attention", create("resnet14"), alpha=0.5)
    assert network.layer4[0].alpha == 0.5
