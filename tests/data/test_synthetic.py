"""The drawn lesions: repeatable, with exact masks, signs that look as dermoscopy says, kinds that overlap."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from arlrepro.data import isic
from arlrepro.data.synthetic import dataset as synthetic
from arlrepro.data.synthetic.dataset import KINDS, draw_lesion, kinds_of, write_dataset
from arlrepro.data.synthetic.signs import SIGNS
from arlrepro.errors import ConfigError, DatasetError, OutputError

NAMES = [sign.__name__ for sign in SIGNS]
COUNTS = {"training": 12, "validation": 4, "test": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "set"
    write_dataset(folder, side=48, counts=COUNTS, progress=False)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_lesion(kind):
    one, again, other = draw_lesion(kind, 5, 64), draw_lesion(kind, 5, 64), draw_lesion(kind, 6, 64)
    assert np.array_equal(one.image, again.image)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("kind", KINDS)
def test_another_side_shows_the_same_lesion(kind):
    small, large = draw_lesion(kind, 5, 64, signs=[]), draw_lesion(kind, 5, 192, signs=[])
    reduced = large.lesion_mask.reshape(64, 3, 64, 3).mean((1, 3)) > 0.5
    assert (small.lesion_mask ^ reduced).sum() < 0.1 * reduced.sum()
    seen = large.image.reshape(64, 3, 64, 3, 3).mean((1, 3))
    assert np.abs(seen - small.image).mean() < 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_lesion_is_darker_than_the_skin_around_it(kind, seed):
    lesion = draw_lesion(kind, seed, 96, signs=[])
    around = binary_dilation(lesion.lesion_mask, iterations=10) & ~binary_dilation(lesion.lesion_mask, iterations=4)
    assert np.median(lesion.image[lesion.lesion_mask]) < np.median(lesion.image[around]) - 8


@pytest.mark.parametrize("name", NAMES)
def test_a_sign_changes_the_picture_within_the_lesion_only(name):
    for seed in range(3):
        without, shown = (draw_lesion("nevus", seed, 96, signs=signs) for signs in ([], [name]))
        assert list(shown.structures) == [name]
        assert (shown.structures[name] <= shown.lesion_mask).all()
        change = np.abs(shown.image.astype(int) - without.image).max(axis=-1)
        assert change[shown.structures[name]].mean() > 4
        # The mask ends where a sign's edge is half faded; the blur of the lens carries it a little further.
        assert change[~binary_dilation(shown.lesion_mask, iterations=6)].max() <= 3


def change_of(name: str) -> np.ndarray:
    """Mean change of red, green, blue under a sign's mask, over six lesions drawn with and without it."""
    changes = []
    for seed in range(6):
        without, shown = (draw_lesion("nevus", seed, 64, signs=signs) for signs in ([], [name]))
        changes.append((shown.image.astype(float) - without.image)[shown.structures[name]].mean(axis=0))
    return np.mean(changes, axis=0)


@pytest.mark.parametrize(
    "name",
    [
        "pigment_network",
        "atypical_network",
        "globules",
        "irregular_dots",
        "irregular_blotch",
        "streaks",
        "comedo_openings",
        "fissures",
    ],
)
def test_pigmented_signs_are_darker_than_the_lesion(name):
    assert (change_of(name) < -5).all()


def test_milia_like_cysts_are_brighter_than_the_lesion():
    assert (change_of("milia_like_cysts") > 10).all()


def test_regression_is_brighter_than_the_lesion():
    assert (change_of("regression") > 3).all()


def test_a_blue_white_veil_takes_red_and_leaves_blue():
    red, _, blue = change_of("blue_white_veil")
    assert blue > red + 20


def test_kinds_have_the_official_proportions():
    for split, count in {"training": 2000, "validation": 150, "test": 600}.items():
        kinds = kinds_of(split, count, seed=3)
        assert tuple(kinds.count(kind) for kind in KINDS) == synthetic.OFFICIAL_KINDS[split]
    assert sorted(kinds_of("test", 3, seed=0)) == sorted(KINDS)


def test_signs_tell_the_kinds_apart_but_not_surely_and_mean_colour_hardly():
    kinds = np.array(kinds_of("training", 400, seed=0))
    lesions = [draw_lesion(kind, (7, number), 16) for number, kind in enumerate(kinds)]
    signs = np.array([[name in lesion.structures for name in NAMES] for lesion in lesions], dtype=float)
    colours = np.array([lesion.image.mean(axis=(0, 1)) / 255 for lesion in lesions])
    for kind in ("melanoma", "seborrheic_keratosis"):
        auc = {}
        for what, features in {"signs": signs, "colours": colours}.items():
            model = LogisticRegression().fit(features[:200], kinds[:200] == kind)
            auc[what] = roc_auc_score(kinds[200:] == kind, model.decision_function(features[200:]))
        assert 0.85 < auc["signs"] < 0.98
        assert auc["colours"] < auc["signs"] - 0.1


