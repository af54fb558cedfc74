"""A config is refused where it names what does not exist, and variants are experiments of their own."""

import pytest

from arlrepro import config, registry
from arlrepro.config import Experiment, with_settings
from arlrepro.errors import ConfigError
from arlrepro.profiles import ABLATION, ISIC2017_256, ISIC2017_256_ABLATION, ISIC2017_256_NETWORKS


def test_archived_runs_keep_their_hash():
    assert ISIC2017_256.experiment.hash == "53c72dba"


def test_settings_come_back_from_plain_data():
    varied = with_settings(Experiment(), ["network.stages=[1, 4]", "network.mask=sigmoid", "train.learning_rate=1"])
    assert config.from_dict(config.to_dict(varied)) == varied
    assert (varied.network.stages, varied.network.mask, varied.train.learning_rate) == ((1, 4), "sigmoid", 1.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("network.mask=rows", "unknown mask 'rows'; known: positions, channels, sigmoid, none"),
        ("network.stages=[5]", "unknown stage 5; known: 1, 2, 3, 4"),
        ("network.stages=[2.5]", "config.network.stages is 2.5; it must be of type int"),
        ("network.stages=4", "config.network.stages is 4; it must be a list of numbers"),
        ("network.stages=[]", "network.stages is []; name at least one, each once, in order"),
        ("network.name=vgg", f"unknown network 'vgg'; known: {', '.join(registry.NETWORKS)}"),
        (
            "network.depth=3",
            "unknown field of network 'depth'; known: name, mask, alpha, alpha_learned, weights, stages",
        ),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(setting, message):
    with pytest.raises(ConfigError) as caught:
        with_settings(Experiment(), [setting])
    assert str(caught.value) == message


def test_each_variant_is_an_experiment_of_its_own_that_differs_in_its_network_alone():
    experiments = ISIC2017_256_ABLATION.experiments()
    assert len({one.hash for one in (*experiments, ISIC2017_256.experiment)}) == len(ABLATION) + 1
    for one in experiments:
        assert one.network.name == "arl_cnn14"
        assert (one.task, one.train, one.data, one.patches) == (
            *("joint", ISIC2017_256.experiment.train, ISIC2017_256.experiment.data, ISIC2017_256.experiment.patches),
        )


def test_a_profile_without_variants_is_its_only_part():
    assert ISIC2017_256.parts() == {"": ISIC2017_256}
    assert list(ISIC2017_256_ABLATION.parts()) == [one.name for one in ABLATION]


def test_other_networks_run_by_the_same_protocol_as_the_archived_runs():
    assert {one.hash for one in ISIC2017_256_NETWORKS.experiments()} == {ISIC2017_256.experiment.hash}
