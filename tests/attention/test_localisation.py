"""Maps held against masks: shares and overlaps a reader can count, and what randomised weights do to them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from arlrepro.attention import localisation as module
from arlrepro.attention.faithfulness import rank_correlation, sanity
from arlrepro.attention.localisation import drawn_focus, focus, overlap, peak_inside, share_inside
from arlrepro.models.arl_cnn import create
from arlrepro.models.inference import Predictor
from arlrepro.profiles import SMOKE

EXPERIMENT = replace(SMOKE.experiment, train=replace(SMOKE.experiment.train, precision="fp32"))
STEPS = ["nothing", "fc", "layer4", "layer3", "layer2", "layer1", "everything"]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return create("arl_cnn14", outputs=2, alpha=0.5).eval()


@pytest.fixture(scope="module")
def masks(validation) -> np.ndarray:
    found = np.zeros((len(validation), 64, 64), dtype=bool)
    found[:, 16:48, 16:48] = True
    return found


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


def test_a_flat_map_has_no_share_and_no_overlap():
    inside = torch.tensor([[[True, True], [False, False]]])
    assert share_inside(torch.ones(1, 2, 2), inside).isnan().all()
    assert overlap(torch.ones(1, 2, 2), inside).isnan().all()


def test_an_empty_mask_has_no_overlap():
    assert overlap(torch.arange(4.0).view(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool)).isnan().all()


def test_overlap_is_one_in_the_lesion_and_nought_beside_it():
    inside = torch.tensor([[[True, True], [False, False]], [[False, False], [True, True]]])
    maps = torch.tensor([[[3.0, 4.0], [1.0, 2.0]]] * 2)
    assert overlap(maps, inside).tolist() == [1.0, 0.0]
    assert peak_inside(maps, inside).tolist() == [1.0, 0.0]


def test_a_random_maps_overlap_is_what_its_docstring_says():
    generator = torch.Generator().manual_seed(0)
    inside = torch.zeros(40, 32, 32, dtype=torch.bool)
    inside[:, :8] = True  # a quarter: 0.25 / 1.75
    assert overlap(torch.rand(40, 32, 32, generator=generator), inside).mean() == pytest.approx(1 / 7, abs=0.01)


def test_focus_has_a_row_a_lesion(network, validation, masks):
    table = focus(Predictor(network, EXPERIMENT), validation, masks)
    assert table["image_id"].tolist() == list(validation.image_ids)
    assert (table["area"] == 0.25).all()
    assert table["share"].between(0, 1).all() and table["overlap"].between(0, 1).all()
    assert table["peak_inside"].isin([0, 1]).all()
    own = table[["energy_melanoma", "energy_seborrheic_keratosis"]]
    assert own.ge(0).all(axis=None) and own.le(1).all(axis=None)
    np.testing.assert_allclose(table["energy"], own.mean(axis=1))


def test_drawn_lesions_are_held_against_their_outline_and_their_signs(network, monkeypatch):
    monkeypatch.setattr(module, "DRAWN_OF_EACH_KIND", 2)
    tables = drawn_focus(Predictor(network, EXPERIMENT), torch.device("cpu"))
    lesion, signs = tables["focus_drawn"], tables["focus_signs"]
    assert lesion["image_id"].tolist() == signs["image_id"].tolist()
    assert {name.rpartition("-")[0] for name in lesion["image_id"]} == {"melanoma", "seborrheic_keratosis", "nevus"}
    assert (signs["area"] <= lesion["area"]).all() and (signs["share"] <= lesion["share"] + 1e-6).all()


def test_randomisation_goes_from_the_output_down_and_leaves_the_network_alone(network, validation, masks):
    torch.manual_seed(5)
    untrained = create("arl_cnn14", outputs=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    table = sanity(Predictor(network, EXPERIMENT), untrained, validation, masks)
    assert list(dict.fromkeys(table["untrained"])) == STEPS
    assert len(table) == len(STEPS) * len(validation)
    by_step = {step: part.reset_index(drop=True) for step, part in table.groupby("untrained")}
    assert by_step["nothing"]["correlation"].tolist() == pytest.approx([1.0] * len(validation))
    assert by_step["fc"]["correlation"].abs().max() < 1
    whole = focus(Predictor(untrained, EXPERIMENT), validation, masks)
    np.testing.assert_allclose(by_step["everything"]["share"], whole["share"], atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    one, other = torch.rand(2, 1, 20, generator=torch.Generator().manual_seed(3))
    expected = spearmanr(one[0].numpy(), other[0].numpy()).statistic
    assert rank_correlation(one, other).item() == pytest.approx(expected)
