"""One way to list the images of a folder or archive for every command, and to say what is passed over and why."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arlrepro.data.files.stored import StoredFile, archived
from arlrepro.errors import printable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
#: Pictures too, but of formats that are not read.
FOREIGN_SUFFIXES = (
    *(".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".psd", ".svg", ".dcm"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
#: Folders, in small letters, that programs fill with small copies of the pictures beside them, or with deleted ones.
THUMBNAIL_FOLDERS = ("thumbnails", "thumbs", "thumb", "_thumbs", "@eadir", "#recycle", "$recycle.bin")
#: Why a picture is passed over.
HIDDEN, THUMBNAILS = "hidden files, or macOS's notes beside a file", "thumbnails or deleted files"
FOREIGN = "pictures of a format that is not read; export them as JPEG or PNG"
NOWHERE, IRREGULAR = "links to nothing", "pipes or devices"
AGAIN, FORBIDDEN = "links to a folder that is read already", "folders that may not be read"


@dataclass(frozen=True)
class Listing:
    """The files of a folder or archive, and what was passed over."""

    files: tuple[StoredFile, ...]
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # reason -> the pictures, folders and links

    @property
    def images(self) -> list[StoredFile]:
        """Those of a suffix that is decoded."""
        return [file for file in self.files if file.suffix in IMAGE_SUFFIXES]


def merged(one: Mapping[str, tuple[str, ...]], other: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What two listings passed over, by reason."""
    return {reason: (*one.get(reason, ()), *other.get(reason, ())) for reason in (*one, *other)}


def list_files(container: Path) -> Listing:
    """Every file in a folder or archive, at any depth and through links, by name; what is passed over, by reason.

    A folder that several links lead to is entered once. Hidden files and folders (a dot before the name), what macOS
    adds to archives and folders of thumbnails hold no files of anyone's data set.

    Raises:
        DatasetError: not a zip archive, or one with unsafe entries, absurd declared sizes or a compression that is
            not read.
    """
    if container.is_dir():
        found, skipped = _walk(container)
    else:
        found, skipped = archived(container), {}
    files = []
    for file in sorted(found, key=lambda one: one.name.split("/")):
        reason = _why_not(file)
        if reason is None:
            files.append(file)
        elif file.suffix in IMAGE_SUFFIXES + FOREIGN_SUFFIXES:
            skipped.setdefault(reason, []).append(str(file))
    return Listing(tuple(files), {reason: tuple(sorted(names)) for reason, names in sorted(skipped.items())})


def _why_not(file: StoredFile) -> str | None:
    """Why a file is passed over, by its name; None if it is not."""
    parts = file.name.replace("\\", "/").split("/")
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return HIDDEN
    if any(part.lower() in THUMBNAIL_FOLDERS for part in parts[:-1]):
        return THUMBNAILS
    return FOREIGN if file.suffix in FOREIGN_SUFFIXES else None


def _walk(root: Path) -> tuple[list[StoredFile], dict[str, list[str]]]:
    """Every regular file below a folder, links followed, and the links and folders that lead nowhere by reason."""
    files: list[StoredFile] = []
    skipped: dict[str, list[str]] = {}
    entered: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        # Reason: folders before the links to them, so that a file has its own path where it has one.
        place = next((path for path in waiting if not path.is_symlink()), waiting[0])
        waiting.remove(place)
        try:
            about = place.stat()
            if (about.st_dev, about.st_ino) in entered:
                skipped.setdefault(AGAIN, []).append(printable(str(place)))
                continue
            entered.add((about.st_dev, about.st_ino))
            inside = list(os.scandir(place))
        except PermissionError:
            skipped.setdefault(FORBIDDEN, []).append(printable(str(place)))
            continue
        for entry in inside:
            path = place / entry.name
            try:
                about = entry.stat()
            except OSError:  # a link to nothing, or one of a circle of links
                skipped.setdefault(NOWHERE, []).append(printable(str(path)))
                continue
            if stat.S_ISDIR(about.st_mode):
                waiting.append(path)
            elif stat.S_ISREG(about.st_mode):
                files.append(StoredFile(root, path.relative_to(root).as_posix(), about.st_size))
            elif path.suffix.lower() in IMAGE_SUFFIXES:
                skipped.setdefault(IRREGULAR, []).append(printable(str(path)))
    return files, skipped
