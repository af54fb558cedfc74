r"""The architecture on one page: ResNet, the attention residual learning (ARL) block, and ARL-CNN.

A ResNet bottleneck gives :math:`y = \mathrm{ReLU}(x + F(x))`. The ARL block of Zhang et al. adds an attention term made
from the block's own output, with no extra layer and one more number:

.. math:: y = \mathrm{ReLU}\bigl(x + F(x) + \alpha \, M \odot x\bigr), \qquad M = \mathrm{softmax}_{i,j}\, F(x)

where the softmax runs over the positions :math:`i, j` of each channel. Where shapes differ, :math:`x` is the projected
shortcut. Everything else is torchvision's ResNet, parameter names included, so that its weights load by name.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torchvision.models import ResNet50_Weights
from torchvision.models.resnet import Bottleneck, ResNet

from arlrepro.config import NETWORKS
from arlrepro.errors import ConfigError, some

Features = Float[Tensor, "batch channels height width"]
Output = Float[Tensor, "batch channels_out height_out width_out"]

#: Bottlenecks in the four stages (14: recalled by readers of the paper; 50: abs).
STAGES = {"14": (1, 1, 1, 1), "50": (3, 4, 6, 3)}


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


def attention_residual(shortcut: Features, residual: Features, alpha: Float[Tensor, ""]) -> Features:
    r"""Add a residual mapping and its attention term to the shortcut: the equation as it stands.

    .. math:: y = x + F(x) + \alpha \, M \odot x

    This is the reference; networks use `FusedAttentionResidual`, which gives the same values and gradients faster.

    Args:
        shortcut: :math:`x`, or its projection where the shapes differ.
        residual: :math:`F(x)`, the output of the block's last batch norm.
        alpha: :math:`\alpha`, the weight of the attention term.

    Returns:
        :math:`y` before the ReLU, of the wider of the two floating types.

    Example:
        >>> x = torch.full((1, 1, 2, 2), 4.0)
        >>> attention_residual(x, torch.zeros_like(x), torch.tensor(0.5))
        tensor([[[[4.5000, 4.5000],
                  [4.5000, 4.5000]]]])
    """
    return shortcut + residual + alpha * spatial_attention(residual) * shortcut


class FusedAttentionResidual(torch.autograd.Function):
    r"""`ReLU(attention_residual(x, F, alpha))` in few passes over memory, its mask recomputed in the backward pass.

    With :math:`g` the gradient at the ReLU's input and :math:`a = g \odot x`, summed over positions:

    .. math::
        \partial x = g + \alpha M \odot g, \qquad
        \partial F = g + \alpha M \odot \bigl(a - \textstyle\sum_{i,j} M a\bigr), \qquad
        \partial\alpha = \textstyle\sum M \odot a

    On a CPU it works one image at a time, so that an image's values stay in the cache between the passes.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, shortcut: Tensor, residual: Tensor, alpha: Tensor) -> Tensor:
        """Give the block's output; keeps the inputs and the output, not the mask."""
        output = torch.empty_like(shortcut, memory_format=torch.channels_last)
        for x, f, y in _in_parts(shortcut, residual, output):
            f = f.to(x.dtype)
            torch.addcmul(f, x, f.softmax(dim=1).mul_(alpha).add_(1), out=y)  # F + x (1 + α M)
            y.relu_()
        ctx.save_for_backward(shortcut, residual, alpha, output)
        return output

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the gradients of shortcut, residual and alpha."""
        shortcut, residual, alpha, output = ctx.saved_tensors  # type: ignore[attr-defined]
        at_shortcut = torch.empty_like(shortcut, memory_format=torch.channels_last)
        at_residual = torch.empty_like(residual, memory_format=torch.channels_last)
        at_alpha = torch.zeros_like(alpha)
        parts = _in_parts(shortcut, residual, output, gradient, at_shortcut, at_residual)
        for x, f, y, upstream, dx, df in parts:
            mask = f.to(x.dtype).softmax(dim=1)
            g = upstream * (y > 0)
            weighted = mask * g
            torch.addcmul(g, weighted, alpha, out=dx)
            weighted *= x  # M a
            total = weighted.sum(dim=1, keepdim=True)
            at_alpha += total.sum()
            df.copy_(g.addcmul_(weighted.addcmul_(mask, total, value=-1), alpha))
        return at_shortcut, at_residual, at_alpha


def _in_parts(*maps: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of the maps as (images, positions, channels): one image at a time on a CPU, all at once on a GPU."""
    positions_first = [one.permute(0, 2, 3, 1).flatten(1, 2) for one in maps]
    if maps[0].is_cpu:
        return list(zip(*(one.split(1) for one in positions_first), strict=True))
    return [tuple(positions_first)]


class ResidualBlock(Bottleneck):
    """torchvision's bottleneck whose residual stream keeps at least float32.

    Under autocast the convolutions and batch norms run in bfloat16 and the sum is taken in float32: bfloat16 has eight
    significant bits, and the attention term of an ARL block is smaller than that beside `x`. Plain ResNets follow the
    same rule, so that a comparison is between networks computed alike.
    """

    def residual(self, x: Features) -> Output:
        """The residual mapping :math:`F(x)`: 1x1, 3x3, 1x1 convolutions, each with its batch norm."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))

    def shortcut(self, x: Features) -> Output:
        """The input, or its projection where the shapes differ; float32 or wider."""
        x = x if self.downsample is None else self.downsample(x)
        return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x

    def forward(self, x: Features) -> Output:
        """Give the block's output :math:`y`."""
        return self.relu(self.shortcut(x) + self.residual(x))


