"""Attention residual learning in anybody's network: every residual sum, or the chosen ones, becomes an ARL sum."""

import sys
from collections.abc import Callable, Collection
from typing import TypeVar

import torch
from torch import nn

from arlrepro.config import MASKS
from arlrepro.errors import ConfigError, check_known, some
from arlrepro.models.blocks import of_torchvision
from arlrepro.models.blocks.arl_block import ResidualSum

Network = TypeVar("Network", bound=nn.Module)
Where = str | Collection[int] | Callable[[str, nn.Module], bool]


def add_attention(
    model: Network,
    where: Where = "all",
    mask: str = "positions",
    alpha: float = 0.001,
    alpha_learned: bool = True,
) -> Network:
    r"""Turn the residual sums of a network into sums with an attention term, one scalar a block.

    .. math:: y = \mathrm{act}\bigl(x + F(x) + \alpha \, M \odot x\bigr), \qquad M = \mathrm{softmax}_{i,j}\, F(x)

    It knows the blocks of torchvision's ResNet, ResNeXt, Wide-ResNet, RegNet, MobileNetV2 and V3, EfficientNet and
    ConvNeXt, and of timm's the same and ResNet-D, SE-ResNet, ResNet v2, EfficientNet-Lite and MobileNetV4. The names
    in the state dict stay, and only `...alpha` is added: weights load before or after (`strict=False`). With α = 0
    the outputs are the untouched network's, to the bit in float32. What becomes of stochastic depth, downsampled
    shortcuts and layer scale says `arl_block.ResidualSum`. Blocks of other kinds stay as they are.

    All residual sums, chosen or not, are taken in float32 or wider from now on, see `add_in_float32`.

    Args:
        model: changed in place.
        where: `all`, stages as numbers from 1, or a function of a block's name and the block. A stage is what the
            library calls so; in a flat list of inverted residuals it starts where the shape changes.
        mask: gives :math:`M`, one of `arlrepro.config.MASKS`.
        alpha: α of each block at the start; 0.001 is the paper's for fine-tuning.
        alpha_learned: whether training changes α.

    Returns:
        The same network.

    Raises:
        ConfigError: the network has no residual sum of a known kind, or has attention already; a stage or the mask is
            unknown; `where` chooses nothing.

    Example:
        >>> from torchvision.models import resnet18
        >>> network = add_attention(resnet18(), where=[4], alpha=0.5)
        >>> [name for name, _ in network.named_parameters() if name.endswith("alpha")]
        ['layer4.0.alpha', 'layer4.1.alpha']
    """
    check_known("mask", mask, MASKS)
    if found := list(attention_blocks(model)):
        raise ConfigError(f"{_name(model)} has attention already, in {len(found)} blocks: {some(found)}")
    chosen = _chosen(model, where)
    add_in_float32(model)
    for name in chosen:
        block = model.get_submodule(name)
        like = next(block.parameters())
        start = torch.tensor(float(alpha), dtype=like.dtype, device=like.device)
        block.alpha = nn.Parameter(start, requires_grad=alpha_learned)
        block.mask = mask  # type: ignore[assignment]
    return model


def add_in_float32(model: Network) -> Network:
    """Take every residual sum of a network in float32 or wider, whatever its convolutions run in.

    It is the precision rule of all networks here, and what a plain network needs beside one with attention if both
    are trained under autocast: the comparison is then between networks computed alike. In float32 it changes nothing.

    Args:
        model: changed in place.

    Returns:
        The same network.

    Raises:
        ConfigError: the network has no residual sum of a known kind.
    """
    classes = _classes()
    for name in _stages(model):
        block = model.get_submodule(name)
        if not isinstance(block, ResidualSum):
            block.__class__ = classes[type(block)]
            block.register_parameter("alpha", None)
    return model


def attention_blocks(model: nn.Module) -> dict[str, ResidualSum]:
    """The blocks with an attention term by name, in the order in which an image passes them."""
    return {
        name: block
        for name, block in model.named_modules()
        if isinstance(block, ResidualSum) and block.alpha is not None
    }


def _chosen(model: nn.Module, where: Where) -> list[str]:
    """Names of the blocks that `where` means."""
    stages = _stages(model)
    if where == "all":
        return list(stages)
    if callable(where):
        chosen = [name for name in stages if where(name, model.get_submodule(name))]
    elif isinstance(where, str) or not isinstance(where, Collection):
        raise ConfigError(f"where is {where!r}; give 'all', stages as numbers, or a function of a block's name and it")
    else:
        for stage in where:
            check_known("stage", stage, tuple(dict.fromkeys(stages.values())))
        chosen = [name for name, stage in stages.items() if stage in where]
    if not chosen:
        raise ConfigError(f"where chooses none of the {len(stages)} blocks of {_name(model)}: {some(list(stages))}")
    return chosen


def _stages(model: nn.Module) -> dict[str, int]:
    """The stage of each block that has a residual sum, by name.

    Raises:
        ConfigError: none has.
    """
    classes, stages, stage, place = _classes(), {}, 0, None
    for name, module in model.named_modules():
        if type(module) in classes or isinstance(module, ResidualSum):
            adds, parent = isinstance(module, ResidualSum) or _adds(module), name.rpartition(".")[0]
            stage += parent != place or not adds
            place = parent
            if adds:
                stages[name] = stage
    if not stages:
        seen = sorted({type(module).__name__ for module in model.modules()} - {_name(model)})
        known = ", ".join(f"{kind.__module__}.{kind.__name__}" for kind in classes)
        raise ConfigError(
            f"{_name(model)} has no residual sum of a known kind: looked at {some(seen, most=20)}; known: {known}"
        )
    return stages


def _adds(block: nn.Module) -> bool:
    """Whether a block of a known class has a residual sum: an inverted residual that changes the shape has none."""
    if hasattr(block, "has_skip"):  # timm's inverted residuals
        return bool(block.has_skip)
    if hasattr(block, "use_res_connect"):  # torchvision's
        return bool(block.use_res_connect)
    return not ("timm.models.regnet" in type(block).__module__ and block.downsample is None)


def _classes() -> dict[type[nn.Module], type[ResidualSum]]:
    """Our block in the place of each library's; of timm only where it is imported, which takes seconds."""
    modules = [of_torchvision]
    if "timm.models" in sys.modules:
        from arlrepro.models.blocks import of_timm

        modules.append(of_timm)
    ours = [one for module in modules for one in vars(module).values() if isinstance(one, type)]
    return {one.__bases__[1]: one for one in ours if issubclass(one, ResidualSum) and len(one.__bases__) == 2}


def _name(model: nn.Module) -> str:
    return type(model).__name__
