"""Where a network's stem, blocks, last feature map and head are, whatever its family calls them."""

from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import ResNet

from arlrepro.errors import ConfigError

Patches = Float[Tensor, "batch 3 side side"]
Features = Float[Tensor, "batch channels height width"]
Logits = Float[Tensor, "batch outputs"]


class ResNetStructure:
    """torchvision's ResNet taken apart: `head(blocks(stem(patches)))` gives its logits."""

    #: Names of the modules that end with a fourth, an eighth, a 16th and a 32nd of the side.
    stages = ("layer1", "layer2", "layer3", "layer4")
    #: All modules by name, from the output down, in steps with a name each.
    from_the_top: ClassVar[dict[str, tuple[str, ...]]] = {
        **{name: (name,) for name in ("fc", "layer4", "layer3", "layer2", "layer1")},
        "everything": ("bn1", "conv1"),
    }

    def __init__(self, network: Any) -> None:
        self.network = network

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks in the order in which an image passes them."""
        return [block for name in self.stages for block in getattr(self.network, name)]

    @property
    def last_map(self) -> nn.Module:
        """What gives the feature map that is averaged over its positions."""
        return self.network.layer4

    @property
    def classifier(self) -> nn.Linear:
        """What takes that mean."""
        return self.network.fc

    def stem(self, patches: Patches) -> Features:
        """What comes before the blocks."""
        return self.network.maxpool(self.network.relu(self.network.bn1(self.network.conv1(patches))))

    def head(self, features: Features) -> Logits:
        """What comes after the blocks."""
        return self.network.fc(self.network.avgpool(features).flatten(1))


class EfficientNetStructure(ResNetStructure):
    """timm's EfficientNet with seven stages, taken apart in the same way."""

    stages = ("blocks.1", "blocks.2", "blocks.4", "blocks.6")
    from_the_top: ClassVar[dict[str, tuple[str, ...]]] = {
        "classifier": ("classifier",),
        "conv_head": ("bn2", "conv_head"),
        "blocks.6": ("blocks.6", "blocks.5"),
        "blocks.4": ("blocks.4", "blocks.3"),
        "blocks.2": ("blocks.2",),
        "blocks.1": ("blocks.1",),
        "everything": ("blocks.0", "bn1", "conv_stem"),
    }

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks in the order in which an image passes them."""
        return [block for stage in self.network.blocks for block in stage]

    @property
    def last_map(self) -> nn.Module:
        """What gives the feature map that is averaged over its positions."""
        return self.network.bn2  # with its activation

    @property
    def classifier(self) -> nn.Linear:
        """What takes that mean."""
        return self.network.classifier

    def stem(self, patches: Patches) -> Features:
        """What comes before the blocks."""
        return self.network.bn1(self.network.conv_stem(patches))

    def head(self, features: Features) -> Logits:
        """What comes after the blocks."""
        return self.network.forward_head(self.network.bn2(self.network.conv_head(features)))


def structure(network: nn.Module) -> ResNetStructure:
    """Say where the parts of a ResNet of torchvision's or of an EfficientNet of timm's are.

    Raises:
        ConfigError: the network is of another kind.
    """
    if isinstance(network, ResNet):
        return ResNetStructure(network)
    if hasattr(network, "conv_stem") and hasattr(network, "conv_head"):
        return EfficientNetStructure(network)
    raise ConfigError(f"{type(network).__name__} is neither torchvision's ResNet nor an EfficientNet of timm's")
