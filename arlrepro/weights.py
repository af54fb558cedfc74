"""Weights from elsewhere, torchvision's ImageNet weights or a file: tensors are read, objects never unpickled."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from arlrepro.config import IMAGENET
from arlrepro.errors import ConfigError, some

#: Names of what the networks here have beside a ResNet's layers; published ResNet weights have none of it.
OURS = ("alpha", "gate")


def load_weights(network: nn.Module, weights: str, name: str) -> None:
    """Load a state dict by name: all of it, or a ResNet's, which leaves α and gates as they were drawn.

    A head of another size stays as it was drawn too.

    Args:
        network: changed in place.
        weights: `imagenet`, or the path of a state dict in safetensors (`.safetensors`) or as torchvision publishes
            its own (`.pth`, `.pt`).
        name: the network's name, for the messages.

    Raises:
        ConfigError: no such weights, or their names and shapes do not fit the network.
    """
    state = _imagenet(name) if weights == "imagenet" else read_state(Path(weights))
    ours = network.state_dict()
    if "fc.weight" in state and state["fc.weight"].shape != ours["fc.weight"].shape:
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    wrong = [key for key, value in state.items() if key not in ours or value.shape != ours[key].shape]
    drawn = {key for key in ours if not set(OURS).isdisjoint(key.split("."))}
    # Reason: weights with some of a network's gates and not others are another network's, not a ResNet's.
    optional = drawn if drawn.isdisjoint(state) else set()
    missing = [
        key
        for key in ours
        # Reason: the batch counters were added to PyTorch later than some files, and nothing here reads them.
        if key not in state and key not in optional and not key.startswith("fc.") and "num_batches" not in key
    ]
    if wrong or missing:
        raise ConfigError(
            f"weights {weights} do not fit {name}: {len(wrong)} names or shapes of theirs are not the network's "
            f"({some(wrong)}), {len(missing)} of the network's are missing ({some(missing)})"
        )
    network.load_state_dict(state, strict=False)


def _imagenet(name: str) -> dict[str, Tensor]:
    """The state dict of torchvision's ResNet-50 trained on ImageNet (version 1: plain training, as in 2019)."""
    if name not in IMAGENET:
        raise ConfigError(f"there are no ImageNet weights for {name}, only for {', '.join(IMAGENET)}; use weights none")
    published = ResNet50_Weights.IMAGENET1K_V1
    where = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    if not where.is_file():
        try:
            published.get_state_dict(progress=True, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"{where} is not there and could not be fetched ({error}); fetch {published.url} on a machine with a "
                "network and put it there (the environment variable TORCH_HOME moves the folder), or give the path of "
                "the file as network.weights"
            ) from error
    return read_state(where)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file.

    Raises:
        ConfigError: the file is not there, is of another kind, or holds anything but tensors by name.
    """
    if not path.is_file():
        raise ConfigError(f"weights {path}: no such file; give none, imagenet, or the path of a .safetensors or .pth")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ConfigError(f"weights {path}: not a safetensors file ({error})") from error
    if path.suffix not in (".pth", ".pt"):
        raise ConfigError(f"weights {path}: unknown kind of file {path.suffix!r}; known: .safetensors, .pth, .pt")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"weights {path}: not a file of tensors alone, or a broken one ({reason})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"weights {path}: holds no state dict, tensors by name; save network.state_dict() alone")
    return dict(state)
