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
from arlrepro.models.attach import Where, add_attention, add_in_float32, attention_blocks
from arlrepro.models.blocks.arl_block import Features, Parts
from arlrepro.models.blocks.of_torchvision import Bottleneck
from arlrepro.models.pretrained import load_weights
from arlrepro.models.residual_attention import add_attention_modules
from arlrepro.registry import NETWORKS, Network, classes_of

#: Bottlenecks in the four stages (14: recalled by readers of the paper; 50: abs).
BOTTLENECKS = {"resnet14": [1, 1, 1, 1], "resnet50": [3, 4, 6, 3]}
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

    All have the stem, the stages and the head of their family, torchvision's ResNet or timm's EfficientNet-Lite0; with
    one seed, what two of a family share starts from the same draws.

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
    config, entry = NetworkConfig(name, **settings), NETWORKS[name]
    network = _lite0(outputs) if entry.plain == "efficientnet_lite0" else _resnet(entry, outputs)
    if entry.attention == "arl":
        where: Where = "all" if config.stages == STAGES else config.stages
        add_attention(network, where, config.mask, config.alpha, config.alpha_learned)
        for block in attention_blocks(network).values():
            block.fused = fused
    if config.weights != "none":
        load_weights(network, config.weights, name)
    return network.to(memory_format=torch.channels_last)


def _resnet(entry: Network, outputs: int) -> ResNet:
    """A ResNet, with the gates or the modules of its rivals."""
    block = GatedBlock if entry.attention in GATES else Bottleneck
    bottlenecks = BOTTLENECKS["resnet14" if entry.attention == "ran" else entry.plain]
    network = ResNet(block, bottlenecks, num_classes=outputs)
    if entry.attention in GATES:
        from timm.layers import create_attn  # Reason: importing timm takes seconds, and most networks do without

        for gated in [one for one in network.modules() if isinstance(one, GatedBlock)]:
            gated.gate = create_attn(entry.attention, gated.bn3.num_features)  # type: ignore[union-attr]
    if entry.attention == "ran":
        add_attention_modules(network, Bottleneck, deep=entry.plain == "resnet50")
    return network


def _lite0(outputs: int) -> nn.Module:
    """EfficientNet-Lite0: a tenth of ResNet-50's multiply-adds, nine residual sums, with no ReLU after them."""
    import timm  # Reason: the same

    return add_in_float32(timm.create_model("tf_efficientnet_lite0", num_classes=outputs))


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
