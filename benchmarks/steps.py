"""Training steps: of every network, of anybody's with attention added, beside a copy of their memory, and by parts."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torchvision import models as torchvision_models

from arlrepro.models.arl_cnn import create
from arlrepro.models.attach import add_attention, add_in_float32
from arlrepro.models.devices import autocast
from arlrepro.registry import family
from benchmarks.traffic import Traffic
from benchmarks.turns import Row, timed_row, turns

SIDE = 224  # px of a patch
#: One of each kind of block that people use, by timm's names.
FAMILIES = ("resnet50", "regnety_008", "efficientnet_lite0", "convnext_tiny")
#: What a step is made of, by parts of the names of PyTorch's operations; the first that fits counts.
PARTS = {
    "convolutions": ("conv",),
    "batch norms": ("batch_norm",),
    "ReLUs": ("relu", "clamp_min", "threshold"),
    "sums and all else": ("",),
}


def training_step(network: nn.Module, batch: torch.Tensor, precision: str) -> Callable[[], None]:
    """Forward and backward of one batch; no optimiser, which is the same for all."""
    labels = (torch.arange(len(batch), device=batch.device) % 2).float()[:, None]

    def step() -> None:
        with autocast(batch.device, precision):
            logits = network(batch)
        F.binary_cross_entropy_with_logits(logits.float(), labels).backward()
        network.zero_grad(set_to_none=True)

    return step


def patches_of(batch_size: int, side: int, device: torch.device) -> torch.Tensor:
    """A batch of noise in channels-last layout."""
    return torch.randn(batch_size, 3, side, side, device=device).to(memory_format=torch.channels_last)


def steps(depth: str, precision: str, batch_size: int, repeats: int, device: torch.device) -> list[Row]:
    """Step times of every network, and of ARL-CNN as the equation stands, over ResNet under the same rule."""
    batch = patches_of(batch_size, SIDE, device)
    networks: dict[str, nn.Module] = {name: create(name) for name in family(f"resnet{depth}")}
    networks[f"arl_cnn{depth}, the equation as it stands"] = create(f"arl_cnn{depth}", fused=False)
    if depth == "50":
        plain = torchvision_models.resnet50(num_classes=1).to(memory_format=torch.channels_last)
        networks["torchvision's resnet50"] = plain
    cases = {name: training_step(one.to(device).train(), batch, precision) for name, one in networks.items()}
    times = turns(cases, repeats, device)
    return [timed_row("training step", times, name, f"resnet{depth}", batch_size, precision) for name in times]


def attention(
    name: str, precision: str, batch_size: int, repeats: int, device: torch.device, side: int = SIDE
) -> list[Row]:
    """Step times of one of timm's networks with attention in every residual sum, over itself under the same rule."""
    import timm  # Reason: importing it takes seconds

    batch, plain = patches_of(batch_size, side, device), f"timm's {name}"
    networks = {
        plain: add_in_float32(timm.create_model(name, num_classes=1)),
        f"{plain} with attention": add_attention(timm.create_model(name, num_classes=1)),
    }
    cases = {
        one: training_step(network.to(device).to(memory_format=torch.channels_last).train(), batch, precision)
        for one, network in networks.items()
    }
    times = turns(cases, repeats, device)
    return [timed_row("training step", times, one, plain, batch_size, precision) for one in times]


def roofline(name: str, precision: str, batch_size: int, repeats: int, device: torch.device) -> Row:
    """The time of a step over that of copying as many bytes as its operations read and write: 1 is the roofline."""
    step = training_step(create(name).to(device).train(), patches_of(batch_size, SIDE, device), precision)
    with Traffic() as traffic:
        step()
    copies = traffic.bytes // 2**30 + 1
    source = torch.ones(traffic.bytes // (2 * copies), dtype=torch.uint8, device=device)  # read once, written once
    target = torch.empty_like(source)

    def copy() -> None:
        for _ in range(copies):
            target.copy_(source)

    times = turns({name: step, "copying as much": copy}, repeats, device)
    row = timed_row("memory traffic of a training step", times, name, "copying as much", 1, precision)
    return row | {"a second": traffic.bytes / 1e9 / float(row["seconds"]), "unit": "GB"}


def shares(
    name: str, precision: str, batch_size: int, repeats: int, device: torch.device, side: int = SIDE
) -> list[Row]:
    """What share of a step goes to convolutions, batch norms, ReLUs and all else, by PyTorch's profiler."""
    step = training_step(create(name).to(device).train(), patches_of(batch_size, side, device), precision)
    step()  # warms up
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as seen:
        for _ in range(repeats):
            step()
        if on_gpu:
            torch.cuda.synchronize()
    spent = dict.fromkeys(PARTS, 0.0)
    for one in seen.key_averages():
        if one.device_type == DeviceType.CPU:  # a GPU's kernels count with the operation that started them
            part = next(part for part, names in PARTS.items() if any(word in one.key for word in names))
            spent[part] += (one.self_device_time_total if on_gpu else one.self_cpu_time_total) / 1e6 / repeats
    return [
        {
            "what": f"{part} in a training step, {name}",
            "precision": precision,
            "seconds": seconds,
            "a second": batch_size / seconds,
            "unit": "patches",
            "ratio": seconds / sum(spent.values()),
            "ratio to": "the step",
        }
        for part, seconds in spent.items()
    ]