def test_a_written_set_is_read_as_the_official_layout(root):
    dataset = isic.read_dataset(root)
    lesions = dataset.lesions
    assert lesions["split"].value_counts().to_dict() == COUNTS
    assert list(lesions.index[[0, 12, 16]]) == ["SYNTH_0000001", "SYNTH_1000001", "SYNTH_2000001"]
    assert lesions["has_mask"].all()
    truth = pd.read_csv(root / "SYNTH_lesions.csv", index_col="image_id")
    for kind in ("melanoma", "seborrheic_keratosis"):
        assert (lesions[kind].to_numpy() == (truth["kind"] == kind).to_numpy()).all()
    assert lesions["age"].dropna().between(10, 85).all()
    assert set(lesions["sex"]) <= {"female", "male", ""}


def test_a_written_image_depends_on_the_seed_and_its_number_alone(root):
    dataset, truth = isic.read_dataset(root), pd.read_csv(root / "SYNTH_lesions.csv", keep_default_na=False)
    for row in truth.itertuples():
        drawn = draw_lesion(row.kind, (0, int(row.image_id.removeprefix("SYNTH_"))), 48)
        assert np.array_equal(dataset.read_mask(row.image_id), drawn.lesion_mask)
        assert np.abs(np.asarray(dataset.open_image(row.image_id)).astype(int) - drawn.image).mean() < 6  # JPEG
        assert sorted(row.signs.split()) == sorted(drawn.structures)
        with zipfile.ZipFile(root / "SYNTH_Structures.zip") as archive:
            stored = [one for one in archive.namelist() if one.startswith(f"SYNTH_Structures/{row.image_id}_")]
            assert len(stored) == len(drawn.structures)
            for name, mask in drawn.structures.items():
                with archive.open(f"SYNTH_Structures/{row.image_id}_{name}.png") as file:
                    assert np.array_equal(np.asarray(Image.open(file)), mask)


def test_labels_are_byte_for_byte_in_the_official_form(root):
    labels = (root / "ISIC-2017_Test_v2_Part3_GroundTruth.csv").read_bytes()
    assert re.fullmatch(
        rb"image_id,melanoma,seborrheic_keratosis\r\n(SYNTH_200000\d,(0\.0,0\.0|1\.0,0\.0|0\.0,1\.0)\r\n){5}", labels
    )
    with zipfile.ZipFile(root / "ISIC-2017_Test_v2_Data.zip") as archive:
        assert archive.namelist()[0] == "ISIC-2017_Test_v2_Data/SYNTH_2000001.jpg"
        assert archive.namelist()[-1] == "ISIC-2017_Test_v2_Data/ISIC-2017_Test_v2_Data_metadata.csv"
        assert Image.open(archive.open(archive.namelist()[0])).size == (48, 48)


def test_two_processes_write_the_same_bytes_as_one(root, tmp_path):
    write_dataset(tmp_path / "again", side=48, counts=COUNTS, workers=2, progress=False)
    assert files(tmp_path / "again") == files(root)


def test_another_seed_writes_other_images(root, tmp_path):
    write_dataset(tmp_path / "other", seed=1, side=48, counts=COUNTS, progress=False)
    assert files(tmp_path / "other")["ISIC-2017_Test_v2_Data.zip"] != files(root)["ISIC-2017_Test_v2_Data.zip"]


def test_nothing_is_left_of_a_set_that_broke_off(tmp_path, monkeypatch):
    whole = synthetic.encode_lesion

    def full_disk(kind, seed, number, side):
        if number == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(kind, seed, number, side)

    monkeypatch.setattr(synthetic, "encode_lesion", full_disk)
    with pytest.raises(OutputError) as caught:
        write_dataset(tmp_path / "set", side=16, counts=COUNTS, progress=False)
    assert str(caught.value) == (f"{tmp_path}/set: cannot be written (No space left on device); make room on the disk")
    assert [path.name for path in tmp_path.iterdir()] == ["set.lock"]


