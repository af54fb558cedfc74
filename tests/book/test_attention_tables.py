"""Tables on where networks look: numbers a reader can count, and a word where a run lacks what is asked."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from arlrepro.book.figures.attention import deletion_curves
from arlrepro.book.figures.terms import term_over_training
from arlrepro.book.tables import attention, terms
from arlrepro.profiles import ISIC2017_256
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Study
from helpers.made_runs import BLOCKS, LESIONS, made_study

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
OLD = made_study(GAINS, seeds=(0, 1, 2))
EMPTY = Study(ISIC2017_256, ())
IDS = [f"test_MADE_{number:04d}" for number in range(LESIONS)]
SPREAD = np.linspace(-0.05, 0.05, LESIONS)
FRACTIONS = np.linspace(0, 1, 11)


def measured(run: Run) -> Run:
    """A run with every measure: an ARL-CNN's maps have a tenth more inside, an untrained network's a quarter."""
    share = (0.6 if len(run.attention) else 0.5) + SPREAD + 0.01 * run.seed
    focus = pd.DataFrame({"image_id": IDS, "area": 0.25, "share": share, "peak_inside": 1, "overlap": share / 2})
    steps = {"nothing": share, "fc": share - 0.1, "everything": 0.25 + SPREAD / 2}
    sanity = pd.concat(
        [
            pd.DataFrame({"image_id": IDS, "untrained": step, "share": value, "peak_inside": 1, "overlap": value / 2})
            for step, value in steps.items()
        ]
    )
    sanity["correlation"] = np.where(sanity["untrained"] == "nothing", 1.0, 0.2) + np.tile(SPREAD, 3) / 10
    curves = {"deletion": 1 - FRACTIONS, "insertion": FRACTIONS}  # an area of a half, and a shuffled one of 0.6 and 0.4
    rows = [
        pd.DataFrame(
            {"image_id": one, "fraction": FRACTIONS, **{name: line + shift for name, line in curves.items()}}
        ).assign(deletion_shuffled=0.6 + shift / 2, insertion_shuffled=0.4 + shift / 2)
        for one, shift in zip(IDS, SPREAD, strict=True)
    ]
    measures = {
        **run.measures,
        **dict.fromkeys(("focus", "focus_training", "focus_drawn", "focus_signs"), focus),
        **dict.fromkeys(("gallery", "patches"), pd.DataFrame({"image_id": IDS})),
        "sanity": sanity,
        "deletion": pd.concat(rows),
    }
    if len(run.attention):
        measures["terms"] = pd.concat(
            [
                pd.DataFrame({"image_id": IDS, "block": block, "to_shortcut": 0.01 * (1 + SPREAD), "to_residual": 0.02})
                for block in BLOCKS
            ]
        )
    return replace(run, measures=measures)


NEW = replace(OLD, runs=tuple(map(measured, OLD.runs)))
TABLES = (attention.where, attention.sanity, attention.deletion, terms.sizes, attention.answer)


def test_the_difference_is_a_tenth_more_inside():
    table = attention.where(NEW).loc["test images, automatic masks"]
    assert table.index.tolist() == ["ResNet-14", "ARL-CNN14", "ARL-CNN14 minus ResNet-14", "chance level"]
    assert table.loc["ARL-CNN14 minus ResNet-14", "energy in mask"].startswith("+0.100 [")
    assert table.loc["ARL-CNN14", "energy in mask"].startswith("0.610 [")  # the mean of seeds 0, 1 and 2
    assert table["seeds"].tolist() == ["seeds 0 to 2"] * 3 + [""]


def test_the_interval_of_a_share_ends_where_shares_do():
    apart = tuple(
        replace(run, measures={**run.measures, "focus": run.measures["focus"].assign(peak_inside=min(run.seed, 1))})
        for run in NEW.runs
    )
    table = attention.where(replace(NEW, runs=apart)).loc["test images, automatic masks"]
    assert table.loc["ARL-CNN14", "pointing game"] == "0.667 [0.000, 1.000]"


def test_the_interval_of_a_difference_of_shares_ends_where_such_do():
    apart = tuple(
        replace(run, measures={**run.measures, "focus": run.measures["focus"].assign(peak_inside=int(inside))})
        for run in NEW.runs
        for inside in [(run.seed == 0) if len(run.attention) else (run.seed == 1)]
    )
    table = attention.where(replace(NEW, runs=apart)).loc["test images, automatic masks"]
    assert table.loc["ARL-CNN14 minus ResNet-14", "pointing game"] == "+0.000 [-1.000, +1.000]"


def test_a_figure_of_fewer_seeds_than_its_row_says_so():
    first_lacks_it = (
        replace(run, measures={**run.measures, "focus": run.measures["focus"].drop(columns="overlap")})
        if run.seed == 0
        else run
        for run in NEW.runs
    )
    table = attention.where(replace(NEW, runs=tuple(first_lacks_it))).loc["test images, automatic masks"]
    assert table.loc["ResNet-14", "seeds"] == "seeds 0 to 2; IoU at equal area: seeds 1, 2"


def test_chance_is_the_outlines_share_and_its_overlap():
    chance = attention.where(NEW).loc[("synthetic images, exact masks", "chance level")]
    assert chance.iloc[:3].tolist() == ["0.250", "0.250", "0.143"]  # 0.25 / 1.75


def test_masks_of_synthetic_data_are_called_exact():
    from arlrepro.profiles import DEMO

    drawn = replace(NEW, profile=DEMO)
    assert "test images, exact masks" in attention.where(drawn).index.get_level_values(0)


def test_randomised_weights_lose_what_was_learned():
    table = attention.sanity(NEW).loc["ARL-CNN14"]
    assert table.index.tolist() == ["the output layer", "the first layer: an untrained network"]
    assert table.loc["the output layer", "energy in mask: trained minus untrained"] == "+0.100 [+0.100, +0.100]"
    assert table.loc["the first layer: an untrained network", "energy in mask: trained minus untrained"].startswith(
        "+0.360 ["
    )
    assert table.loc["the output layer", "rank correlation of the maps"].startswith("+0.200 [")


def test_areas_under_the_curves_are_halves():
    row = attention.deletion(NEW).loc["ResNet-14"]
    assert row["area under deletion"].startswith("0.500 [0.49")
    assert row["deletion: map minus shuffled map"].startswith("-0.100 [")
    assert row["insertion: map minus shuffled map"].startswith("+0.100 [")


def test_sizes_have_a_row_a_block_and_an_interval():
    table = terms.sizes(NEW).loc["ARL-CNN14"]
    assert len(table) == len(BLOCKS)
    assert table["α M x over x"].str.startswith("1.0e-02 [").all()
    assert (table["lesions"] == str(LESIONS)).all()


def test_the_answer_says_yes_where_the_interval_is_above_nought():
    table = attention.answer(NEW)
    assert len(table) == 4 * 2 + 2 + 1
    more = table.loc[("Energy in mask above ResNet's?", "ARL-CNN14 minus ResNet-14")]
    assert (more["so"], more["seeds"]) == ("yes", "seeds 0 to 2")
    lost = table.loc[("Is the mean AUC lower with α set to 0 at test?", "ARL-CNN14")]
    assert lost["so"] == "inconclusive"  # made runs score the same without


def test_the_answer_turned_round_is_the_reverse():
    swapped = tuple(replace(run, measures=NEW.runs[-1 - number].measures) for number, run in enumerate(NEW.runs))
    table = attention.answer(replace(NEW, runs=swapped)).xs("Energy in mask above ResNet's?")
    assert table["so"].tolist() == ["no, the reverse"]


def test_networks_measured_in_different_seeds_are_not_called_unmeasured():
    apart = tuple(run for run in NEW.runs if (run.network == "resnet14") == (run.seed == 0))
    table = attention.answer(replace(NEW, runs=apart))
    assert table.xs("Energy in mask above ResNet's?")["so"].tolist() == ["no seed has both yet"]
    assert "not measured yet" not in set(table["so"])


def test_runs_that_lack_measures_are_left_out():
    mixed = replace(NEW, runs=(*OLD.runs[:1], *NEW.runs[1:]))
    seeds = attention.where(mixed).loc[("synthetic images, masks of their signs", "ARL-CNN14 minus ResNet-14"), "seeds"]
    assert seeds == "seeds 1, 2"


@pytest.mark.parametrize("study", [OLD, EMPTY], ids=["old runs", "no run"])
def test_what_is_not_measured_is_empty_or_says_so(study):
    assert [len(table(study)) for table in (attention.sanity, attention.deletion, terms.sizes)] == [0, 0, 0]
    assert repr(deletion_curves(study)) == "No completed run with deletion curves of isic2017-256 yet."
    assert len(attention.answer(study)) == (0 if study is EMPTY else 11)


def test_a_difference_of_two_seeds_has_no_interval():
    two = replace(NEW, runs=tuple(run for run in NEW.runs if run.seed < 2))
    assert attention.where(two).loc[
        ("test images, automatic masks", "ARL-CNN14 minus ResNet-14"), "energy in mask"
    ] == ("+0.100")


@pytest.mark.parametrize("table", TABLES[:3])
def test_no_interval_leaves_the_range_of_its_metric(table):
    ends = [float(end) for end in re.findall(r"[\[ ]([+-]?\d\.\d{3})[,\]]", table(NEW).to_string())]
    assert ends and min(ends) >= -1 and max(ends) <= 1


def test_deletion_curves_are_the_means():
    figure = deletion_curves(NEW)
    assert [axis.get_title() for axis in figure.axes] == ["deletion", "insertion"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 1 - FRACTIONS, atol=1e-9)
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), 0.6)


def test_the_term_over_training_ends_at_its_measured_size():
    figure = term_over_training(made_study(GAINS, seeds=(0,)))
    ends = [line.get_ydata()[-1] for line in figure.axes[0].lines]
    assert ends == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert figure.axes[0].lines[3].get_ydata()[0] == pytest.approx(1e-2 * 0.001 / 0.04)


def test_energy_is_that_of_each_outputs_own_map_where_runs_have_it():
    """One value for one quantity: the claims name `focus.energy`."""
    own = tuple(
        replace(run, measures={**run.measures, "focus": run.measures["focus"].assign(energy=0.25 + SPREAD)})
        for run in NEW.runs
    )
    table = attention.where(replace(NEW, runs=own)).loc["test images, automatic masks"]
    assert table.loc["ARL-CNN14", "energy in mask"].startswith("0.250")
    assert list(attention.columns(NEW)) == ["share", "peak_inside", "overlap"]
