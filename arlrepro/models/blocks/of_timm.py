"""timm's residual blocks, each with its two parts named; `arl_block` says what is done with them."""

# mypy: disable-error-code="misc"
# Reason: timm's blocks do not say what their layers are.

from timm.models import _efficientnet_blocks as efficientnet
from timm.models import convnext, regnet, resnet, resnetv2

from arlrepro.models.blocks.arl_block import Features, Parts, ResidualSum


class BasicBlock(ResidualSum, resnet.BasicBlock):
    """Of ResNet-18 and -34, with ResNet-D's shortcut or a gate (SE) too."""

    activation_name, drop_name = "act2", "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut, and residual behind its gate."""
        residual = self.aa(self.act1(self.drop_block(self.bn1(self.conv1(x)))))
        residual = self.bn2(self.conv2(residual))
        residual = residual if self.se is None else self.se(residual)
        return (x if self.downsample is None else self.downsample(x)), residual


class Bottleneck(ResidualSum, resnet.Bottleneck):
    """Of ResNet-50 and deeper, ResNeXt, Wide-ResNet, with ResNet-D's shortcut or a gate (SE) too."""

    activation_name, drop_name = "act3", "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut, and residual behind its gate."""
        residual = self.act1(self.bn1(self.conv1(x)))
        residual = self.aa(self.act2(self.drop_block(self.bn2(self.conv2(residual)))))
        residual = self.bn3(self.conv3(residual))
        residual = residual if self.se is None else self.se(residual)
        return (x if self.downsample is None else self.downsample(x)), residual


class PreActBasic(ResidualSum, resnetv2.PreActBasic):
    """Of the shallower ResNets v2: the shortcut is what comes in, before norm and activation."""

    drop_name = "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        activated = self.norm1(x)
        residual = self.conv2(self.norm2(self.conv1(activated)))
        return (x if self.downsample is None else self.downsample(activated)), residual


class PreActBottleneck(ResidualSum, resnetv2.PreActBottleneck):
    """Of ResNet v2: the shortcut is what comes in, before norm and activation."""

    drop_name = "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        activated = self.norm1(x)
        residual = self.conv3(self.norm3(self.conv2(self.norm2(self.conv1(activated)))))
        return (x if self.downsample is None else self.downsample(activated)), residual


class PostActBottleneck(ResidualSum, resnetv2.Bottleneck):
    """Of timm's ResNet v2 without pre-activation, the stem of some vision transformers."""

    activation_name, drop_name = "act3", "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return shortcut, self.norm3(self.conv3(self.norm2(self.conv2(self.norm1(self.conv1(x))))))


class RegNetBlock(ResidualSum, regnet.Bottleneck):
    """Of RegNet."""

    activation_name, drop_name = "act3", "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        return self.downsample(x), self.conv3(self.se(self.conv2(self.conv1(x))))


class PreActRegNetBlock(ResidualSum, regnet.PreBottleneck):
    """Of RegNet with pre-activation: its shortcut starts behind the first norm."""

    drop_name = "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        x = self.norm1(x)
        residual = self.se(self.conv2(self.norm2(self.conv1(x))))
        return self.downsample(x), self.conv3(self.norm3(residual))


class ConvNeXtBlock(ResidualSum, convnext.ConvNeXtBlock):
    """Of ConvNeXt."""

    drop_name = "drop_path"

    def parts(self, x: Features) -> Parts:
        """Shortcut, and residual times its layer scale."""
        residual = self.conv_dw(x)
        if self.use_conv_mlp:
            residual = self.mlp(self.norm(residual))
        else:
            residual = self.mlp(self.norm(residual.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.shortcut(x), residual if self.gamma is None else residual.mul(self.gamma.reshape(1, -1, 1, 1))


class _InvertedResidual(ResidualSum):
    """What timm's blocks of EfficientNet and MobileNet share: all they do is the residual, if they have no skip."""

    drop_name = "drop_path"
    # Reason: a property stands before the block's own value, so that timm's forward pass gives F(x) alone.
    has_skip = property(lambda self: False)

    def parts(self, x: Features) -> Parts:
        """Shortcut and residual."""
        return x, super(ResidualSum, self).forward(x)


class ConvBnAct(_InvertedResidual, efficientnet.ConvBnAct):
    """A convolution with a skip connection, of EfficientNetV2."""


class DepthwiseSeparableConv(_InvertedResidual, efficientnet.DepthwiseSeparableConv):
    """Of EfficientNet, MobileNetV2 and V3, where it has a skip connection."""


class InvertedResidual(_InvertedResidual, efficientnet.InvertedResidual):
    """Of EfficientNet, MobileNetV2 and V3, where it has a skip connection."""


class UniversalInvertedResidual(_InvertedResidual, efficientnet.UniversalInvertedResidual):
    """Of MobileNetV4, where it has a skip connection."""


class CondConvResidual(_InvertedResidual, efficientnet.CondConvResidual):
    """Of EfficientNet with conditional convolutions, where it has a skip connection."""


class EdgeResidual(_InvertedResidual, efficientnet.EdgeResidual):
    """Of EfficientNetV2 and EfficientNet-EdgeTPU, where it has a skip connection."""
