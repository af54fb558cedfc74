"""The profiles beside a study's own are read from the archive, and never mixed up with it."""

import pytest

from arlrepro.profiles import ISIC2017_256, SMOKE
from arlrepro.runs.study import Study, about_companions, every_network, read_companions
from helpers.made_runs import made_study

STUDY = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0, 1))


def test_other_networks_by_the_same_protocol_stand_beside_the_study(companion_archive):
    every = every_network(STUDY)
    assert every.profile.networks == ("resnet14", "arl_cnn14", "se_resnet14", "ran14", "cbam_resnet14", "eca_resnet14")
    assert every.runs[:-1] == STUDY.runs
    assert every.runs[-1].network == "se_resnet14"


@pytest.mark.parametrize("study", [STUDY, Study(SMOKE, ())], ids=["none is archived", "none is planned"])
def test_without_other_networks_the_study_is_as_it_was(study, tmp_path, monkeypatch):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    assert every_network(study) is study


def test_the_runs_of_a_variant_are_not_counted_among_the_protocols_own(companion_archive):
    parts = read_companions(STUDY, "ablation")
    together = Study(ISIC2017_256, (*STUDY.runs, *(run for part in parts.values() for run in part.runs)))
    assert together.of("arl_cnn14") == STUDY.of("arl_cnn14")


def test_what_is_planned_is_said_with_and_without_plans(companion_archive):
    assert about_companions(STUDY) == (
        "3 of 18 planned runs of variants of the ARL block are completed.\n"
        "1 of 12 planned runs of other kinds of attention are completed."
    )
    assert about_companions(Study(SMOKE, ())) == (
        "No runs of variants of the ARL block are planned beside those of smoke.\n"
        "No runs of other kinds of attention are planned beside those of smoke."
    )
