"""What arrives is what the server has, or one line says why not; nothing has its name before it is whole."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from arlrepro.data import download as module
from arlrepro.data.download import SHA256, download
from arlrepro.data.isic import OFFICIAL, read_dataset
from arlrepro.errors import ArlReproError, ConfigError, DatasetError
from helpers import isic_folder
from helpers.http_server import Fault, Server, serving

CSV = "ISIC-2017_Training_Part3_GroundTruth.csv"
ARCHIVE = "ISIC-2017_Test_v2_Data.zip"


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, (2017, 3, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def archives(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the small official set as a server has them: archives and CSVs by name."""
    folders = sorted({path.partition("/")[0] for path in files if "/" in path})
    entries = {
        folder: {path: data for path, data in files.items() if path.startswith(f"{folder}/")} for folder in folders
    }
    return {f"{folder}.zip": zipped(entries[folder]) for folder in folders} | {
        path: data for path, data in files.items() if "/" not in path
    }


def small_set(**files: bytes) -> dict[str, bytes]:
    """A set whose test archive is large enough to break in the middle."""
    superpixels = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    large = {"ISIC-2017_Test_v2_Data/ISIC_4_superpixels.png": isic_folder.encoded(superpixels, "PNG")}
    return archives(isic_folder.official_files() | large | files)


KNOWN = {name: hashlib.sha256(data).hexdigest() for name, data in small_set().items() if name.endswith(".csv")}


@pytest.fixture
def server():
    with serving(Server(small_set())) as served:
        yield served


def fetch(served: Server, root: Path, **options) -> list[Path]:
    options = {"sha256": KNOWN, "base_url": served.url, "progress": False, "back_off": 0.001} | options
    return download(root, **options)


