r"""The architecture on one page: ResNet, the attention residual learning (ARL) block, ARL-CNN, its rivals.

A ResNet bottleneck gives :math:`y = \mathrm{ReLU}(x + F(x))`. The ARL block of Zhang et al. adds an attention term made
from the block's own output, with no extra layer and one more number:

.. math:: y = \mathrm{ReLU}\bigl(x + F(x) + \alpha \, M \odot x\bigr), \qquad M = \mathrm{softmax}_{i,j}\, F(x)

where the softmax runs over the positions :math:`i, j` of each channel. Where shapes differ, :math:`x` is the projected
shortcut. Everything else is torchvision's ResNet, parameter names included, so that its weights load by name.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import Bottleneck, ResNet

from arlrepro.config import STAGES, NetworkConfig
from arlrepro.fused import SOFTMAX_OVER, FusedAttentionResidual
from arlrepro.residual_attention import add_attention_modules
from arlrepro.weights import load_weights

Features = Float[Tensor, "batch channels height width"]
Output = Float[Tensor, "batch channels_out height_out width_out"]

#: Bottlenecks in the four stages (14: recalled by readers of the paper; 50: abs).
BOTTLENECKS = {"14": [1, 1, 1, 1], "50": [3, 4, 6, 3]}
#: The stage of a bottleneck by the width of its 3x3 convolution, as torchvision builds them.
STAGE_OF_WIDTH = dict(zip((64, 128, 256, 512), STAGES, strict=True))
#: Gates of channels (SE, ECA) or of channels and positions (CBAM), by timm's names.
GATES = {"se_resnet": "se", "cbam_resnet": "cbam", "eca_resnet": "eca"}


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
        mask: one of `MASK_FUNCTIONS` by name.
        alpha: weight of the attention term at the start.
        alpha_learned: whether training changes it.
        fused: the fast form, which the softmax masks have; False gives the equation as it stands (the reference, for
            tests and for reading).
    """

    def __init__(
        self,
        *args: Any,
        mask: str = "positions",
        alpha: float = 0.001,
        alpha_learned: bool = True,
        fused: bool = True,
        **kw: Any,
    ) -> None:
        super().__init__(*args, **kw)
        self.mask = MASK_FUNCTIONS[mask]
        self.alpha = nn.Parameter(torch.tensor(float(alpha)), requires_grad=alpha_learned)
        self.softmax_over = mask if fused and mask in SOFTMAX_OVER else None

    def forward(self, x: Features) -> Output:
        """Give the block's output :math:`y`."""
        shortcut, residual = self.shortcut(x), self.residual(x)
        if self.softmax_over:
            return FusedAttentionResidual.apply(shortcut, residual, self.alpha, self.softmax_over)
        return self.relu(attention_residual(shortcut, residual, self.alpha, self.mask))


class GatedBlock(ResidualBlock):
    """A bottleneck whose residual mapping passes a gate, :math:`x + G(F(x))`: what SE, CBAM and ECA have in common."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.gate: nn.Module = nn.Identity()

    def residual(self, x: Features) -> Output:
        """The residual mapping behind its gate."""
        return self.gate(super().residual(x))


def create(
    name: str,
    outputs: int = 1,
    *,
    mask: str = "positions",
    alpha: float = 0.001,
    alpha_learned: bool = True,
    weights: str = "none",
    stages: tuple[int, ...] = STAGES,
    fused: bool = True,
) -> ResNet:
    """Build a network of the comparison, from scratch or from weights.

    All have ResNet's stem, stages and head; with one seed, what they share starts from the same draws.

    Args:
        name: one of `arlrepro.config.NETWORKS`.
        outputs: logits a patch; 1 for a binary task, 2 for both tasks in one network.
        mask: of the ARL blocks, one of `MASK_FUNCTIONS`; the others have none.
        alpha: α of each ARL block at the start.
        alpha_learned: whether training changes α.
        weights: `none`, a name of `config.PRETRAINED`, or the path of a state dict; see `weights.load_weights`.
        stages: the stages whose blocks are ARL blocks; those of the others are ResNet's.
        fused: the fast form of the ARL block, or the equation as it stands.

    Returns:
        The network in channels-last layout; it takes normalised patches `(batch, 3, height, width)` of 64 px or more
        and gives logits `(batch, outputs)`.

    Raises:
        ConfigError: the network, the mask, a stage or the weights are unknown or do not fit.

    Example:
        >>> create("arl_cnn14", outputs=2).layer1[0].alpha
        Parameter containing:
        tensor(0.0010, requires_grad=True)
    """
    NetworkConfig(name=name, mask=mask, stages=stages, weights=weights)  # refuses what is unknown
    kind, depth = name[:-2], name[-2:]

    def block(inplanes: int, planes: int, *args: Any, **kw: Any) -> nn.Module:
        if kind == "arl_cnn" and STAGE_OF_WIDTH[planes] in stages:
            return ARLBlock(
                inplanes, planes, *args, mask=mask, alpha=alpha, alpha_learned=alpha_learned, fused=fused, **kw
            )
        return (GatedBlock if kind in GATES else ResidualBlock)(inplanes, planes, *args, **kw)

    block.expansion = ResidualBlock.expansion  # type: ignore[attr-defined]  # torchvision reads it off the class
    bottlenecks = BOTTLENECKS["14" if kind == "ran" else depth]
    network = ResNet(block, bottlenecks, num_classes=outputs)  # type: ignore[arg-type]
    if kind in GATES:
        from timm.layers import create_attn  # Reason: importing timm takes seconds, and most networks do without

        for gated in [one for one in network.modules() if isinstance(one, GatedBlock)]:
            gated.gate = create_attn(GATES[kind], gated.bn3.num_features)
    if kind == "ran":
        add_attention_modules(network, ResidualBlock, depth)
    if weights != "none":
        load_weights(network, weights, name)
    return network.to(memory_format=torch.channels_last)


def size(name: str, side: int = 224) -> tuple[int, int]:
    """Count a network's trainable parameters, with one output, and its multiply-adds for one patch.

    Args:
        name: one of `arlrepro.config.NETWORKS`.
        side: of the patch, px.

    Returns:
        Parameters; and multiply-adds of the convolutions and of the classification layer, not of what goes value by
        value: batch norms, sums, masks and their products.

    Example:
        >>> size("resnet50")
        (23510081, 4087138304)
    """
    with torch.device("meta"):
        network = create(name).eval()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, side, side))
    return sum(one.numel() for one in network.parameters()), counter.get_total_flops() // 2
