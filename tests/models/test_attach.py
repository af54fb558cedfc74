"""ARL in anybody's network: nothing changed at α = 0, one scalar a block, on one network of each family."""

import copy
import pickle

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import Tensor, nn

from arlrepro.errors import ConfigError
from arlrepro.models import devices
from arlrepro.models.arl_cnn import create
from arlrepro.models.attach import add_attention, add_in_float32, attention_blocks
from arlrepro.models.blocks.arl_block import ResidualSum, attention_residual
from arlrepro.models.devices import autocast
from helpers.families import FAMILIES, build

CPU = torch.device("cpu")
EVERY = pytest.mark.parametrize("family", FAMILIES)


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


# Every family


def changes_nothing(network: nn.Module, images: Tensor) -> bool:
    """Whether attention with α = 0 leaves logits and gradients as they are, to the bit."""
    converted = add_attention(copy.deepcopy(network), alpha=0.0)
    pairs = zip(outcome(network, images), outcome(converted, images), strict=True)
    return all(torch.equal(untouched, ours) for untouched, ours in pairs)


@EVERY
def test_with_alpha_zero_outputs_and_gradients_are_the_untouched_networks_to_the_bit(family, images):
    assert changes_nothing(build(family), images)


@pytest.mark.parametrize("family", ["timm EfficientNet-Lite", "timm ConvNeXt", "torchvision ResNet, basic"])
def test_with_alpha_zero_nothing_changes_in_channels_last_layout_either(family, images):
    assert changes_nothing(build(family).to(memory_format=torch.channels_last), images)


@EVERY
def test_every_residual_sum_has_one_scalar_more_and_weights_keep_their_names(family):
    _, sums, stages = FAMILIES[family]
    network = build(family)
    before = dict(network.state_dict())
    blocks = attention_blocks(add_attention(network))
    after = network.state_dict()
    assert len(blocks) == sums
    assert [name for name in after if name not in before] == [f"{name}.alpha" for name in blocks]
    assert all(after[name].data_ptr() == value.data_ptr() for name, value in before.items())
    assert all(block.alpha.shape == () for block in blocks.values())
    of_each = [set(attention_blocks(add_attention(build(family), where=[stage]))) for stage in stages]
    assert set.union(*of_each) == set(blocks) and sum(map(len, of_each)) == sums


@EVERY
def test_the_fast_form_gives_the_equations_logits_and_gradients_and_every_alpha_has_one(family, images):
    fused = add_attention(build(family).double(), alpha=0.5).eval()
    plain = copy.deepcopy(fused)
    for block in attention_blocks(plain).values():
        block.fused = False
    found = []
    for network in (fused, plain):
        logits = network(images.double())
        logits.mean().backward()
        found.append([logits.detach(), *(value.grad for value in network.parameters())])
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-6 * float(reference.abs().max()))
    assert all(block.alpha.grad for block in attention_blocks(fused).values())


@EVERY
def test_published_weights_load_before_or_after_and_a_trained_state_comes_back(family, images):
    published = build(family)
    network = FAMILIES[family][0]()
    missing, unexpected = add_attention(network, alpha=0.5).load_state_dict(published.state_dict(), strict=False)
    assert missing == [f"{name}.alpha" for name in attention_blocks(network)] and not unexpected
    before = add_attention(published, alpha=0.5)
    again = add_attention(FAMILIES[family][0](), alpha=0.0)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        expected = before.eval()(images)
        assert torch.equal(network.eval()(images), expected)
        assert torch.equal(again.eval()(images), expected)


@EVERY
def test_a_converted_network_is_copied_and_pickled_whole(family, images):
    network = add_attention(build(family), alpha=0.5).eval()
    with torch.no_grad():
        expected = network(images)
        assert torch.equal(copy.deepcopy(network)(images), expected)
        assert torch.equal(pickle.loads(pickle.dumps(network))(images), expected)


# What a block adds up


