"""The sentences that open and close a page say what the runs say, and no more than they allow."""

import re
from dataclasses import replace

import pytest

from arlrepro.book.answers import background, front, maps, results
from arlrepro.book.answers.finding import names_of
from arlrepro.evaluation.intervals import Difference
from arlrepro.paper import claims
from arlrepro.profiles import DEMO, ISIC2017_256, ISIC2017_256_IMAGENET
from arlrepro.runs.estimates import Outcome
from arlrepro.runs.study import Study
from helpers.made_runs import made_study

CLAIMS = claims.read_claims()
MAIN = ISIC2017_256_IMAGENET
GAINS = {"resnet50": 0.1, "arl_cnn50": 0.3}
EMPTY = Study(MAIN, ())
OF_RUNS = (
    *(results.results, maps.attention_maps, results.ablation, results.scores, results.at_half),
    maps.lesions_seen,
)


def main_pair(seeds: int, gains: dict[str, float] = GAINS) -> Study:
    return made_study(gains, seeds=range(seeds), profile=MAIN)


def abstract(study: Study) -> str:
    return front.abstract(claims.decide(CLAIMS, {study.profile.name: study}), study).data


def test_the_abstract_says_question_paper_study_result_and_meaning():
    said = abstract(main_pair(10))
    assert "a mean AUC of 0.917 for ARL-CNN50 and 0.903 for ResNet-50 (+0.014)" in said
    assert "ResNet-50 and ARL-CNN50 are trained from ImageNet weights" in said
    assert re.search(r"\*\*Supported\*\*: ARL-CNN50 minus ResNet-50 is \+\S+ \[\S+, \S+\] in mean AUC", said)
    assert "the block does raise the AUC" in said


@pytest.mark.parametrize("seeds", [0, 1, 2, 3, 9])
def test_no_verdict_is_given_before_all_seeds_are_completed(seeds):
    said = abstract(main_pair(seeds))
    assert "**Not tested**" in said and f"{seeds} of 10 seeds" in said
    assert "neither confirmed nor contradicted" in said
    assert bool(re.search(r"\[[+-]\d", said)) == (seeds >= 3), "an interval needs three seeds"


def test_networks_that_differ_little_do_not_support_the_claim():
    said = abstract(main_pair(10, {"resnet50": 0.3, "arl_cnn50": 0.3}))
    assert "**Supported**" not in said


def test_synthetic_images_decide_no_claim():
    study = Study(DEMO, made_study({"resnet14": 0.1, "arl_cnn14": 0.3}).runs[:1])
    said = abstract(study)
    assert "no real ones" in said and "nothing is said about patients" in said


def test_what_the_test_set_can_show_is_computed():
    said = front.limits(EMPTY).data
    assert "if it is 0.046 or more and the estimates correlate at 0.7; the published gain is 0.018" in said
    assert "full text of the paper was not available" in said


@pytest.mark.parametrize("finding", OF_RUNS)
def test_a_page_without_completed_runs_says_so_in_its_first_line(finding):
    assert finding(EMPTY).found == "Not tested: no run of isic2017-256-imagenet is completed (0 of 20 planned runs)."


@pytest.mark.parametrize("finding", [*OF_RUNS, background.all_runs, background.departures])
def test_every_page_opens_and_closes_with_a_sentence(finding):
    one = finding(main_pair(3))
    assert re.search(r"\d", one.found) and one.found.endswith(".")
    assert one.follows.data[0].isupper() or not one.follows.data[0].isalpha()


@pytest.mark.parametrize("finding", [background.published, background.signs, background.cost])
def test_pages_that_need_no_run_open_with_a_number(finding):
    assert re.search(r"\d", finding().found)


def test_claims_of_the_later_rules_are_counted_and_what_is_by_construction_apart():
    said = front.counted(claims.decide(CLAIMS, {}), EMPTY).data
    assert said.startswith("Of 6 registered claims: 6 not tested. By construction: ARL-CNN50 has")
    assert front.counted(claims.decide(CLAIMS, {}), Study(DEMO, ())).data.startswith("No claim is decided here.")


def test_networks_no_better_than_colours_are_said_to_be_so(monkeypatch):
    monkeypatch.setattr(results.baselines, "colour_mean_auc", lambda study: 0.99)
    study = made_study({"resnet14": 0.1, "arl_cnn14": 0.12}, seeds=(0, 1, 2))
    assert "neither has been shown to learn more than colour" in results.results(study).then
    monkeypatch.setattr(results.baselines, "colour_mean_auc", lambda study: 0.1)
    assert "they have learned more than colour" in results.results(study).then


def test_one_network_without_the_other_has_a_level_and_no_difference():
    study = main_pair(1)
    found = results.results(replace(study, runs=study.runs[:1])).found
    assert re.fullmatch(
        r"ResNet-50 has a mean AUC of 0\.\d{3}; the difference is not tested: no seed is completed for both networks\.",
        found,
    )


def test_networks_of_other_seeds_than_each_other_name_them():
    study = main_pair(3)
    fewer = replace(study, runs=tuple(run for run in study.runs if (run.network, run.seed) != ("arl_cnn50", 2)))
    found = results.results(fewer).found
    assert "(seeds 0 to 2); ARL-CNN50 has" in found and "(seeds 0, 1); the difference is" in found
    assert "(seeds 0 to 2); ARL-CNN50" not in results.results(study).found


