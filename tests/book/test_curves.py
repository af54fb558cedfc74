"""Figures show what the study holds, alike each time, in one colour a network."""

import io
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from arlrepro import registry
from arlrepro.book.figures import curves as figures
from arlrepro.book.figures import style, terms
from arlrepro.paper import claims
from arlrepro.profiles import ISIC2017_256, ISIC2017_256_IMAGENET
from arlrepro.registry import NETWORKS
from arlrepro.runs.study import Study
from helpers.made_runs import made_study

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
STUDY = made_study(GAINS, seeds=(0, 1, 2))
OF_A_STUDY = [figures.roc, figures.precision_recall, figures.training_curves, terms.alphas]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def png(figure: Figure) -> bytes:
    stored = io.BytesIO()
    figure.savefig(stored, metadata={"Software": None})
    return stored.getvalue()


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2."""
    channels = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_network_has_a_colour_of_its_own():
    assert set(NETWORKS) <= set(registry.COLOURS)
    assert len({registry.COLOURS[one] for one in NETWORKS}) == len(NETWORKS)


def test_text_is_read_on_its_ground_which_is_white_on_a_dark_page_too():
    assert contrast(style.INK, "#ffffff") > 4.5
    css = Path("book/_static/book.css").read_text(encoding="utf8")
    assert re.search(r"dark.*?\.cell_output img \{\s*background: #fff;", css, re.S), "figures keep their ground"


@pytest.mark.parametrize("draw", OF_A_STUDY)
def test_a_figure_is_transparent_and_comes_out_alike(draw):
    first, second = draw(STUDY), draw(STUDY)
    assert first.get_facecolor()[3] == 0
    assert png(first) == png(second)


@pytest.mark.parametrize("draw", OF_A_STUDY)
def test_drawing_leaves_the_readers_settings_alone(draw):
    before = dict(mpl.rcParams)
    draw(STUDY)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("draw", OF_A_STUDY[:3])
def test_networks_keep_their_colour_and_are_named(draw):
    panel = draw(STUDY).axes[0]
    named = {line.get_label().split("  ")[0]: line.get_color() for line in panel.lines}
    assert named["ResNet-14"] == registry.COLOURS["resnet14"]
    assert named["ARL-CNN14"] == registry.COLOURS["arl_cnn14"]


def test_a_network_without_runs_is_left_out():
    panel = figures.roc(made_study({"arl_cnn14": 0.3}, seeds=(0,))).axes[0]
    assert [text.get_text().split("  ")[0] for text in panel.get_legend().get_texts()] == ["ARL-CNN14"]


def test_roc_curve_of_a_single_seed_has_the_area_of_its_metrics():
    study = made_study({"arl_cnn14": 0.3}, seeds=(0,))
    curve = figures.roc(study).axes[0].lines[1]
    area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
    assert area == pytest.approx(study.runs[0].metrics["test"]["melanoma"]["auc"], abs=0.01)


def test_validation_is_drawn_at_the_epochs_that_were_looked_at():
    panel = figures.training_curves(made_study({"arl_cnn14": 0.3}, seeds=(0,))).axes[1]
    assert panel.lines[0].get_xdata().tolist() == [1, 3]


def test_alphas_are_drawn_by_block_for_every_run():
    panel = terms.alphas(STUDY).axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1.1", "2.1", "3.1", "4.1"]
    assert panel.lines[1].get_ydata() == pytest.approx([0.011, 0.021, 0.031, 0.041])


@pytest.mark.parametrize("draw", OF_A_STUDY[:3])
def test_a_study_without_runs_says_so(draw):
    assert repr(draw(Study(ISIC2017_256, ()))) == "No completed run of isic2017-256 yet."


def test_alphas_without_an_arl_network_say_so():
    said = repr(terms.alphas(made_study({"resnet14": 0.1}, seeds=(0,))))
    assert said == "No completed run of a network with ARL blocks of isic2017-256 yet."


@cache
def decided() -> list[claims.Verdict]:
    return claims.decide(claims.read_claims(), {"isic2017-256": STUDY})


def test_forest_names_each_study_and_the_verdicts_on_it():
    panel = figures.forest(decided(), [Study(ISIC2017_256_IMAGENET, ()), STUDY]).axes[0]
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels.count("mean AUC") == 2
    assert {"ARL-CNN14 minus ResNet-14", "ARL-CNN50 minus ResNet-50"} <= set(labels)
    said = [text.get_text() for text in panel.texts]
    assert said == ["not tested"] * 3 + ["cannot tell (3 of 5 seeds)"] * 3


def test_forest_draws_the_interval_that_the_verdict_rests_on_and_every_seed():
    interval = next(one.interval for one in decided() if one.claim.id == "mean-auc-14")
    lines = figures.forest(decided(), [STUDY]).axes[0].lines
    assert interval in [tuple(line.get_xdata()) for line in lines]
    assert [len(line.get_xdata()) for line in lines if line.get_marker() == "|"] == [3, 3, 3, 0]


def test_forest_of_two_seeds_has_no_interval():
    two = Study(ISIC2017_256, tuple(run for run in STUDY.runs if run.seed < 2))
    lines = figures.forest([], [two]).axes[0].lines
    assert [line for line in lines if line.get_linewidth() == 2.2] == []


def test_forest_without_any_run_shows_the_published_differences():
    panel = figures.forest([], [Study(ISIC2017_256_IMAGENET, ())]).axes[0]
    published = {
        round(float(line.get_xdata()[0]), 3)
        for line in panel.lines
        if line.get_marker() == "D" and len(line.get_xdata())
    }
    assert published == {0.014, 0.018, 0.010}


def test_seeds_are_joined_between_the_networks_that_share_them():
    panel = figures.seeds(STUDY).axes[0]
    joined = [tuple(line.get_ydata()) for line in panel.lines]
    areas = [tuple(run.metrics["test"]["mean_auc"] for run in pair) for pair in STUDY.pairs("resnet14", "arl_cnn14")]
    np.testing.assert_allclose(sorted(joined), sorted(areas))


def test_detectable_differences_fall_as_the_correlation_rises():
    left = figures.detectable().axes[0]
    curves = {line.get_label(): line.get_ydata() for line in left.lines if not line.get_label().startswith("_")}
    assert set(curves) == {
        f"{task}, {n} lesions" for task in ("melanoma", "seborrheic keratosis") for n in ("600", "2,750")
    }
    assert all((np.diff(curve) < 0).all() for curve in curves.values())
    assert curves["melanoma, 600 lesions"][0] > 0.07


def test_curves_of_one_epoch_are_dots():
    run = STUDY.runs[0]
    short = Study(ISIC2017_256, (replace(run, history=run.history.iloc[:1]),))
    assert figures.training_curves(short).axes[0].lines[0].get_marker() == "o"
