"""The front page's sentences say what the verdicts say, and no more than the runs allow."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from arlrepro.book import answers
from arlrepro.paper import claims
from arlrepro.profiles import DEMO
from arlrepro.runs.study import Study
from helpers.made_runs import made_study

CLAIMS = claims.read_claims()
GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
COLOURS = pd.DataFrame({"mean AUC": ["0.700 [0.650, 0.750]"]}, index=["colour statistics, no network"])


def lines(study: Study) -> dict[str, str]:
    verdicts = claims.decide(CLAIMS, {study.profile.name: study})
    return answers.in_short(verdicts, study, COLOURS).iloc[:, 0].to_dict()


def test_a_gain_in_all_seeds_is_said_with_its_verdict():
    said = lines(made_study(GAINS))
    assert "Verdict by the rule fixed beforehand: replicated." in said["What came out?"]
    each = re.fullmatch(
        r"As the interval says, over lesions and seeds 0 to 4, which alone give (.*)\.", said["How sure are we?"]
    )
    assert each
    assert len(each[1].split(", ")) == 5
    overall = float(re.search(r"mean AUCs of (\S+)", said["What came out?"])[1])
    assert np.mean([float(one) for one in each[1].split(", ")]) == pytest.approx(overall, abs=0.001)


def test_one_seed_of_each_is_not_called_sure():
    study = made_study(GAINS)
    one = replace(study, runs=tuple(run for run in study.runs if run.seed == 0))
    said = lines(one)
    assert said["How sure are we?"].startswith("Not very: one seed that both share.")
    assert "cannot tell (1 of 5 seeds)" in said["What came out?"]
    assert said["What did we do?"].endswith("2 of 10 planned runs are there.")


def test_without_runs_nothing_is_said_to_have_come_out():
    said = lines(replace(made_study(GAINS), runs=()))
    assert said["What came out?"].startswith("Nothing yet")
    assert said["How sure are we?"] == "Not at all, until there are runs."


def test_drawn_lesions_decide_no_claim():
    runs = made_study(GAINS).runs[:2]
    said = lines(Study(DEMO, runs))
    assert said["What came out?"].endswith("The claims are decided by part isic2017-256, not here.")
    assert "drawn lesions, no real ones" in said["What did we do?"]


def test_the_published_gain_is_that_of_the_published_rows():
    assert "0.917 in place of 0.903 (+0.014)" in answers.claimed()


def test_what_colours_alone_reach_stands_beside_the_networks():
    study = made_study(GAINS)
    said = lines(study)["And without a network?"]
    assert said.startswith("Colours alone reach a mean AUC of 0.700 [0.650, 0.750]; ResNet-14 has 0.")
    assert "; ARL-CNN14 has 0." in said
    assert answers.without_network(COLOURS.iloc[:0], study).startswith("Not known here")
