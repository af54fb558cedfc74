"""The mapped array equals its source, survives interruptions, and is never half there under its name."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from arlrepro.config import EvaluationConfig, PatchConfig
from arlrepro.data import cache
from arlrepro.data.cache import ImageArray, prepare
from arlrepro.data.datasets import DataModule
from arlrepro.data.files.images import decode_image
from arlrepro.data.isic import IsicDataset, read_dataset
from arlrepro.data.patches import evaluation_boxes
from arlrepro.errors import ConfigError, DatasetError
from helpers import isic_folder

SIDE = isic_folder.SIDE


@pytest.fixture
def dataset(tmp_path) -> IsicDataset:
    return read_dataset(isic_folder.write(tmp_path / "source", isic_folder.official_files()))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "cache" / "array"


def equal(array: ImageArray, dataset: IsicDataset) -> bool:
    """Whether every row is the image it should be; the source's side is the array's."""
    return all(
        (array.pixels[row] == np.asarray(dataset.open_image(image_id))).all()
        and (array.masks is None or (array.masks[row] == dataset.read_mask(image_id)).all())
        for row, image_id in enumerate(array.image_ids)
    )


def changed(tmp_path: Path, **files: bytes) -> IsicDataset:
    return read_dataset(isic_folder.write(tmp_path / "changed", isic_folder.official_files() | files))


def test_rows_are_the_decoded_images_bit_by_bit(dataset, folder):
    array = prepare(dataset, SIDE, folder)
    assert array.image_ids == tuple(dataset.lesions.index)
    assert array.pixels.shape == (5, SIDE, SIDE, 3)
    assert array.masks.shape == (5, SIDE, SIDE)
    assert array.has_mask.all()
    assert array.fingerprint == dataset.fingerprint
    assert equal(array, dataset)


def test_the_array_is_mapped_and_read_only(dataset, folder):
    array = prepare(dataset, SIDE, folder)
    assert isinstance(array.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array.pixels[0] = 0


def test_another_side_is_resized_with_anti_aliasing(dataset, folder):
    array = prepare(dataset, 7, folder)
    expected = dataset.open_image("ISIC_4").resize((7, 7), Image.Resampling.LANCZOS)
    assert (array.pixels[4] == np.asarray(expected)).all()


def test_images_without_masks_have_none(tmp_path, folder):
    files = isic_folder.official_files()
    some = {path: data for path, data in files.items() if "Validation_Part1" not in path}
    array = prepare(read_dataset(isic_folder.write(tmp_path / "some", some)), SIDE, folder)
    assert array.has_mask.tolist() == [True, True, False, True, True]
    assert not array.masks[2].any()
    none = read_dataset(isic_folder.write(tmp_path / "none", isic_folder.official_files(masks=False)))
    assert prepare(none, SIDE, tmp_path / "unmasked").masks is None


def test_zipped_and_extracted_sources_give_the_same_manifest(dataset, tmp_path):
    extracted = read_dataset(isic_folder.write(tmp_path / "extracted", isic_folder.official_files(), zipped=False))
    prepare(dataset, SIDE, tmp_path / "a")
    prepare(extracted, SIDE, tmp_path / "b")
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


def test_the_default_folder_is_named_by_fingerprint_and_side(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare(dataset, 4)
    assert (tmp_path / f"data/cache/{dataset.fingerprint[:12]}-4/manifest.json").exists()


def test_a_finished_array_is_opened_without_decoding(dataset, folder, monkeypatch):
    prepare(dataset, SIDE, folder)
    monkeypatch.setattr(cache, "decode_image", None)
    assert equal(prepare(dataset, SIDE, folder), dataset)


@pytest.mark.parametrize("stop_after", [0, 1, 4])
def test_an_interrupted_call_leaves_nothing_and_the_next_one_starts_again(dataset, folder, monkeypatch, stop_after):
    decoded = []

    def interrupted(file, side):
        if len(decoded) == stop_after:
            raise KeyboardInterrupt
        decoded.append(file.stem)
        return decode_image(file, side)

    with monkeypatch.context() as patch:
        patch.setattr(cache, "decode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(dataset, SIDE, folder, workers=1)
    assert [path.name for path in folder.parent.iterdir()] == ["array.lock"]
    assert equal(prepare(dataset, SIDE, folder, workers=1), dataset)
    assert sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) == ["array"]


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 16]))


@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
@pytest.mark.parametrize("place", [0, 100, 128, 129, 500, -1])
def test_a_bit_that_changed_is_noticed_and_the_images_are_decoded_again(dataset, folder, capsys, name, place):
    """The given fault: 20 of 30 in images and 15 of 30 in masks were trained on without a word."""
    prepare(dataset, SIDE, folder)
    flip(folder / name, place % (folder / name).stat().st_size)
    assert equal(prepare(dataset, SIDE, folder), dataset)
    assert (
        f"{folder / name}: 1 of 1 blocks are not what was written; the images are decoded again."
        in capsys.readouterr().err
    )


def test_blocks_that_changed_places_are_noticed(dataset, folder, monkeypatch, capsys):
    monkeypatch.setattr(cache, "BLOCK", SIDE * SIDE * 3)
    prepare(dataset, SIDE, folder)
    pixels = np.lib.format.open_memmap(folder / "images.npy", "r+")
    pixels[[0, 4]] = pixels[[4, 0]]
    pixels.flush()
    assert equal(prepare(dataset, SIDE, folder), dataset)
    assert "blocks are not what was written" in capsys.readouterr().err


def test_an_array_without_checksums_is_made_again(dataset, folder):
    """As arrays were written before they had any."""
    prepare(dataset, SIDE, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["blocks"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert cache.reopen(folder, dataset.fingerprint) is None
    assert equal(prepare(dataset, SIDE, folder), dataset)
    assert equal(cache.reopen(folder, dataset.fingerprint), dataset)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_an_array_cut_off_under_a_training_is_one_line_where_the_system_would_end_the_process(dataset, folder, share):
    """The given fault: SIGBUS."""
    array = prepare(dataset, SIDE, folder)
    whole = (folder / "images.npy").stat().st_size
    lesions = DataModule(dataset, array, torch.device("cpu")).lesions("training")
    patches = PatchConfig(side=8)
    boxes = evaluation_boxes(patches, EvaluationConfig())[:1]
    lesions.cut(torch.tensor([0]), boxes, patches)
    os.truncate(folder / "images.npy", int(share * whole))
    for some_lesions in (lesions, lesions.at(np.array([0]))):
        with pytest.raises(DatasetError) as caught:
            some_lesions.cut(torch.tensor([0]), boxes, patches)
        assert str(caught.value) == (
            f"{folder}/images.npy: was cut off to {int(share * whole)} of {whole} bytes while it was read. Start "
            "again: the images are decoded anew, and a training goes on from its checkpoint."
        )
    assert equal(prepare(dataset, SIDE, folder), dataset)


def test_an_array_that_is_made_again_stays_as_it_was_for_who_reads_it(dataset, folder, tmp_path):
    """Another side takes the place of the files under a training that maps them: no bus error, no other pixel."""
    array = prepare(dataset, SIDE, folder)
    prepare(dataset, 5, folder)
    assert equal(array, dataset)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["manifest.json", "images.npy", "masks.npy"]), data=st.binary(max_size=60), keep=st.booleans()
)
def test_any_damage_to_manifest_or_array_header_is_noticed(dataset, folder, name, data, keep):
    prepare(dataset, SIDE, folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(data + (whole[len(data) :] if keep and name == "manifest.json" else b""))
    assert equal(prepare(dataset, SIDE, folder), dataset)


def test_an_array_cut_off_or_gone_is_built_again(dataset, folder):
    for name in ("images.npy", "masks.npy"):
        prepare(dataset, SIDE, folder)
        os.truncate(folder / name, (folder / name).stat().st_size - 1)
        assert equal(prepare(dataset, SIDE, folder), dataset)
        (folder / name).unlink()
        assert equal(prepare(dataset, SIDE, folder), dataset)


def test_a_changed_image_mask_or_side_gives_a_new_array(dataset, folder, tmp_path):
    prepare(dataset, SIDE, folder)
    image = changed(tmp_path, **{"ISIC-2017_Test_v2_Data/ISIC_4.jpg": isic_folder.encoded(isic_folder.pixels(8))})
    assert equal(prepare(image, SIDE, folder), image)
    shutil.rmtree(tmp_path / "changed")
    path = "ISIC-2017_Test_v2_Part1_GroundTruth/ISIC_4_segmentation.png"
    masked = changed(tmp_path, **{path: isic_folder.encoded(isic_folder.mask(7), "PNG")})
    assert masked.fingerprint == dataset.fingerprint
    assert equal(prepare(masked, SIDE, folder), masked)
    assert prepare(masked, 5, folder).pixels.shape == (5, 5, 5, 3)


def test_an_image_that_does_not_decode_is_named_and_nothing_takes_the_name(tmp_path, folder):
    whole = isic_folder.official_files()["ISIC-2017_Test_v2_Data/ISIC_4.jpg"]
    broken = changed(tmp_path, **{"ISIC-2017_Test_v2_Data/ISIC_4.jpg": whole[:-90]})
    path = tmp_path / "changed/ISIC-2017_Test_v2_Data.zip/ISIC-2017_Test_v2_Data/ISIC_4.jpg"
    with pytest.raises(DatasetError) as caught:
        prepare(broken, SIDE, folder)
    assert str(caught.value).startswith(f"{path}: does not decode (")
    assert not folder.exists()


def test_a_disk_too_full_is_said_before_anything_is_written(dataset, folder, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10**9))
    with pytest.raises(DatasetError) as caught:
        prepare(dataset, 10_000, folder)
    assert str(caught.value) == (
        f"{folder.parent}: 5 images of 10000 px need 2.0 GB and 1.0 GB are free. Make room or choose another folder."
    )
    assert not list(folder.parent.glob("array*/*"))


def test_a_disk_that_fills_up_is_one_line(dataset, folder):
    script = (
        "import resource, signal, sys; from pathlib import Path; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from arlrepro.data import cache, isic; from arlrepro import errors\n"
        "dataset = isic.read_dataset(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: cache.prepare(dataset, 16, Path(sys.argv[2]))\n"
        "except errors.OutputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, dataset.root, folder], capture_output=True, text=True)
    assert done.stdout == (
        f"{folder}: cannot be written (File too large); raise the limit on the size of a file (ulimit -f)\n"
    ), done.stderr
    assert not folder.exists()


def test_a_folder_with_other_files_is_left_alone(dataset, folder):
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("x")
    with pytest.raises(DatasetError) as caught:
        prepare(dataset, SIDE, folder)
    assert str(caught.value) == f"{folder}: holds other files (thesis.tex). Choose another folder."
    assert (folder / "thesis.tex").exists()


def test_a_second_call_waits_for_the_first(dataset, folder, capsys):
    folder.parent.mkdir(parents=True)
    arrays = []
    second = threading.Thread(target=lambda: arrays.append(prepare(dataset, SIDE, folder)))
    with FileLock(f"{folder}.lock"):
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive() and not folder.exists()
    second.join(timeout=30)
    assert equal(arrays[0], dataset)
    assert capsys.readouterr().err == f"{folder}: another process prepares it; waiting until it is done.\n"


def test_calls_at_once_from_several_processes_give_one_array(dataset, folder):
    script = (
        "import sys; from pathlib import Path; from arlrepro.data import cache, isic\n"
        "array = cache.prepare(isic.read_dataset(Path(sys.argv[1])), 16, Path(sys.argv[2]))\n"
        "print(int(array.pixels.sum()))"
    )
    command = [sys.executable, "-c", script, dataset.root, folder]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(3)]
    sums = {int(process.communicate()[0]) for process in running}
    assert sums == {int(prepare(dataset, SIDE, folder).pixels.sum())}


@pytest.mark.slow
def test_after_a_process_that_was_killed_the_next_one_starts_again(tmp_path):
    rows = "".join(f"i{number},0,1\n" for number in range(300))
    images = {f"i{number}.jpg": isic_folder.encoded(isic_folder.pixels(number)) for number in range(300)}
    root = isic_folder.write(
        tmp_path / "source", {"l.csv": f"image_id,melanoma,seborrheic_keratosis\n{rows}".encode(), **images}
    )
    folder = tmp_path / "array"
    script = (
        "import sys, time; from pathlib import Path; from arlrepro.data import cache, isic\n"
        "decode = cache.decode_image\n"
        "cache.decode_image = lambda file, side: (time.sleep(0.02), decode(file, side))[1]\n"
        "cache.prepare(isic.read_dataset(Path(sys.argv[1])), 16, Path(sys.argv[2]), workers=1)"
    )
    running = subprocess.Popen([sys.executable, "-c", script, root, folder])
    begun = tmp_path / "array.new/images.npy"
    while not begun.exists():
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    assert not folder.exists()
    dataset = read_dataset(root)
    assert equal(prepare(dataset, SIDE, folder), dataset)
    assert not begun.exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    script = (
        "import resource, sys; from pathlib import Path; from arlrepro.data import cache, isic\n"
        "dataset = isic.read_dataset(Path(sys.argv[1]))\n"
        "cache.prepare(dataset, 64, Path(sys.argv[1]) / 'array')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    image, peak = isic_folder.encoded(isic_folder.pixels(1, 64, 64)), {}
    for images in (1_000, 10_000):  # 12 and 123 MB of pixels
        root = tmp_path / str(images)
        rows = "".join(f"i{number},0,1\n" for number in range(images))
        isic_folder.write(root, {"labels.csv": f"image_id,melanoma,seborrheic_keratosis\n{rows}".encode()})
        for number in range(images):
            (root / f"i{number}.jpg").write_bytes(image)
        done = subprocess.run([sys.executable, "-c", script, root], capture_output=True, text=True, check=True)
        peak[images] = int(done.stdout) / 1024  # MB
    assert peak[10_000] < peak[1_000] + 40


def test_a_side_below_one_is_refused(dataset, folder):
    with pytest.raises(ConfigError, match=r"^side must be at least 1 px; got 0$"):
        prepare(dataset, 0, folder)