def test_a_set_that_is_there_already_is_left_as_it_is(root, monkeypatch):
    before = files(root)
    monkeypatch.setattr(synthetic, "_draw", lambda *_: pytest.fail("drawn again"))
    write_dataset(root, side=48, counts=COUNTS, progress=False)
    assert files(root) == before


@pytest.mark.parametrize("other", [{"seed": 1}, {"side": 32}, {"counts": COUNTS | {"test": 6}}], ids=str)
def test_another_set_takes_no_ones_place(root, other):
    before = files(root)
    with pytest.raises(DatasetError, match="is there already; remove it or name another folder"):
        write_dataset(root, **{"side": 48, "counts": COUNTS, **other}, progress=False)
    assert files(root) == before


def processes_of(folder: Path) -> set[str]:
    """Processes of this machine that have a folder's path in their environment."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (place / "environ").read_bytes():
                found.add(place.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes as Linux lists them")
@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_process_that_is_killed_leaves_no_process_and_nothing_that_the_next_one_does_not_remove(tmp_path, ended_by):
    """The given fault: three processes and a hidden folder for ever."""
    script = (
        "import sys; from pathlib import Path; from arlrepro.data.synthetic.dataset import write_dataset\n"
        "if __name__ == '__main__':\n"
        "    counts = dict(training=900, validation=3, test=3)\n"
        "    write_dataset(Path(sys.argv[1]), side=48, counts=counts, workers=2)\n"
    )
    (tmp_path / "draw.py").write_text(script)
    folder, environment = tmp_path / "set", {**os.environ, "MARK": str(tmp_path)}
    drawing = subprocess.Popen([sys.executable, tmp_path / "draw.py", folder], env=environment)
    begun = tmp_path / "set.new" / "ISIC-2017_Training_Data.zip"
    while not begun.exists() or not begun.stat().st_size:
        assert drawing.poll() is None
        time.sleep(0.05)
    assert len(processes_of(tmp_path)) >= 3
    drawing.send_signal(ended_by)
    drawing.wait()
    limit = time.monotonic() + 60
    while processes_of(tmp_path) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not processes_of(tmp_path)
    assert not folder.exists()
    write_dataset(folder, side=16, counts=COUNTS, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"draw.py", "set", "set.lock"}


def test_a_folder_with_files_is_not_touched(tmp_path):
    (tmp_path / "ISIC-2017_Training_Data.zip").write_bytes(b"real")
    message = f"{tmp_path}: is there already; remove it or name another folder for the synthetic set."
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        write_dataset(tmp_path, side=16, counts=COUNTS)
    assert files(tmp_path) == {"ISIC-2017_Training_Data.zip": b"real"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda folder: write_dataset(folder / "set", counts={"train": 10, "test": 2}),
            "synthetic set: train=10, test=2; the splits are training, validation, test, each of 3 images or more.",
        ),
        (
            lambda folder: draw_lesion("mole", 0),
            "draw_lesion: no lesion of kind 'mole'; there are melanoma, seborrheic_keratosis, nevus.",
        ),
        (
            lambda folder: draw_lesion("nevus", 0, signs=["stars"]),
            f"draw_lesion: no sign stars; there are {', '.join(NAMES)}.",
        ),
        (
            lambda folder: draw_lesion("nevus", 0, 8),
            "draw_lesion: a side of 8 px shows no lesion; it must be 16 or more.",
        ),
    ],
)
def test_what_cannot_be_drawn_is_named(call, message, tmp_path):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_want_the_same_set_draw_it_once(tmp_path):
    script = (
        "from arlrepro.config import DataConfig; from arlrepro.data import datasets\n"
        "counts = dict(synthetic_training=3, synthetic_validation=3, synthetic_test=3)\n"
        "print(len(datasets.open_data(DataConfig(source='synthetic', side=16, **counts)).lesions))\n"
    )
    environment = {**os.environ, "ARLREPRO_ROOT": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(process.communicate()[0], process.returncode) for process in running] == [("9\n", 0)] * 2


def test_two_commands_that_draw_one_set_into_one_folder_both_find_it_drawn(tmp_path):
    """The given fault: one of two `data synth` ended in a traceback."""
    counts = ["--training", "12", "--validation", "4", "--test", "5", "--side", "48"]
    command = [sys.executable, "-m", "arlrepro", "data", "synth", tmp_path / "set", *counts]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        out, err = process.communicate()
        assert (process.returncode, out) == (0, f"21 images of 48 px in {tmp_path / 'set'}\n"), err
    assert len(isic.read_dataset(tmp_path / "set").lesions) == 21
