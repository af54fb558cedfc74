"""What others do with a network as `create` gives it: export, compile, differentiate twice, run in 16 bits."""

import copy
import os
import shutil
import warnings
from pathlib import Path

import jaxtyping
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torchvision.models.feature_extraction import create_feature_extractor

from arlrepro.models.arl_cnn import ARLBlock, create
from arlrepro.models.attach import add_attention, attention_blocks
from arlrepro.models.blocks.arl_block import MASK_FUNCTIONS, attention_residual
from arlrepro.models.blocks.fused import SOFTMAX_OVER, FusedAttentionResidual
from helpers import families
from helpers.families import FAMILIES


def of_timm(name: str, **settings: object) -> nn.Module:
    return add_attention(timm.create_model(name, num_classes=2, **settings), alpha=0.5)


#: As `create` gives them, and families with another sum: no activation after it, layer norm and linear layers.
NETWORKS = {
    "arl_cnn14": lambda: create("arl_cnn14", outputs=2, alpha=0.5),
    "arl_efficientnet_lite0": lambda: create("arl_efficientnet_lite0", outputs=2, alpha=0.5),
    "resnetv2_50": lambda: add_attention(
        timm.create_model("resnetv2_50", num_classes=2, layers=(1, 1, 1, 1)), alpha=0.5
    ),
    "convnext_atto": lambda: add_attention(timm.create_model("convnext_atto", num_classes=2), alpha=0.5),
}
EVERY = pytest.mark.parametrize("name", NETWORKS)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


@pytest.fixture(scope="module")
def patches() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def more_patches() -> Tensor:
    return torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def unchecked(monkeypatch) -> None:
    """No check of types, which a graph's stand-ins for tensors would not pass."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def plain(network: nn.Module) -> nn.Module:
    """The same network by the equation as it stands."""
    other = copy.deepcopy(network)
    for block in attention_blocks(other).values():
        block.fused = False
    return other


# Files and graphs


@EVERY
def test_a_traced_network_takes_any_number_of_patches(name, patches, more_patches):
    network = build(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's own: that it is deprecated, and of timm's padding
        traced = torch.jit.trace(network, patches)
    with torch.no_grad():
        same(traced(more_patches), network(more_patches))


@EVERY
@pytest.mark.parametrize("gradients", [True, False])
def test_an_exported_network_takes_any_number_of_patches(name, gradients, patches, more_patches):
    with torch.set_grad_enabled(gradients):
        exports(build(name), patches, more_patches)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_exported(family, patches, more_patches, tmp_path):
    network = add_attention(families.build(family), alpha=0.5).eval()
    exports(network, patches, more_patches)
    runs_in_onnxruntime(network, patches, more_patches, tmp_path / "network.onnx")


def exports(network: nn.Module, patches: Tensor, more_patches: Tensor) -> None:
    exported = torch.export.export(network, (patches,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    same(exported(more_patches), network(more_patches))


@pytest.mark.parametrize("name", ["arl_cnn14", "arl_efficientnet_lite0"])
def test_onnxruntime_gives_the_same_logits(name, patches, more_patches, tmp_path):
    runs_in_onnxruntime(build(name), patches, more_patches, tmp_path / "network.onnx")


def runs_in_onnxruntime(network: nn.Module, patches: Tensor, more_patches: Tensor, path: Path) -> None:
    """Written with a free number of patches, and run with another."""
    onnxruntime, _ = pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            network,
            (patches,),
            path,
            input_names=["patches"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 64, 64]
    (found,) = session.run(None, {"patches": more_patches.numpy()})
    with torch.no_grad():
        same(torch.from_numpy(found), network(more_patches))


def same(found: Tensor, expected: Tensor) -> None:
    """To a ten-thousandth of the largest logit."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.detach().abs().max().clip(1)))


