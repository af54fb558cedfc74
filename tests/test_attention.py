"""Attention measured: maps that add up to the logit, shares a reader can count, hooks that are gone again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from arlrepro.attention import (
    arl_blocks,
    class_activation_maps,
    focus,
    maps_of,
    removal,
    share_inside,
    term_sizes,
    watched_blocks,
    without_attention,
)
from arlrepro.config import SMOKE
from arlrepro.models import create, spatial_attention
from arlrepro.patches import evaluation_boxes
from arlrepro.predict import score

EXPERIMENT = replace(SMOKE.experiment, train=replace(SMOKE.experiment.train, precision="fp32"))
BLOCKS = ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]


def hooks(network: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create("arl_cnn14", outputs=2, alpha=0.5).eval()


def test_class_activation_maps_add_up_to_the_logit(network):
    patches = torch.randn(3, 3, 64, 64)
    maps = class_activation_maps(network, patches)
    with torch.no_grad():
        logits = network(patches)
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + network.fc.bias, logits, atol=1e-4, rtol=1e-4)


def test_share_inside_is_three_quarters():
    maps = torch.tensor([[[4.0, 1.0], [2.0, 1.0]]])  # above the lowest value: 3, 0, 1, 0
    inside = torch.tensor([[[True, True], [False, False]]])
    assert share_inside(maps, inside).item() == 0.75


def test_a_map_that_ignores_the_lesion_has_the_lesions_share_of_the_area():
    maps = torch.ones(1, 4, 4)
    maps[0, :, ::2] = 0
    inside = torch.zeros(1, 4, 4, dtype=torch.bool)
    inside[0, :1] = True
    assert share_inside(maps, inside).item() == 0.25


def test_a_flat_map_has_no_share():
    assert share_inside(torch.ones(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)).isnan().all()


def test_focus_has_a_row_a_lesion(network, validation):
    masks = np.zeros((len(validation), 64, 64), dtype=bool)
    masks[:, 16:48, 16:48] = True
    table = focus(network, validation, masks, EXPERIMENT)
    assert table["image_id"].tolist() == list(validation.image_ids)
    assert (table["area"] == 0.25).all()
    assert table["share"].between(0, 1).all() and table["peak_inside"].isin([0, 1]).all()


def test_the_term_is_measured_with_the_blocks_own_mask_where_there_are_blocks(validation):
    network = create("arl_cnn14", outputs=2, mask="none", alpha=0.5, stages=(3, 4))
    table = term_sizes(network, validation, EXPERIMENT)
    assert table["block"].tolist() == ["layer3.0", "layer4.0"]
    assert table["ratio"].tolist() == pytest.approx([0.5, 0.5])  # of a mask of ones: α itself
    assert table["mask_peak"].tolist() == pytest.approx([1.0, 1.0])


def test_term_sizes_follow_the_equation(network, validation):
    table = term_sizes(network, validation, EXPERIMENT).set_index("block")
    assert table.index.tolist() == BLOCKS
    assert table["positions"].tolist() == [256, 64, 16, 4]
    assert (table["alpha"] == 0.5).all()
    np.testing.assert_allclose(table["ratio"], table["rms_attention"] / table["rms_shortcut"])
    # No entry of the term is larger than alpha times the mask's largest weight times x.
    assert (table["ratio"] < 0.5).all() and (table["mask_peak"] > 1 / table["positions"]).all()


def test_a_resnet_has_no_attention_to_measure(validation):
    resnet = create("resnet14", outputs=2)
    assert term_sizes(resnet, validation, EXPERIMENT).empty
    assert removal(resnet, validation, EXPERIMENT).empty


def test_removal_gives_the_scores_of_alpha_zero(network, validation):
    boxes = evaluation_boxes(EXPERIMENT.patches, EXPERIMENT.evaluation)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    table = removal(network, validation, EXPERIMENT)
    zero = create("arl_cnn14", outputs=2, alpha=0.0)
    zero.load_state_dict({name: value for name, value in before.items() if not name.endswith("alpha")}, strict=False)
    expected = score(zero, validation, boxes, EXPERIMENT.patches, "fp32")
    ours = table[table["removed"] == "all"][["melanoma", "seborrheic_keratosis"]].to_numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert sorted(table["removed"].unique()) == ["all", *BLOCKS]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), "alpha is put back"


def test_attention_is_put_back_after_an_error(network):
    with pytest.raises(ZeroDivisionError), without_attention(network, ["layer4.0"]):
        assert arl_blocks(network)["layer4.0"].alpha == 0
        assert arl_blocks(network)["layer1.0"].alpha == 0.5
        raise ZeroDivisionError
    assert arl_blocks(network)["layer4.0"].alpha == 0.5


def test_hooks_are_removed_even_after_an_error(network):
    with pytest.raises(ZeroDivisionError), watched_blocks(network):
        assert hooks(network) == 4
        raise ZeroDivisionError
    with pytest.raises(RuntimeError):
        class_activation_maps(network, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    assert hooks(network) == 0


def test_watched_blocks_see_what_the_block_adds_up(network):
    patches = torch.randn(2, 3, 64, 64)
    outputs = {}
    handle = network.layer2[0].register_forward_hook(lambda _m, _i, output: outputs.update(layer2=output))
    with torch.no_grad(), watched_blocks(network) as seen:
        network(patches)
    handle.remove()
    x, f = seen["layer2.0"].shortcut, seen["layer2.0"].residual
    torch.testing.assert_close(outputs["layer2"], (x + f + 0.5 * spatial_attention(f) * x).relu())


def test_maps_are_archived_for_both_classes_and_every_block(network, validation):
    table = maps_of(network, validation, EXPERIMENT)
    assert set(table["map"]) == {"melanoma", "seborrheic_keratosis", *BLOCKS}
    one = table[(table["image_id"] == validation.image_ids[3]) & (table["map"] == "layer1.0")]
    assert len(one) == 16 * 16
    assert one["value"].mean() == pytest.approx(1.0, abs=1e-4), "in units of a flat mask"
