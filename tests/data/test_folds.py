"""Folds: each lesion is tested once a repetition, and no lesion stands on both sides."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from arlrepro.config import with_settings
from arlrepro.data import datasets, duplicates
from arlrepro.errors import ConfigError
from arlrepro.profiles import ISIC2017_256_CV, PROFILES
from arlrepro.registry import CLASSES

KINDS = np.repeat([0, 1, 2], [130, 40, 30])
GROUPS = np.concatenate([np.repeat(np.arange(20), 2), np.arange(20, 180)])  # twenty pairs of look-alikes
LESIONS = pd.DataFrame(
    {"split": "training", **{name: (place + 1 == KINDS).astype(int) for place, name in enumerate(CLASSES)}},
    index=[f"MADE_{n:03d}" for n in range(200)],
)


def test_every_lesion_is_in_one_fold_and_kinds_are_dealt_evenly():
    dealt = datasets.assign_folds(KINDS, GROUPS, 10, seed=0)
    counts = pd.crosstab(dealt, KINDS).to_numpy()
    assert counts.sum(axis=0).tolist() == [130, 40, 30]
    assert counts[:, 1].tolist() == [4] * 10
    assert counts[:, 2].tolist() == [3] * 10
    assert set(counts[:, 0]) <= {12, 13, 14}


def test_without_near_duplicates_kinds_are_dealt_as_a_plain_stratified_split_deals_them():
    dealt = datasets.assign_folds(KINDS, np.arange(200), 5, seed=0)
    plain = [np.bincount(KINDS[held_out]).tolist() for _, held_out in StratifiedKFold(5).split(KINDS, KINDS)]
    assert [np.bincount(KINDS[dealt == fold]).tolist() for fold in range(5)] == plain


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_near_duplicates_stay_together(seed):
    dealt = datasets.assign_folds(KINDS, GROUPS, 10, seed)
    assert (dealt[:40:2] == dealt[1:40:2]).all()


def test_a_repetition_deals_otherwise_and_repeats_itself():
    first, again, other = (datasets.assign_folds(KINDS, GROUPS, 10, seed) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).mean() > 0.7


def test_over_the_folds_each_lesion_tests_once_validates_once_and_trains_else():
    splits = pd.concat([datasets.with_fold(LESIONS, GROUPS, 5, fold, seed=0)["split"] for fold in range(5)], axis=1)
    for split, times in (("test", 1), ("validation", 1), ("training", 3)):
        assert ((splits == split).sum(axis=1) == times).all()
    assert splits.index.equals(LESIONS.index)


def test_a_lesion_seen_through_a_third_image_is_one_group():
    noise = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    brighter = np.clip(noise[0].astype(int) + 30, 0, 255).astype(np.uint8)
    found = duplicates.groups(np.stack([noise[0], noise[1], brighter, noise[0]]))
    assert found.tolist() == [0, 1, 0, 0]


def test_runs_of_all_folds_share_a_hash_and_name_their_fold():
    ids = [one.run_id(1) for one in ISIC2017_256_CV.experiments()]
    assert len(set(ids)) == 20
    assert ids[3] == f"arl_cnn14-joint-s1-f1-{ISIC2017_256_CV.experiment.hash}"
    assert {one.hash for one in ISIC2017_256_CV.experiments()} == {ISIC2017_256_CV.experiment.hash}


def test_the_archived_profiles_keep_their_hash():
    assert PROFILES["isic2017-256"].experiment.hash == "53c72dba"


@pytest.mark.parametrize("setting", ["data.folds=2", "data.fold=1"])
def test_a_fold_that_cannot_be_is_refused(setting):
    with pytest.raises(ConfigError, match="give three folds or more"):
        with_settings(PROFILES["isic2017-256"].experiment, [setting])
