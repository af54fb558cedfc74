"""What a network computes on, and how precisely: the device of a name, and one precision rule for every network.

Convolutions run in bfloat16, all that the blocks add up in float32.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from arlrepro.errors import ConfigError


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute under the precision rule; with `fp32` nothing changes.

    A CPU without bfloat16 units computes the same rule from float32 parts, `RoundedConvolutions`.

    Args:
        device: the network's.
        precision: `bf16` or `fp32`.
    """
    if precision == "bf16" and device.type == "cpu" and not has_bfloat16_units():
        with RoundedConvolutions():
            yield
    else:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield


def has_bfloat16_units() -> bool:
    """Whether this CPU has convolutions in bfloat16; without, PyTorch's take ten times as long as in float32."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class RoundedConvolutions(TorchFunctionMode):
    """Convolutions and linear layers whose operands and results are bfloat16 numbers, multiplied and summed in float32.

    That is what a bfloat16 unit computes, to the order of its sums; the gradients are rounded in the same places.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Round around the functions that autocast runs in bfloat16, and leave all others as they are."""
        if func not in (torch.conv1d, torch.conv2d, F.linear):
            return func(*args, **(kwargs or {}))
        rounded = [one.bfloat16().float() if isinstance(one, Tensor) else one for one in args]
        return func(*rounded, **(kwargs or {})).bfloat16()


def choose_device(name: str) -> torch.device:
    """The device of a name: `auto` is a GPU where there is one.

    Raises:
        ConfigError: no such name, or no such device here.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: this machine has no CUDA device that torch can use; give cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun says which one is this process's
