"""What determines a run: data, patches, network, training, evaluation.

Every default is the paper's protocol, with its source; what no source gives says *our choice*. The hash in a run's id
covers only the fields that differ from their defaults, so that adding a field orphans no archived run.

Sources, as in the book's page on the paper: **abs** the abstract; **AP** the notebooks of AI-Praxis, which quote the
paper; **V** the code of Vipermdl/ARL; **C** the challenge's page.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

from arlrepro.errors import ConfigError, check_known, short
from arlrepro.registry import NETWORKS, PRETRAINED, TASKS
from arlrepro.schema import Range, check_field, check_fields, differences, from_plain

#: Raised when the same config no longer gives the same run: the meaning of the protocol, not of one field, has changed.
PROTOCOL_VERSION = 1
MASKS = ("positions", "channels", "sigmoid", "none")
STAGES = (1, 2, 3, 4)

Count = Annotated[int, Range(1, 1_000_000)]
CountOrNone = Annotated[int, Range(0, 1_000_000)]
Pixels = Annotated[int, Range(1, 16_384, "px")]
PatchSide = Annotated[int, Range(1, 4096, "px")]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, above=True)]
ShareBelowOne = Annotated[float, Range(0, 1, below=True)]
Degrees = Annotated[float, Range(0, 180, "degrees")]
Finite = Annotated[float, Range(-math.inf)]
Drawn = Annotated[int, Range(0, 999_999, "images")]
Folds = Annotated[int, Range(0, 1000)]
PatchesPerScale = Annotated[int, Range(0, 1000)]
SideOrAsInTraining = Annotated[int, Range(0, 4096, "px")]
Seed = Annotated[int, Range(0, 2**32 - 1)]


@dataclass(frozen=True)
class DataConfig:
    """Which images, and the side they are decoded to once."""

    source: str = (
        "isic2017"  # isic2017 (official layout at --data) or synthetic (drawn by arlrepro.data.synthetic.dataset)
    )
    extra: bool = False  # also train on the images that `arlrepro data extra` put into the folder `extra` beside them
    side: Pixels = 1120  # px of the cached copy; 5 x 224, so that the smallest patch keeps 224 real pixels. Our choice
    synthetic_training: Drawn = 0  # images drawn for each split; 0 with source isic2017
    synthetic_validation: Drawn = 0  # the same for the validation split
    synthetic_test: Drawn = 0  # the same for the test split
    folds: Folds = 0  # of cross-validation over the images of all splits; 0: the challenge's splits. Our choice
    fold: Folds = 0  # which of them is the test split; stands in a run's id, not in its hash

    def __post_init__(self) -> None:
        check_fields(self, "data")


@dataclass(frozen=True)
class PatchConfig:
    """The paper's patch geometry and augmentation, in fractions of the image's side."""

    side: PatchSide = 224  # px of a patch as the network sees it (AP)
    scales: tuple[PositiveShare, ...] = (0.2, 0.4, 0.6, 0.8)  # side of a patch over side of the image (AP)
    jitter: Share = 1 / 6  # centre moves by up to +-jitter * scale of the side; V: 250 px, of the mean original side
    rotation_degrees: Degrees = 10.0  # uniform in [-10, 10] (V, AP)
    zoom: ShareBelowOne = 0.1  # uniform in [0.9, 1.1] (AP)
    flips: bool = True  # horizontal and vertical, each with probability one half (V, AP)
    mean: tuple[Share, Share, Share] = (0.708, 0.592, 0.547)  # of each channel, whose values lie in [0, 1] (V)
    std: tuple[PositiveShare, PositiveShare, PositiveShare] = (
        0.094,
        0.111,
        0.126,
    )  # the same, their standard deviation (V)

    def __post_init__(self) -> None:
        check_fields(self, "patches")


@dataclass(frozen=True)
class NetworkConfig:
    """The network and how its attention residual blocks are formed."""

    name: str = "arl_cnn50"  # kind and depth
    mask: str = "positions"  # softmax over positions (rec) or channels (AP code, V), sigmoid, or none: α weighs x alone
    alpha: Finite = 0.001  # α at the start, the weight of the attention term (AP, for fine-tuning)
    alpha_learned: bool = True  # one scalar a block, learned with the weights (AP code)
    weights: str = "none"  # none (from scratch), a name of `PRETRAINED`, or the path of a .safetensors or .pth
    stages: tuple[int, ...] = STAGES  # those of the four whose blocks have the attention term; all of them (abs)

    def __post_init__(self) -> None:
        check_known("network", self.name, tuple(NETWORKS))
        check_known("mask", self.mask, MASKS)
        if self.weights in PRETRAINED and self.name not in PRETRAINED[self.weights].networks:
            takers = ", ".join(PRETRAINED[self.weights].networks)
            raise ConfigError(f"weights {self.weights} do not fit {self.name}, only {takers}; use weights none")
        for stage in self.stages:
            check_known("stage", stage, STAGES)
        if not self.stages or list(self.stages) != sorted(set(self.stages)):
            raise ConfigError(f"network.stages is {list(self.stages)}; name at least one, each once, in order")
        check_fields(self, "network")


@dataclass(frozen=True)
class TrainConfig:
    """Mini-batch SGD with a halving schedule."""

    epochs: Count = 100  # at most (AP)
    patches_per_image: Count = 60  # drawn for each image in an epoch (AP); what the paper calls an epoch is not said
    batch_size: Count = 32  # patches (AP)
    # Reason: a batch may not fit a device; as many processes may share its parts, to the same weights.
    parts: Count = 1  # of a batch, each passed alone, so that batch norm sees a part. Our choice: the whole batch
    optimiser: str = "sgd"  # sgd (AP), or adamw, whose weight decay is decoupled from the gradient
    learning_rate: NotNegative = 0.01  # from scratch; 0.0001 when fine-tuned from ImageNet (AP); of a cosine its peak
    schedule: str = "halving"  # halving, every `halve_every` epochs (AP); or cosine, down to 0 over all steps
    halve_every: Count = 30  # epochs (AP)
    warm_up: ShareBelowOne = 0.0  # proportion of all steps over which a cosine first rises linearly from 0. Our choice
    momentum: ShareBelowOne = 0.9  # of SGD (V)
    weight_decay: NotNegative = 1e-4  # L2 penalty of SGD (V); not on alpha: our choice
    patience: CountOrNone = (
        20  # epochs without a better validation AUC before the run stops; 0 never stops early. Our choice
    )
    validate_every: Count = 1  # epochs between two looks at the validation set. Our choice
    keep: str = "best"  # the state that is the result: of the best validation AUC (AP stops by it), or the last one
    precision: str = "bf16"  # convolutions in bfloat16, residual stream and attention in float32; fp32: all in float32

    def __post_init__(self) -> None:
        check_fields(self, "train")


@dataclass(frozen=True)
class EvaluationConfig:
    """The patches that score a lesion, the same for every run."""

    patches_per_scale: PatchesPerScale = 2  # two at each scale and the whole image: nine (V)
    whole_image: bool = True  # (V)
    seed: Seed = 2017  # places of the evaluation patches, shared by all runs, or pairing is lost. Our choice
    side: SideOrAsInTraining = 0  # px of an evaluation patch; 0: as in training (AP)

    def __post_init__(self) -> None:
        check_fields(self, "evaluation")


@dataclass(frozen=True)
class Experiment:
    """All that determines a run but its seed and the bytes of its data."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    task: str = "melanoma"  # one network for each binary task (C)
    data: DataConfig = field(default_factory=DataConfig)
    patches: PatchConfig = field(default_factory=PatchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        check_known("task", self.task, TASKS)
        for what, given, known in (
            ("precision", self.train.precision, ("bf16", "fp32")),
            ("optimiser", self.train.optimiser, ("sgd", "adamw")),
            ("schedule", self.train.schedule, ("halving", "cosine")),
            ("state to keep", self.train.keep, ("best", "last")),
        ):
            check_known(what, given, known)
        check_known("data source", self.data.source, ("isic2017", "synthetic"))
        if self.data.folds in (1, 2) or not 0 <= self.data.fold < max(self.data.folds, 1):
            raise ConfigError(
                f"data.fold {self.data.fold} of data.folds {self.data.folds}: give three folds or more (one tests, one "
                "validates, the others train) and a fold below their number, or 0 of 0"
            )
        if self.train.batch_size % self.train.parts:
            raise ConfigError(
                f"train.parts is {self.train.parts}; it must divide train.batch_size, {self.train.batch_size}"
            )

    @property
    def evaluation_patches(self) -> PatchConfig:
        """The geometry of the patches that lesions are scored by: that of training, at the side of the evaluation."""
        return replace(self.patches, side=self.evaluation.side or self.patches.side)

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits over the protocol version and every field that differs from its default.

        The network's name, the task and the fold stand in a run's id by themselves and are left out, so that the runs
        of one profile share a hash.
        """
        changed = differences(self, Experiment())
        changed.pop("task", None)
        for section, name in (("network", "name"), ("data", "fold")):
            changed.get(section, {}).pop(name, None)
        changed = {"protocol": PROTOCOL_VERSION, **{name: value for name, value in changed.items() if value != {}}}
        return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]

    def run_id(self, seed: int) -> str:
        """The name of the run's folder, `<network>-<task>-s<seed>-<hash>`; of a fold `...-s<seed>-f<fold>-<hash>`.

        Raises:
            ConfigError: the seed is below 0, or too large for the generators of random numbers.
        """
        check_field(Seed, seed, "seed")
        fold = f"-f{self.data.fold}" if self.data.folds else ""
        return f"{self.network.name}-{self.task}-s{seed}{fold}-{self.hash}"


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain dictionaries, lists and scalars, as `config.yaml` stores it."""
    return json.loads(json.dumps(asdict(experiment)))


def from_dict(stored: dict[str, Any]) -> Experiment:
    """The experiment that `to_dict` stored; fields added since then take their defaults.

    Raises:
        ConfigError: a stored field does not exist here.

    Example:
        >>> from_dict(to_dict(Experiment())) == Experiment()
        True
    """
    return from_plain(Experiment, stored, "config")


def with_settings(experiment: Experiment, settings: Sequence[str]) -> Experiment:
    """Change single fields, given as `section.field=value`.

    Args:
        experiment: what to vary.
        settings: for example `["train.epochs=5", "network.alpha=0"]`; values as in YAML.

    Raises:
        ConfigError: the field does not exist or the value is not of its type.

    Example:
        >>> with_settings(Experiment(), ["train.epochs=5"]).train.epochs
        5
    """
    stored = to_dict(experiment)
    for setting in settings:
        path, equals, text = setting.partition("=")
        section, dot, name = path.strip().partition(".")
        if not (equals and dot):
            raise ConfigError(f"setting {short(setting)}: write section.field=value, for example train.epochs=5")
        check_known("section of a setting", section, tuple(f.name for f in fields(Experiment) if f.name != "task"))
        check_known(f"field of {section}", name, tuple(stored[section]))
        try:
            stored[section][name] = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or lists in lists in lists
            stored[section][name] = text.strip()
    return from_dict(stored)
