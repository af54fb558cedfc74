r"""The ARL block, :math:`y = \mathrm{act}(x + F(x) + \alpha \, M \odot x)`: equation, masks, a block of any family."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.fx
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad

from arlrepro.models.blocks.fused import SOFTMAX_OVER, FusedAttentionResidual

Features = Float[Tensor, "batch channels height width"]
Output = Float[Tensor, "batch channels_out height_out width_out"]
Parts = tuple[Output, Output]
NARROW = (torch.bfloat16, torch.float16)


def spatial_attention(features: Features) -> Features:
    r"""Turn each channel of a feature map into weights over its positions.

    .. math:: M_{c,i,j} = \exp O_{c,i,j} \,/\, \textstyle\sum_{i',j'} \exp O_{c,i',j'}

    Args:
        features: :math:`O`, output of the block's last batch norm, before the ReLU. Any real values.

    Returns:
        :math:`M`, in (0, 1); each channel of each image sums to 1 over height and width,
        so with 7 x 7 positions its mean is 1/49.

    Source:
        Zhang et al. 2019; the axis is a reading of the paper, see the book's page on departures.

    Example:
        >>> spatial_attention(torch.zeros(1, 1, 2, 2))
        tensor([[[[0.2500, 0.2500],
                  [0.2500, 0.2500]]]])
    """
    return features.flatten(2).softmax(dim=2).view_as(features)


#: The masks by name: what the ablation puts in the place of the softmax over positions.
MASK_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "positions": spatial_attention,
    "channels": partial(torch.softmax, dim=1),
    "sigmoid": torch.sigmoid,
    # Reason: with M struck out of the equation, what is left of the term is a plain factor, x (1 + α). Its mean is H W
    # times that of a mask over positions, so the two α are not on one scale; without the term at all it is a ResNet.
    "none": torch.ones_like,
}


def attention_residual(
    shortcut: Features,
    residual: Features,
    alpha: Float[Tensor, ""],
    mask: Callable[[Tensor], Tensor] = spatial_attention,
) -> Features:
    r"""Add a residual mapping and its attention term to the shortcut: the equation as it stands.

    .. math:: y = x + F(x) + \alpha \, M \odot x

    This is the reference; networks use `FusedAttentionResidual`, which gives the same values and gradients faster.

    Args:
        shortcut: :math:`x`, or its projection where the shapes differ.
        residual: :math:`F(x)`, the output of the block's last batch norm.
        alpha: :math:`\alpha`, the weight of the attention term.
        mask: gives :math:`M` of the residual mapping, one of `MASK_FUNCTIONS`.

    Returns:
        :math:`y` before the ReLU, of the wider of the two floating types.

    Example:
        >>> x = torch.full((1, 1, 2, 2), 4.0)
        >>> attention_residual(x, torch.zeros_like(x), torch.tensor(0.5))
        tensor([[[[4.5000, 4.5000],
                  [4.5000, 4.5000]]]])
    """
    return shortcut + residual + alpha * mask(residual) * shortcut


class ResidualSum(nn.Module):
    r"""What a residual block of any family does with its two parts, in float32 or wider.

    A family's class names this one before the library's block and says what the parts are; all that the block learns
    keeps its name. Without :math:`\alpha`, or with 0, it gives what the library's block gives, to the bit in float32.

    - **Precision**: both parts are added in float32 or wider, whatever the convolutions ran in; under autocast the
      block hands float32 on. Only where the network's own weights are narrow (`network.bfloat16()`) is the finished
      sum rounded to them, because the next layer takes nothing else.
    - **Downsampled shortcut**: :math:`x` is its projection, which has the shape of :math:`F(x)`.
    - **Layer scale, gates (SE)**: part of :math:`F(x)`, so that the mask is made of what is added. A layer scale near
      zero, as ConvNeXt starts with, makes it flat.
    - **Stochastic depth**: drops :math:`F(x) + \alpha M \odot x`, all that the block adds to its shortcut.
    """

    #: Name of the module that follows the sum; empty in blocks that end with it.
    activation_name = ""
    #: Name of the module that drops the residual of some images in training, if a family has it.
    drop_name = ""

    alpha: nn.Parameter | None
    mask: str  # one of `MASK_FUNCTIONS` by name
    fused = True  # the fast form where it has rules; False: the equation as it stands, for tests and for reading

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.register_parameter("alpha", None)

    def parts(self, x: Features) -> Parts:
        """The shortcut, or its projection, and the residual mapping :math:`F(x)`, before stochastic depth."""
        raise NotImplementedError

    def forward(self, x: Features) -> Output:
        """Give the block's output :math:`y`."""
        shortcut, residual = self.parts(x)
        shortcut = widened(shortcut)
        activation = getattr(self, self.activation_name) if self.activation_name else None
        drop = getattr(self, self.drop_name) if self.drop_name else None
        if self.alpha is None:
            y = (residual if drop is None else drop(residual)) + shortcut
        elif drop is not None and drop.training and not isinstance(drop, nn.Identity):
            term = self.alpha * MASK_FUNCTIONS[self.mask](residual.to(shortcut.dtype)) * shortcut
            y = drop(residual + term) + shortcut
        else:
            relu = self.fused and isinstance(activation, nn.ReLU) and not _is_watched(activation)
            y = arl_sum(shortcut, residual, self.alpha, self.mask, self.fused, relu)
            activation = None if relu else activation
        y = y if activation is None else activation(y)
        weights = next(self.parameters(), y).dtype  # none in the copies of `nn.DataParallel`
        return y.to(weights) if weights in NARROW else y


# Reason: what is wrapped stays one step in a graph of `torch.fx`, which cannot follow a choice made by a tensor's type.
@torch.fx.wrap
def widened(shortcut: Features) -> Features:
    """The shortcut in float32 or wider."""
    return shortcut.float() if shortcut.dtype in NARROW else shortcut


@torch.fx.wrap
def arl_sum(
    shortcut: Features, residual: Features, alpha: Float[Tensor, ""], mask: str, fused: bool, relu: bool
) -> Features:
    """`attention_residual` with a mask by name, by choice with a ReLU, in the fast form where it may be."""
    if fused and mask in SOFTMAX_OVER and _fast_form_has_rules(shortcut, residual, alpha):
        return FusedAttentionResidual.apply(shortcut, residual, alpha.to(shortcut.dtype), mask, relu)
    y = attention_residual(shortcut, residual, alpha, MASK_FUNCTIONS[mask])
    return y.relu_() if relu else y


def _is_watched(module: nn.Module) -> bool:
    """Whether somebody's hook, as Captum's, waits for this module to run."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def _fast_form_has_rules(*tensors: Tensor) -> bool:
    """Whether autograd runs alone and backward; tracing, exporting, compiling, `torch.func` need the equation."""
    return not (
        torch.jit.is_tracing()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or any(forward_ad.unpack_dual(one).tangent is not None for one in tensors)
    )
