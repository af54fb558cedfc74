"""A handful of lesions and a short experiment on them, for the tests that train and the processes that they start."""

from dataclasses import replace

import numpy as np
import torch

from arlrepro.config import Experiment, TrainConfig
from arlrepro.data.patches import Lesions
from arlrepro.profiles import SMOKE


def made_lesions(number: int, seed: int, side: int = 64) -> Lesions:
    """Lesions of which a third is melanoma (dark) and a third seborrheic keratosis (red), in noise."""
    generator = np.random.default_rng(seed)
    kind = np.arange(number) % 3
    pixels = generator.integers(120, 200, size=(number, side, side, 3), dtype=np.uint8)
    pixels[kind == 0, 16:48, 16:48] //= 2
    pixels[kind == 1, 16:48, 16:48, 1:] //= 2
    labels = np.stack([kind == 0, kind == 1], axis=1).astype(np.int64)
    ids = tuple(f"MADE_{seed}_{i}" for i in range(number))
    return Lesions.load(ids, pixels, labels, torch.device("cpu"))


def short_experiment(**settings: object) -> Experiment:
    """Three epochs of three steps with an ARL-CNN14 and both tasks."""
    train = TrainConfig(epochs=3, patches_per_image=1, batch_size=8, patience=0, learning_rate=0.02, halve_every=2)
    network = replace(SMOKE.experiment.network, name="arl_cnn14")
    return replace(SMOKE.experiment, network=network, train=replace(train, **settings))
