"""Checkpoints: the last good one stays, and those of other trainings are refused."""

import random
import re
import subprocess
import sys
import zipfile

import pytest
import torch

from arlrepro.errors import OutputError, RunError
from arlrepro.training import checkpoint
from arlrepro.training.checkpoint import Checkpoint
from helpers.stored_files import pack


@pytest.fixture
def written(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state", images="a" * 64)
    checkpoint.write("one", {"done": 3})
    return checkpoint


def refusal(checkpoint: Checkpoint, run_id: str = "one") -> str:
    with pytest.raises(RunError) as caught:
        checkpoint.read(run_id)
    return str(caught.value).replace(f"{checkpoint.path}: ", "", 1)


def test_what_was_written_is_read(written):
    assert written.read("one") == {"done": 3}


def test_there_may_be_none_yet(tmp_path):
    assert Checkpoint(tmp_path / "state").read("one") is None


def test_a_write_that_breaks_off_leaves_the_last_good_one(written, monkeypatch):
    def full(_state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError) as caught:
        written.write("one", {"done": 4})
    assert str(caught.value) == (
        f"{written.path}: cannot be written (No space left on device); make room on the disk, then start the training "
        "again: it goes on from its last checkpoint"
    )
    assert written.read("one") == {"done": 3}


def test_what_was_written_is_on_the_disk_before_it_has_its_name(written, monkeypatch):
    calls = []
    monkeypatch.setattr("os.fsync", lambda descriptor: calls.append("sync"))
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: calls.append(f"{self.name} -> {target.name}"))
    written.write("one", {"done": 4})
    assert calls == ["sync", "state.new -> state", "sync"]  # the file, its name, the folder


def test_one_of_another_run_is_refused(written):
    assert refusal(written, "another") == "a checkpoint of one, not of another; remove it"


def test_one_of_other_images_is_refused(written):
    assert refusal(Checkpoint(written.path, images="b" * 64)) == (
        "a checkpoint of training on the images aaaaaaaaaaaa, not bbbbbbbbbbbb; give the folder it was trained on, "
        "or remove it to train from the start"
    )


def test_one_of_another_version_is_refused(written, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 3)
    assert refusal(written) == (
        "a checkpoint of version 2, this arlrepro reads version 3; go on with the arlrepro that wrote it, or remove "
        "it to train from the start"
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_one_that_is_cut_off_is_refused(written, share):
    whole = written.path.read_bytes()
    written.path.write_bytes(whole[: int(share * len(whole))])
    assert refusal(written) == "not a whole checkpoint; remove it to train from the start"


def test_one_that_would_run_code_is_refused(written):
    torch.save({"version": checkpoint.VERSION, "run": re.compile("a"), "images": "", "state": {}}, written.path)
    assert refusal(written) == "not a whole checkpoint; remove it to train from the start"


def test_no_byte_that_changes_is_read_as_another_state(tmp_path):
    """The given fault, 80 of 80 resumed in silence: what is read is what was written, or nothing is."""
    checkpoint = Checkpoint(tmp_path / "state")
    state = {"network": torch.arange(600.0), "history": [{"epoch": 1}], "done": 3}
    checkpoint.write("one", state)
    whole = checkpoint.path.read_bytes()
    generator, refused = random.Random(0), 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        checkpoint.path.write_bytes(damaged)
        try:
            read = checkpoint.read("one")
        except RunError:
            refused += 1
        else:  # the byte was in what the format fills up with
            assert read is not None and read["network"].equal(state["network"])
            assert (read["history"], read["done"]) == (state["history"], state["done"])
    assert refused > 100


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_one_that_was_packed_anew_is_refused(written, method):
    pack(written.path, method)
    assert refusal(written) == "not a whole checkpoint; remove it to train from the start"


@pytest.mark.parametrize("content", [[], {"version": 2}, {"version": 2, "run": "one", "images": 3, "state": {}}])
def test_what_is_no_checkpoint_is_refused(written, content):
    torch.save(content, written.path)
    assert refusal(written).endswith("to train from the start")


def test_checkpoints_without_checksums_of_their_own_are_read_as_before(written):
    """Version 2, as trainings under way have written it."""
    torch.save({"version": 2, "run": "one", "images": "a" * 64, "state": {"done": 5}}, written.path)
    assert written.read("one") == {"done": 5}


def test_a_disk_that_fills_up_is_one_line_and_leaves_the_last_good_one(written):
    """As torch says it: its own error stands before that of the system."""
    script = (
        "import resource, signal, sys, torch; from pathlib import Path\n"
        "from arlrepro.errors import OutputError; from arlrepro.training.checkpoint import Checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: Checkpoint(Path(sys.argv[1]), 'a' * 64).write('one', {'a': torch.zeros(9000)})\n"
        "except OutputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, written.path], capture_output=True, text=True)
    assert "cannot be written (File too large); raise the limit on the size of a file (ulimit -f)" in done.stdout
    assert written.read("one") == {"done": 3}
