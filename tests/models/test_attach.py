"""ARL in anybody's network: nothing changed at α = 0, one scalar a block, on one network of each family."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from arlrepro.models.attach import add_attention

CPU = torch.device("cpu")

#: A network of each family, how many residual sums it has, and the stages in which they are.
TIMM = {
    "resnet18": (8, [1, 2, 3, 4]),
    "resnet26d": (8, [1, 2, 3, 4]),
    "resnext50_32x4d": (16, [1, 2, 3, 4]),
    "seresnet50": (16, [1, 2, 3, 4]),
    "resnetv2_50": (16, [1, 2, 3, 4]),
    "regnetx_002": (13, [1, 2, 3, 4]),
    "regnety_002": (13, [1, 2, 3, 4]),
    "efficientnet_b0": (9, [2, 3, 4, 5, 6]),
    "tf_efficientnet_lite0": (9, [2, 3, 4, 5, 6]),
    "mobilenetv2_050": (10, [2, 3, 4, 5, 6]),
    "mobilenetv3_small_050": (7, [2, 3, 4, 5]),
    "mobilenetv4_conv_small": (10, [5, 6]),
    "convnext_atto": (12, [1, 2, 3, 4]),
}
TORCHVISION = {
    "resnet18": (8, [1, 2, 3, 4]),
    "wide_resnet50_2": (16, [1, 2, 3, 4]),
    "regnet_y_400mf": (16, [1, 2, 3, 4]),
    "mobilenet_v2": (10, [2, 3, 4, 5, 6]),
    "mobilenet_v3_small": (6, [2, 3, 4, 5]),
    "efficientnet_b0": (9, [2, 3, 4, 5, 6]),
    "efficientnet_v2_s": (35, [1, 2, 3, 4, 5, 6]),
    "convnext_tiny": (18, [1, 2, 3, 4]),
}
FAMILIES = [
    *((f"timm {name}", *found) for name, found in TIMM.items()),
    *((f"torchvision {name}", *found) for name, found in TORCHVISION.items()),
]
EVERY = pytest.mark.parametrize("name", [name for name, *_ in FAMILIES])


def build(name: str) -> nn.Module:
    """A network from scratch, with stochastic depth where timm has it, and statistics as if it had seen data."""
    library, name = name.split()
    torch.manual_seed(0)
    if library == "timm":
        network = timm.create_model(name, num_classes=3, drop_path_rate=0.2)
    else:
        network = getattr(torchvision_models, name)(num_classes=3)
    for key, value in network.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def outcome(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Logits in evaluation and in training, and the gradient of every weight but α."""
    with torch.no_grad():
        evaluated = network.eval()(images)
    torch.manual_seed(3)  # of stochastic depth
    trained = network.train()(images)
    trained.square().sum().backward()
    gradients = [value.grad for name, value in network.named_parameters() if not name.endswith("alpha")]
    return [evaluated, trained, *gradients]


@EVERY
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_with_alpha_zero_outputs_and_gradients_are_the_untouched_networks_to_the_bit(name, layout, images):
    network = build(name).to(memory_format=layout)
    converted = add_attention(copy.deepcopy(network), alpha=0.0)
    pairs = zip(outcome(network, images), outcome(converted, images), strict=True)
    assert all(torch.equal(untouched, ours) for untouched, ours in pairs)
