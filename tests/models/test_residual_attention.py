"""The Residual Attention Network: as deep along its trunk as ResNet, masked as the equation says."""

import pytest
import torch
from torch import nn

from arlrepro.models.arl_cnn import create
from arlrepro.models.blocks.of_torchvision import Bottleneck
from arlrepro.models.residual_attention import AttentionModule, SoftMask


def small_module(around: int = 0, trunk: int = 0) -> AttentionModule:
    return AttentionModule(lambda: Bottleneck(16, 4), 16, poolings=2, around=around, trunk=trunk)


@pytest.mark.parametrize("depth", ["14", "50"])
def test_the_trunk_has_as_many_bottlenecks_as_resnet(depth):
    units = {
        kind: [name for name, one in create(kind + depth).named_modules() if isinstance(one, Bottleneck)]
        for kind in ("resnet", "ran")
    }
    assert len([name for name in units["ran"] if "mask" not in name]) == len(units["resnet"])


def test_a_masks_smallest_map_is_one_side_in_all_stages():
    network, seen = create("ran50").eval(), []
    for stage in (network.layer1, network.layer2, network.layer3):
        stage[1].mask.down[-1].register_forward_hook(lambda _m, _i, output: seen.append(output.shape[2:]))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 224, 224))
    assert seen == [(7, 7)] * 3


@pytest.mark.parametrize("side", [16, 14, 7])
def test_a_mask_has_the_shape_of_the_map_and_lies_between_zero_and_one(side):
    mask = SoftMask(lambda: Bottleneck(16, 4), 16, poolings=2)(torch.randn(2, 16, side, side))
    assert mask.shape == (2, 16, side, side)
    assert 0 < mask.min() < mask.max() < 1


def test_a_mask_of_zero_leaves_the_trunk_as_it_is_and_one_of_one_doubles_it():
    module, x = small_module(), torch.rand(1, 16, 8, 8)
    last = module.mask.weigh[-1]
    nn.init.zeros_(last.weight)
    for bias, factor in ((-200.0, 1.0), (200.0, 2.0)):
        nn.init.constant_(last.bias, bias)
        torch.testing.assert_close(module(x), factor * x)


def test_units_stand_before_in_and_after_the_masked_trunk():
    module = small_module(around=1, trunk=2)
    assert [len(part) for part in (module.before, module.trunk, module.after)] == [1, 2, 1]
    assert [len(part) for part in (module.mask.down, module.mask.skip, module.mask.up)] == [2, 1, 2]
