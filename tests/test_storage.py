"""Files are written whole or not at all, whatever ends the writing; their checksums are those of `sha256sum`."""

import errno
import subprocess
import sys
import threading
from unittest import mock

import pytest
from filelock import FileLock

from arlrepro import storage
from arlrepro.errors import OutputError, RunError, said


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "metrics.json"
    for text in ("old", "new"):
        storage.write_text(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_old_one_stays_where_the_writing_fails(tmp_path, error, kind):
    path = tmp_path / "thing"
    old = path if kind == "file" else path / "part"
    old.parent.mkdir(exist_ok=True)
    old.write_text("old")
    with pytest.raises(type(error)), storage.replacing(path) as new:
        if kind == "folder":
            new.mkdir()
        (new if kind == "file" else new / "part").write_text("half of the n")
        raise error
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path, exchange, monkeypatch):
    if not exchange:  # as on macOS and Windows
        monkeypatch.setattr(storage, "_exchange", lambda one, other: False)
    path = tmp_path / "run"
    for files in ({"a": "1", "b": "1"}, {"a": "2", "c": "2"}):
        with storage.replacing(path) as new:
            new.mkdir()
            for name, text in files.items():
                (new / name).write_text(text)
        assert {file.name: file.read_text() for file in path.iterdir()} == files
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="two folders change names in one step on Linux only")
def test_a_folder_is_whole_at_every_step_of_a_process_that_is_killed(tmp_path):
    """Killed before each call that changes a name: the folder has all of its old files or all of its new ones."""
    script = (
        "import os, sys; from pathlib import Path; from arlrepro import storage\n"
        "left = int(sys.argv[2])\n"
        "def audit(event, arguments):\n"
        "    global left\n"
        "    if event in ('os.rename', 'os.remove', 'os.rmdir', 'os.mkdir', 'shutil.rmtree', 'ctypes.dlsym'):\n"
        "        left -= 1\n"
        "        if left < 0: os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(audit)\n"
        "with storage.replacing(Path(sys.argv[1])) as new:\n"
        "    new.mkdir()\n"
        "    for name in 'abc': (new / name).write_text('new')\n"
    )
    path, ended, seen = tmp_path / "run", False, set()
    path.mkdir()
    for steps in range(40):
        for name in "abc":
            (path / name).write_text("old")
        ended = subprocess.run([sys.executable, "-c", script, path, str(steps)]).returncode == 0
        texts = {file.read_text() for file in path.iterdir()}
        assert len(texts) == 1 and len(list(path.iterdir())) == 3, steps
        seen |= texts
        if ended:
            break
    assert ended and seen == {"old", "new"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_manifest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "empty").touch()
    storage.write_sums(tmp_path, ["empty"])
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of no bytes, FIPS 180-4
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  empty\n"
    assert storage.read_sums(tmp_path) == {"empty": digest}
    assert storage.read_checked(tmp_path / "empty", {"empty": digest}) == b""


@pytest.mark.parametrize("text", ["", "nothing\n", "0123  empty\n"])
def test_a_damaged_manifest_vouches_for_nothing(tmp_path, text):
    (tmp_path / "empty").touch()
    (tmp_path / "SHA256SUMS").write_text(text)
    if text:
        with pytest.raises(RunError, match="not a manifest of SHA-256 sums"):
            storage.read_sums(tmp_path)
    else:
        assert storage.read_sums(tmp_path) == {}


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_archived_numbers_that_are_not_there_or_damaged_are_one_line(tmp_path, content):
    path = tmp_path / "benchmark.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        storage.read_json(path, "make bench")
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and "`make bench`" in said and "\n" not in said


def test_one_waits_for_the_other_and_says_so(tmp_path, capsys):
    path, order = tmp_path / "new" / "run", []

    def second() -> None:
        with storage.alone(path, "trains it"):
            order.append("second")

    waiting = threading.Thread(target=second)
    path.parent.mkdir()
    with FileLock(f"{path}.lock"):
        waiting.start()
        waiting.join(timeout=0.3)
        order.append("first")
    waiting.join(timeout=30)
    assert order == ["first", "second"]
    assert capsys.readouterr().err == f"{path}: another process trains it; waiting until it is done.\n"


def test_a_place_that_cannot_be_written_is_said_with_its_own_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        storage.require_writable(tmp_path / "file" / "x")
    assert str(caught.value) == (
        f"{tmp_path}/file/x: cannot be written (Not a directory); a part of its path is a file: name another folder"
    )
    for number, what, remedy in (
        (errno.EROFS, "Read-only file system", "it lies on a read-only disk: name another folder"),
        (errno.ENOSPC, "No space left on device", "make room on the disk"),
        (errno.EACCES, "Permission denied", "give yourself the right to it, or name another folder"),
    ):
        monkeypatch.setattr(storage.tempfile, "TemporaryFile", mock.Mock(side_effect=OSError(number, what)))
        with pytest.raises(OutputError) as caught:
            storage.require_writable(tmp_path)
        assert str(caught.value) == f"{tmp_path}: cannot be written ({what}); {remedy}"
        assert said(OSError(number, what, "a")) == f"a: {what}; {remedy}"
