"""The attention term measured: sizes that follow the equation, removal that leaves no trace, hooks that are gone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from arlrepro.attention.terms import WithoutEach, removal, term_sizes, terms, watched_blocks, without_attention
from arlrepro.models.arl_cnn import create
from arlrepro.models.attach import attention_blocks
from arlrepro.models.blocks.arl_block import spatial_attention
from arlrepro.models.inference import Predictor
from arlrepro.profiles import SMOKE

EXPERIMENT = replace(SMOKE.experiment, train=replace(SMOKE.experiment.train, precision="fp32"))
BLOCKS = ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]


def hooks(network: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create("arl_cnn14", outputs=2, alpha=0.5).eval()


def test_the_term_is_measured_with_the_blocks_own_mask_where_there_are_blocks(validation):
    network = create("arl_cnn14", outputs=2, mask="none", alpha=0.5, stages=(3, 4))
    table = term_sizes(terms(Predictor(network, EXPERIMENT), validation))
    assert table["block"].tolist() == ["layer3.0", "layer4.0"]
    assert table["ratio"].tolist() == pytest.approx([0.5, 0.5])  # of a mask of ones: α itself
    assert table["mask_peak"].tolist() == pytest.approx([1.0, 1.0])


def test_term_sizes_follow_the_equation(network, validation):
    table = term_sizes(terms(Predictor(network, EXPERIMENT), validation)).set_index("block")
    assert table.index.tolist() == BLOCKS
    assert table["positions"].tolist() == [256, 64, 16, 4]
    assert (table["alpha"] == 0.5).all()
    np.testing.assert_allclose(table["ratio"], table["rms_attention"] / table["rms_shortcut"])
    # No entry of the term is larger than alpha times the mask's largest weight times x.
    assert (table["ratio"] < 0.5).all() and (table["mask_peak"] > table["mask_mean"]).all()
    np.testing.assert_allclose(table["mask_mean"], 1 / table["positions"], rtol=1e-5)


def test_a_resnet_has_no_attention_to_measure(validation):
    resnet = Predictor(create("resnet14", outputs=2), EXPERIMENT)
    assert term_sizes(terms(resnet, validation)).empty
    assert removal(resnet, validation).empty


def test_removal_gives_the_scores_of_alpha_zero(network, validation):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    table = removal(Predictor(network, EXPERIMENT), validation)
    for removed, alphas in {"all": BLOCKS, **{block: [block] for block in BLOCKS}}.items():
        zero = create("arl_cnn14", outputs=2)
        zero.load_state_dict(before | {f"{block}.alpha": torch.tensor(0.0) for block in alphas})
        expected = Predictor(zero, EXPERIMENT).scores(validation)
        ours = table[table["removed"] == removed][["melanoma", "seborrheic_keratosis"]].to_numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert sorted(table["removed"].unique()) == ["all", *BLOCKS]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), "alpha is put back"


def test_attention_is_put_back_after_an_error(network):
    with pytest.raises(ZeroDivisionError), without_attention(network, ["layer4.0"]):
        assert attention_blocks(network)["layer4.0"].alpha == 0
        assert attention_blocks(network)["layer1.0"].alpha == 0.5
        raise ZeroDivisionError
    assert attention_blocks(network)["layer4.0"].alpha == 0.5


def test_hooks_are_removed_even_after_an_error(network):
    with pytest.raises(ZeroDivisionError), watched_blocks(network):
        assert hooks(network) == 4
        raise ZeroDivisionError
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


def test_sizes_over_lesions_are_root_mean_squares():
    of_two = {
        "image_id": ["a", "b"],
        "block": "layer1.0",
        "alpha": 0.5,
        "positions": 4,
        "mask_peak": [0.2, 0.4],
        "mask_mean": 0.25,
    }
    sizes = {"rms_shortcut": [1.0, 7.0], "rms_residual": [1.0, 1.0], "rms_attention": [3.0, 4.0]}
    table = term_sizes(pd.DataFrame({**of_two, **sizes}))
    assert table["rms_shortcut"].tolist() == [5.0]  # the root of (1 + 49) / 2
    assert table["ratio"].item() == pytest.approx((12.5 / 25) ** 0.5)
    assert table["mask_peak"].item() == pytest.approx(0.3)


def test_the_term_is_removed_from_all_blocks_and_stage_by_stage():
    assert WithoutEach(create("arl_cnn50", stages=(3, 4))).removals == {
        "all": [f"layer3.{block}" for block in range(6)] + [f"layer4.{block}" for block in range(3)],
        "layer3": [f"layer3.{block}" for block in range(6)],
        "layer4": [f"layer4.{block}" for block in range(3)],
    }
    assert list(WithoutEach(create("arl_cnn14")).removals) == ["all", *(f"layer{stage}.0" for stage in (1, 2, 3, 4))]