@EVERY
def test_compiled_graphs_hold_the_whole_network(unchecked, name, patches):
    """Traced as `torch.compile` does, without the compiler: no break in the graph, the same logits and gradients."""
    network = build(name)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    found = []
    for one in (compiled, plain(network)):
        logits = one(patches)
        logits.sum().backward()
        found.append(logits)
    same(*found)
    assert all(value.grad is not None for value in network.parameters())
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="needs a compiler, g++")
def test_a_compiled_block_gives_the_same_output_and_gradients(unchecked):
    torch.manual_seed(0)
    block = ARLBlock(16, 4, alpha=0.5).to(memory_format=torch.channels_last)
    x = torch.randn(2, 16, 8, 8).to(memory_format=torch.channels_last)
    found = []
    for one in (torch.compile(copy.deepcopy(block)), block):
        one.zero_grad()
        at_x = x.clone().requires_grad_()
        y = one(at_x)
        y.square().sum().backward()
        found.append([y, at_x.grad, *(value.grad for value in one.parameters())])
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)
    torch.compiler.reset()


def test_features_come_out_of_a_graph_of_torch_fx(unchecked, patches):
    network = build("arl_cnn14")
    found = create_feature_extractor(network, {"layer4": "map", "fc": "logits"})(patches)
    assert found["map"].shape == (2, 2048, 2, 2)
    assert torch.equal(found["logits"], network(patches))


# Derivatives


@EVERY
def test_gradients_of_gradients_are_those_of_the_equation(name, patches):
    """A penalty on the gradient at the image, as some regularisers have it."""
    found = []
    network = build(name).double()
    for one in (network, plain(network)):
        image = patches.double().requires_grad_()
        (gradient,) = torch.autograd.grad(one(image).sum(), image, create_graph=True)
        penalty = gradient.square().sum()
        found.append([penalty.detach(), *torch.autograd.grad(penalty, list(one.parameters()), materialize_grads=True)])
    smallest = 1e-9 * max(float(one.abs().max()) for one in found[1])
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=smallest)


@pytest.mark.parametrize("mask", SOFTMAX_OVER)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
def test_both_derivatives_of_the_fast_form_are_the_numerical_ones(mask, relu, layout):
    generator = torch.Generator().manual_seed(3)
    x, f = (torch.randn(2, 3, 3, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    inputs = [one.to(memory_format=layout).requires_grad_() for one in (x, f)]
    alpha = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    fused = FusedAttentionResidual.apply(*inputs, alpha, mask, relu)
    expected = attention_residual(*inputs, alpha, MASK_FUNCTIONS[mask])
    torch.testing.assert_close(fused, expected.relu() if relu else expected)
    assert fused.is_contiguous(memory_format=layout)
    assert torch.autograd.gradcheck(FusedAttentionResidual.apply, (*inputs, alpha, mask, relu))
    assert torch.autograd.gradgradcheck(FusedAttentionResidual.apply, (*inputs, alpha, mask, relu))


@EVERY
def test_functional_gradients_a_patch_are_those_of_autograd(name, patches):
    network = build(name)
    found = torch.func.vmap(torch.func.grad(lambda patch: network(patch[None])[0, 1]))(patches)
    image = patches.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network(image)[:, 1].sum(), image)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@EVERY
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # PyTorch's own, when it first loads its rules
def test_forward_derivatives_are_those_of_autograd(name, patches):
    network, direction = build(name).double(), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(network(forward_ad.make_dual(patches.double(), direction))).tangent
    image = patches.double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(image)[:, 1].sum(), image)
    torch.testing.assert_close(found[:, 1], (gradient * direction).sum(dim=(1, 2, 3)))


# Number formats


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_runs_and_learns_in_the_type_it_is_cast_to(name, dtype, patches):
    network = build(name).to(dtype)
    logits = network(patches.to(dtype))
    logits.float().square().sum().backward()
    assert logits.dtype == dtype
    assert all(value.grad is not None and value.grad.dtype == dtype for value in network.parameters())
