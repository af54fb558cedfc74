"""A small network of each family that attention can be added to, as timm and torchvision build it."""

from collections.abc import Callable

import timm
import torch
from torch import nn
from torchvision import models as torchvision
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig


def of_timm(name: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=3, drop_path_rate=0.2, **settings)


def of_torchvision(name: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision, name)(num_classes=3, **settings)


def short(block: type[nn.Module], **settings: object) -> Callable[[], nn.Module]:
    """A ResNet of torchvision's with one block a stage."""
    return lambda: torchvision.ResNet(block, [1, 1, 1, 1], num_classes=3, **settings)


def short_efficientnet_v2() -> nn.Module:
    stages = [(FusedMBConvConfig, 1, 24, 24), (FusedMBConvConfig, 2, 24, 48), (MBConvConfig, 2, 48, 64)]
    settings = [config(4, 3, stride, before, after, 2) for config, stride, before, after in stages]
    return torchvision.EfficientNet(settings, dropout=0.2, num_classes=3, last_channel=64)


def short_convnext() -> nn.Module:
    return torchvision.ConvNeXt([CNBlockConfig(24, 48, 1), CNBlockConfig(48, None, 2)], num_classes=3)


ONE_EACH = {"layers": (1, 1, 1, 1)}
#: A small network of each family, how many residual sums it has, and in which stages.
FAMILIES = {
    "timm ResNet, basic": (of_timm("resnet18"), 8, [1, 2, 3, 4]),
    "timm ResNet, bottleneck": (of_timm("resnet50", **ONE_EACH), 4, [1, 2, 3, 4]),
    "timm ResNet-D": (of_timm("resnet50d", **ONE_EACH), 4, [1, 2, 3, 4]),
    "timm ResNeXt": (of_timm("resnext50_32x4d", **ONE_EACH), 4, [1, 2, 3, 4]),
    "timm SE-ResNet": (of_timm("seresnet50", **ONE_EACH), 4, [1, 2, 3, 4]),
    "timm ResNet v2, bottleneck": (of_timm("resnetv2_50", **ONE_EACH), 4, [1, 2, 3, 4]),
    "timm ResNet v2, basic": (of_timm("resnetv2_18"), 8, [1, 2, 3, 4]),
    "timm RegNetX": (of_timm("regnetx_002"), 13, [1, 2, 3, 4]),
    "timm RegNetY": (of_timm("regnety_002"), 13, [1, 2, 3, 4]),
    "timm EfficientNet": (of_timm("efficientnet_b0"), 9, [2, 3, 4, 5, 6]),
    "timm EfficientNetV2": (of_timm("efficientnetv2_rw_t"), 34, [1, 2, 3, 4, 5, 6]),
    "timm EfficientNet-Lite": (of_timm("tf_efficientnet_lite0"), 9, [2, 3, 4, 5, 6]),
    "timm MobileNetV2": (of_timm("mobilenetv2_050"), 10, [2, 3, 4, 5, 6]),
    "timm MobileNetV3": (of_timm("mobilenetv3_small_050"), 7, [2, 3, 4, 5]),
    "timm MobileNetV4": (of_timm("mobilenetv4_conv_small"), 10, [5, 6]),
    "timm ConvNeXt": (of_timm("convnext_atto"), 12, [1, 2, 3, 4]),
    "torchvision ResNet, basic": (short(torchvision.resnet.BasicBlock), 4, [1, 2, 3, 4]),
    "torchvision ResNeXt": (short(torchvision.resnet.Bottleneck, groups=32, width_per_group=4), 4, [1, 2, 3, 4]),
    "torchvision Wide-ResNet": (short(torchvision.resnet.Bottleneck, width_per_group=128), 4, [1, 2, 3, 4]),
    "torchvision RegNet": (of_torchvision("regnet_y_400mf"), 16, [1, 2, 3, 4]),
    "torchvision MobileNetV2": (of_torchvision("mobilenet_v2"), 10, [2, 3, 4, 5, 6]),
    "torchvision MobileNetV3": (of_torchvision("mobilenet_v3_small"), 6, [2, 3, 4, 5]),
    "torchvision EfficientNet": (of_torchvision("efficientnet_b0"), 9, [2, 3, 4, 5, 6]),
    "torchvision EfficientNetV2": (short_efficientnet_v2, 4, [1, 2, 3]),
    "torchvision ConvNeXt": (short_convnext, 3, [1, 2]),
}


def build(family: str) -> nn.Module:
    """The network of a family as if it had been trained: no norm or layer scale is at zero, where some start."""
    torch.manual_seed(0)
    network = FAMILIES[family][0]()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("running_mean"):
                value.uniform_(-0.5, 0.5)
            elif key.endswith(("running_var", "gamma", "layer_scale")) or (key.endswith("weight") and value.ndim == 1):
                value.uniform_(0.5, 1.0)
    return network
