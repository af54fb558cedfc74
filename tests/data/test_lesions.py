"""Lesions for a CPU stay where they are, mapped file or not; some of them are the same images."""

import numpy as np
import pytest
import torch

from arlrepro.config import EvaluationConfig, PatchConfig
from arlrepro.data.patches import Lesions, evaluation_boxes

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(256, size=(5, 64, 64, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.fixture
def lesions(mapped) -> Lesions:
    rows = np.array([4, 1, 2])
    return Lesions.load(("e", "b", "c"), mapped, np.array([[1, 0], [0, 1], [0, 0]]), CPU, rows)


@pytest.mark.filterwarnings("error")
def test_a_mapped_file_is_not_copied_for_a_cpu(mapped, lesions):
    assert np.shares_memory(lesions.pixels.numpy(), mapped)
    assert np.shares_memory(lesions.at(np.array([2])).pixels.numpy(), mapped)


def test_a_lesion_is_cut_from_its_own_row(mapped, lesions):
    config = PatchConfig(side=64, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    whole = evaluation_boxes(config, EvaluationConfig(patches_per_scale=0))
    for chosen, row in ((lesions, 4), (lesions.at(np.array([2, 0])), 2)):
        patch = chosen.cut(torch.tensor([0]), whole, config)[0].permute(1, 2, 0)
        torch.testing.assert_close(patch, torch.tensor(mapped[row]).float(), atol=1e-3, rtol=0)


def test_some_lesions_keep_their_labels(lesions):
    some = lesions.at(np.array([1, 0]))
    assert some.image_ids == ("b", "e")
    assert some.labels.tolist() == [[0, 1], [1, 0]]
