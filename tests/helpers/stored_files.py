"""Files on disk made of given bytes, and the one line with which they are refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from arlrepro.data.files.stored import StoredFile
from arlrepro.errors import ArlReproError, DatasetError


def stored(folder: Path, data: bytes, name: str = "a.jpg") -> StoredFile:
    (folder / name).write_bytes(data)
    return StoredFile(folder, name, len(data))


def message(call: Callable, *arguments: object, kind: type[ArlReproError] = DatasetError) -> str:
    """What an error of the library says, in one line of a readable length."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500
    return str(caught.value)


def refusal(read: Callable[[Path], object], path: Path, content: bytes, kind: type[ArlReproError]) -> str:
    """What is wrong with a file of some content, in the words that follow its path."""
    path.write_bytes(content)
    said = message(read, path, kind=kind)
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


def pack(path: Path, method: int) -> None:
    """Compress the parts of a file of torch's, which stores them."""
    with zipfile.ZipFile(path) as parts:
        contents = {name: parts.read(name) for name in parts.namelist()}
    with zipfile.ZipFile(path, "w", method) as parts:
        for name, content in contents.items():
            parts.writestr(name, content)
