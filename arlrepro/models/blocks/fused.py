"""The sum of an ARL block in few passes over memory; `arl_block.attention_residual` is the equation as it stands."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

#: The masks that have a fast form: the axis of a softmax over (images, positions, channels).
SOFTMAX_OVER = {"positions": 1, "channels": 2}


class FusedAttentionResidual(torch.autograd.Function):
    r"""`attention_residual(x, F, alpha)`, by choice with a ReLU, in few passes; the backward pass recomputes the mask.

    With :math:`g` the gradient at the sum and :math:`a = g \odot x`, the inner sum over the softmax's axis:

    .. math::
        \partial x = g + \alpha M \odot g, \qquad
        \partial F = g + \alpha M \odot \bigl(a - \textstyle\sum M a\bigr), \qquad
        \partial\alpha = \textstyle\sum M \odot a

    On a CPU it works one image at a time, in the same scratch memory, so that an image's values stay in the cache
    between the passes. From the forward pass the backward one gets :math:`\ell = \log \sum \exp F`, a number a channel
    (or a position), and has its mask by one exponential, :math:`M = \exp(F - \ell)`.

    The output has the residual's memory format, as the sum of a network that was not converted has.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, shortcut: Tensor, residual: Tensor, alpha: Tensor, mask: str, relu: bool = True
    ) -> Tensor:
        """Give the block's output; keeps the inputs, the output of a ReLU and the logarithms, not the mask."""
        output = torch.empty_like(residual, dtype=shortcut.dtype, memory_format=_memory_format(residual))
        parts, axis = _in_parts(mask, residual, shortcut, output)
        scratch = torch.empty_like(parts[0][2])
        logarithms = []
        for f, x, y in parts:
            f = f.to(x.dtype)
            peak = f.amax(axis, keepdim=True)
            weights = torch.sub(f, peak, out=scratch).exp_()
            total = weights.sum(axis, keepdim=True)
            logarithms.append(peak.add_(total.log()))
            torch.addcmul(f, x, weights.mul_(alpha / total).add_(1), out=y)  # F + x (1 + α M)
            if relu:
                y.relu_()
        ctx.mask = mask  # type: ignore[attr-defined]
        kept = output if relu else None
        ctx.save_for_backward(shortcut, residual, alpha, torch.cat(logarithms), kept)  # type: ignore[arg-type]
        return output

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Give the gradients of shortcut, residual and alpha."""
        shortcut, residual, alpha, logarithms, output = ctx.saved_tensors  # type: ignore[attr-defined]
        mask = ctx.mask  # type: ignore[attr-defined]
        if torch.is_grad_enabled():  # Reason: gradients of these gradients are asked for, and `out=` has none
            return *_gradients(shortcut, residual, alpha, output, gradient, mask), None, None
        memory_format = _memory_format(residual)
        at_shortcut = torch.empty_like(shortcut, memory_format=memory_format)
        at_residual = torch.empty_like(residual, memory_format=memory_format)
        at_alpha = torch.zeros_like(alpha)
        active = gradient if output is None else output
        parts, axis = _in_parts(mask, residual, shortcut, active, gradient, at_shortcut, at_residual)
        weights, weighted, wide = (torch.empty_like(parts[0][4]) for _ in range(3))
        for (f, x, y, upstream, dx, df), logarithm in zip(parts, logarithms.split(len(weights)), strict=True):
            torch.sub(f.to(x.dtype), logarithm, out=weights).exp_()
            last = df if df.dtype == x.dtype else wide
            # Reason: y is 0 or more; a comparison takes ten times as long
            g = upstream if output is None else torch.sign(y, out=last).mul_(upstream)
            torch.mul(weights, g, out=weighted)
            torch.addcmul(g, weighted, alpha, out=dx)
            total = weighted.mul_(x).sum(axis, keepdim=True)  # of M a
            at_alpha += total.sum()
            df.copy_(torch.addcmul(g, weighted.addcmul_(weights, total, value=-1), alpha, out=last))
        return at_shortcut, at_residual, at_alpha, None, None


def _gradients(
    shortcut: Tensor, residual: Tensor, alpha: Tensor, output: Tensor | None, gradient: Tensor, mask: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradients, written so that autograd can differentiate them once more."""
    axes = {"positions": (2, 3), "channels": (1,)}[mask]
    wide = residual.to(shortcut.dtype)
    weights = (wide - wide.logsumexp(axes, keepdim=True)).exp()
    g = gradient if output is None else gradient * output.sign()
    weighted = weights * g * shortcut  # M a
    at_residual = g + alpha * (weighted - weights * weighted.sum(axes, keepdim=True))
    return g + alpha * weights * g, at_residual.to(residual.dtype), weighted.sum()


def _memory_format(residual: Tensor) -> torch.memory_format:
    channels_last = residual.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _in_parts(mask: str, *maps: Tensor) -> tuple[list[tuple[Tensor, ...]], int]:
    """Views of the maps as matrices, and the softmax's axis: one image at a time on a CPU, all at once on a GPU.

    They are (images, positions, channels), or (images, channels, positions) where the first map lies so in memory.
    """
    axis = SOFTMAX_OVER[mask]
    if _memory_format(maps[0]) == torch.channels_last:
        matrices = [one.permute(0, 2, 3, 1).flatten(1, 2) for one in maps]
    else:
        matrices, axis = [one.flatten(2) for one in maps], 3 - axis
    if maps[0].is_cpu:
        return list(zip(*(one.split(1) for one in matrices), strict=True)), axis
    return [tuple(matrices)], axis
