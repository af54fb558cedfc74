"""Where the networks stand: rows for what was not run, sources for what others report."""

import pytest

from arlrepro import registry
from arlrepro.book.tables import comparison
from arlrepro.errors import RunError
from arlrepro.paper.published import SOURCES
from arlrepro.profiles import ISIC2017_256, ISIC2017_256_CV
from arlrepro.runs.study import Study, every_network, runs_by_seed
from helpers.made_runs import made_study

STUDY = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0, 1))


def test_a_network_that_was_run_or_is_published_has_a_row():
    table = comparison.networks(STUDY)
    there = {run.network for run in every_network(STUDY).runs} | set(registry.PAIR)
    assert table.index.tolist() == [one.words for name, one in registry.NETWORKS.items() if name in there]
    assert table.loc["ARL-CNN50", ("AUC, melanoma", "paper")] == "0.875"
    assert table.loc["ARL-CNN14", ("our runs", "seeds")] == "seeds 0, 1"
    assert table.loc["ARL-CNN14", ("", "parameters")] == "8,017,989"
    assert table.loc["ARL-CNN14", ("our runs", "minutes, median")] == "30.0"


def test_a_network_run_by_the_same_protocol_is_not_called_not_run(companion_archive):
    row = comparison.networks(STUDY).loc["SE-14", "our runs"]
    assert row.tolist() == ["seed 0", "lesions alone", "random initialisation", "30.0"]
    assert comparison.networks(STUDY).loc["SE-14", ("mean AUC", "ours [95 % CI]")]


def test_a_network_that_was_not_run_and_is_not_known_has_no_row():
    table = comparison.networks(STUDY)
    assert "SE-50" not in table.index
    assert table.loc["ResNet-50", ("our runs", "seeds")] == "not run"


def test_every_entry_has_a_source_or_seeds():
    table = comparison.entries(STUDY)
    ours = table["kind"].str.startswith("ours")
    assert table.loc[~ours, "known from"].str.split().str[0].isin(list(SOURCES)).all()
    assert table.loc[ours, "known from"].tolist() == ["seeds 0, 1"] * 2
    assert (table.loc[~ours, ["mean AUC", "AUC, melanoma", "AUC, seborrheic keratosis"]] != "").any(axis=1).all()


def test_the_challenges_entries_stand_first_and_a_quoted_row_is_no_entry():
    table = comparison.entries(Study(ISIC2017_256, ()))
    assert table["kind"].tolist()[:3] == ["entry of the challenge"] * 2 + ["later work"]
    assert not table["who"].str.contains("as V quotes it").any()
    assert table["known from"].tolist()[-2:] == ["not run"] * 2


def test_every_printed_table_is_there_for_a_study_without_runs():
    assert all(table(Study(ISIC2017_256, ())) is not None for table in comparison.PRINTED.values())


def test_folds_are_never_taken_for_runs_on_the_same_lesions():
    folds = Study(ISIC2017_256_CV, ())
    first, *_ = comparison.main_tables(folds)
    assert first.equals(comparison.cross_validated_differences(folds))
    with pytest.raises(RunError) as error:
        runs_by_seed(folds, "resnet14")
    assert str(error.value) == "isic2017-256-cv is cross-validation: its runs are read by fold"
