"""What is known and chosen before any result, read from the data files and the config."""

from dataclasses import fields

import pandas as pd
import pytest

from arlrepro.book.tables import protocol, published
from arlrepro.config import Experiment
from arlrepro.errors import ConfigError
from arlrepro.evaluation.intervals import wilson_interval
from arlrepro.paper.departures import read_departures
from arlrepro.profiles import ISIC2017_256, ISIC2017_256_IMAGENET, ISIC2017_256_LITE0, PAPER
from arlrepro.runs.study import Study
from helpers.made_runs import made_study
from helpers.stored_files import refusal

NETWORKS_DIFFER = "depth or family of the networks"

MEASURED = "measured effect on mean AUC"


def test_published_rows_show_the_decimals_of_their_source():
    table = published.published_numbers()
    assert table.loc["ARL-CNN50 as V quotes it", ("melanoma", "SPE")] == "0.96"
    assert table.loc["ARL-CNN50", ("melanoma", "ACC")] == "0.850"
    assert table.loc["ARL-CNN50", ("known from", "")] == "AP README"


def test_published_rows_are_empty_where_no_source_gives_a_number():
    table = published.published_numbers()
    assert set(table.loc["ARL-CNN14"].iloc[:-1]) == {""}
    assert table.loc["ARL-CNN14", ("known from", "")] == "no source known to us"


def test_the_contradictory_row_is_impossible_and_the_papers_is_not():
    table = published.consistency_table().set_index(["reported by", "task"])
    quoted, paper = table.loc[("ARL-CNN50 as V quotes it", "melanoma")], table.loc[("ARL-CNN50", "melanoma")]
    assert quoted[["verdict", "true positives", "mlscorecheck"]].tolist() == ["impossible", "", "impossible"]
    assert paper[["verdict", "true positives", "true negatives", "mlscorecheck"]].tolist() == [
        *("possible in one way", "77 of 117", "433 of 483", "possible")
    ]


def test_published_aucs_have_an_interval_from_the_counts():
    table = published.published_aucs().set_index(["reported by", "task"])
    assert table.loc[("ARL-CNN50", "melanoma"), "AUC [95 % CI]"].startswith("0.875 [0.8")


def test_every_field_of_an_experiment_has_a_row_and_a_meaning():
    table = protocol.settings(PAPER)
    sections = [entry for entry in fields(Experiment) if entry.name != "task"]
    counted = sum(len(fields(entry.default_factory)) for entry in sections) + 1
    assert len(table) == counted
    assert (table["meaning, unit, source"] != "").all()


def test_settings_show_what_a_profile_changes_and_nothing_else():
    table = protocol.settings(ISIC2017_256)
    assert table.loc[("train", "epochs")].tolist() == ["100", "60", "at most (AP)"]
    assert table.loc[("train", "batch_size"), "this profile"] == ""
    assert table.loc[("network", "name"), "this profile"] == "ResNet-14, ARL-CNN14"
    changed = table.index[table["this profile"] != ""].get_level_values("field").tolist()
    assert changed == [*("name", "task", "side", "side", "epochs", "patches_per_image", "patience", "validate_every")]


def test_departures_say_what_the_profile_does():
    table = protocol.departures(Study(ISIC2017_256_IMAGENET, ()))
    assert len(table) == 5
    assert table.loc["pretrained weights", "here"] == "ImageNet, stored in 8 bits"
    assert table.loc["resolution of the images", "here"] == "copies of 256 x 256 px"
    assert (table["paper"] != "").all() and (table["reason"] != "").all()


@pytest.mark.parametrize("profile", [ISIC2017_256, ISIC2017_256_LITE0])
def test_the_networks_lead_where_they_are_not_the_papers(profile):
    assert protocol.departures(Study(profile, ())).index[0] == NETWORKS_DIFFER


def test_the_papers_networks_are_no_departure():
    every = [protocol.departures(Study(ISIC2017_256_IMAGENET, ()), leading) for leading in (True, False)]
    assert NETWORKS_DIFFER not in [setting for table in every for setting in table.index]


def test_the_effect_of_a_variant_is_measured_by_its_runs(companion_archive):
    table = protocol.departures(made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0, 1)), leading=False)
    said = table.loc["axis of the softmax of the mask", "measured effect on mean AUC"]
    assert said == "here minus softmax over channels: +0.000, seeds 0, 1"
    assert table.loc["outputs of a network", "measured effect on mean AUC"].startswith("not measured; --task")


