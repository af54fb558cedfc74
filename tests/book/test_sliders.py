"""Pictures with a knob: their still is right without a script, and the script's numbers are the scores' own."""

import json
import re

import numpy as np
from bs4 import BeautifulSoup

from arlrepro.book.figures import widgets
from arlrepro.profiles import DEMO
from arlrepro.runs.study import Study
from helpers.made_runs import made_study, truth

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}


def test_counts_fall_as_the_threshold_rises_and_begin_with_everybody():
    labels = np.array([True] * 3 + [False] * 5)
    found, alarms = widgets.counts_by_threshold(labels, np.linspace(0.1, 0.9, 8))
    assert (found[0], alarms[0]) == (3, 5)
    assert (found[-1], alarms[-1]) == (0, 0)
    assert found == sorted(found, reverse=True) and alarms == sorted(alarms, reverse=True)


def test_the_still_counts_lesions_above_one_half():
    study = made_study(GAINS)
    page = BeautifulSoup(widgets.threshold(study).data, "html.parser")
    for network in ("resnet14", "arl_cnn14"):
        every = [run.of("test") for run in study.of(network)]
        called = np.mean([test["melanoma"] for test in every], axis=0) > 0.5  # by the mean of the seeds
        truth = every[0]["melanoma_label"]
        for what, rows in {"found": truth == 1, "alarms": truth == 0}.items():
            assert page.find(id=f"melanoma-{network}-{what}").text == str((called & rows).sum())


def test_the_script_has_a_count_for_every_step_of_the_knob():
    text = widgets.threshold(made_study(GAINS)).data
    drawn = json.loads(re.search(r"tasks = (\{.*?\}), at =", text).group(1))
    knob = BeautifulSoup(text, "html.parser").find("input")
    assert drawn["melanoma"]["positives"] == truth()["melanoma"].sum()
    for network in drawn["melanoma"]["networks"].values():
        assert len(network["found"]) == len(network["alarms"]) == int(knob["max"]) + 1


def test_without_runs_there_is_a_sentence_and_no_knob():
    assert widgets.threshold(Study(DEMO, ())).data == "<p>No completed runs yet.</p>"


def test_a_patch_at_scale_one_is_the_whole_image():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    page = BeautifulSoup(widgets.patch_scale(image, 32, start=1.0).data, "html.parser")
    assert [page.find("rect")[name] for name in ("x", "y", "width", "height")] == ["0", "0", "240", "240"]


def test_knobs_load_nothing_and_have_a_label():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    for html in (widgets.threshold(made_study(GAINS)).data, widgets.patch_scale(image, 32).data):
        page = BeautifulSoup(html, "html.parser")
        assert not re.search(r"https?://", html)
        assert page.find("label")["for"] == page.find("input")["id"]
        assert all(picture.get("aria-label") for picture in page.find_all("svg"))
