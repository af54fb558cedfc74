"""A config is refused where it names what does not exist, and variants are experiments of their own."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arlrepro import config, registry
from arlrepro.config import Experiment, NetworkConfig, with_settings
from arlrepro.errors import ConfigError
from arlrepro.profiles import ABLATION, ISIC2017_256, ISIC2017_256_ABLATION, ISIC2017_256_NETWORKS, PROFILES


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


HASHES = {
    "smoke": "f1d8e94b",
    "demo": "ad79ca56",
    "isic2017-256": "53c72dba",
    "isic2017-256-imagenet": "c3eb07b2",
    "isic2017-256-lite0": "31cc6712",
    "isic2017-256-cv": "d4327de6",
    "isic2017-256-ablation": "53c72dba",
    "isic2017-256-networks": "53c72dba",
    "paper": "fdb71834",
}


def test_profiles_keep_their_hashes():
    """A run is found by them: only the demo's, whose runs nobody keeps, has changed since there were archived ones."""
    assert {name: PROFILES[name].experiment.hash for name in HASHES} == HASHES


def test_a_pair_that_starts_from_weights_of_its_own_family_shares_a_hash():
    pair = [
        replace(Experiment(), network=NetworkConfig(name=name, weights="imagenet-lite0"))
        for name in ("efficientnet_lite0", "arl_efficientnet_lite0")
    ]
    assert pair[0].hash == pair[1].hash != Experiment().hash


OUT_OF_RANGE = {
    "patches.side=0": "patches.side is 0; it must be in [1, 4096] px",
    "patches.side=1000000": "patches.side is 1000000; it must be in [1, 4096] px",
    "patches.scales=[5]": "patches.scales is 5.0; it must be in (0, 1]",
    "patches.scales=[0]": "patches.scales is 0.0; it must be in (0, 1]",
    "patches.scales=[]": "patches.scales is (); it must be a list of at least one number",
    "patches.zoom=-1": "patches.zoom is -1.0; it must be in [0, 1)",
    "patches.zoom=1": "patches.zoom is 1.0; it must be in [0, 1)",
    "patches.jitter=NaN": "patches.jitter is nan; it must be in [0, 1]",
    "patches.rotation_degrees=400": "patches.rotation_degrees is 400.0; it must be in [0, 180] degrees",
    "patches.std=[0, 0, 0]": "patches.std is 0.0; it must be in (0, 1]",
    "patches.mean=[0.5]": "config.patches.mean is [0.5]; it must be a list of 3 numbers",
    "train.patience=-1": "train.patience is -1; it must be in [0, 1000000]",
    "train.weight_decay=-1": "train.weight_decay is -1.0; it must be 0 or more",
    "train.weight_decay=Infinity": "train.weight_decay is inf; it must be 0 or more",
    "train.learning_rate=NaN": "train.learning_rate is nan; it must be 0 or more",
    "train.epochs=0": "train.epochs is 0; it must be in [1, 1000000]",
    "train.epochs=true": "config.train.epochs is True; it must be of type int",
    "train.warm_up=1": "train.warm_up is 1.0; it must be in [0, 1)",
    "train.momentum=1": "train.momentum is 1.0; it must be in [0, 1)",
    "network.alpha=NaN": "network.alpha is nan; it must be a finite number",
    "data.side=-3": "data.side is -3; it must be in [1, 16384] px",
    "data.folds=-5": "data.folds is -5; it must be in [0, 1000]",
    "data.synthetic_test=1000000": "data.synthetic_test is 1000000; it must be in [0, 999999] images",
    "evaluation.seed=-1": "evaluation.seed is -1; it must be in [0, 4294967295]",
    "evaluation.patches_per_scale=1000000000": ("evaluation.patches_per_scale is 1000000000; it must be in [0, 1000]"),
}


@pytest.mark.parametrize(("setting", "message"), OUT_OF_RANGE.items())
def test_what_is_out_of_range_is_refused_when_the_config_is_made(setting, message):
    with pytest.raises(ConfigError) as caught:
        with_settings(Experiment(), [setting])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "setting",
    [
        f"train.epochs={'[' * 100_000}",
        f"train.epochs={'1' * 5000}",
        f"train.learning_rate={'1' * 400}",
        f"train.epochs={'x' * 250_000}",
        "train=1",
        "x" * 250_000,
    ],
    ids=["nested", "5,000 digits", "400 digits", "250,000 letters", "a section", "no setting"],
)
def test_no_setting_makes_a_traceback_or_a_long_message(setting):
    with pytest.raises(ConfigError) as caught:
        with_settings(Experiment(), [setting])
    assert len(str(caught.value)) < 200


@settings(deadline=None, max_examples=300)
@given(
    path=st.sampled_from(
        [
            f"{section}.{name}"
            for section, entries in config.to_dict(Experiment()).items()
            if section != "task"
            for name in entries
        ]
    ),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    ),
)
def test_any_setting_gives_a_config_that_comes_back_or_one_line(path, value):
    try:
        varied = with_settings(Experiment(), [f"{path}={json.dumps(value)}"])
    except ConfigError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
    else:
        assert config.from_dict(config.to_dict(varied)) == varied


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_out_of_range_makes_no_run(seed):
    with pytest.raises(ConfigError, match=r"^seed is .*; it must be in \[0, 4294967295\]$"):
        Experiment().run_id(seed)
