"""The lesion's own coordinates: an ellipse becomes the unit circle, wherever it lies and however it is turned."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from arlrepro.attention.lesion_frame import REACH, SIDE, frames, in_frame, mean_maps
from arlrepro.profiles import SMOKE


def ellipse(side: int, centre: tuple[float, float], axes: tuple[float, float], degrees: float) -> torch.Tensor:
    """A filled ellipse in an image that reaches from -1 to 1."""
    axis = (2 * torch.arange(side) + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    turn = math.radians(degrees)
    along = (x - centre[0]) * math.cos(turn) + (y - centre[1]) * math.sin(turn)
    across = -(x - centre[0]) * math.sin(turn) + (y - centre[1]) * math.cos(turn)
    return (along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1


def disc() -> torch.Tensor:
    """The unit circle in the frame."""
    axis = ((2 * torch.arange(SIDE) + 1) / SIDE - 1) * REACH
    return axis[:, None] ** 2 + axis[None] ** 2 <= 1


@pytest.mark.parametrize("degrees", [0, 30, 117])
def test_an_ellipse_becomes_the_unit_circle(degrees):
    mask = ellipse(256, (0.1, -0.15), (0.4, 0.2), degrees)
    framed = in_frame(mask[None, None].float(), mask[None])[0, 0]
    seen = framed.nan_to_num() > framed.nan_to_num().max() / 2
    assert (seen != disc()).float().mean() < 0.01


def test_the_longer_axis_comes_first():
    affine = frames(ellipse(256, (0.0, 0.0), (0.2, 0.5), 0)[None])[0]
    assert affine[:, 0].abs().tolist() == pytest.approx([0.0, 0.5], abs=0.01)
    assert affine[:, 1].abs().tolist() == pytest.approx([0.2, 0.0], abs=0.01)


def test_what_lies_outside_the_image_is_not_a_number():
    mask = ellipse(128, (-0.7, 0.0), (0.25, 0.25), 0)
    framed = in_frame(torch.rand(1, 1, 8, 8), mask[None])
    assert framed.isnan().any() and framed.isfinite().any()


def test_a_mask_of_fewer_than_three_positions_has_no_frame():
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, 3, 3] = True
    assert in_frame(torch.rand(1, 1, 4, 4), mask).isnan().all()


def test_mean_maps_have_a_block_of_rows_for_each_group_that_is_there():
    masks = np.stack([ellipse(64, (0.0, 0.0), (0.4, 0.3), angle).numpy() for angle in (0, 20, 40, 60)])
    maps = torch.rand(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 0]])
    scores = np.array([[0.9, 0.1], [0.2, 0.2], [0.1, 0.8], [0.3, 0.4]])
    table = mean_maps(maps, masks, labels, scores, replace(SMOKE.experiment, task="joint"))
    groups = table.drop_duplicates(["map", "lesion", "right"])
    melanoma = groups[groups["map"] == "melanoma"]
    assert melanoma[["lesion", "right", "lesions"]].to_numpy().tolist() == [
        ["melanoma", 1, 1],
        ["melanoma", 0, 1],
        ["seborrheic_keratosis", 1, 1],
        ["nevus", 1, 1],
    ]
    assert len(table) == len(groups) * SIDE
    keratoses = table[(table["map"] == "seborrheic_keratosis") & (table["lesion"] == "melanoma")]
    both = in_frame(maps[:2], torch.from_numpy(masks[:2]))[:, 1].nanmean(dim=0)
    np.testing.assert_allclose(keratoses[[str(c) for c in range(SIDE)]], both.numpy(), atol=6e-4)
