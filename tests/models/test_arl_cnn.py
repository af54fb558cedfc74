"""The networks: equal to torchvision's where they must be, and the attention term as the equation says."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet50

from arlrepro.config import MASKS
from arlrepro.errors import ConfigError
from arlrepro.models import devices
from arlrepro.models.arl_cnn import GatedBlock, create
from arlrepro.models.attach import attention_blocks
from arlrepro.models.blocks.arl_block import MASK_FUNCTIONS, attention_residual, spatial_attention
from arlrepro.models.blocks.fused import SOFTMAX_OVER, FusedAttentionResidual
from arlrepro.models.devices import autocast
from arlrepro.registry import NETWORKS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def patches() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def shrunk_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A torchvision state dict with the running statistics of a network that has seen data."""
    generator = torch.Generator().manual_seed(1)
    state = network.state_dict()
    for name, value in state.items():
        if name.endswith(("running_mean", "running_var")):
            state[name] = torch.rand(value.shape, generator=generator) + 0.5
    return state


def test_attention_sums_to_one_over_positions():
    mask = spatial_attention(torch.randn(2, 5, 7, 3))
    torch.testing.assert_close(mask.sum(dim=(2, 3)), torch.ones(2, 5))
    torch.testing.assert_close(mask.mean(dim=(2, 3)), torch.full((2, 5), 1 / 21))


def test_attention_of_a_shifted_channel_is_unchanged():
    features = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(spatial_attention(features + 100), spatial_attention(features))


@pytest.mark.parametrize("name", ["resnet50", "arl_cnn50"])
def test_network_with_alpha_zero_equals_torchvision_resnet50(name, patches):
    reference = resnet50(num_classes=3)
    reference.load_state_dict(shrunk_state(reference))
    network = create(name, outputs=3, alpha=0.0)
    network.load_state_dict(reference.state_dict(), strict=not name.startswith("arl"))
    reference.to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(network.eval()(patches), reference.eval()(patches))


@pytest.mark.parametrize("mask", MASKS)
def test_fused_network_equals_the_equation_as_it_stands(mask, patches):
    torch.manual_seed(0)
    fused = create("arl_cnn14", outputs=2, mask=mask, alpha=0.5)
    plain = create("arl_cnn14", outputs=2, mask=mask, alpha=0.5, fused=False)
    plain.load_state_dict(fused.state_dict())
    torch.testing.assert_close(fused(patches), plain(patches), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mask", SOFTMAX_OVER)
@pytest.mark.parametrize("alpha", [0.0, 0.3, -2.0])
def test_gradients_of_the_fused_form_are_the_numerical_ones(alpha, mask):
    generator = torch.Generator().manual_seed(3)
    shape = (2, 3, 3, 2)
    x = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    f = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FusedAttentionResidual.apply, (x, f, a, mask))
    fused = FusedAttentionResidual.apply(x, f, a, mask)
    torch.testing.assert_close(fused, attention_residual(x, f, a, MASK_FUNCTIONS[mask]).relu())


# Every network


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_receives_a_gradient(name, patches):
    network = create(name, outputs=2)
    network(patches).sum().backward()
    without = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_patches_of_several_sides(name):
    with torch.device("meta"), torch.inference_mode():
        network = create(name, outputs=2)
        assert {network(torch.empty(1, 3, side, side)).shape for side in (64, 128, 224)} == {(1, 2)}


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name.endswith("14")])
def test_every_network_adds_in_float32_under_the_precision_rule(monkeypatch, name, units):
    monkeypatch.setattr(devices, "has_bfloat16_units", lambda: units)
    network, seen = create(name), []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with autocast(CPU, "bf16"):
        logits = network(torch.randn(2, 3, 64, 64))
    logits.float().sum().backward()
    assert seen == [torch.float32] * 4
    assert all(value.grad is not None for value in network.parameters())


@pytest.mark.parametrize("name", ["arl_cnn14", "se_resnet14", "ran14", "cbam_resnet14", "eca_resnet14", "arl_cnn50"])
def test_what_a_network_shares_with_resnet_starts_from_the_same_draws(name):
    torch.manual_seed(4)
    resnet = create(f"resnet{name[-2:]}").state_dict()
    torch.manual_seed(4)
    other = create(name).state_dict()
    assert all(torch.equal(value, other[key]) for key, value in resnet.items())