def test_a_departure_of_an_unknown_field_is_named(tmp_path):
    path = tmp_path / "departures.yaml"
    path.write_text("- {setting: a, fields: [train.speed], paper: b, here: c, reason: d, likely: e}\n")
    with pytest.raises(ConfigError, match=r"no field 'train.speed' in the config$"):
        read_departures(path)


@pytest.mark.parametrize("content", [b"", b"3", b"- a\n", b"\xff", b"- {setting: [a\n"])
def test_a_damaged_file_of_departures_is_one_line_with_its_remedy(tmp_path, content):
    said = refusal(read_departures, tmp_path / "departures.yaml", content, ConfigError)
    assert said.endswith("; restore it: git checkout departures.yaml")


def test_trials_are_listed_and_are_no_rows_without_their_file(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    study = Study(ISIC2017_256_IMAGENET, ())
    assert protocol.trials(study).empty
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "protocol_trials.csv").write_text(
        "trial,network,seed,settings,evaluation_side,minutes,melanoma,seborrheic_keratosis,mean_auc,lesions\n"
        "as planned,resnet50,100,train.epochs=8,128,19.59,0.8262,0.9506,0.8884,550\n"
    )
    row = protocol.trials(study).loc[("as planned", "ResNet-50")]
    assert row.tolist() == ["train.epochs=8", 128, "19.6", "0.826", "0.951", "0.888", 550]
    assert protocol.trials(Study(ISIC2017_256, ())).empty, "they chose another protocol"
    assert protocol.trials(Study(ISIC2017_256_LITE0, ())).empty, "it has trials of its own"


def test_a_departure_that_was_tried_says_what_the_trials_gave():
    study = Study(ISIC2017_256_IMAGENET, ())
    measured = pd.concat([protocol.departures(study, leading) for leading in (True, False)])[MEASURED]
    assert measured["size and number of patches"] == (
        "in the trials, as planned minus 4 passes: +0.0145; as planned at 128 px minus as planned at 160 px: -0.0013"
    )
    assert "SGD with momentum, peak 0.01, 4 passes: +0.0115" in measured["optimiser and schedule"]


def test_more_noise_of_training_widens_what_the_planned_seeds_show():
    quiet, noisy = (protocol.planned(ISIC2017_256_IMAGENET, deviation, 0.95) for deviation in (0.004, 0.016))
    assert quiet[0] < noisy[0] and quiet[1] > noisy[1]


def test_sources_are_those_of_the_data_file():
    assert set(published.sources()["source"]) >= {"abs", "AP", "V", "C", "R"}


def test_recovered_shares_have_wilsons_intervals_of_their_counts():
    table = published.recovered_shares().set_index(["reported by", "task"])
    wilson = wilson_interval(77, 117)
    assert table.loc[("ARL-CNN50", "melanoma"), "SEN [95 % CI]"] == f"0.658 [{wilson.low:.3f}, {wilson.high:.3f}]"
    assert ("ARL-CNN50 as V quotes it", "melanoma") not in table.index


def test_mcnemar_bounds_of_the_papers_rows_are_those_of_seven_lesions():
    table = published.mcnemar_bounds()
    accuracy = table[(table["reported by"] == "ARL-CNN50 against ResNet-50") & (table["metric"] == "ACC")].iloc[0]
    assert accuracy["lesions more"] == "+7"  # 77 + 433 against 74 + 429
    assert accuracy["lesions on which they differ"] == "7 to 187"
    assert accuracy["lowest p"] == "0.016"  # 2 / 2^7
    assert len(table) == 3 * 5  # three shares; the paper and AP on both tasks, V on melanoma


def test_designs_tighten_with_each_repetition_and_less_each_time():
    table = published.designs()
    melanoma = table[table["task"] == "melanoma"]
    found = melanoma["found at correlation 0.9"].astype(float).tolist()
    assert found == sorted(found, reverse=True)
    assert found[0] - found[1] > found[-2] - found[-1]
    assert melanoma["lesions scored"].tolist() == ["600"] + ["2,750"] * 4
    assert set(melanoma["published gain"]) == {"0.018"}
