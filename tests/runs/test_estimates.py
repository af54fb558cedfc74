"""What runs say of a quantity: the right runs gathered, the right test for one seed and for several."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from arlrepro.errors import RunError
from arlrepro.profiles import ISIC2017_256
from arlrepro.runs import estimates
from arlrepro.runs.study import Study, scored, shared_runs
from helpers.made_runs import LESIONS, POSITIVES, made_run, made_study, scores, separate_tasks, truth

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
STUDY = made_study(GAINS, seeds=(0, 1, 2))
ONE_SEED = made_study(GAINS, seeds=(0,))


def perfect_but_one(seed: int = 0) -> Study:
    """A ResNet-14 that finds all lesions of both classes but the first melanoma, and calls no other."""
    called = truth().astype(float).copy()
    called.iloc[0, 0] = 0.0
    experiment = ISIC2017_256.experiments()[0]
    return Study(ISIC2017_256, (made_run(experiment, seed, called),))


def test_auc_of_several_seeds_is_their_mean():
    expected = np.mean([roc_auc_score(truth()["melanoma"], scores(0.1, seed)["melanoma"]) for seed in (0, 1, 2)])
    found = estimates.metric(STUDY, "resnet14", "melanoma.auc")
    assert found.estimate.value == pytest.approx(expected)
    assert (found.seeds, found.lesions, found.over) == ((0, 1, 2), LESIONS, "seeds and lesions")
    assert found.estimate.low < expected < found.estimate.high


def test_figures_of_a_single_seed_are_those_of_its_metrics():
    stored = ONE_SEED.of("arl_cnn14")[0].metrics["test"]
    for quantity in ("melanoma.auc", "seborrheic_keratosis.specificity", "melanoma.sensitivity", "melanoma.accuracy"):
        task, metric = quantity.split(".")
        found = estimates.metric(ONE_SEED, "arl_cnn14", quantity)
        assert found.estimate.value == pytest.approx(stored[task][metric])
        assert [found.estimate.low, found.estimate.high] == pytest.approx(stored[task][f"{metric}_ci"])
        assert found.over == "lesions alone"
    assert estimates.metric(ONE_SEED, "arl_cnn14", "mean_auc").estimate.value == pytest.approx(stored["mean_auc"])


def test_sensitivity_is_eleven_of_twelve():
    assert estimates.metric(perfect_but_one(), "resnet14", "melanoma.sensitivity").estimate.value == 11 / 12
    assert estimates.metric(perfect_but_one(), "resnet14", "melanoma.specificity").estimate.value == 1
    assert estimates.metric(perfect_but_one(), "resnet14", "melanoma.accuracy").estimate.value == 59 / 60


def test_a_share_that_is_one_in_every_seed_still_has_an_interval():
    runs = tuple(run for seed in (0, 1) for run in perfect_but_one(seed).runs)
    specificity = estimates.metric(Study(ISIC2017_256, runs), "resnet14", "melanoma.specificity").estimate
    assert specificity.high == 1
    assert 0.9 < specificity.low < 1  # Wilson's, on 48 of 48


def test_a_difference_is_the_second_network_minus_the_first():
    forth = estimates.difference(STUDY, ("resnet14", "arl_cnn14"), "mean_auc").estimate
    back = estimates.difference(STUDY, ("arl_cnn14", "resnet14"), "mean_auc").estimate
    assert forth.value > 0
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low))


def test_only_seeds_that_both_networks_have_are_compared():
    runs = tuple(run for run in STUDY.runs if (run.network, run.seed) not in (("resnet14", 0), ("arl_cnn14", 2)))
    found = estimates.difference(Study(ISIC2017_256, runs), ("resnet14", "arl_cnn14"), "mean_auc")
    assert found.seeds == (1,)
    assert found.runs == tuple(f"{one}-joint-s1-53c72dba" for one in ("resnet14", "arl_cnn14"))


def test_networks_without_a_common_seed_are_refused():
    runs = tuple(run for run in STUDY.runs if (run.network, run.seed) in (("resnet14", 0), ("arl_cnn14", 2)))
    with pytest.raises(RunError) as error:
        estimates.difference(Study(ISIC2017_256, runs), ("resnet14", "arl_cnn14"), "mean_auc")
    assert str(error.value) == "ResNet-14, ARL-CNN14 have no seed in common in the archive of isic2017-256"


def test_a_seed_in_which_one_class_is_missing_has_no_mean_auc():
    study = made_study(GAINS, seeds=(0, 1), profile=separate_tasks())
    runs = tuple(run for run in study.runs if (run.experiment.task, run.seed) != ("melanoma", 1))
    halved = replace(study, runs=runs)
    assert estimates.metric(halved, "resnet14", "mean_auc").seeds == (0,)
    assert estimates.metric(halved, "resnet14", "seborrheic_keratosis.auc").seeds == (0, 1)


def test_truth_and_scores_are_arranged_by_seed_class_and_lesion():
    known, found = scored(shared_runs(STUDY, ["resnet14"]))
    assert known.sum(axis=1).tolist() == list(POSITIVES.values())
    assert found["resnet14"].shape == (3, 2, LESIONS)
    assert found["resnet14"][2, 1] == pytest.approx(scores(0.1, 2)["seborrheic_keratosis"])


def test_focus_leaves_out_lesions_whose_map_is_flat():
    shares = np.where(np.arange(LESIONS) < 10, np.nan, 0.5)
    study = made_study(GAINS, seeds=(0,), share=shares)
    assert estimates.difference(study, ("resnet14", "arl_cnn14"), "focus.share").lesions == LESIONS - 10


def test_a_single_seeds_focus_is_a_paired_t_test_over_lesions():
    shift = np.linspace(0, 0.1, LESIONS)
    runs = tuple(
        replace(run, measures={"focus": run.measures["focus"].assign(share=0.5 + number * shift)})
        for number, run in enumerate(ONE_SEED.runs)
    )
    found = estimates.difference(Study(ISIC2017_256, runs), ("resnet14", "arl_cnn14"), "focus.share").estimate
    reach = 2.001 * shift.std(ddof=1) / np.sqrt(LESIONS)  # Student's t with 59 degrees of freedom
    assert (found.value, found.high - found.value) == pytest.approx((0.05, reach), rel=1e-3)


def test_a_run_without_a_measure_is_named():
    runs = tuple(replace(run, measures={}) for run in ONE_SEED.runs)
    for networks, quantity, name in (
        (("resnet14", "arl_cnn14"), "focus.share", "resnet14-joint-s0-53c72dba: its archive has no focus.csv"),
        (("arl_cnn14",), "removal.mean_auc", "arl_cnn14-joint-s0-53c72dba: its archive has no removal.csv"),
    ):
        with pytest.raises(RunError) as error:
            estimates.difference(Study(ISIC2017_256, runs), networks, quantity)
        assert str(error.value) == name


def test_runs_made_before_a_measure_was_added_are_left_out():
    new = {"focus": ONE_SEED.runs[0].measures["focus"].assign(overlap=0.25)}
    runs = (*ONE_SEED.runs, *(replace(run, measures=new) for run in made_study(GAINS, seeds=(1,)).runs))
    found = estimates.difference(Study(ISIC2017_256, runs), ("resnet14", "arl_cnn14"), "focus.overlap")
    assert found.seeds == (1,)
    with pytest.raises(RunError) as error:
        estimates.difference(ONE_SEED, ("resnet14", "arl_cnn14"), "focus.overlap")
    assert str(error.value) == "resnet14-joint-s0-53c72dba: its focus.csv has no column overlap"


def test_a_single_networks_mean_over_lesions_has_an_interval():
    shares = np.linspace(0.4, 0.6, LESIONS)
    study = made_study(GAINS, seeds=(0, 1), share=shares)
    found = estimates.of_lesions(study, ["resnet14"], "focus", lambda table: table["share"] - table["area"])
    assert found.estimate.value == pytest.approx(0.25)
    reach = 1.96 * shares.std(ddof=1) / np.sqrt(LESIONS)  # both seeds alike: the lesions' part alone
    assert found.estimate.high - found.estimate.value == pytest.approx(reach, rel=1e-3)


def test_removal_from_lesions_that_are_not_the_test_set_is_refused():
    runs = tuple(
        replace(run, measures={"removal": run.measures["removal"].iloc[1:]}) for run in ONE_SEED.of("arl_cnn14")
    )
    with pytest.raises(RunError) as error:
        estimates.difference(Study(ISIC2017_256, runs), ("arl_cnn14",), "removal.mean_auc")
    assert str(error.value) == "arl_cnn14-joint-s0-53c72dba: its removal.csv lacks 1 of 60 test lesions"
