"""ARL networks by timm's own ways: its registry, its arguments, its checkpoints."""

import pytest
import timm
import torch
from safetensors.torch import save_file

import arlrepro.timm
from arlrepro.errors import ConfigError
from arlrepro.models.attach import attention_blocks


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_registry_lists_every_network_of_the_families():
    listed = set(timm.list_models("arl_*"))
    assert listed == {f"arl_{name}" for module in arlrepro.timm.MODULES for name in timm.list_models(module=module)}
    assert {
        "arl_resnet50",
        "arl_seresnet50",
        "arl_regnety_008",
        "arl_tf_efficientnet_lite0",
        "arl_convnext_tiny",
    } < listed


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_a_network_by_name_is_timms_with_attention(name, images):
    outputs = []
    for one in (timm.create_model, lambda name, **kw: timm.create_model(f"arl_{name}", alpha=0.0, **kw)):
        torch.manual_seed(0)
        network = one(name, num_classes=2).eval()
        with torch.no_grad():
            outputs.append(network(images))
    assert torch.equal(*outputs)
    assert attention_blocks(network)


def test_attention_is_set_by_the_arguments_of_add_attention():
    network = timm.create_model("arl_resnet18", where=[4], mask="channels", alpha=0.5, alpha_learned=False)
    blocks = attention_blocks(network)
    assert list(blocks) == ["layer4.0", "layer4.1"]
    assert all(one.mask == "channels" and one.alpha == 0.5 and not one.alpha.requires_grad for one in blocks.values())


@pytest.mark.parametrize(
    "name", ["resnet18", "regnety_002", "tf_efficientnet_lite0", "mobilenetv3_small_050", "convnext_atto"]
)
def test_features_of_every_stage_come_out(name, images):
    plain = timm.create_model(name, features_only=True)
    network = timm.create_model(f"arl_{name}", features_only=True, alpha=0.0).eval()
    assert network.feature_info.channels() == plain.feature_info.channels()
    network.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        pairs = zip(network(images), plain.eval()(images), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert attention_blocks(network)


def test_other_channels_and_classes_fit():
    network = timm.create_model("arl_resnet18", in_chans=1, num_classes=5)
    assert network(torch.randn(2, 1, 64, 64)).shape == (2, 5)
    assert network.get_classifier().out_features == 5


def test_pretrained_weights_load_and_leave_alpha():
    torch.manual_seed(1)
    published = timm.create_model("resnet18").state_dict()
    network = timm.create_model(
        "arl_resnet18", pretrained=True, num_classes=2, pretrained_cfg_overlay={"state_dict": dict(published)}
    )
    state = network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in published.items() if not name.startswith("fc."))
    assert state["layer1.0.alpha"] == torch.tensor(0.001)


def test_a_trained_network_comes_back_from_its_file(tmp_path, images):
    trained = timm.create_model("arl_resnet18", num_classes=2, alpha=0.25).eval()
    path = tmp_path / "trained.safetensors"
    save_file(trained.state_dict(), path)
    network = timm.create_model("arl_resnet18", num_classes=2, checkpoint_path=str(path)).eval()
    with torch.no_grad():
        assert torch.equal(network(images), trained(images))


def test_a_network_without_residual_sums_says_so():
    with pytest.raises(ConfigError, match=r"^MobileNetV3 has no residual sum of a known kind: looked at "):
        timm.create_model("arl_lcnet_050")


@pytest.mark.slow
def test_every_registered_network_is_built_or_has_no_residual_sum():
    """On the meta device, without numbers."""
    without = []
    for name in timm.list_models("arl_*"):
        try:
            with torch.device("meta"):
                assert attention_blocks(timm.create_model(name))
        except ConfigError:
            without.append(name.removeprefix("arl_").split("_")[0])
    assert set(without) == {"mobilenetv1", "lcnet", "test"}
