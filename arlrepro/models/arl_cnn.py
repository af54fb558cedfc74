r"""The architecture on one page: ResNet, the attention residual learning (ARL) block, ARL-CNN, its rivals.

A ResNet bottleneck gives :math:`y = \mathrm{ReLU}(x + F(x))`. The ARL block of Zhang et al. adds an attention term made
from the block's own output, with no extra layer and one more number:

.. math:: y = \mathrm{ReLU}\bigl(x + F(x) + \alpha \, M \odot x\bigr), \qquad M = \mathrm{softmax}_{i,j}\, F(x)

where the softmax runs over the positions :math:`i, j` of each channel. Where shapes differ, :math:`x` is the projected
shortcut. Everything else is torchvision's ResNet, parameter names included, so that its weights load by name.
"""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import ResNet

from arlrepro.config import STAGES, Experiment, NetworkConfig
from arlrepro.models.blocks.arl_block import Features, Parts
from arlrepro.models.blocks.of_torchvision import Bottleneck
from arlrepro.models.pretrained import load_weights
from arlrepro.models.residual_attention import add_attention_modules
from arlrepro.registry import NETWORKS, classes_of

#: Bottlenecks in the four stages (14: recalled by readers of the paper; 50: abs).
BOTTLENECKS = {"resnet14": [1, 1, 1, 1], "resnet50": [3, 4, 6, 3]}
#: The stage of a bottleneck by the width of its 3x3 convolution, as torchvision builds them.
STAGE_OF_WIDTH = dict(zip((64, 128, 256, 512), STAGES, strict=True))
#: Gates of channels (SE, ECA) or of channels and positions (CBAM), timm's names.
GATES = ("se", "cbam", "eca")


class ARLBlock(Bottleneck):
    """A bottleneck with attention residual learning: one scalar, `alpha`, more than ResNet's.

    It takes torchvision's arguments and goes where torchvision's block goes; `attach.add_attention` makes the same of
    the blocks of a network that is there already.

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
        self.mask, self.fused = mask, fused
        self.alpha = nn.Parameter(torch.tensor(float(alpha)), requires_grad=alpha_learned)


class GatedBlock(Bottleneck):
    """A bottleneck whose residual mapping passes a gate, :math:`x + G(F(x))`: what SE, CBAM and ECA have in common."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.gate: nn.Module = nn.Identity()

    def parts(self, x: Features) -> Parts:
        """The shortcut, and the residual mapping behind its gate."""
        shortcut, residual = super().parts(x)
        return shortcut, self.gate(residual)


def create(name: str, outputs: int = 1, *, fused: bool = True, **settings: Any) -> nn.Module:
    """Build a network of the comparison, from scratch or from weights.

    All but EfficientNet-Lite0 have ResNet's stem, stages and head; with one seed, what two networks of a family share
    starts from the same draws.

    Args:
        name: one of `arlrepro.registry.NETWORKS`.
        outputs: logits a patch; 1 for a binary task, 2 for both tasks in one network.
        fused: the fast form of a ResNet's ARL block, or the equation as it stands.
        settings: the other fields of `config.NetworkConfig`, where their meaning, sources and defaults stand: `mask`,
            `alpha`, `alpha_learned` and `stages` of the ARL blocks, which other networks do not have, and `weights`.

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
    config = NetworkConfig(name, **settings)  # refuses what is unknown
    plain, attention = NETWORKS[name].plain, NETWORKS[name].attention
    if plain == "efficientnet_lite0":
        from arlrepro.models.efficientnet import create_lite0  # Reason: importing timm takes seconds, most do without

        return create_lite0(config, outputs)

    def block(inplanes: int, planes: int, *args: Any, **kw: Any) -> nn.Module:
        if attention == "arl" and STAGE_OF_WIDTH[planes] in config.stages:
            kw |= {"mask": config.mask, "alpha": config.alpha, "alpha_learned": config.alpha_learned, "fused": fused}
            return ARLBlock(inplanes, planes, *args, **kw)
        return (GatedBlock if attention in GATES else Bottleneck)(inplanes, planes, *args, **kw)

    block.expansion = Bottleneck.expansion  # type: ignore[attr-defined]  # torchvision reads it off the class
    bottlenecks = BOTTLENECKS["resnet14" if attention == "ran" else plain]
    network = ResNet(block, bottlenecks, num_classes=outputs)  # type: ignore[arg-type]
    if attention in GATES:
        from timm.layers import create_attn  # Reason: importing timm takes seconds, and most networks do without

        for gated in [one for one in network.modules() if isinstance(one, GatedBlock)]:
            gated.gate = create_attn(attention, gated.bn3.num_features)  # type: ignore[union-attr]
    if attention == "ran":
        add_attention_modules(network, Bottleneck, deep=plain == "resnet50")
    if config.weights != "none":
        load_weights(network, config.weights, name)
    return network.to(memory_format=torch.channels_last)


def size(name: str, side: int = 224) -> tuple[int, int]:
    """Count a network's trainable parameters, with one output, and its multiply-adds for one patch.

    Args:
        name: one of `arlrepro.registry.NETWORKS`.
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


def build(experiment: Experiment, seed: int, device: torch.device) -> nn.Module:
    """The network of an experiment as it starts: with one seed, ResNet and ARL-CNN begin from the same weights."""
    torch.manual_seed(seed)
    return create(**vars(experiment.network), outputs=len(classes_of(experiment.task))).to(device)
