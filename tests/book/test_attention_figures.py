"""Pictures of lesions: maps lie where the archive says, shares are those of the measure."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt

from arlrepro.attention.localisation import share_inside
from arlrepro.book.figures import attention, lesions, style
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.errors import RunError
from helpers.made_runs import made_study

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
STUDY = made_study(GAINS, seeds=(0,))
SIDE = 64
DRAWN = {f"{kind}-1": draw_lesion(kind, 1, SIDE) for kind in ("melanoma", "nevus")}
LESIONS = {image_id: (lesion.image, lesion.lesion_mask) for image_id, lesion in DRAWN.items()}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_a_map_is_enlarged_as_where_it_was_measured():
    values = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    reference = F.interpolate(torch.from_numpy(values)[None, None], size=(64, 64), mode="bilinear", align_corners=False)
    assert style.enlarge(values.astype(np.float64), 64) == pytest.approx(reference[0, 0].numpy(), abs=1e-5)


def test_class_activation_is_the_mean_of_the_outputs_and_starts_at_zero():
    maps = STUDY.runs[0].measures["maps"]
    shifted = maps.assign(value=maps["value"] + np.where(maps["map"] == "melanoma", 2.0, 0.0))
    found = attention.class_activation(shifted, "nevus-1")
    assert found.tolist() == [[float(row + column) for column in range(4)] for row in range(4)]


def test_a_map_that_was_not_archived_is_named():
    with pytest.raises(RunError) as error:
        attention.map_of(STUDY.runs[0].measures["maps"], "nevus-9", "melanoma")
    assert str(error.value) == "no map melanoma of nevus-9 in maps.csv"


def test_attention_maps_have_a_row_a_lesion_and_a_column_a_network():
    figure = attention.attention_maps(LESIONS, STUDY)
    assert [axis.get_title() for axis in figure.axes[:3]] == ["image, outline", "ResNet-14", "ARL-CNN14"]
    assert len(figure.axes) == 6
    assert figure.axes[3].get_ylabel() == "nevus"


def test_the_share_under_a_map_is_that_of_the_measure():
    figure = attention.attention_maps(LESIONS, STUDY)
    values = torch.tensor([[[float(row + column) for column in range(4)] for row in range(4)]])
    share = share_inside(values, torch.from_numpy(LESIONS["melanoma-1"][1][None])).item()
    assert figure.axes[1].get_xlabel() == f"{share:.0%} in mask"


def test_a_lesion_that_a_run_scored_is_a_hit_or_a_miss():
    scores = pd.DataFrame({"image_id": ["melanoma-1", "nevus-1"], "melanoma": [0.4, 0.2], "seborrheic_keratosis": 0.3})
    runs = tuple(replace(run, measures={**run.measures, "gallery": scores}) for run in STUDY.runs)
    figure = attention.attention_maps(LESIONS, replace(STUDY, runs=runs))
    said = [figure.axes[place].get_xlabel().splitlines()[1:] for place in (1, 4)]
    assert said == [["miss", "melanoma 0.40"], ["hit", "seborrheic keratosis 0.30"]]


def test_a_network_of_one_task_knows_no_other_class():
    scores = pd.DataFrame({"image_id": ["a"], "melanoma": [0.6], "seborrheic_keratosis": [np.nan]})
    assert attention.hit_or_miss("seborrheic_keratosis", scores, "a") == "miss: melanoma 0.60"


def test_maps_are_those_of_the_first_seed_that_has_gradient_maps():
    later = made_study(GAINS, seeds=(3,)).runs
    gradients = later[0].measures["maps"].assign(map="grad_cam.layer1")
    with_them = tuple(replace(run, measures={"maps": gradients}) for run in later)
    assert attention.seed_shown(STUDY) == 0
    assert attention.seed_shown(replace(STUDY, runs=(*STUDY.runs, *with_them))) == 3
    assert attention.seed_shown(replace(STUDY, runs=(*STUDY.runs, *with_them[:1]))) == 0, "both networks need them"


def test_masks_have_a_column_a_block_around_one():
    figure = attention.masks(LESIONS, STUDY)
    assert [axis.get_title() for axis in figure.axes[1:5]] == [f"stage {stage}, block 1" for stage in (1, 2, 3, 4)]
    drawn = figure.axes[1].images[1]
    assert drawn.get_clim() == (-3, 3)
    assert drawn.get_array().min() == 0  # flat
    assert drawn.get_array().max() == pytest.approx(1, abs=0.07)  # but for one position of twice the weight


def test_pictures_without_a_run_say_so():
    resnet = made_study({"resnet14": 0.1}, seeds=(0,))
    assert repr(attention.masks(LESIONS, resnet)) == "No completed run with ARL blocks and seed 0 of isic2017-256 yet."
    assert (
        repr(attention.attention_maps(LESIONS, resnet, seed=3)) == "No completed run with seed 3 of isic2017-256 yet."
    )


def test_boxes_lie_where_the_patches_were_cut():
    boxes = np.array([[0.5, 0.5, 0.5], [0.25, 0.25, 0.5], [0.5, 0.5, 1.0]])
    cut = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    figure = lesions.patches(DRAWN["nevus-1"].image, boxes, cut)
    whole = next(axis for axis in figure.axes if axis.patches)
    assert [(*box.get_xy(), box.get_width()) for box in whole.patches] == [
        *((15.5, 15.5, 32.0), (-0.5, -0.5, 32.0), (-0.5, -0.5, 64.0))
    ]
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["1: 50%", "2: 50%", "3: 100%"]


def test_every_sign_that_is_there_is_named_once():
    figure = lesions.signs(DRAWN)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    there = {sign for lesion in DRAWN.values() for sign in lesion.structures}
    assert len(named) == len(there)
    assert "blue-white veil" in named or "blue_white_veil" not in there


def test_a_picture_comes_out_alike():
    stored = [io.BytesIO(), io.BytesIO()]
    for one in stored:
        attention.attention_maps(LESIONS, STUDY).savefig(one, metadata={"Software": None})
    assert stored[0].getvalue() == stored[1].getvalue()


def test_a_mask_that_fills_the_image_has_no_outline_to_draw():
    image = DRAWN["nevus-1"].image
    full = {"nevus-1": (image, np.ones((SIDE, SIDE), dtype=bool))}
    assert attention.attention_maps(full, STUDY).axes[1].get_xlabel() == "100% in mask"


def framed_maps(height: float) -> pd.DataFrame:
    """Mean maps as a run archives them, flat, of melanomas that were hits (2 lesions) and missed (6)."""
    side = [str(column) for column in range(4)]
    groups = [("melanoma", 1, 2, height), ("melanoma", 0, 6, 2 * height)]
    rows = [
        {"map": kind, "lesion": kind, "right": right, "lesions": lesions, "row": row, **dict.fromkeys(side, value)}
        for kind, right, lesions, value in groups
        for row in range(4)
    ]
    return pd.DataFrame(rows)


def test_a_mean_map_is_that_of_its_group_and_weighs_lesions():
    table = framed_maps(1.0)
    assert attention.framed(table, "melanoma", True) == pytest.approx(np.ones((4, 4)))
    assert attention.framed(table, "melanoma", None) == pytest.approx(np.full((4, 4), (2 * 1 + 6 * 2) / 8))
    assert attention.framed(table, "seborrheic_keratosis", True) is None


def test_the_figure_of_mean_maps_shows_the_difference_of_the_pair_and_its_spread():
    study = made_study(GAINS, seeds=(0, 1))
    heights = {("resnet14", 0): 1.0, ("resnet14", 1): 1.0, ("arl_cnn14", 0): 1.2, ("arl_cnn14", 1): 1.4}
    runs = tuple(
        replace(run, measures={**run.measures, "mean_maps": framed_maps(heights[run.network, run.seed])})
        for run in study.runs
    )
    figure = attention.mean_maps(replace(study, runs=runs))
    first = [axis.images[0].get_array() for axis in figure.axes[:4]]
    assert [float(values.mean()) for values in first] == pytest.approx([1.0, 1.3, 0.3, 0.2 / 2**0.5])
    assert repr(attention.mean_maps(study)) == "No completed run with mean maps of isic2017-256 yet."
