"""EfficientNet-Lite0, plain and with attention residual learning, from timm; its ImageNet weights from a pip package.

A network of 3.4 million parameters and 0.4 billion multiply-adds, a tenth of ResNet-50's, made of inverted residuals:
nine of its sixteen blocks add their input, :math:`y = x + F(x)`, with no ReLU after the sum.
"""

import timm
import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor

from arlrepro.attach import add_attention, add_in_float32
from arlrepro.weights import locate, read_state

#: The name of these weights as a setting, `network.weights`; what they are stands in `config.PRETRAINED`.
IMAGENET_LITE0 = "imagenet-lite0"


def create_lite0(
    outputs: int = 1,
    *,
    attention: bool,
    mask: str = "positions",
    alpha: float = 0.001,
    alpha_learned: bool = True,
) -> EfficientNet:
    """Build EfficientNet-Lite0; timm's names, `classifier` the head. See `models.create` for the arguments.

    Both networks take their residual sums in float32, so that they are computed alike.
    """
    network = timm.create_model("tf_efficientnet_lite0", num_classes=outputs)
    assert isinstance(network, EfficientNet)
    if attention:
        add_attention(network, mask=mask, alpha=alpha, alpha_learned=alpha_learned)
    else:
        add_in_float32(network)
    return network.to(memory_format=torch.channels_last)


def load_imagenet(network: EfficientNet) -> None:
    """Load the ImageNet weights, all but a head of another size; α stays as it is.

    Raises:
        ConfigError: the package is not installed, or its file is another.
    """
    state, ours = lite0_state(), network.state_dict()
    fitting = {name: value for name, value in state.items() if value.shape == ours[name].shape}
    network.load_state_dict(fitting, strict=False)


def lite0_state() -> dict[str, Tensor]:
    """The ImageNet weights of EfficientNet-Lite0 by timm's names, with the head of 1,000 classes.

    The package keeps the same tensors in the same order under names of its own.

    Raises:
        ConfigError: the package is not installed, or its file is another.
    """
    state = read_state(locate(IMAGENET_LITE0))
    with torch.device("meta"):
        ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    pairs = list(zip(state.items(), ours.items(), strict=True))
    assert all(theirs.shape == value.shape for (_, theirs), (_, value) in pairs)
    assert all(theirs.rpartition(".")[2] == name.rpartition(".")[2] for (theirs, _), (name, _) in pairs)
    return {name: value for (_, value), (name, _) in pairs}
