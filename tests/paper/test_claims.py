"""Verdicts follow the committed rules, and say what they rest on."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import yaml

from arlrepro.errors import ConfigError
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.models.arl_cnn import size
from arlrepro.paper import claims
from arlrepro.paper.claims import (
    CANNOT_TELL,
    INCONCLUSIVE,
    MEASURE_FAILED,
    NOT_REPLICATED,
    NOT_SUPPORTED,
    NOT_TESTED,
    REPLICATED,
    SUPPORTED,
    Claim,
    Verdict,
    decide,
    difference_rule,
    gain_rule,
    read_claims,
)
from arlrepro.profiles import PAPER, PROFILES
from arlrepro.registry import NETWORKS
from arlrepro.runs import estimates
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Study
from helpers.made_runs import LESIONS, made_study, scores, separate_tasks
from helpers.stored_files import refusal

REAL = "isic2017-256"
CLAIMS = read_claims()


def claim(name: str) -> Claim:
    return next(one for one in CLAIMS if one.id == name)


def verdicts_of(**gains: float) -> dict[str, claims.Verdict]:
    """The verdicts on a made study of five seeds; the same gains are decided once."""
    return _verdicts_of(tuple(gains.items()))


@cache
def _verdicts_of(gains: tuple[tuple[str, float], ...]) -> dict[str, claims.Verdict]:
    return verdicts(made_study(dict(gains)))


def verdicts(study: Study) -> dict[str, claims.Verdict]:
    return {verdict.claim.id: verdict for verdict in decide(CLAIMS, {study.profile.name: study})}


def found(low: float, high: float, p: float = 0.01) -> Difference:
    return Difference((low + high) / 2, low, high, p)


# The file


def test_effects_are_differences_of_published_figures():
    effects = {one.id: one.effect for one in CLAIMS}
    assert effects["melanoma-auc-50"] == 0.018  # 0.875 - 0.857
    assert effects["seborrheic-keratosis-auc-14"] == 0.010  # 0.958 - 0.948
    assert effects["mean-auc-14"] == 0.014  # 0.917 - 0.903
    assert effects["state-of-the-art"] == 0.917
    assert effects["focus"] == 0.01


def test_a_family_gives_its_claims_networks_and_profile():
    assert (claim("melanoma-auc-50").networks, claim("melanoma-auc-50").profile) == (("resnet50", "arl_cnn50"), "paper")


def test_no_claim_is_exploratory_and_each_study_has_one_primary():
    assert [one.id for one in CLAIMS if one.exploratory] == []
    assert [one.id for one in CLAIMS if one.primary] == ["mean-auc-14", "mean-auc-50-imagenet", "mean-auc-lite0"]


@pytest.mark.parametrize("pair", ["50-imagenet", "lite0"])
def test_the_margins_of_a_fine_tuned_pair_are_the_published_gains(pair):
    effects = [claim(f"{one}-{pair}").effect for one in ("mean-auc", "melanoma-auc", "seborrheic-keratosis-auc")]
    assert effects == [0.014, 0.018, 0.010]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "taste"}, "claim focus: no rule 'taste'; there are difference, level, gain, reach, exact"),
        ({"networks": ["vgg16"]}, f"claim focus: no network 'vgg16'; there are {', '.join(NETWORKS)}"),
        ({"profile": "big"}, f"claim focus: no profile 'big'; there are {', '.join(PROFILES)}"),
        ({"family": "auc99"}, "claim focus: no family 'auc99'; there are auc50, auc14, auc50-imagenet, auc-lite0"),
        ({"id": "term-matters"}, "term-matters stand twice; an id names one claim"),
        (
            {"colour": 1},
            f"claim focus: no field colour; there are {', '.join(sorted(claims.Claim.__dataclass_fields__))}",
        ),
    ],
)
def test_a_faulty_claim_is_refused_in_one_line(tmp_path, change, message):
    stored = yaml.safe_load(claims.CLAIMS_YAML.read_text())
    next(one for one in stored["claims"] if one["id"] == "focus").update(change)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError) as error:
        read_claims(path)
    assert str(error.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"claims: 3\n", b"families: []\nclaims: [{id: a}]\n", b"families: [a]\nclaims: []\n"),
        *(b"\x89PNG\r\n\x1a\n\xff", b"a: [1\n", b"a,b\n1,2\n", b"[" * 100_000, bytes(99)),
        claims.CLAIMS_YAML.read_bytes()[:3000],
        claims.CLAIMS_YAML.read_bytes().replace(b"margin: ", b"margin: x"),
    ],
    ids=lambda content: content[:20],
)
def test_a_damaged_file_or_another_one_is_one_line_with_its_remedy(tmp_path, content):
    said = refusal(read_claims, tmp_path / "claims.yaml", content, ConfigError)
    assert said.endswith("; restore it: git checkout claims.yaml")


# The rules


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.001, 0.030, 0.04, REPLICATED),
        (0.001, 0.010, 0.04, REPLICATED),  # smaller than published, but above 0
        (0.001, 0.030, 0.06, CANNOT_TELL),  # the family's adjustment takes it away
        (0.000, 0.030, 0.04, CANNOT_TELL),  # reaches 0 and the published gain
        (-0.02, 0.018, 0.40, CANNOT_TELL),  # the published gain itself is not excluded
        (-0.02, 0.017, 0.40, NOT_REPLICATED),
        (-0.03, -0.01, 0.01, NOT_REPLICATED),
    ],
)
def test_difference_rule(low, high, p, verdict):
    assert difference_rule(claim("melanoma-auc-14"), found(low, high), p)[0] == verdict


def with_error(low: float, high: float, error: float) -> Difference:
    return Difference((low + high) / 2, low, high, 0.01, error, np.inf)


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.001, 0.030, 0.04, SUPPORTED),
        (0.001, 0.008, 0.04, SUPPORTED),  # real, if smaller than published
        (0.001, 0.030, 0.06, INCONCLUSIVE),  # the family's adjustment takes it away
        (-0.009, 0.010, 0.60, NOT_SUPPORTED),  # within the margin to both sides
        (-0.030, 0.013, 0.40, NOT_SUPPORTED),  # not equivalent, but the published gain is excluded
        (-0.010, 0.020, 0.40, INCONCLUSIVE),
        (-0.013, 0.0139, 0.90, NOT_SUPPORTED),
    ],
)
def test_gain_rule(low, high, p, verdict):
    difference = with_error(low, high, (high - low) / 2 / 1.96)
    assert gain_rule(claim("mean-auc-50-imagenet"), difference, p)[0] == verdict  # its margin is 0.014


def test_equivalence_is_by_the_90_percent_interval():
    just = with_error(-0.0155, 0.0155, 0.0155 / 1.96)  # 90 %: up to 0.0130
    assert gain_rule(claim("mean-auc-50-imagenet"), just, 0.9)[0] == NOT_SUPPORTED
    wider = with_error(-0.0172, 0.0172, 0.0172 / 1.96)  # 90 %: up to 0.0144
    assert gain_rule(claim("mean-auc-50-imagenet"), wider, 0.9)[0] == INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.904, 0.930, SUPPORTED),
        (0.880, 0.916, NOT_SUPPORTED),
        (0.880, 0.920, INCONCLUSIVE),  # wide: the level is reached by its end alone
        (0.904, 0.916, SUPPORTED),  # within the margin of the published level
    ],
)
def test_reach_rule(low, high, verdict):
    level = Estimate((low + high) / 2, low, high)
    assert claims.reach_rule(claim("level-50-imagenet"), level)[0] == verdict


def fine_tuned(gains: dict[str, float], seeds: range = range(10), learned: float = 0.2, **options: object) -> Study:
    """A made study of the fine-tuned pair, whose trained maps have `learned` more energy inside than untrained ones."""
    study = made_study(gains, seeds, PROFILES["isic2017-256-imagenet"], **options)
    generator = np.random.default_rng(1)

    def measured(run: Run) -> Run:
        ids = run.measures["focus"]["image_id"]
        noise = generator.normal(0, 0.01, len(ids))
        steps = [
            pd.DataFrame({"image_id": ids, "untrained": step, "energy": 0.4 + gain + noise})
            for step, gain in (("nothing", learned), ("everything", generator.normal(0, 0.01, len(ids))))
        ]
        focus = run.measures["focus"].assign(energy=0.5 + noise)
        return replace(run, measures={**run.measures, "focus": focus, "sanity": pd.concat(steps)})

    return replace(study, runs=tuple(measured(run) for run in study.runs))


def test_a_claim_of_the_fine_tuned_pair_is_not_tested_before_its_ten_seeds_are_there():
    study = fine_tuned({"resnet50": 0.05, "arl_cnn50": 0.4}, range(3))
    assert verdicts(study)["mean-auc-50-imagenet"].shown == "not tested (3 of 10 seeds)"
    assert verdicts(made_study({}))["mean-auc-50-imagenet"].verdict == NOT_TESTED


def test_a_large_gain_of_the_fine_tuned_pair_is_supported():
    found = verdicts(fine_tuned({"resnet50": 0.05, "arl_cnn50": 0.4}))
    assert found["mean-auc-50-imagenet"].verdict == SUPPORTED
    assert found["melanoma-auc-50-imagenet"].seeds == tuple(range(10))


def test_a_measure_that_does_not_tell_trained_from_untrained_fails():
    gains = {"resnet50": 0.05, "arl_cnn50": 0.4}
    failed = verdicts(fine_tuned(gains, learned=0.0))["energy-50-imagenet"]
    assert failed.verdict == MEASURE_FAILED
    assert failed.reason.endswith("the measure does not tell a trained network from an untrained one.")
    assert verdicts(fine_tuned(gains))["energy-50-imagenet"].verdict == NOT_SUPPORTED  # equal energy, the check passed


def test_a_term_whose_removal_changes_nothing_is_not_used():
    verdict = verdicts(fine_tuned({"arl_cnn50": 0.2}))["term-matters-50-imagenet"]
    assert (verdict.estimate, verdict.verdict) == (0, NOT_SUPPORTED)


def test_without_a_known_effect_a_gain_can_be_shown_but_not_excluded():
    unknown = replace(claim("melanoma-auc-14"), effect=None)
    assert difference_rule(unknown, found(0.001, 0.03), 0.01)[0] == REPLICATED
    assert difference_rule(unknown, found(-0.03, -0.01), 0.01)[0] == CANNOT_TELL


def test_a_claim_without_runs_cannot_be_told():
    by_id = {verdict.claim.id: verdict for verdict in decide(CLAIMS, {})}
    assert by_id["mean-auc-14"].verdict == CANNOT_TELL
    assert by_id["mean-auc-14"].reason == "no run of the profile isic2017-256 is in the archive."
    assert by_id["mean-auc-14"].runs == ()


def test_a_claim_on_a_network_without_runs_names_it():
    by_id = verdicts_of(resnet14=0.2)
    assert by_id["mean-auc-14"].reason == "no run of ARL-CNN14 in the archive of isic2017-256."
    assert by_id["term-matters"].verdict == CANNOT_TELL


# From runs


def test_a_large_gain_is_replicated_from_the_scores_of_both_networks():
    verdict = verdicts_of(resnet14=0.05, arl_cnn14=0.4)["mean-auc-14"]
    assert verdict.verdict == REPLICATED
    assert verdict.interval[0] > 0.1
    assert verdict.seeds == (0, 1, 2, 3, 4)
    assert len(verdict.runs) == 10
    assert "(seeds 0 to 4, 60 lesions, p < 0.001 after Holm): the interval lies above 0." in verdict.reason


def test_a_loss_is_not_replicated():
    verdict = verdicts_of(resnet14=0.4, arl_cnn14=0.05)["mean-auc-14"]
    assert verdict.verdict == NOT_REPLICATED
    assert verdict.reason.endswith("the interval lies below 0 and excludes the published gain +0.014.")


def test_the_estimate_is_the_mean_over_seeds_of_auc_differences():
    study = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0, 1, 2))
    pairs = study.pairs("arl_cnn14", "resnet14")
    differences = [
        arl.metrics["test"]["melanoma"]["auc"] - resnet.metrics["test"]["melanoma"]["auc"] for arl, resnet in pairs
    ]
    verdict = verdicts(study)["melanoma-auc-14"]
    assert verdict.estimate == pytest.approx(np.mean(differences))
    assert "(seeds 0 to 2 of the 5 planned," in verdict.reason


def test_a_single_seed_has_a_value_and_neither_interval_nor_p():
    study = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0,))
    reason = verdicts(study)["melanoma-auc-14"].reason
    assert re.search(r" is [+-]0\.\d{3} \(seed 0 of the 5 planned, 60 lesions\): ", reason)


def test_no_verdict_falls_before_all_planned_seeds_are_there():
    lacking = verdicts(made_study({"resnet14": 0.1, "arl_cnn14": 0.4}, seeds=(0, 1)))["mean-auc-14"]
    assert lacking.shown == "cannot tell (2 of 5 seeds)"
    assert lacking.reason.endswith(": the rule is for 5 seeds; still to come: 3.")
    assert lacking.interval[0] > 0  # what is there is shown all the same
    assert verdicts_of(resnet14=0.05, arl_cnn14=0.4)["mean-auc-14"].shown == "replicated"


def test_an_effect_above_zero_but_below_the_least_worth_the_name_is_called_so():
    assert difference_rule(claim("term-matters"), found(0.001, 0.003), 0.01) == (
        REPLICATED,
        "the interval lies above 0, and below the least that we would call an effect, +0.005",
    )


def test_an_end_that_lies_close_to_the_effect_is_printed_apart_from_it():
    focus = next(claim for claim in read_claims() if claim.id == "focus")
    narrow = Verdict(focus, NOT_REPLICATED, "", -0.00177, (-0.01348, 0.00993))
    assert narrow.found == "-0.0018 [-0.0135, +0.0099]"
    assert replace(narrow, interval=(-0.01348, 0.02)).found == "-0.002 [-0.013, +0.020]"


def test_p_values_of_a_family_are_adjusted_together_and_keep_its_size():
    profile = separate_tasks()
    study = made_study({"resnet14": 0.10, "arl_cnn14": 0.13}, seeds=(0, 1, 2), profile=profile)
    whole = {verdict.claim.id: verdict.p_adjusted for verdict in decide(CLAIMS, {REAL: study})}
    melanoma_runs = tuple(run for run in study.runs if run.experiment.task == "melanoma")
    half = verdicts(replace(study, runs=melanoma_runs))
    unadjusted = estimates.difference(study, ("resnet14", "arl_cnn14"), "melanoma.auc").estimate.p
    assert half["mean-auc-14"].reason == "no run of ResNet-14, ARL-CNN14 in the archive of isic2017-256."
    assert half["melanoma-auc-14"].p_adjusted == pytest.approx(min(1, 3 * unadjusted))
    assert whole["melanoma-auc-14"] >= unadjusted


def test_one_network_a_class_gives_the_same_verdict_as_one_for_both():
    gains = {"resnet14": 0.1, "arl_cnn14": 0.3}
    joint, apart = (
        verdicts(made_study(gains, seeds=(0, 1), **options))["mean-auc-14"]
        for options in ({}, {"profile": separate_tasks()})
    )
    assert (apart.estimate, apart.interval, apart.verdict) == (joint.estimate, joint.interval, joint.verdict)


def test_runs_scored_on_other_lesions_are_not_compared():
    study = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0,))
    last = study.runs[-1]
    moved = last.predictions.assign(image_id=last.predictions["image_id"].str.replace("MADE", "OTHER"))
    verdict = verdicts(replace(study, runs=(*study.runs[:-1], replace(last, predictions=moved))))["mean-auc-14"]
    assert verdict.verdict == CANNOT_TELL
    assert verdict.reason == (
        "resnet14-joint-s0-53c72dba and arl_cnn14-joint-s0-53c72dba have not the same test lesions; "
        "compare runs of one set."
    )


def test_removal_of_a_term_that_changes_nothing_is_no_loss_of_auc():
    verdict = verdicts_of(arl_cnn14=0.2)["term-matters"]
    assert (verdict.estimate, verdict.interval, verdict.verdict) == (0, (0, 0), NOT_REPLICATED)


def test_removal_of_a_term_that_carries_the_signal_is_a_loss_of_auc():
    study = made_study({"arl_cnn14": 0.4}, removed=scores(0.0, seed=9))
    verdict = verdicts(study)["term-matters"]
    assert verdict.verdict == REPLICATED
    assert verdict.reason.startswith("ARL-CNN14 minus itself without its attention term is +0.")


def test_focus_is_the_difference_of_shares_on_the_same_lesions():
    study = made_study({"resnet14": 0.1, "arl_cnn14": 0.3})
    generator = np.random.default_rng(0)
    runs = tuple(
        replace(
            run,
            measures={
                **run.measures,
                "focus": run.measures["focus"].assign(
                    share=(0.55 if run.network == "arl_cnn14" else 0.5) + generator.normal(0, 0.01, LESIONS)
                ),
            },
        )
        for run in study.runs
    )
    verdict = verdicts(replace(study, runs=runs))["focus"]
    assert verdict.verdict == REPLICATED
    assert verdict.estimate == pytest.approx(0.05, abs=0.003)


def test_equal_focus_excludes_one_percentage_point():
    assert verdicts_of(resnet14=0.4, arl_cnn14=0.05)["focus"].verdict == NOT_REPLICATED


def test_a_level_is_reached_by_the_upper_end_of_the_interval():
    reached = verdicts(made_study({"arl_cnn50": 0.35}, profile=PAPER))["state-of-the-art"]
    assert reached.verdict == REPLICATED
    missed = verdicts(made_study({"arl_cnn50": 0.05}, profile=PAPER))["state-of-the-art"]
    assert missed.verdict == NOT_REPLICATED
    assert missed.reason.endswith("the interval ends below the published 0.917.")


# Parameters


def test_stored_sizes_are_those_of_the_networks():
    stored = {name: (one.parameters, one.multiply_adds) for name, one in NETWORKS.items()}
    assert stored == {name: size(name) for name in NETWORKS}


def test_arl_cnn50_has_sixteen_parameters_more():
    verdict = {one.claim.id: one for one in decide(CLAIMS, {})}["no-extra-layers"]
    assert verdict.verdict == REPLICATED
    assert verdict.reason == ("ARL-CNN50 has 23,510,097 parameters and ResNet-50 23,510,081: 16 more, 16 claimed.")
