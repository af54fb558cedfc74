"""Tables say what the runs say, and leave empty what nobody knows."""

import re
from dataclasses import replace

import numpy as np

from arlrepro.book.tables import comparison, networks, runs, terms
from arlrepro.evaluation import formatting
from arlrepro.evaluation.comparisons import equivalence_p
from arlrepro.paper import claims
from arlrepro.profiles import ISIC2017_256, PAPER
from arlrepro.runs import estimates
from arlrepro.runs.study import Study
from helpers.made_runs import made_study, scores, separate_tasks

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}
STUDY = made_study(GAINS, seeds=(0, 1, 2))
EMPTY = Study(ISIC2017_256, ())
OURS = "ours [95 % CI]"


def test_main_table_holds_the_papers_numbers_beside_ours():
    table = comparison.resnet_vs_arl(STUDY)
    assert list(dict.fromkeys(table.index.get_level_values("network"))) == [
        *("ResNet-14", "ARL-CNN14", "ResNet-50", "ARL-CNN50")
    ]
    assert table.loc[("ARL-CNN50", "melanoma"), ("SEN", "paper")] == "0.658"
    assert table.loc[("ARL-CNN50", "mean of both"), ("AUC", "paper")] == "0.917"
    auc = np.mean([run.metrics["test"]["melanoma"]["auc"] for run in STUDY.of("arl_cnn14")])
    assert table.loc[("ARL-CNN14", "melanoma"), ("AUC", OURS)].startswith(f"{auc:.3f} [")
    assert table.loc[("ARL-CNN14", "melanoma"), ("our runs", "seeds")] == "seeds 0 to 2"


def test_main_table_is_empty_where_a_number_is_not_known_or_not_run():
    table = comparison.resnet_vs_arl(STUDY)
    assert (table.loc[["ResNet-14", "ARL-CNN14"]].xs("paper", axis=1, level=1) == "").all(axis=None)
    assert (table.loc[["ResNet-50", "ARL-CNN50"]].xs(OURS, axis=1, level=1) == "").all(axis=None)
    assert not table.isna().any(axis=None)


def test_main_table_says_where_an_interval_is_over_lesions_alone():
    table = comparison.resnet_vs_arl(made_study(GAINS, seeds=(0,)))
    assert set(table.loc["ResNet-14", ("our runs", "interval over")]) == {"lesions alone"}


def test_tables_of_a_study_without_runs_are_empty_but_there():
    assert len(comparison.resnet_vs_arl(EMPTY)) == 12
    for table in (comparison.differences, comparison.spread_over_seeds, terms.term_sizes, terms.removal):
        assert len(table(EMPTY)) == 0
    assert runs.missing(EMPTY).startswith("10 of 10 planned runs are not completed yet: ResNet-14, seeds 0 to 4; ")


def test_a_whole_matrix_misses_nothing():
    assert runs.missing(made_study(GAINS)) == "All 10 planned runs are completed."


def test_differences_are_the_means_of_paired_differences():
    table = comparison.differences(STUDY)
    assert table.index.get_level_values("comparison").tolist() == ["ARL-CNN14 minus ResNet-14"] * 3
    pairs = STUDY.pairs("arl_cnn14", "resnet14")
    gain = np.mean([arl.metrics["test"]["mean_auc"] - base.metrics["test"]["mean_auc"] for arl, base in pairs])
    assert table.iloc[0][OURS].startswith(f"{gain:+.3f} [")
    assert (table["paper"] == "").all()


def test_a_difference_of_two_seeds_has_neither_interval_nor_p():
    row = comparison.differences(made_study(GAINS, seeds=(0, 1))).iloc[0]
    assert re.fullmatch(r"[+-]\d\.\d{3}", row[OURS])
    assert (row["p"], row["p (equivalence)"], row["SE, seeds"]) == ("", "", "")


def test_the_spread_of_seeds_is_that_of_their_aucs():
    row = comparison.spread_over_seeds(STUDY).loc[("ARL-CNN14", "mean AUC")]
    areas = [run.metrics["test"]["mean_auc"] for run in STUDY.of("arl_cnn14")]
    assert row.tolist() == [
        *(f"{one:.3f}" for one in (np.mean(areas), np.std(areas, ddof=1), min(areas), max(areas))),
        3,
    ]


def test_claims_of_a_profile_are_those_of_the_later_rules():
    decided = claims.decide(claims.read_claims(), {})
    later = [comparison.verdicts(decided, one) for one in ("isic2017-256-imagenet", "isic2017-256-lite0")]
    assert [set(one["verdict"]) for one in later] == [{"not tested"}] * 2
    assert comparison.verdicts(decided, "isic2017-256").empty
    assert len(comparison.earlier_verdicts(decided)) + sum(map(len, later)) == len(decided)


def test_differences_at_fifty_layers_stand_beside_the_papers():
    study = made_study({"resnet50": 0.1, "arl_cnn50": 0.3}, seeds=(0,), profile=PAPER)
    assert comparison.differences(study)["paper"].tolist() == ["+0.014", "+0.018", "+0.010"]