class ARLBlock(ResidualBlock):
    """A bottleneck with attention residual learning: one scalar, `alpha`, more than ResNet's.

    Args:
        alpha: weight of the attention term at the start.
        alpha_learned: whether training changes it.
        fused: the fast form; False gives the equation as it stands (the reference, for tests and for reading).
    """

    def __init__(
        self, *args: object, alpha: float = 0.001, alpha_learned: bool = True, fused: bool = True, **kw: object
    ) -> None:
        super().__init__(*args, **kw)  # type: ignore[arg-type]
        self.alpha = nn.Parameter(torch.tensor(float(alpha)), requires_grad=alpha_learned)
        self.fused = fused

    def forward(self, x: Features) -> Output:
        """Give the block's output :math:`y`."""
        shortcut, residual = self.shortcut(x), self.residual(x)
        if self.fused:
            return FusedAttentionResidual.apply(shortcut, residual, self.alpha)
        return self.relu(attention_residual(shortcut, residual, self.alpha))


def create(
    name: str,
    outputs: int = 1,
    *,
    mask: str = "positions",
    alpha: float = 0.001,
    alpha_learned: bool = True,
    weights: str = "none",
    fused: bool = True,
) -> ResNet:
    """Build a network of the paper's comparison, from scratch or from weights.

    Args:
        name: `resnet14`, `arl_cnn14`, `resnet50` or `arl_cnn50`.
        outputs: logits a patch; 1 for a binary task, 2 for both tasks in one network.
        mask: the axis of the attention's softmax; `positions` is the only form so far.
        alpha: α of each ARL block at the start; a ResNet has none.
        alpha_learned: whether training changes α.
        weights: `none`, `imagenet` (50 layers, by torchvision), or the path of a state dict in safetensors.
        fused: the fast form of the ARL block, or the equation as it stands.

    Returns:
        The network in channels-last layout; it takes normalised patches `(batch, 3, height, width)` of 64 px or more
        and gives logits `(batch, outputs)`.

    Raises:
        ConfigError: the network, the mask or the weights are unknown or do not fit.

    Example:
        >>> create("arl_cnn14", outputs=2).layer1[0].alpha
        Parameter containing:
        tensor(0.0010, requires_grad=True)
    """
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    if mask != "positions":
        raise ConfigError(f"unknown mask {mask!r}; known: positions")
    block: Callable[..., nn.Module] = ResidualBlock
    if name.startswith("arl"):
        block = partial(ARLBlock, alpha=alpha, alpha_learned=alpha_learned, fused=fused)
        block.expansion = ResidualBlock.expansion  # type: ignore[attr-defined]  # torchvision reads it off the class
    network = ResNet(block, list(STAGES[name[-2:]]), num_classes=outputs)  # type: ignore[arg-type]
    if weights != "none":
        load_weights(network, weights, name)
    return network.to(memory_format=torch.channels_last)


def load_weights(network: ResNet, weights: str, name: str) -> None:
    """Load a state dict by name; ARL blocks keep their α and a head of another size stays as it was drawn.

    Args:
        network: changed in place.
        weights: `imagenet`, or the path of a state dict in safetensors.
        name: the network's name, for the messages.

    Raises:
        ConfigError: no such weights, or their names and shapes do not fit the network.
    """
    state = _imagenet(name) if weights == "imagenet" else _from_file(Path(weights))
    ours = network.state_dict()
    if "fc.weight" in state and state["fc.weight"].shape != ours["fc.weight"].shape:
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    wrong = [key for key, value in state.items() if key not in ours or value.shape != ours[key].shape]
    missing = [key for key in ours if key not in state and not key.endswith("alpha") and not key.startswith("fc.")]
    if wrong or missing:
        raise ConfigError(
            f"weights {weights} do not fit {name}: {len(wrong)} names or shapes of theirs are not the network's "
            f"({some(wrong)}), {len(missing)} of the network's are missing ({some(missing)})"
        )
    network.load_state_dict(state, strict=False)


def _imagenet(name: str) -> dict[str, Tensor]:
    """The state dict of torchvision's ResNet-50 trained on ImageNet (version 1: plain training, as in 2019)."""
    if not name.endswith("50"):
        raise ConfigError(f"there are no ImageNet weights for {name}; use weights none, or a 50-layer network")
    published = ResNet50_Weights.IMAGENET1K_V1
    where = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    try:
        return dict(published.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except OSError as error:
        raise ConfigError(
            f"{where} is not there and could not be fetched ({error}); fetch {published.url} on a machine with a "
            "network and put it there, or give the path of a safetensors file as network.weights"
        ) from error


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"weights {path}: no such file; give none, imagenet, or the path of a safetensors file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"weights {path}: not a safetensors file ({error})") from error
