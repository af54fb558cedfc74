"""The networks: equal to torchvision's where they must be, and the attention term as the equation says."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50

from arlrepro.errors import ConfigError
from arlrepro.models import (
    FusedAttentionResidual,
    attention_residual,
    create,
    load_weights,
    spatial_attention,
)


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


def test_fused_network_equals_the_equation_as_it_stands(patches):
    torch.manual_seed(0)
    fused = create("arl_cnn14", outputs=2, alpha=0.5)
    plain = create("arl_cnn14", outputs=2, alpha=0.5, fused=False)
    plain.load_state_dict(fused.state_dict())
    torch.testing.assert_close(fused(patches), plain(patches), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.3, -2.0])
def test_gradients_of_the_fused_form_are_the_numerical_ones(alpha):
    generator = torch.Generator().manual_seed(3)
    shape = (2, 3, 3, 2)
    x = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    f = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    a = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FusedAttentionResidual.apply, (x, f, a))
    torch.testing.assert_close(FusedAttentionResidual.apply(x, f, a), attention_residual(x, f, a).relu())


@pytest.mark.parametrize("name", ["resnet14", "arl_cnn14", "resnet50", "arl_cnn50"])
def test_every_parameter_receives_a_gradient(name, patches):
    network = create(name, outputs=2)
    network(patches).sum().backward()
    without = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


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


def test_residual_stream_is_float32_under_autocast(patches):
    network = create("arl_cnn14")
    kinds = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda _module, _inputs, output: kinds.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(patches)
    assert kinds == [torch.float32] * 4


def test_weights_of_a_file_load_by_name_and_keep_alpha(tmp_path, patches):
    reference = resnet50()
    save_file(shrunk_state(reference), tmp_path / "resnet50.safetensors")
    network = create("arl_cnn50", outputs=2, alpha=0.25, weights=str(tmp_path / "resnet50.safetensors"))
    assert torch.equal(network.layer4[2].conv3.weight, reference.layer4[2].conv3.weight)
    assert network.layer4[2].alpha == 0.25
    assert network.fc.weight.shape == (2, 2048)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(1), "head.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"do not fit resnet14: 2 names or shapes of theirs are not the network's"):
        load_weights(create("resnet14"), str(tmp_path / "w.safetensors"), "resnet14")


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"^unknown network 'vgg'; known: resnet14, arl_cnn14, resnet50, arl_cnn50$"):
        create("vgg")
    with pytest.raises(ConfigError, match=r"^there are no ImageNet weights for resnet14; use weights none"):
        create("resnet14", weights="imagenet")
    with pytest.raises(ConfigError, match=r"no such file; give none, imagenet, or the path of a safetensors file$"):
        create("resnet14", weights=str(tmp_path / "none.safetensors"))
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(ConfigError, match=r"text.safetensors: not a safetensors file"):
        create("resnet14", weights=str(tmp_path / "text.safetensors"))