def test_the_larger_part_of_the_variance_is_named_as_the_limit():
    def outcome(lesions: float, seeds: float, noise: float = 0.9) -> Outcome[Difference]:
        parts = {"lesion_variance": lesions, "seed_variance": seeds, "training_noise": noise}
        found = Difference(0.0, -1.0, 1.0, 1.0, **parts)
        return Outcome(found, (0, 1, 2), (), 60)

    assert results.noise(outcome(1.0, 9.0)).startswith("Training noise, not the number of lesions")
    assert "90% of the variance of one seed's difference is training noise" in results.noise(outcome(1.0, 9.0))
    assert results.noise(outcome(9.0, 1.0)).startswith("The lesions, not the seeds")
    assert "no more than the choice of lesions explains" in results.noise(outcome(9.0, 1.0, -0.1))
    interaction = results.noise(outcome(0.0, 9.0, -0.1))  # neither shared by the seeds nor noise of training
    assert interaction.startswith("More seeds or more lesions would narrow") and "Training noise" not in interaction
    assert results.noise(outcome(0.0, 9.0, 0.14)).startswith("More seeds or more lesions would narrow")
    two = replace(outcome(1.0, 9.0), seeds=(0, 1))
    assert results.noise(two).startswith("The difference rests on seeds 0, 1 alone")


def test_maps_no_better_than_those_of_an_untrained_network_fail_the_measure(monkeypatch):
    study = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0, 1, 2))
    known = maps.known

    def found(outcome, *given):
        if str(given[-1]).startswith("sanity."):
            return Outcome(Difference(-0.03, -0.05, -0.01, 0.01), (0, 1, 2), (), 60)
        return known(outcome, *given)

    monkeypatch.setattr(maps, "known", found)
    assert "measure failed" in maps.attention_maps(study).then


def test_the_last_sentence_of_the_front_page_counts_what_is_to_come():
    study = replace(main_pair(1), profile=MAIN)
    said = front.follows(claims.decide(CLAIMS, {MAIN.name: study}), study).data
    assert said.startswith("The primary claim is not tested. 18 planned runs are still to come.")
    assert front.primary([], Study(ISIC2017_256, ())) is None


def test_another_data_set_is_told_beside_the_own_lesions_and_colours(monkeypatch):
    networks = {
        "resnet50": {"seeds": [0, 1, 2], "auc": 0.71, "auc_ci": [0.69, 0.73]},
        "arl_cnn50": {"seeds": [0, 1], "auc": 0.72, "auc_ci": [0.70, 0.74]},
    }
    gain = {"seeds": [0, 1], "value": 0.01, "ci": [-0.01, 0.03], "p": 0.3}
    figures = {"positives": 614, "runs": {}, "networks": networks, "differences": {"arl_cnn50 minus resnet50": gain}}
    tests = {
        "ham": {"lesions": 7470, "classes": {"melanoma": {**figures, "colour": {"auc": 0.6, "auc_ci": [0.5, 0.7]}}}}
    }
    monkeypatch.setattr(results.external, "read", lambda name: tests)
    said = results.elsewhere(EMPTY).data
    assert said == (
        "On 7,470 lesions of ham, 614 of them melanoma, the AUC is 0.710 [0.690, 0.730] for ResNet-50 (seeds 0 to "
        "2) and 0.720 for ARL-CNN50 (seeds 0, 1). Colours alone have 0.600 [0.500, 0.700]."
    )
    gain["seeds"] = [0, 1, 2]
    assert "; the difference is +0.010 [-0.010, +0.030] (seeds 0 to 2)" in results.elsewhere(EMPTY).data
    of_three = results.elsewhere(main_pair(3)).data
    assert re.search(r"for ResNet-50 \(seeds 0 to 2; 0\.\d{3} on the test lesions above\)", of_three)
    monkeypatch.setattr(results.external, "read", lambda name: {})
    assert results.elsewhere(EMPTY).data == "No completed run on another data set."


def test_variants_of_three_seeds_are_told_with_their_difference_and_of_two_are_not(monkeypatch):
    def variant(seeds: int) -> Study:
        return made_study({"arl_cnn50": 0.2}, seeds=range(seeds), profile=replace(MAIN, name="variant"))

    others = replace(MAIN, networks=("se_resnet50",))
    se = made_study({"se_resnet50": 0.2}, seeds=range(3), profile=others).runs
    study = main_pair(3)
    every = Study(replace(MAIN, networks=(*MAIN.networks, "se_resnet50")), (*study.runs, *se))
    monkeypatch.setattr(results, "read_companions", lambda *_: {"channels": variant(3), "sigmoid": variant(2)})
    monkeypatch.setattr(results, "every_network", lambda _: every)
    said = results.ablation(study).found
    assert re.search(r"ARL-CNN50 as it is, minus one with channels: \+0\.\d{3} \[.+\] \(seeds 0 to 2\)\.", said)
    assert "sigmoid" not in said
    assert re.search(r"SE-50 minus ResNet-50: \+0\.\d{3} \[.+\] \(seeds 0 to 2\)\.$", said)


def test_three_networks_are_listed_as_in_a_sentence():
    assert names_of(["resnet50"]) == "ResNet-50"
    assert names_of(["resnet50", "arl_cnn50"]) == "ResNet-50 and ARL-CNN50"
    assert names_of(["resnet50", "arl_cnn50", "se_resnet50"]) == "ResNet-50, ARL-CNN50 and SE-50"
