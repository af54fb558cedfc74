r"""The Residual Attention Network (RAN), which Zhang et al. compare with, from the residual units of `arl_cnn`.

An attention module multiplies what its trunk gives by a mask that a second branch learns:

.. math:: H(x) = (1 + M(x)) \odot T(x), \qquad M = \sigma(\cdot) \in (0, 1)

The mask branch pools down to an eighth of the first stage's side (7 x 7 of a patch of 224 px), comes up again by
bilinear interpolation, with a skip connection at each side it passes, and ends in two 1x1 convolutions and a sigmoid.

*Comparable depth* counts as Wang et al. do, convolutions along the trunk: the bottlenecks of the trunk are as many as
those of the ResNet of that depth, 16 or 4. The mask branches come on top, as parameters and as time.

- 50 layers: Attention-56 with one unit in place of three in the last stage. Each of the first three stages is a unit
  that changes the shape and an attention module with one unit before it, two in its trunk, one after it (p = 1, t = 2).
- 14 layers: a module of that form alone has four units. Each stage keeps its single unit, and the first three masks
  are laid over it: the unit is the one before the module, and the trunk has none (t = 0).

Departure: RAN's units add before the last ReLU, as in all networks here; Wang et al. used pre-activation units.
Reason: networks are compared that differ in their attention, not in their units, stem or head.

Source:
    Wang, Jiang, Qian, Yang, Li, Zhang, Wang, Tang: Residual Attention Network for Image Classification, CVPR 2017.
"""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import ResNet

Features = Float[Tensor, "batch channels height width"]

#: Poolings in the mask branch of each of the first three stages: all masks look from the same smallest side.
POOLINGS = (3, 2, 1)


class SoftMask(nn.Module):
    """The mask branch: down by pooling, up by interpolation, one residual unit between two sides (r = 1).

    Args:
        unit: makes a residual unit that keeps the shape.
        channels: of the feature map.
        poolings: each halves the sides.
    """

    def __init__(self, unit: Callable[[], nn.Module], channels: int, poolings: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(unit() for _ in range(poolings))
        self.skip = nn.ModuleList(unit() for _ in range(poolings - 1))
        self.up = nn.ModuleList(unit() for _ in range(poolings))
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Features) -> Features:
        """Give the mask, in (0, 1), of the shape of the map and in float32 or wider."""
        dtype, sides, skips = x.dtype, [], []
        for place, unit in enumerate(self.down):
            sides.append(x.shape[2:])
            x = unit(F.max_pool2d(x, 3, stride=2, padding=1))
            if place < len(self.skip):
                skips.append(self.skip[place](x))
        for place, unit in enumerate(self.up):
            x = F.interpolate(unit(x), size=sides.pop(), mode="bilinear", align_corners=False)
            if place < len(self.skip):
                x = x + skips.pop()
        return self.weigh(x).to(dtype).sigmoid()


class AttentionModule(nn.Module):
    """Residual units, a mask over them, and units after it.

    Args:
        unit: makes a residual unit that keeps the shape.
        channels: of the feature map.
        poolings: of the mask branch.
        around: units before the mask and as many after it, p.
        trunk: units that the mask is laid over, t.
    """

    def __init__(self, unit: Callable[[], nn.Module], channels: int, poolings: int, around: int, trunk: int) -> None:
        super().__init__()
        self.before = nn.Sequential(*(unit() for _ in range(around)))
        self.trunk = nn.Sequential(*(unit() for _ in range(trunk)))
        self.mask = SoftMask(unit, channels, poolings)
        self.after = nn.Sequential(*(unit() for _ in range(around)))

    def forward(self, x: Features) -> Features:
        """Give :math:`(1 + M) T`, added in the type of the residual stream."""
        x = self.before(x)
        trunk = self.trunk(x)
        return self.after(trunk + self.mask(x) * trunk)


def add_attention_modules(network: ResNet, bottleneck: Callable[[int, int], nn.Module], deep: bool) -> None:
    """Make a RAN of a ResNet with one unit a stage: an attention module after each of the first three.

    Args:
        network: changed in place; stem, head and the four units stay as they are.
        bottleneck: makes a residual unit from the channels that come in and the width of its 3x3 convolution.
        deep: in the form of 50 layers, else in that of 14; see above.
    """
    around, trunk = (1, 2) if deep else (0, 0)
    for stage, poolings in enumerate(POOLINGS, start=1):
        layer = getattr(network, f"layer{stage}")
        channels = layer[-1].bn3.num_features

        def unit(channels: int = channels) -> nn.Module:
            return bottleneck(channels, channels // 4)

        module = AttentionModule(unit, channels, poolings, around, trunk)
        for convolution in (one for one in module.modules() if isinstance(one, nn.Conv2d)):
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNet
        layer.append(module)