@pytest.mark.parametrize("name", ["se_resnet14", "eca_resnet14", "cbam_resnet14"])
def test_a_gate_weighs_the_residual_and_not_the_shortcut(name):
    block = create(name).layer1[0].eval()
    assert isinstance(block, GatedBlock)
    x = torch.randn(1, 64, 16, 16)
    with torch.no_grad():
        shortcut, plain = super(GatedBlock, block).parts(x)
        gate = block.parts(x)[1] / plain
        assert 0 < gate.nanmean() < 1
        torch.testing.assert_close(block(x), (shortcut + gate.nan_to_num() * plain).relu())


# The ARL block's variants


def loss_and_gradients(network: nn.Module, patches: torch.Tensor) -> list[torch.Tensor]:
    """The logits and the gradient of every weight but α."""
    logits = network(patches)
    F.softplus(logits).mean().backward()
    return [logits, *(value.grad for name, value in network.named_parameters() if not name.endswith("alpha"))]


@pytest.mark.parametrize("mask", MASKS)
def test_without_its_term_an_arl_cnn_is_resnet_to_the_last_bit(mask, patches):
    torch.manual_seed(2)
    resnet = create("resnet14", outputs=2)
    arl = create("arl_cnn14", outputs=2, mask=mask, alpha=0.0, alpha_learned=False)
    arl.load_state_dict(resnet.state_dict(), strict=False)
    pairs = zip(loss_and_gradients(resnet, patches), loss_and_gradients(arl, patches), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_masks_are_those_that_the_config_names():
    assert tuple(MASK_FUNCTIONS) == MASKS


def test_a_mask_over_channels_sums_to_one_at_each_position():
    mask = MASK_FUNCTIONS["channels"](torch.randn(2, 5, 7, 3))
    torch.testing.assert_close(mask.sum(dim=1), torch.ones(2, 7, 3))


def test_without_a_mask_the_term_is_a_factor_on_the_shortcut():
    x, f = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    found = attention_residual(x, f, torch.tensor(0.25), MASK_FUNCTIONS["none"])
    torch.testing.assert_close(found, 1.25 * x + f)


def test_chosen_stages_have_the_term_and_the_others_are_resnets():
    blocks = attention_blocks(create("arl_cnn50", stages=(1, 4)))
    assert list(blocks) == [*(f"layer1.{place}" for place in range(3)), *(f"layer4.{place}" for place in range(3))]


@pytest.mark.parametrize(("resnet", "arl", "blocks"), [("resnet14", "arl_cnn14", 4), ("resnet50", "arl_cnn50", 16)])
def test_arl_cnn_has_one_parameter_a_block_more_than_resnet(resnet, arl, blocks):
    count = {name: sum(p.numel() for p in create(name).parameters()) for name in (resnet, arl)}
    assert count[arl] == count[resnet] + blocks
    assert sum(key.endswith("alpha") for key, _ in create(arl).named_parameters()) == blocks


def test_fixed_alpha_is_no_trained_parameter():
    trained = [key for key, value in create("arl_cnn14", alpha_learned=False).named_parameters() if value.requires_grad]
    assert not any(key.endswith("alpha") for key in trained)


def test_attention_term_survives_a_float32_stream_and_not_a_bfloat16_one():
    shortcut, residual = torch.rand(1, 8, 28, 28) + 1, torch.randn(1, 8, 28, 28)
    alpha = torch.tensor(0.01)
    without = torch.zeros_like(alpha)
    wide = attention_residual(shortcut, residual, alpha) - attention_residual(shortcut, residual, without)
    assert (wide != 0).float().mean() > 0.9
    x, f = shortcut.bfloat16(), residual.bfloat16()
    narrow = (x + f + alpha.bfloat16() * spatial_attention(f) * x) - (x + f)
    assert (narrow != 0).float().mean() < 0.1


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ConfigError, match=rf"^unknown network 'vgg'; known: {', '.join(NETWORKS)}$"):
        create("vgg")
    with pytest.raises(ConfigError, match=r"^unknown mask 'rows'; known: positions, channels, sigmoid, none$"):
        create("arl_cnn14", mask="rows")
    with pytest.raises(ConfigError, match=r"^unknown stage 5; known: 1, 2, 3, 4$"):
        create("arl_cnn14", stages=(4, 5))


@pytest.mark.parametrize("stages", [(), (2, 1), (3, 3)])
def test_stages_are_named_once_and_in_order(stages):
    with pytest.raises(ConfigError, match=r"^network.stages is \[.*\]; name at least one, each once, in order$"):
        create("arl_cnn14", stages=stages)