def test_differences_of_one_task_leave_the_mean_out():
    study = made_study(GAINS, seeds=(0,), profile=separate_tasks())
    study = replace(study, runs=tuple(run for run in study.runs if run.experiment.task == "melanoma"))
    assert comparison.differences(study).index.get_level_values("metric").tolist() == ["AUC, melanoma"]


def test_runs_table_names_each_run_with_its_folder_and_time():
    table = runs.runs_table(STUDY)
    assert table.loc[0, ["network", "seed", "minutes", "device"]].tolist() == ["ResNet-14", 0, "30.0", "cpu"]
    assert table.loc[0, "folder"] == "results/isic2017-256/resnet14-joint-s0-53c72dba"
    assert table.loc[0, "mean AUC"] == f"{STUDY.runs[0].metrics['test']['mean_auc']:.3f}"


def test_runs_table_says_row_by_row_which_runs_are_not_there_yet():
    table = runs.runs_table(STUDY)
    assert table["seed"].tolist() == [0, 1, 2, 3, 4] * 2
    assert (table["folder"] == "not completed yet").tolist() == [False, False, False, True, True] * 2
    assert (table.loc[3, ["mean AUC", "epochs", "minutes", "device"]] == "").all()
    assert runs.runs_table(EMPTY)["folder"].tolist() == ["not completed yet"] * 10


def test_equivalence_is_within_the_published_gain():
    alike = made_study({"resnet14": 0.2, "arl_cnn14": 0.202}, seeds=(0, 1, 2))
    table = comparison.differences(alike)
    assert table["margin"].tolist() == ["±0.014", "±0.018", "±0.010"]
    found = estimates.difference(alike, ("resnet14", "arl_cnn14"), "melanoma.auc")
    assert table.iloc[1]["p (equivalence)"] == formatting.p_value(equivalence_p(found.estimate, 0.018))


def test_runs_of_one_task_have_no_auc_of_the_other():
    table = runs.runs_table(made_study(GAINS, seeds=(0,), profile=separate_tasks()))
    melanoma = table[table["task"] == "melanoma"].iloc[0]
    assert (melanoma["AUC, seborrheic keratosis"], melanoma["mean AUC"]) == ("", "")


def test_costs_count_four_parameters_more_and_median_minutes():
    table = networks.costs(STUDY)
    assert table["parameters"].tolist() == ["8,017,985", "8,017,989"]
    assert table["minutes a run, median"].tolist() == ["30.0", "30.0"]


def test_term_sizes_are_means_over_runs():
    table = terms.term_sizes(STUDY)
    assert table.loc[0, ["block", "α", "α, lowest to highest"]].tolist() == [
        *("stage 1, block 1", "0.0110", "0.0100 to 0.0120")
    ]
    assert table.loc[3, ["positions", "α M x over x", "peak of M over flat"]].tolist() == [16, "1.0e-02", "4.0"]


def test_removal_has_a_row_for_all_blocks_and_for_each():
    table = terms.removal(made_study(GAINS, seeds=(0, 1, 2), removed=scores(0.0, seed=9)))
    assert table.index.get_level_values("α set to 0 in").tolist() == [
        "all blocks",
        *(f"stage {stage}, block 1" for stage in (1, 2, 3, 4)),
    ]
    assert table["mean AUC"].str.startswith("+0.").all()
    unchanged = terms.removal(STUDY)
    assert unchanged.iloc[0]["mean AUC"] == "+0.000 [+0.000, +0.000]"
    assert unchanged.iloc[0]["largest change of a score"] == "0.0000"


def test_verdicts_name_expectation_and_finding():
    table = comparison.verdicts(claims.decide(claims.read_claims(), {"isic2017-256": STUDY}))
    by_claim = table
    counted = by_claim.loc[[one for one in by_claim.index if "sixteen blocks" in one]].iloc[0]
    assert counted[["verdict", "expected", OURS, "runs"]].tolist() == ["replicated", "16", "16", ""]
    gain = by_claim.loc["The gain in mean AUC is also there at 14 layers, trained from scratch."]
    assert (gain["expected"], gain["runs"]) == ("+0.014", 6)
    assert gain[OURS].startswith("+0.")


# Networks


def test_networks_are_listed_with_what_they_have_more_than_the_plain_network():
    table = networks.trainable().set_index("network")
    assert list(table.loc[["ResNet-14", "ARL-CNN14", "ARL-CNN50"], "more than the plain network"]) == [
        "+0",
        "+4",
        "+16",
    ]
    assert table.loc["ARL-CNN50", "multiply-adds, millions"] == table.loc["ResNet-50", "multiply-adds, millions"]


def test_only_networks_that_published_weights_fit_start_from_imagenet():
    table = networks.trainable().set_index("network")["from ImageNet"]
    lite = ["EfficientNet-Lite0", "ARL-EfficientNet-Lite0"]
    assert list(table[table != "nothing"].index) == ["ResNet-50", "ARL-CNN50", "SE-50", "CBAM-50", "ECA-50", *lite]
    assert table["SE-50"] == "all but the head and its gates"
