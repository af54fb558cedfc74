"""Deletion and insertion: they start and end where they must, and follow the order of the map."""

from dataclasses import replace

import pytest
import torch
from torchvision.models import ResNet

from arlrepro.attention.cam import class_activation_maps
from arlrepro.attention.faithfulness import FRACTIONS, blurred, curves
from arlrepro.models.arl_cnn import create
from arlrepro.models.inference import Predictor
from arlrepro.profiles import SMOKE

EXPERIMENT = replace(SMOKE.experiment, train=replace(SMOKE.experiment.train, precision="fp32"))
ORDERS = ("", "_shuffled")


class Brightness(ResNet):
    """A network of the mean colours of four quadrants, whose first output is the brightness."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.layer4 = torch.nn.AvgPool2d(32)
        self.fc = torch.nn.Linear(3, 2)
        self.fc.weight.data = torch.tensor([[4.0, 4.0, 4.0], [-4.0, -4.0, -4.0]])
        self.fc.bias.data.zero_()

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer4(patches).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def table(validation):
    torch.manual_seed(0)
    return curves(Predictor(create("resnet14", outputs=2), EXPERIMENT), validation)


def test_every_curve_has_a_row_a_lesion_and_fraction(table, validation):
    assert len(table) == len(validation) * len(FRACTIONS)
    assert table["class"].isin(["melanoma", "seborrheic_keratosis"]).all()


def test_deletion_starts_where_insertion_ends(table):
    start, end = (table[table["fraction"] == fraction].set_index("image_id") for fraction in (0.0, 1.0))
    for order in ORDERS:
        assert start[f"deletion{order}"].tolist() == pytest.approx(end[f"insertion{order}"].tolist(), abs=1e-6)
        assert end[f"deletion{order}"].tolist() == pytest.approx(start[f"insertion{order}"].tolist(), abs=1e-6)


def test_taking_the_brightest_quadrant_first_costs_a_brightness_counter_most(validation):
    network = Brightness()
    table = curves(Predictor(network, EXPERIMENT), validation.at(torch.arange(6).numpy()))
    mean = table.groupby("fraction")[["deletion", "insertion", "deletion_shuffled", "insertion_shuffled"]].mean()
    assert mean.loc[0.3, "deletion"] <= mean.loc[0.3, "deletion_shuffled"]
    assert mean.loc[0.3, "insertion"] >= mean.loc[0.3, "insertion_shuffled"]
    assert (mean["deletion"] - mean["deletion_shuffled"]).sum() < 0


def test_what_is_taken_away_leaves_no_edges():
    flat = torch.full((1, 3, 64, 64), 2.0)
    torch.testing.assert_close(blurred(flat), flat)


def test_curves_leave_no_hook(validation):
    network = create("resnet14", outputs=2)
    curves(Predictor(network, EXPERIMENT), validation.at(torch.arange(2).numpy()))
    assert class_activation_maps(network, torch.zeros(1, 3, 64, 64)).shape == (1, 2, 2, 2)
    assert not any(module._forward_hooks for module in network.modules())
