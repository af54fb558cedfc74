"""Copies of a picture are found through other light, colour, format and small shifts; other pictures are not."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from arlrepro.data.duplicates import correlation, near_duplicates, thumbnail
from arlrepro.data.synthetic.dataset import KINDS, draw_lesion
from helpers import isic_folder


@pytest.fixture(scope="module")
def lesions() -> list[Image.Image]:
    return [Image.fromarray(draw_lesion(KINDS[seed % 3], seed, side=128).image) for seed in range(12)]


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([thumbnail(image) for image in images])


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: image.resize((300, 200)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: ImageEnhance.Color(image).enhance(0.3),
        lambda image: Image.fromarray(np.roll(np.asarray(image), 2, axis=1)),
    ],
)
def test_a_changed_copy_is_matched_to_its_original_and_to_nothing_else(lesions, change):
    matches = list(near_duplicates(thumbnails(lesions), thumbnails([change(lesions[5])])))
    assert [(match.first, match.second) for match in matches] == [(5, 0)]
    assert matches[0].hash_bits <= 10 and matches[0].correlation >= 0.97


def test_different_lesions_are_no_duplicates(lesions):
    assert list(near_duplicates(thumbnails(lesions[:6]), thumbnails(lesions[6:]))) == []


def test_correlation_follows_a_shift_of_up_to_six_pixels():
    picture = np.asarray(Image.fromarray(isic_folder.pixels(3, 80, 80)).convert("L"))
    first = picture[8:72, 8:72]
    for down, right in ((0, 0), (6, 0), (-6, 6), (3, -5)):
        assert correlation(first, picture[8 + down : 72 + down, 8 + right : 72 + right]) == pytest.approx(1)


def test_correlation_equals_numpy_where_nothing_moves():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    second = (first // 2 + rng.integers(0, 100, (64, 64))).astype(np.uint8)
    expected = np.corrcoef(first[12:-12, 12:-12].ravel(), second[12:-12, 12:-12].ravel())[0, 1]
    assert correlation(first, second) == pytest.approx(expected)


def test_a_picture_of_one_grey_correlates_with_nothing():
    grey = np.full((64, 64), 7, dtype=np.uint8)
    assert correlation(grey, grey) == 0
    assert list(near_duplicates(grey[None], grey[None])) == []