def message(served: Server, root: Path, kind: type[ArlReproError] = DatasetError, **options) -> str:
    with pytest.raises(kind) as caught:
        fetch(served, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def assert_whole(root: Path, served: Server):
    assert names(root) == sorted(name for name in served.files if "Part1" not in name)
    assert all((root / name).read_bytes() == served.files[name] for name in names(root))


def test_labels_and_images_of_all_splits_arrive_byte_by_byte(server, tmp_path):
    paths = fetch(server, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [
        *(f"{name}_Part3_GroundTruth.csv" for name in OFFICIAL.values()),
        *(f"{name}_Data.zip" for name in OFFICIAL.values()),
    ]
    assert_whole(tmp_path / "new" / "folder", server)
    assert len(read_dataset(tmp_path / "new" / "folder").lesions) == 5


def test_masks_come_if_asked_for(server, tmp_path):
    fetch(server, tmp_path, masks=True)
    assert names(tmp_path) == sorted(server.files)
    assert read_dataset(tmp_path).lesions["has_mask"].all()


def test_address_may_end_without_a_slash(server, tmp_path):
    fetch(server, tmp_path, base_url=server.url.rstrip("/"))
    assert_whole(tmp_path, server)


def test_what_is_there_is_not_asked_for_again(server, tmp_path):
    first = fetch(server, tmp_path)
    server.asked.clear()
    assert fetch(server, tmp_path) == first
    assert server.asked == []


def test_broken_transfers_go_on_where_they_broke_off(server, tmp_path):
    server.faults[ARCHIVE] = [Fault(after=100_000), Fault(after=70_000), Fault()]
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    whole_pieces = [100_000 // module.PIECE * module.PIECE, (100_000 // module.PIECE + 1) * module.PIECE]
    assert server.gets(ARCHIVE) == ["", *(f"bytes={there}-" for there in whole_pieces)]


def test_transfers_that_gain_may_break_off_more_often_than_there_are_tries(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 1000)
    server.faults[ARCHIVE] = [*[Fault(after=20_000)] * (module.TRIES + 2), Fault()]
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    assert len(server.gets(ARCHIVE)) == module.TRIES + 3


def test_a_server_that_ignores_ranges_sends_the_whole_again(server, tmp_path):
    server.ranges = False
    server.faults[ARCHIVE] = [Fault(after=100_000), Fault()]
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    assert server.gets(ARCHIVE) == ["", f"bytes={100_000 // module.PIECE * module.PIECE}-"]


def test_without_etag_or_date_the_whole_is_asked_for_again(server, tmp_path):
    server.validators = False
    server.faults[ARCHIVE] = [Fault(after=100_000), Fault()]
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    assert server.gets(ARCHIVE) == ["", ""]


def test_ctrl_c_leaves_one_part_that_the_next_call_goes_on_with(server, tmp_path):
    hang = threading.Event()
    server.faults[ARCHIVE] = [Fault(after=100_000, hang=hang), Fault()]
    # Reason: a job in the background is started with Ctrl-C ignored, and its children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from arlrepro.data.download import download; "
    code += f"download({str(tmp_path)!r}, base_url={server.url!r}, sha256={{}})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    there = 100_000 // module.PIECE * module.PIECE
    for _ in range(3000):
        if any(path.stat().st_size == there for path in tmp_path.glob(f"{ARCHIVE}.*.part")):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    hang.set()
    parts = list(tmp_path.glob("*.part"))
    assert [path.stat().st_size for path in parts] == [there]
    assert names(tmp_path) == sorted([parts[0].name, *(n for n in server.files if "Part1" not in n and n != ARCHIVE)])
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    assert server.gets(ARCHIVE) == ["", f"bytes={there}-"]


def test_a_changed_file_is_never_joined_to_a_part_of_the_old_one(server, tmp_path):
    server.faults[ARCHIVE] = [Fault(after=100_000), Fault(after=0)]
    message(server, tmp_path)
    [old] = tmp_path.glob("*.part")
    other = isic_folder.encoded(np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8), "PNG")
    server.files = small_set(**{"ISIC-2017_Test_v2_Data/ISIC_4_superpixels.png": other})
    server.faults.clear()
    server.asked.clear()
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    assert server.gets(ARCHIVE) == [""]
    assert not old.exists()


def test_a_file_that_changes_between_two_requests_is_refused(server, tmp_path):
    server.faults[ARCHIVE] = [Fault(after=100_000), Fault(after=0)]
    message(server, tmp_path)
    server.faults.clear()
    server.head[ARCHIVE] = server.files[ARCHIVE]
    server.files[ARCHIVE] = bytes(len(server.files[ARCHIVE]))
    assert message(server, tmp_path) == f"{server.url}{ARCHIVE}: changed while it was fetched. Run it again."
    assert not (tmp_path / ARCHIVE).exists()


def test_a_missing_file_is_named_before_anything_is_fetched(server, tmp_path):
    del server.files[ARCHIVE]
    assert message(server, tmp_path) == (f"{server.url}{ARCHIVE}: the server answers 404 Not Found. Check the address.")
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.faults[CSV] = [Fault(status=503), Fault(status=503), Fault()]
    fetch(server, tmp_path)
    assert_whole(tmp_path, server)
    assert len(server.gets(CSV)) == 3


def test_a_server_that_stays_busy_is_left_after_six_tries(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.faults[CSV] = [Fault(status=503)]
    assert message(server, tmp_path, back_off=20.0) == (
        f"{server.url}{CSV}: the server answers 503 Service Unavailable (6 tries). "
        "Check the network and any proxy (HTTPS_PROXY), or try again later; what was fetched is kept."
    )
    assert len(server.gets(CSV)) == 6
    assert waits == [40, 60, 60, 60], "the second try is made at once"


def test_a_file_shorter_than_the_server_says_is_kept_as_a_part(server, tmp_path):
    server.faults[CSV] = [Fault(after=20)]
    size = len(server.files[CSV])
    assert message(server, tmp_path) == (
        f"{server.url}{CSV}: broke off after 0 of {size} bytes (6 tries). "
        "Check the network and any proxy (HTTPS_PROXY), or try again later; what was fetched is kept."
    )
    assert [name.endswith(".part") for name in names(tmp_path)] == [True]


def test_a_length_that_differs_from_what_was_announced_is_refused(server, tmp_path):
    server.head[CSV] = server.files[CSV] + b"more"
    assert message(server, tmp_path) == f"{server.url}{CSV}: changed while it was fetched. Run it again."
    assert names(tmp_path) == []


def test_a_server_that_says_no_length_is_refused(server, tmp_path):
    server.lengths = False
    assert message(server, tmp_path) == (
        f"{server.url}{CSV}: the server does not say how long the file is. Use one that serves plain files."
    )


def test_wrong_bytes_of_a_file_with_a_known_hash_are_thrown_away(server, tmp_path):
    right = hashlib.sha256(server.files[CSV]).hexdigest()
    server.files[CSV] = server.files[CSV].replace(b"1.0", b"0.0")
    wrong = hashlib.sha256(server.files[CSV]).hexdigest()
    assert message(server, tmp_path) == (
        f"{server.url}{CSV}: its SHA-256 is {wrong[:12]}..., not the known {right[:12]}.... "
        "Run it again; if it stays so, the server has another file."
    )
    assert names(tmp_path) == []


def test_wrong_bytes_in_an_archive_are_thrown_away(server, tmp_path):
    content = bytearray(server.files[ARCHIVE])
    content[len(content) // 2] ^= 1  # in the superpixels, nine tenths of the file
    server.files[ARCHIVE] = bytes(content)
    assert message(server, tmp_path) == (
        f"{server.url}{ARCHIVE}: its entry ISIC-2017_Test_v2_Data/ISIC_4_superpixels.png is damaged. "
        "Run it again; if it stays so, the server has another file."
    )
    server.files[ARCHIVE] = b"<html>Please log in</html>"
    assert message(server, tmp_path) == (
        f"{server.url}{ARCHIVE}: not a whole zip archive (File is not a zip file). "
        "Run it again; if it stays so, the server has another file."
    )
    assert ARCHIVE not in " ".join(names(tmp_path))


def test_an_archive_without_an_image_of_the_labels_is_refused(server, tmp_path):
    files = isic_folder.official_files()
    del files["ISIC-2017_Test_v2_Data/ISIC_5.jpg"]
    server.files = archives(files)
    assert message(server, tmp_path) == (
        f"{tmp_path}/{ARCHIVE}: 1 of 2 lesions have no image: ISIC_5. "
        "Fetch the images again, or take the rows out of the CSV."
    )


def test_an_archive_with_an_image_too_many_is_refused(server, tmp_path):
    server.files = small_set(**{"ISIC-2017_Test_v2_Data/ISIC_9.jpg": isic_folder.encoded(isic_folder.pixels(9))})
    assert message(server, tmp_path) == (
        f"{tmp_path}: 1 images or masks that no row of the CSVs names: "
        f"{tmp_path}/{ARCHIVE}/ISIC-2017_Test_v2_Data/ISIC_9.jpg. "
        "The official archives have none; fetch them again."
    )


def test_an_image_that_does_not_decode_is_refused(server, tmp_path):
    path = "ISIC-2017_Test_v2_Data/ISIC_5.jpg"
    server.files = small_set(**{path: isic_folder.official_files()[path][:-100]})
    assert message(server, tmp_path) == (
        f"{tmp_path}: 1 of 5 images and masks do not decode: {tmp_path}/{ARCHIVE}/{path}: "
        "does not decode (image file is truncated (4 bytes not processed)). Fetch it again."
    )


def test_a_damaged_file_that_was_there_before_is_named_and_kept(server, tmp_path):
    (tmp_path / ARCHIVE).write_bytes(b"mine")
    assert message(server, tmp_path) == (
        f"{tmp_path}/{ARCHIVE}: not a whole zip archive (File is not a zip file). Remove it, then run it again."
    )
    assert (tmp_path / ARCHIVE).read_bytes() == b"mine"
    assert server.asked == []


def test_a_disk_too_small_is_told_before_anything_is_fetched(server, tmp_path, monkeypatch):
    server.files[ARCHIVE] += bytes(5_000_000)
    needed = sum(len(data) for name, data in server.files.items() if "Part1" not in name)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**10, 10**10, needed - 1))
    assert message(server, tmp_path) == (
        f"{tmp_path}: {needed / 1e9:.1f} GB are still to fetch and {(needed - 1) / 1e9:.1f} GB are free. "
        "Make room or choose another folder."
    )
    assert {method for method, _, _ in server.asked} == {"HEAD"}


def test_a_disk_that_fills_up_meanwhile_keeps_the_part(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_append", full)
    assert message(server, tmp_path) == (
        f"{tmp_path}: cannot be written ([Errno 28] No space left on device). Make room; what was fetched is kept."
    )


def test_no_server_and_no_address_are_told_apart(server, tmp_path):
    assert message(server, tmp_path, base_url="http://127.0.0.1:1/") == (
        f"http://127.0.0.1:1/{CSV}: no answer (ConnectionError) (6 tries). "
        "Check the network and any proxy (HTTPS_PROXY), or try again later; what was fetched is kept."
    )
    assert message(server, tmp_path, ConfigError, base_url="mirror/2017") == (
        f"mirror/2017/{CSV}: is no address of a server; it begins with https:// or http://."
    )


@pytest.mark.real_data
def test_the_reduced_set_arrives_with_the_official_labels_though_every_archive_breaks_off(tmp_path):
    if not os.environ.get("ARLREPRO_DATA"):
        pytest.skip("ARLREPRO_DATA names no folder with the real images")
    source = Path(os.environ["ARLREPRO_DATA"])
    served = Server({path.name: path.read_bytes() for path in source.glob("ISIC-2017_*") if "auto" not in path.name})
    for name, content in served.files.items():
        served.faults[name] = [Fault(after=len(content) // 2), Fault()]
    with serving(served):
        fetch(served, tmp_path, sha256=SHA256)
    assert_whole(tmp_path, served)
    assert len(read_dataset(tmp_path).lesions) == 2750
    resumed = [span for name in served.files if name.endswith("Data.zip") for span in served.gets(name)[1:]]
    assert len(resumed) == 3 and all(resumed)
