"""Patches: what the affine warp cuts is what crop, resize and rotate of an independent library cut."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter

from arlrepro.config import EvaluationConfig, PatchConfig
from arlrepro.data.patches import Boxes, cut, epoch, evaluation_boxes, training_boxes

PLAIN = PatchConfig(side=64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def smooth_images(number: int, side: int) -> torch.Tensor:
    """Images with structure of some pixels' width, in full contrast."""
    noise = np.random.default_rng(0).normal(size=(number, side, side, 3))
    smooth = gaussian_filter(noise, (0, 3, 3, 0))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy((255 * smooth).astype(np.uint8))


def box(x=0.5, y=0.5, scale=0.4, zoom=1.0, degrees=0.0, flip=(False, False)) -> Boxes:
    return Boxes(
        torch.tensor([[x, y]]),
        torch.tensor([scale]),
        torch.tensor([zoom]),
        torch.tensor([math.radians(degrees)]),
        torch.tensor([flip]),
    )


def cropped_by_pillow(image: torch.Tensor, where: Boxes, side: int) -> np.ndarray:
    """Crop and resize with anti-aliasing, then rotate and flip: the order of the public code."""
    whole = image.shape[0]
    x, y = (where.centre[0] * whole).tolist()
    half = float(where.scale[0] / where.zoom[0]) * whole / 2
    # A larger crop first, so that the rotation has pixels to turn in.
    wide = Image.fromarray(image.numpy()).resize(
        (2 * side, 2 * side), Image.Resampling.BILINEAR, box=(x - 2 * half, y - 2 * half, x + 2 * half, y + 2 * half)
    )
    turned = wide.rotate(math.degrees(float(where.angle[0])), Image.Resampling.BICUBIC)
    patch = np.asarray(turned)[side // 2 : side // 2 + side, side // 2 : side // 2 + side] / 255
    patch = patch[:, ::-1] if where.flip[0, 0] else patch
    return patch[::-1] if where.flip[0, 1] else patch


@pytest.mark.parametrize(
    "where",
    [
        box(),
        box(x=0.45, y=0.55, scale=0.2),
        box(scale=0.4, zoom=1.1),
        box(scale=0.3, degrees=10),
        box(x=0.4, scale=0.4, degrees=-7),
        box(y=0.55, flip=(True, False)),
        box(x=0.45, flip=(False, True), degrees=5),
        box(scale=0.35, zoom=0.9, degrees=8, flip=(True, True)),
    ],
    ids=lambda where: f"scale {float(where.scale[0]):.2f} angle {float(where.angle[0]):.2f}",
)
def test_a_patch_equals_crop_resize_rotate_and_flip_by_pillow(where):
    images = smooth_images(2, 256)
    ours = cut(images, torch.tensor([1]), where, PLAIN)[0].permute(1, 2, 0).numpy()
    theirs = cropped_by_pillow(images[1], where, PLAIN.side)
    assert np.abs(ours - theirs).mean() < 0.006
    assert np.abs(ours - theirs).max() < 0.05


@pytest.mark.parametrize("scale", [0.3, 0.6, 0.9])
def test_a_shrunk_patch_is_anti_aliased(scale):
    checkerboard = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    checkerboard[:, ::2, ::2] = 255
    checkerboard[:, 1::2, 1::2] = 255
    patch = cut(
        checkerboard,
        torch.tensor([0]),
        box(scale=scale),
        PatchConfig(side=32, mean=(0.0,) * 3, std=(1.0,) * 3),
    )
    assert patch.mean().item() == pytest.approx(0.5, abs=0.01)
    assert patch.std().item() < 0.05


@pytest.mark.parametrize(("scale", "halvings"), [(0.2, 0), (0.4, 1), (1.0, 3)])
def test_a_shrunk_patch_is_that_of_the_image_halved_before(scale, halvings):
    images = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    config, where = PatchConfig(side=32), box(x=0.45, scale=scale, zoom=1.05, degrees=7, flip=(True, False))
    halved = images
    for _ in range(halvings):
        means = F.avg_pool2d(halved.permute(0, 3, 1, 2).float(), 2)
        halved = means.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    one = torch.tensor([1])
    assert torch.equal(cut(images, one, where, config), cut(halved, one, where, config))


def test_whole_image_at_its_own_size_is_the_image():
    images = smooth_images(1, 64)
    patch = cut(images, torch.tensor([0]), box(scale=1.0), PLAIN)
    torch.testing.assert_close(patch[0].permute(1, 2, 0), images[0] / 255, atol=1e-5, rtol=0)


def test_patches_are_normalised_channel_by_channel():
    config = PatchConfig(side=64, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    grey = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
    patch = cut(grey, torch.tensor([0]), box(), config)
    torch.testing.assert_close(patch[0, :, 0, 0], torch.tensor([1.0, 3.0, 1.0]))


def test_evaluation_patches_are_two_at_each_scale_and_the_whole_image():
    boxes = evaluation_boxes(PatchConfig(), EvaluationConfig())
    assert boxes.scale.tolist() == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1.0])
    assert not boxes.flip.any() and not boxes.angle.any() and (boxes.zoom == 1).all()


def test_evaluation_patches_depend_on_the_evaluation_seed_alone():
    first = evaluation_boxes(PatchConfig(), EvaluationConfig())
    torch.manual_seed(5)
    assert torch.equal(first.centre, evaluation_boxes(PatchConfig(), EvaluationConfig()).centre)
    assert not torch.equal(first.centre, evaluation_boxes(PatchConfig(), EvaluationConfig(seed=1)).centre)


def test_drawn_boxes_keep_to_the_protocol():
    config = PatchConfig()
    scale = torch.tensor(config.scales).repeat(500)
    boxes = training_boxes(scale, config, torch.Generator().manual_seed(0))
    reach = (boxes.centre - 0.5).abs().amax(dim=1)
    assert (reach + scale / 2 <= 0.5 + 1e-6).all(), "a patch without rotation and zoom lies inside the image"
    assert (reach <= config.jitter * scale + 1e-6).all()
    assert 0.9 <= boxes.zoom.min() < 0.91 and 1.09 < boxes.zoom.max() <= 1.1
    assert math.radians(9.8) < boxes.angle.abs().max() <= math.radians(10)
    assert 0.45 < boxes.flip.float().mean() < 0.55


def test_an_epoch_shows_every_image_at_every_scale_fifteen_times():
    batches = list(epoch(images=32, patches_per_image=60, batch_size=32, config=PatchConfig(), seed=3, number=0))
    image = torch.cat([one for one, _ in batches])
    scale = torch.cat([boxes.scale for _, boxes in batches])
    assert torch.equal(image.bincount(), torch.full((32,), 60))
    for one in PatchConfig().scales:
        assert torch.equal(image[scale == one].bincount(), torch.full((32,), 15))


def test_a_batch_of_a_full_pass_shows_no_lesion_twice():
    for image, _ in epoch(images=96, patches_per_image=2, batch_size=32, config=PatchConfig(), seed=0, number=0):
        assert len(image.unique()) == 32


def test_an_epoch_is_a_function_of_seed_and_number():
    def images(seed: int, number: int) -> list[int]:
        drawn = epoch(images=40, patches_per_image=1, batch_size=8, config=PatchConfig(), seed=seed, number=number)
        return [i for one, _ in drawn for i in one.tolist()]

    assert images(0, 1) == images(0, 1)
    assert len({tuple(images(seed, number)) for seed in range(3) for number in range(3)}) == 9
