"""torchvision's residual blocks, each with its two parts named; `arl_block` says what is done with them."""

# mypy: disable-error-code="operator"
# Reason: torchvision's blocks do not say what their layers are.

from torchvision.models import convnext, efficientnet, mobilenetv2, mobilenetv3, regnet, resnet

from arlrepro.models.blocks.arl_block import Features, Parts, ResidualSum


class BasicBlock(ResidualSum, resnet.BasicBlock):
    """Of ResNet-18 and -34."""

    activation_name = "relu"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        residual = self.relu(self.bn1(self.conv1(x)))
        return (x if self.downsample is None else self.downsample(x)), self.bn2(self.conv2(residual))


class Bottleneck(ResidualSum, resnet.Bottleneck):
    """Of ResNet-50 and deeper, ResNeXt, Wide-ResNet."""

    activation_name = "relu"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        return (x if self.downsample is None else self.downsample(x)), self.bn3(self.conv3(residual))


class RegNetBlock(ResidualSum, regnet.ResBottleneckBlock):
    """Of RegNet."""

    activation_name = "activation"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        return (x if self.proj is None else self.proj(x)), self.f(x)


class MobileNetV2Block(ResidualSum, mobilenetv2.InvertedResidual):
    """Of MobileNetV2, where it has a skip connection."""

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        return x, self.conv(x)


class MobileNetV3Block(ResidualSum, mobilenetv3.InvertedResidual):
    """Of MobileNetV3, where it has a skip connection."""

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        return x, self.block(x)


class MBConv(ResidualSum, efficientnet.MBConv):
    """Of EfficientNet, where it has a skip connection."""

    drop_name = "stochastic_depth"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        return x, self.block(x)


class FusedMBConv(ResidualSum, efficientnet.FusedMBConv):
    """Of EfficientNetV2, where it has a skip connection."""

    drop_name = "stochastic_depth"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        return x, self.block(x)


class ConvNeXtBlock(ResidualSum, convnext.CNBlock):
    """Of ConvNeXt."""

    drop_name = "stochastic_depth"

    def parts(self, x: Features) -> Parts:
        """Shortcut, and residual times its layer scale."""
        return x, self.layer_scale * self.block(x)
