"""The ARL block's sum in few passes over memory; `models.attention_residual` is the equation as it stands."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

#: The masks that have a fast form: the axis of a softmax over (images, positions, channels).
SOFTMAX_OVER = {"positions": 1, "channels": 2}


class FusedAttentionResidual(torch.autograd.Function):
    r"""`ReLU(attention_residual(x, F, alpha))` in few passes over memory, its mask recomputed in the backward pass.

    With :math:`g` the gradient at the ReLU's input and :math:`a = g \odot x`, the inner sum over the softmax's axis:

    .. math::
        \partial x = g + \alpha M \odot g, \qquad
        \partial F = g + \alpha M \odot \bigl(a - \textstyle\sum M a\bigr), \qquad
        \partial\alpha = \textstyle\sum M \odot a

    On a CPU it works one image at a time, in the same scratch memory, so that an image's values stay in the cache
    between the passes. From the forward pass the backward one gets :math:`\ell = \log \sum \exp F`, a number a channel
    (or a position), and has its mask by one exponential, :math:`M = \exp(F - \ell)`.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, shortcut: Tensor, residual: Tensor, alpha: Tensor, mask: str) -> Tensor:
        """Give the block's output; keeps the inputs, the output and the logarithms, not the mask."""
        axis = SOFTMAX_OVER[mask]
        output = torch.empty_like(shortcut, memory_format=torch.channels_last)
        parts = _in_parts(shortcut, residual, output)
        scratch = torch.empty_like(parts[0][0])
        logarithms = []
        for x, f, y in parts:
            f = f.to(x.dtype)
            peak = f.amax(axis, keepdim=True)
            weights = torch.sub(f, peak, out=scratch).exp_()
            total = weights.sum(axis, keepdim=True)
            logarithms.append(peak.add_(total.log()))
            torch.addcmul(f, x, weights.mul_(alpha / total).add_(1), out=y)  # F + x (1 + α M)
            y.relu_()
        ctx.axis = axis  # type: ignore[attr-defined]
        ctx.save_for_backward(shortcut, residual, alpha, output, torch.cat(logarithms))
        return output

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Give the gradients of shortcut, residual and alpha."""
        shortcut, residual, alpha, output, logarithms = ctx.saved_tensors  # type: ignore[attr-defined]
        axis = ctx.axis  # type: ignore[attr-defined]
        at_shortcut = torch.empty_like(shortcut, memory_format=torch.channels_last)
        at_residual = torch.empty_like(residual, memory_format=torch.channels_last)
        at_alpha = torch.zeros_like(alpha)
        parts = _in_parts(shortcut, residual, output, gradient, at_shortcut, at_residual)
        mask, weighted, wide = (torch.empty_like(parts[0][0]) for _ in range(3))
        for (x, f, y, upstream, dx, df), logarithm in zip(parts, logarithms.split(len(mask)), strict=True):
            torch.sub(f.to(x.dtype), logarithm, out=mask).exp_()
            g = df if df.dtype == x.dtype else wide
            torch.sign(y, out=g).mul_(upstream)  # Reason: y is 0 or more; a comparison takes ten times as long
            torch.mul(mask, g, out=weighted)
            torch.addcmul(g, weighted, alpha, out=dx)
            total = weighted.mul_(x).sum(axis, keepdim=True)  # of M a
            at_alpha += total.sum()
            df.copy_(g.addcmul_(weighted.addcmul_(mask, total, value=-1), alpha))
        return at_shortcut, at_residual, at_alpha, None


def _in_parts(*maps: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of the maps as (images, positions, channels): one image at a time on a CPU, all at once on a GPU."""
    positions_first = [one.permute(0, 2, 3, 1).flatten(1, 2) for one in maps]
    if maps[0].is_cpu:
        return list(zip(*(one.split(1) for one in positions_first), strict=True))
    return [tuple(positions_first)]