@EVERY
def test_a_block_gives_the_equation_of_its_two_parts(family, images):
    network, seen = add_attention(build(family), alpha=0.5).eval(), []
    block = list(attention_blocks(network).values())[-1]
    block.register_forward_hook(lambda _block, inputs, output: seen.extend([*inputs, output]))
    with torch.no_grad():
        network(images)
        shortcut, residual = block.parts(seen[0].clone())
        y = attention_residual(shortcut, residual, block.alpha)
        y = getattr(block, block.activation_name)(y) if block.activation_name else y
    torch.testing.assert_close(seen[1], y, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(seen[1], attention_residual(shortcut, residual, torch.tensor(0.0)), atol=1e-3)


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("convert", [add_attention, add_in_float32])
@pytest.mark.parametrize("family", ["timm EfficientNet-Lite", "timm ConvNeXt", "torchvision ResNet, basic"])
def test_sums_are_float32_under_autocast_with_attention_and_without(monkeypatch, family, convert, units):
    monkeypatch.setattr(devices, "has_bfloat16_units", lambda: units)
    network, seen = convert(build(family)), []
    for block in [one for one in network.modules() if isinstance(one, ResidualSum)]:
        block.register_forward_hook(lambda _block, _inputs, output: seen.append(output.dtype))
    with autocast(CPU, "bf16"):
        logits = network(torch.randn(2, 3, 64, 64))
    logits.float().sum().backward()
    assert seen == [torch.float32] * FAMILIES[family][1]
    assert all(value.grad is not None for value in network.parameters())


def test_sums_in_float32_alone_add_nothing_to_the_state(images):
    network = build("timm EfficientNet-Lite").eval()
    names = list(network.state_dict())
    with torch.no_grad():
        before = network(images)
        assert torch.equal(add_in_float32(network)(images), before)
    assert list(network.state_dict()) == names and not attention_blocks(network)


def test_stochastic_depth_drops_the_attention_term_with_the_residual(images):
    network = add_attention(build("timm EfficientNet-Lite"), alpha=0.5)
    block = network.blocks[1][1]
    block.drop_path = DropPath(0.5, scale_by_keep=False)
    block.eval()
    x = torch.randn(16, 24, 8, 8)
    kept = block(x)  # in evaluation nothing is dropped
    block.drop_path.train()
    torch.manual_seed(0)
    changed = (block(x) != x).flatten(1).any(dim=1)
    assert 0 < changed.sum() < 16
    torch.manual_seed(0)
    torch.testing.assert_close(block(x)[changed], kept[changed])


def test_a_layer_scale_near_zero_makes_the_mask_flat():
    block = add_attention(timm.create_model("convnext_atto"), alpha=0.5).eval().stages[0].blocks[0]
    assert block.gamma.detach().abs().max() < 1e-5
    x = torch.randn(1, block.gamma.numel(), 4, 4)
    torch.testing.assert_close(block(x), x * (1 + 0.5 / 16), rtol=1e-3, atol=1e-3)


def test_a_hook_on_the_last_relu_sees_it_run(images):
    network, seen = create("arl_cnn14").eval(), []
    network.layer4[0].relu.register_forward_hook(lambda _relu, _inputs, output: seen.append(output.shape[1]))
    with torch.no_grad():
        network(images)
    assert seen == [512, 512, 2048]


# Which blocks


def test_blocks_are_chosen_by_a_function_of_name_and_block():
    network = add_attention(build("timm ResNet, basic"), where=lambda name, block: block.downsample is not None)
    assert list(attention_blocks(network)) == ["layer2.0", "layer3.0", "layer4.0"]


def test_alpha_has_the_type_of_the_weights_and_is_learned_or_not():
    network = add_attention(build("timm ResNet, basic").double(), alpha=0.25, alpha_learned=False)
    assert {
        (one.alpha.dtype, one.alpha.item(), one.alpha.requires_grad) for one in attention_blocks(network).values()
    } == {(torch.float64, 0.25, False)}


def test_a_network_without_residual_sums_says_what_was_looked_at():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Linear(8, 1)))
    for convert in (add_attention, add_in_float32):
        with pytest.raises(
            ConfigError,
            match=r"^Sequential has no residual sum of a known kind: looked at Conv2d, Linear, ReLU; "
            r"known: torchvision\.models\.resnet\.BasicBlock, torchvision\.models\.resnet\.Bottleneck, .*$",
        ):
            convert(network)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"where": [5]}, r"^unknown stage 5; known: 1, 2, 3, 4$"),
        ({"where": []}, r"^where chooses none of the 8 blocks of ResNet: layer1\.0, layer1\.1, .*, \.\.\.$"),
        ({"where": lambda name, block: False}, r"^where chooses none of the 8 blocks of ResNet: "),
        ({"where": "layer4"}, r"^where is 'layer4'; give 'all', stages as numbers, or a function of a block's name"),
        ({"mask": "rows"}, r"^unknown mask 'rows'; known: positions, channels, sigmoid, none$"),
    ],
)
def test_what_is_unknown_is_refused_and_the_network_left_as_it_was(settings, message):
    network = build("timm ResNet, basic")
    with pytest.raises(ConfigError, match=message):
        add_attention(network, **settings)
    assert not any(isinstance(one, ResidualSum) for one in network.modules())


def test_attention_is_added_once():
    message = r"^ResNet has attention already, in 4 blocks: layer1\.0, layer2\.0, layer3\.0, layer4\.0$"
    for network in (create("arl_cnn14"), add_attention(build("torchvision ResNeXt"))):
        with pytest.raises(ConfigError, match=message):
            add_attention(network)
