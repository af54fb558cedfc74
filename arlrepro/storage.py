"""Files written whole or not at all, known by their checksums, and written by one process at a time."""

import ctypes
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from arlrepro.errors import ArlReproError, OutputError, RunError, said, some

#: The SHA-256 of every file beside it, as `sha256sum` writes and checks them.
MANIFEST = "SHA256SUMS"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux: fcntl.h, linux/fs.h


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or folder beside its place, sync it, swap it in: under its name lies the old or the new, whole.

    Args:
        path: the file or folder to be; what is there stays until the new one is whole, and where an error ends the
            writing.

    Yields:
        The name to write to, `<name>.new` beside it; nothing is there yet.
    """
    new = path.with_name(f"{path.name}.new")
    _remove(new)
    try:
        yield new
        sync(new)
        _swap(new, path)
    except BaseException:
        _remove(new)
        raise
    _sync_entry(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8 and with the ends of lines that it has."""
    with replacing(path) as new:
        new.write_bytes(text.encode())


def sync(path: Path) -> None:
    """Wait until a file, or every file in a folder, is on the disk."""
    for file in (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


def _sync_entry(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _swap(new: Path, path: Path) -> None:
    if not path.is_dir():
        new.replace(path)
    elif _exchange(new, path):
        _remove(new)
    else:  # elsewhere than on Linux a folder cannot take another's place in one step; the old one stays beside it
        old = path.with_name(f"{path.name}.old")
        _remove(old)
        path.rename(old)
        new.rename(path)
        _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names in one step, where the system can."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    names = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other)
    return renameat2 is not None and renameat2(*names, _RENAME_EXCHANGE) == 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write the manifest of some files of a folder; what else it held is forgotten."""
    lines = [f"{_digest((folder / name).read_bytes())}  {name}\n" for name in sorted(names)]
    write_text(folder / MANIFEST, "".join(lines))


def read_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that a folder's manifest names; empty where there is no manifest.

    Raises:
        RunError: the manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    sums = {}
    for line in path.read_bytes().decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name:
            raise RunError(f"{path}: not a manifest of SHA-256 sums, as `sha256sum` writes it; restore the folder")
        sums[name] = digest
    return sums


def read_checked(path: Path, sums: Mapping[str, str]) -> bytes:
    """The bytes of a file, held to the manifest beside it.

    Args:
        path: of the file.
        sums: from `read_sums`; where it is empty nothing is known of the bytes.

    Raises:
        RunError: the file cannot be read, or its bytes are not those that were written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(said(error, path, "cannot be read")) from error
    if sums and (found := _digest(content)) != sums.get(path.name):
        known = f"its {MANIFEST} says {sums[path.name][:12]}" if path.name in sums else f"not in its {MANIFEST}"
        raise RunError(
            f"{path}: not the bytes that were written (SHA-256 {found[:12]}, {known}); restore the file from where it "
            "was copied or committed, or make it again"
        )
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def reading(path: Path, kind: type[ArlReproError], remedy: str, *also: type[ArlReproError]) -> Iterator[None]:
    """Turn whatever a damaged file, or another one of its name, does to its reader into one line.

    Args:
        path: of the file.
        kind: of the error.
        remedy: what to do.
        also: errors of the library that do not name the file yet; others pass.
    """
    try:
        yield
    except (
        *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError),
        *(yaml.YAMLError, *also),
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise kind(f"{path}: {reason if len(reason) < 300 else f'{reason[:300]}...'}; {remedy}") from error


def read_json(path: Path, maker: str) -> dict[str, Any]:
    """The numbers that a command archived.

    Args:
        path: of the JSON file.
        maker: the command.

    Raises:
        RunError: the file is not there, damaged or another one.
    """
    if not path.is_file():
        raise RunError(f"{path}: not there; `{maker}` writes it")
    with reading(path, RunError, f"restore it, or make it again: `{maker}`"):
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        return values


def check_crcs(path: Path) -> None:
    """Hold a zip archive to the CRC-32s in it, such as those that torch writes and does not look at when it reads.

    Raises:
        ValueError: a byte of its content is not what was written, or a part is compressed, as torch compresses none.
        zipfile.BadZipFile: the file is cut off, or no zip archive.
    """
    with zipfile.ZipFile(path) as parts:
        # Reason: each method of compression has errors of its own, and unpacks whatever it is given.
        if packed := [part.filename for part in parts.infolist() if part.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"{len(packed)} parts are compressed ({some(packed)}); save it by torch.save")
        if (damaged := parts.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")


@contextmanager
def alone(path: Path, doing: str) -> Iterator[None]:
    """Be the only process that makes a file or folder; a second one says so and waits, and then finds it made.

    The lock is `<name>.lock` beside it, which the system takes back from a process that dies.

    Args:
        path: what is made.
        doing: what the other process does, for the line on stderr, such as "prepares it".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{path}: another process {doing}; waiting until it is done.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def require_writable(folder: Path) -> None:
    """Make a folder and write a byte into it, so that a place that cannot be written is said before the work.

    Raises:
        OutputError: it cannot be made or written; the message names the remedy.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever keeps a file or folder from being written into one line with its own remedy.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(said(error, path, "cannot be written")) from error
