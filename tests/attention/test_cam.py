"""Maps of any layer: they add up to the logit, agree with each other where theory says so, and leave no hook."""

from dataclasses import replace

import pytest
import torch

from arlrepro.attention import cam
from arlrepro.attention.cam import class_activation_maps, enlarged, gradient_maps, maps_of, mask_maps
from arlrepro.errors import ConfigError
from arlrepro.models.arl_cnn import create
from arlrepro.models.inference import Predictor
from arlrepro.models.structure import structure
from arlrepro.profiles import SMOKE
from arlrepro.registry import NETWORKS

EXPERIMENT = replace(SMOKE.experiment, train=replace(SMOKE.experiment.train, precision="fp32"))
BLOCKS = ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]


def hooks(network: torch.nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in network.modules() for kind in kinds)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create("arl_cnn14", outputs=2, alpha=0.5).eval()


@pytest.fixture(scope="module")
def patches() -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_class_activation_maps_add_up_to_the_logit(name, patches):
    network = create(name, outputs=2).eval()
    found = class_activation_maps(network, patches)
    with torch.no_grad():
        logits = network(patches)
    torch.testing.assert_close(
        found.mean(dim=(2, 3)) + structure(network).classifier.bias, logits, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("kind", ["grad_cam", "hires_cam"])
@pytest.mark.parametrize("name", ["resnet14", "arl_cnn14"])
def test_gradient_maps_of_the_last_stage_are_the_class_activation_maps(name, kind, patches):
    torch.manual_seed(2)
    network = create(name, outputs=2, alpha=0.5).eval()
    activation = class_activation_maps(network, patches)
    positions = activation.shape[2] * activation.shape[3]
    found = gradient_maps(network, patches, "layer4", kind, relu=False)
    torch.testing.assert_close(found * positions, activation.clone(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_gradient_maps(name, patches):
    network = create(name, outputs=1)
    found = gradient_maps(network, patches[:2], structure(network).stages[2])
    assert found.shape == (2, 1, 4, 4) and found.isfinite().all()
    assert hooks(network) == 0


@pytest.mark.parametrize("kind", cam.KINDS)
@pytest.mark.parametrize("layer", ["conv1", "layer1", "layer2.0.bn1", "layer3.0.conv2", "layer4"])
def test_every_layer_has_maps_and_keeps_no_hook(network, patches, layer, kind):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = gradient_maps(network, patches, layer, kind)
    assert found.shape[:2] == (3, 2)
    assert found.isfinite().all() and (found >= 0).all() and found.any()
    assert hooks(network) == 0
    assert all(module.inplace for module in network.modules() if isinstance(module, torch.nn.ReLU))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_batch_gives_the_maps_of_each_image_alone(network, patches):
    together = gradient_maps(network, patches, "layer3")
    alone = torch.cat([gradient_maps(network, one[None], "layer3") for one in patches])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-3)


def test_hooks_are_removed_even_after_an_error(network):
    wrong = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    for make in (class_activation_maps, mask_maps, lambda *given: gradient_maps(*given, "layer3")):
        with pytest.raises(RuntimeError):
            make(network, wrong)
    assert hooks(network) == 0


def test_an_unknown_layer_or_kind_is_said(network, patches):
    with pytest.raises(ConfigError) as error:
        gradient_maps(network, patches, "layer9")
    assert str(error.value) == (
        "no layer 'layer9' in the network; there are conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, "
        "avgpool, fc, and those inside them"
    )
    with pytest.raises(ConfigError, match=r"^unknown kind of map 'magic'; known: grad_cam, hires_cam, integrated_grad"):
        gradient_maps(network, patches, "layer3", "magic")
    with pytest.raises(ConfigError, match=r"^layer 'fc' gives \(2,\) an image, which is no map$"):
        gradient_maps(network, patches, "fc", "hires_cam")


def test_masks_are_in_units_of_a_flat_one(network, patches):
    found = mask_maps(network, patches)
    assert list(found) == BLOCKS
    for mask in found.values():
        torch.testing.assert_close(mask.mean(dim=(1, 2)), torch.ones(3), atol=1e-4, rtol=1e-4)
    assert mask_maps(create("resnet14"), patches) == {}


def test_a_map_is_enlarged_bilinearly():
    assert enlarged(torch.tensor([[[0.0, 4.0], [0.0, 4.0]]]), 4)[0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_maps_are_archived_for_both_classes_every_block_and_every_stage(network, validation):
    table = maps_of(Predictor(network, EXPERIMENT), validation)
    gradients = [f"grad_cam.layer{stage}" for stage in (1, 2, 3, 4)]
    assert set(table["map"]) == {"melanoma", "seborrheic_keratosis", *BLOCKS, *gradients}
    one = table[(table["image_id"] == validation.image_ids[3]) & (table["map"] == "layer1.0")]
    assert len(one) == 16 * 16
    assert one["value"].mean() == pytest.approx(1.0, abs=1e-4), "in units of a flat mask"


def test_without_captum_all_but_the_gradient_maps_are_archived(network, validation, monkeypatch):
    monkeypatch.setattr(cam, "captum_is_here", lambda: False)
    assert set(maps_of(Predictor(network, EXPERIMENT), validation)["map"]) == {
        "melanoma",
        "seborrheic_keratosis",
        *BLOCKS,
    }
