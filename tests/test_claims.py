"""Verdicts follow the committed rules, and say what they rest on."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import yaml
from made import LESIONS, made_study, scores, separate_tasks

from arlrepro import claims
from arlrepro.archive import Study
from arlrepro.claims import (
    CANNOT_TELL,
    NOT_REPLICATED,
    REPLICATED,
    Claim,
    Verdict,
    decide,
    difference_rule,
    read_claims,
)
from arlrepro.comparisons import Difference
from arlrepro.config import NETWORKS
from arlrepro.errors import ConfigError
from arlrepro.models import size
from arlrepro.profiles import PAPER, PROFILES

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


def test_no_claim_is_exploratory_and_one_is_primary():
    assert [one.id for one in CLAIMS if one.exploratory] == []
    assert [one.id for one in CLAIMS if one.primary] == ["mean-auc-14"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "taste"}, "claim focus: no rule 'taste'; there are difference, level, exact"),
        ({"networks": ["vgg16"]}, f"claim focus: no network 'vgg16'; there are {', '.join(NETWORKS)}"),
        ({"profile": "big"}, f"claim focus: no profile 'big'; there are {', '.join(PROFILES)}"),
        ({"family": "auc99"}, "claim focus: no family 'auc99'; there are auc50, auc14"),
        ({"id": "term-matters"}, "term-matters stand twice; an id names one claim"),
        (
            {"colour": 1},
            f"claim focus: no field colour; there are {', '.join(sorted(claims.Claim.__dataclass_fields__))}",
        ),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(tmp_path, change, message):
    stored = yaml.safe_load(claims.CLAIMS_YAML.read_text())
    next(one for one in stored["claims"] if one["id"] == "focus").update(change)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError) as error:
        read_claims(path)
    assert str(error.value) == f"{path}: {message}"


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


def test_a_single_seed_has_an_interval_over_lesions_and_says_so():
    study = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0,))
    reason = verdicts(study)["melanoma-auc-14"].reason
    assert "(seed 0 of the 5 planned, 60 lesions, the interval over lesions alone, p " in reason


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
    unadjusted = claims.outcomes.difference(study, ("resnet14", "arl_cnn14"), "melanoma.auc").estimate.p
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
    stored = {
        name: (row.parameters, row.multiply_adds)
        for name, row in zip(claims.sizes().index, claims.sizes().itertuples(), strict=True)
    }
    assert stored == {name: size(name) for name in NETWORKS}


def test_arl_cnn50_has_sixteen_parameters_more():
    verdict = {one.claim.id: one for one in decide(CLAIMS, {})}["no-extra-layers"]
    assert verdict.verdict == REPLICATED
    assert verdict.reason == ("ARL-CNN50 has 23,510,097 parameters and ResNet-50 23,510,081: 16 more, 16 claimed.")
