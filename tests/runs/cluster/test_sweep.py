"""What a sweep varies, and what judges it: never a test image."""

import numpy as np
import pandas as pd
import pytest

from arlrepro.data.datasets import DataModule
from arlrepro.errors import ConfigError
from arlrepro.paths import trials_csv
from arlrepro.profiles import SMOKE
from arlrepro.registry import CLASSES
from arlrepro.runs.cluster import sweep
from arlrepro.runs.cluster.nodes import Resources
from arlrepro.runs.cluster.sweep import COLUMNS, JUDGES, held_out, settings_of, write_trials


@pytest.fixture
def made(monkeypatch) -> DataModule:
    """Forty training, ten validation and ten test lesions, of which a fourth each is melanoma and keratosis."""
    kinds = np.arange(60) % 4
    lesions = pd.DataFrame({"melanoma": kinds == 0, "seborrheic_keratosis": kinds == 1}).astype(int)
    lesions["split"] = ["training"] * 40 + ["validation"] * 10 + ["test"] * 10
    module = DataModule.__new__(DataModule)
    vars(module).update(dataset=type("Made", (), {"lesions": lesions}), groups=np.arange(60) // 2)
    return module


@pytest.mark.parametrize("by", JUDGES)
def test_no_test_image_trains_or_judges(made, by):
    rows_in, rows_out = held_out(made, 0, by)
    splits = made.dataset.lesions["split"].to_numpy()
    assert set(splits[rows_in]) == {"training"}
    assert set(splits[rows_out]) <= {"training", "validation"}
    assert not set(rows_in) & set(rows_out)
    assert len(rows_in) + len(rows_out) == 50


def test_a_fifth_of_the_training_images_is_held_out_with_its_near_duplicates(made):
    rows_in, rows_out = held_out(made, 0)
    judges = rows_out[rows_out < 40]
    assert len(judges) == 8
    assert not set(made.groups[judges]) & set(made.groups[rows_in])
    assert made.dataset.lesions[list(CLASSES)].to_numpy()[judges].sum(axis=0).tolist() == [2, 2]


def test_a_field_without_values_is_refused():
    with pytest.raises(ConfigError, match=r"^--over train.epochs: write section.field=value,value, for example"):
        settings_of(["train.epochs"])


def test_trials_of_several_data_sets_are_refused():
    with pytest.raises(ConfigError, match=r"^--over data\.\.\.: all trials of a sweep read the same images"):
        sweep.sweep(SMOKE.experiment, ["data.side=64,96"], Resources())


def test_without_ray_each_setting_is_tried_to_its_end(monkeypatch, training, validation, short):
    """A trial a row, the best first; the images that judge are those that `held_out` names."""
    module = DataModule.__new__(DataModule)
    monkeypatch.setattr(sweep, "set_up_data", lambda *_: module)
    monkeypatch.setattr(sweep, "held_out", lambda *_: ("rows to train on", "rows to judge by"))
    vars(module).update(at={"rows to train on": training, "rows to judge by": validation}.get)
    trials = sweep.sweep(short, ["train.epochs=1,2"], Resources(on="local"))
    assert sorted(trials["settings"]) == ["train.epochs=1", "train.epochs=2"]
    assert trials["settings"].str[-1].astype(int).tolist() == trials["epochs"].tolist()
    assert trials["mean_auc"].is_monotonic_decreasing and (trials["lesions"] == len(validation)).all()


def test_trials_are_added_to_those_that_are_archived(tmp_path, monkeypatch):
    archived = pd.read_csv(trials_csv("isic2017-256-imagenet"))
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    path = tmp_path / "results" / "protocol_trials-smoke.csv"
    path.parent.mkdir()
    archived.to_csv(path, index=False, float_format="%.4f")
    trial = {**archived.iloc[0].to_dict(), "epochs": 8}
    assert write_trials("smoke", "again", pd.DataFrame([trial])) == path
    table = pd.read_csv(path)
    assert list(table) == [*COLUMNS, "epochs"]
    pd.testing.assert_frame_equal(table.iloc[:-1][COLUMNS], archived[COLUMNS])
    assert table.iloc[-1][["trial", "epochs"]].tolist() == ["again", 8]
