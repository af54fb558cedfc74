"""The precision rule: what is rounded to bfloat16 and what is not, with and without bfloat16 units."""

import pytest
import torch
import torch.nn.functional as F

from arlrepro.models import devices
from arlrepro.models.arl_cnn import create
from arlrepro.models.attach import attention_blocks
from arlrepro.models.blocks.arl_block import spatial_attention
from arlrepro.models.devices import RoundedConvolutions, autocast

CPU = torch.device("cpu")


def gradients_of(context, x, weight):
    """Value and gradients of a small convolution under a context."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    with context:
        out = F.conv2d(x, weight, padding=1)
    out.float().square().sum().backward()
    return out.detach(), x.grad, weight.grad


def test_rounded_convolutions_give_what_bfloat16_convolutions_give():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    ours = gradients_of(RoundedConvolutions(), x, weight)
    theirs = gradients_of(torch.autocast("cpu", torch.bfloat16), x, weight)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        # One unit in the last of bfloat16's eight bits, where the order of a sum tips a rounding.
        torch.testing.assert_close(one.float(), other.float(), rtol=2**-7, atol=2**-7 * float(other.abs().max()))


def test_rounded_convolutions_are_not_float32_convolutions():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    with RoundedConvolutions():
        rounded = F.conv2d(x, weight)
    assert (rounded.float() - F.conv2d(x, weight)).abs().max() > 1e-3


def test_float32_is_left_alone():
    x, weight = torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    with autocast(CPU, "fp32"):
        out = F.conv2d(x, weight)
    assert torch.equal(out, F.conv2d(x, weight))


@pytest.mark.parametrize("units", [True, False])
def test_the_blocks_add_in_float32_with_and_without_bfloat16_units(monkeypatch, units):
    monkeypatch.setattr(devices, "has_bfloat16_units", lambda: units)
    network = create("arl_cnn14").eval()
    seen = {}
    network.layer1[0].conv1.register_forward_hook(lambda _m, _i, out: seen.update(convolution=out.dtype))
    network.layer1[0].register_forward_hook(lambda _m, _i, out: seen.update(block=out.dtype))
    with torch.inference_mode(), autocast(CPU, "bf16"):
        network(torch.randn(1, 3, 64, 64))
    assert seen == {"convolution": torch.bfloat16, "block": torch.float32}


def terms_that_survive(network: torch.nn.Module, patches: torch.Tensor) -> dict[str, float]:
    """By stage: the sum over a block's output of what α = 0.01 adds to it, over the sum of α M x in float64.

    Each block sees the input that it has in the network; positions where the ReLU cuts are left out of both sums.
    """
    shares = {}
    for name, block in attention_blocks(network).items():
        seen = {}
        handles = [
            block.register_forward_pre_hook(lambda _m, inputs, seen=seen: seen.update(x=inputs[0])),
            block.bn3.register_forward_hook(lambda _m, _i, out, seen=seen: seen.update(residual=out)),
        ]
        with torch.inference_mode(), autocast(CPU, "bf16"):
            network(patches)
            for handle in handles:
                handle.remove()
            with_term = block(seen["x"]).double()
            shortcut = block.parts(seen["x"])[0].double()
            block.alpha.fill_(0.0)
            without = block(seen["x"]).double()
            block.alpha.fill_(0.01)
        term = 0.01 * spatial_attention(seen["residual"].double()) * shortcut
        is_on = without > 0
        shares[name] = float((with_term - without)[is_on].abs().sum() / term[is_on].abs().sum())
    return shares


def test_the_attention_term_survives_in_every_stage_under_the_rule_and_not_in_bfloat16(monkeypatch):
    torch.manual_seed(0)
    network = create("arl_cnn14", alpha=0.01).eval()
    patches = torch.randn(1, 3, 224, 224)
    under_the_rule = terms_that_survive(network, patches)
    assert list(under_the_rule) == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    assert list(under_the_rule.values()) == pytest.approx([1, 1, 1, 1], abs=0.01)

    monkeypatch.setattr("arlrepro.models.blocks.arl_block.NARROW", ())
    assert list(terms_that_survive(network, patches).values()) == [0, 0, 0, 0]
