"""The ablation says what its runs say, of each variant by itself, and how many of them are there."""

import re

import numpy as np
import pytest
from scipy import stats

from arlrepro import registry
from arlrepro.book.tables import networks
from arlrepro.profiles import ABLATION
from helpers.made_runs import BLOCKS, made_study

STUDY = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0, 1))
GAP = "as it is minus this [95 % CI]"


def test_every_variant_has_a_row_that_counts_its_runs(companion_archive):
    table = networks.variants(STUDY).loc["ARL-CNN14"]
    assert list(table.index) == [
        *("as it is", "α fixed at zero, ResNet-14", "α set to 0 at test"),
        *(one.name for one in ABLATION),
    ]
    assert list(table["runs"]) == ["2 of 5", "2 of 5", "2 of 5", "2 of 3", "1 of 3", *["0 of 3"] * 4]
    assert set(table["started from"]) == {"random initialisation"}


def test_a_variant_is_compared_with_the_network_as_it_is_in_the_seeds_of_both(companion_archive):
    table = networks.variants(STUDY).loc["ARL-CNN14"]
    assert table.loc["softmax over channels", GAP] == "+0.000"  # the same scores, lesion by lesion
    assert table.loc["softmax over channels", "compared in"] == "seeds 0, 1"
    assert table.loc["sigmoid in place of the softmax", "compared in"] == "seed 0"
    as_it_is, sigmoid = (run.metrics["test"]["mean_auc"] for run in (STUDY.of("arl_cnn14")[0], STUDY.of("resnet14")[0]))
    assert table.loc["sigmoid in place of the softmax", GAP] == f"{as_it_is - sigmoid:+.3f}"


def test_a_variant_without_runs_is_empty(companion_archive):
    row = networks.variants(STUDY).loc[("ARL-CNN14", "in the last stage alone")]
    assert row["runs"] == "0 of 3"
    assert (row.drop(["runs", "started from"]) == "").all()


def test_the_term_of_a_variant_has_its_size_and_its_worth_block_by_block(companion_archive):
    table = networks.terms(STUDY).loc["ARL-CNN14"]
    assert list(table.loc["softmax over channels"].index) == ["all blocks", *(registry.block(one) for one in BLOCKS)]
    of_block = table.loc[("softmax over channels", registry.block(BLOCKS[0]))]
    assert float(of_block["α"]) > 0 and of_block["α M x over x"] == "", "made runs have not measured the term by lesion"
    assert of_block["mean AUC lost without it [95 % CI]"] == "+0.000"  # made runs score the same without
    assert table.xs("all blocks", level="block")["runs"].tolist() == [2, 2, 1]


def test_the_term_of_a_variant_without_runs_is_no_row(companion_archive):
    variants = networks.terms(STUDY).loc["ARL-CNN14"].index.get_level_values("variant")
    assert "softmax over channels" in variants and "in the last stage alone" not in variants


def test_the_term_of_a_stage_is_the_largest_of_its_blocks():
    sizes = {
        "stage 4, block 1": {"α": "0.0100", "α M x over x": "2.0e-03"},
        "stage 4, block 2": {"α": "-0.0200", "α M x over x": "1.0e-03"},
        "stage 3, block 1": {"α": "0.0300", "α M x over x": "9.0e-03"},
    }
    assert networks._of_blocks(sizes, "stage 4") == {"α": "-0.0200 to 0.0100", "α M x over x": "2.0e-03"}
    assert networks._of_blocks(sizes, "stage 3, block 1") == sizes["stage 3, block 1"]
    assert networks._of_blocks(sizes, "all blocks") == {}


def test_other_networks_are_compared_with_the_studys_resnet(companion_archive):
    table = networks.other_networks(STUDY)
    assert list(table.index) == ["ResNet-14", "ARL-CNN14", "SE-14", "RAN-14", "CBAM-14", "ECA-14"]
    assert list(table["runs"]) == ["2 of 5", "2 of 5", "1 of 3", "0 of 3", "0 of 3", "0 of 3"]
    assert table.loc["SE-14", "compared in"] == "seed 0 against all of ResNet-14"
    areas = [run.metrics["test"]["mean_auc"] for run in STUDY.of("resnet14")]
    half = stats.t.ppf(0.975, 1) * np.std(areas, ddof=1) * np.sqrt(1 + 1 / 2)  # one seed against two
    _, low, high = map(float, re.findall(r"[+-]\d\.\d+", table.loc["SE-14", "minus ResNet [95 % CI]"]))
    assert (high - low) / 2 == pytest.approx(half, abs=0.001)
    assert table.loc["SE-14", "p"] == ""
