"""What is known and chosen before any result, read from the data file and from the code's own comments."""

from dataclasses import fields

from arlrepro.book.tables import protocol
from arlrepro.config import Experiment
from arlrepro.evaluation.intervals import wilson_interval
from arlrepro.profiles import ISIC2017_256, PAPER


def test_published_rows_show_the_decimals_of_their_source():
    table = protocol.published_numbers()
    assert table.loc["ARL-CNN50 as V quotes it", ("melanoma", "SPE")] == "0.96"
    assert table.loc["ARL-CNN50", ("melanoma", "ACC")] == "0.850"
    assert table.loc["ARL-CNN50", ("known from", "")] == "AP README"


def test_published_rows_are_empty_where_no_source_gives_a_number():
    table = protocol.published_numbers()
    assert set(table.loc["ARL-CNN14"].iloc[:-1]) == {""}
    assert table.loc["ARL-CNN14", ("known from", "")] == "no source known to us"


def test_the_contradictory_row_is_impossible_and_the_papers_is_not():
    table = protocol.consistency_table().set_index(["reported by", "task"])
    quoted, paper = table.loc[("ARL-CNN50 as V quotes it", "melanoma")], table.loc[("ARL-CNN50", "melanoma")]
    assert quoted[["verdict", "diseased found", "mlscorecheck"]].tolist() == ["impossible", "", "impossible"]
    assert paper[["verdict", "diseased found", "others left alone", "mlscorecheck"]].tolist() == [
        *("possible in one way", "77 of 117", "433 of 483", "possible")
    ]


def test_published_aucs_have_an_interval_from_the_counts():
    table = protocol.published_aucs().set_index(["reported by", "task"])
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


def test_every_departure_comment_of_the_code_is_in_the_table():
    table = protocol.departures()
    code = [path.read_text(encoding="utf8") for path in sorted(protocol.CODE.rglob("*.py")) if path.stem != "protocol"]
    assert len(table) == sum(source.count("Departure: ") for source in code)
    assert (table["departure"].str.len() > 20).all()
    reasons = table.set_index("departure")["reason"]
    one_network = reasons["one network scores both tasks; the paper trains one network for each."]
    assert one_network.startswith("it halves the cost of a run")


def test_departures_are_found_in_comments_and_docstrings():
    source = '''"""A module.

Departure: squares; the paper has
    rectangles.
Reason: speed.

Paper: nothing.
"""
# Departure: first; the paper: none.
# Departure: second.
# Reason: because
# it is.
# Effect: none.
x = 1  # Reason: of no departure
'''
    assert protocol.departures_in(source) == [
        {"departure": "squares; the paper has rectangles.", "reason": "speed.", "effect": protocol.NOT_MEASURED},
        {"departure": "first; the paper: none.", "reason": "", "effect": protocol.NOT_MEASURED},
        {"departure": "second.", "reason": "because it is.", "effect": "none."},
    ]


def test_sources_are_those_of_the_data_file():
    assert set(protocol.sources()["source"]) >= {"abs", "AP", "V", "C", "R"}


def test_recovered_shares_have_wilsons_intervals_of_their_counts():
    table = protocol.recovered_shares().set_index(["reported by", "task"])
    wilson = wilson_interval(77, 117)
    assert table.loc[("ARL-CNN50", "melanoma"), "SEN [95 % CI]"] == f"0.658 [{wilson.low:.3f}, {wilson.high:.3f}]"
    assert ("ARL-CNN50 as V quotes it", "melanoma") not in table.index


def test_mcnemar_bounds_of_the_papers_rows_are_those_of_seven_lesions():
    table = protocol.mcnemar_bounds()
    accuracy = table[(table["reported by"] == "ARL-CNN50 against ResNet-50") & (table["share"] == "ACC")].iloc[0]
    assert accuracy["lesions more"] == "+7"  # 77 + 433 against 74 + 429
    assert accuracy["lesions on which they differ"] == "7 to 187"
    assert accuracy["lowest p"] == "0.016"  # 2 / 2^7
    assert len(table) == 3 * 5  # three shares; the paper and AP on both tasks, V on melanoma


def test_designs_tighten_with_each_repetition_and_less_each_time():
    table = protocol.designs()
    melanoma = table[table["task"] == "melanoma"]
    found = melanoma["found at correlation 0.9"].astype(float).tolist()
    assert found == sorted(found, reverse=True)
    assert found[0] - found[1] > found[-2] - found[-1]
    assert melanoma["lesions scored"].tolist() == ["600"] + ["2,750"] * 4
    assert set(melanoma["published gain"]) == {"0.018"}
