"""What the benchmarks time, on a handful of small patches: each row is there, and is of what it names."""

from dataclasses import replace

import pytest
import torch

from arlrepro.models.arl_cnn import BOTTLENECKS, create
from benchmarks import rivals
from benchmarks.epochs import OURS, TODAY, epochs, protocol
from benchmarks.steps import PARTS, attention, shares

CPU = torch.device("cpu")


def test_the_public_codes_network_is_ours_with_the_mask_over_channels():
    theirs = rivals.networks(BOTTLENECKS["resnet14"])[rivals.PUBLIC_CODE].eval()
    ours = create("arl_cnn14", mask="channels", alpha=rivals.ChannelMaskBottleneck.alpha, fused=False).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    patches = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(patches), ours(patches))


def test_a_pass_trains_a_step_a_batch():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 1))
    before = network[1].weight.detach().clone()
    taken = []
    network.register_forward_hook(lambda *_: taken.append(1))
    rivals.training_pass(network, [rivals.made_batch(2, 4, CPU)] * 3, CPU)()
    assert len(taken) == 3 and not torch.equal(network[1].weight, before)


@pytest.mark.filterwarnings("default")  # of workers that are forked
def test_an_epoch_is_timed_beside_those_of_others():
    experiment = protocol("arl_cnn14", batch_size=2)
    small = replace(experiment, data=replace(experiment.data, side=64), patches=replace(experiment.patches, side=64))
    rows = {row["what"]: row for row in epochs(small, images=4, repeats=1, device=CPU)}
    base = {OURS: TODAY, TODAY: TODAY, rivals.PUBLIC_CODE: OURS, rivals.TORCHVISION: OURS}
    assert {what: row["ratio to"] for what, row in rows.items()} == {
        f"epoch of arl_cnn14, {name}": to for name, to in base.items()
    }
    assert all(float(row["a second"]) == pytest.approx(4 / float(row["seconds"])) for row in rows.values())


def test_attention_is_timed_over_the_network_as_it_is():
    plain, ours = attention("efficientnet_lite0", "bf16", 2, 1, CPU, side=32)
    assert (plain["what"], plain["ratio"]) == ("training step, timm's efficientnet_lite0", 1)
    assert (ours["what"], ours["ratio to"]) == (f"{plain['what']} with attention", "timm's efficientnet_lite0")
    assert float(ours["ratio"]) > 0


def test_the_parts_of_a_step_are_the_whole_step():
    rows = shares("arl_cnn14", "fp32", 2, 2, CPU, side=64)
    assert [row["what"] for row in rows] == [f"{part} in a training step, arl_cnn14" for part in PARTS]
    assert sum(float(row["ratio"]) for row in rows) == pytest.approx(1)
    assert all(float(row["ratio"]) > 0 for row in rows)
