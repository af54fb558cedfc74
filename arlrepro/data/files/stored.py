"""Files where they lie, in a folder or unextracted in a zip archive; what is passed over is said, with its reason.

Nothing is ever extracted, so an archive can write nowhere; still, one that tries is refused.
"""

import os
import stat
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from arlrepro.errors import DatasetError, printable, said, some

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

_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ"}  # of zip archives, by their number
_archive_lock = threading.Lock()  # ZipFile counts its open entries without one


@dataclass(frozen=True, order=True)
class StoredFile:
    """One file in a folder or in a zip archive, by its path inside."""

    container: Path
    name: str
    size: int  # bytes, uncompressed

    def __str__(self) -> str:
        return printable(f"{self.container}/{self.name}")

    @property
    def base(self) -> str:
        """The file's name without folder, zipped or extracted the same; Windows' separator too, as it is in zips."""
        return PurePosixPath(self.name.replace("\\", "/")).name

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix, as one form of Unicode (macOS writes another)."""
        return unicodedata.normalize("NFC", PurePosixPath(self.base).stem)

    @property
    def suffix(self) -> str:
        """The suffix in small letters, with its dot."""
        return PurePosixPath(self.base).suffix.lower()

    def read(self) -> bytes:
        """Every byte; an archive's entry is held to its CRC, and to the size that it declares.

        Raises:
            DatasetError: the file is gone, forbidden, damaged or no regular file.
        """
        try:
            if self.container.is_file():
                with _archive_lock:
                    archive, entries = _open_archive(self.container, self.container.stat().st_mtime_ns)
                    with archive.open(entries[self.name]) as entry:
                        return entry.read(entries[self.name].file_size)
            path = self.container / self.name
            if not path.is_file():
                what = "is a pipe, a device or a folder, not a picture or a table" if path.exists() else "is not there"
                raise DatasetError(f"{self}: {what}. Name a file.")
            return path.read_bytes()
        except PermissionError as error:
            raise DatasetError(f"{self}: may not be read. Ask its owner for the right (chmod +r).") from error
        except KeyError as error:
            raise DatasetError(f"{self}: is not in the archive, which was written anew. Begin again.") from error
        except OSError as error:
            raise DatasetError(f"{said(error, self, 'cannot be read')}.") from error
        except (EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DatasetError(f"{self}: is damaged ({error}). Fetch the archive again.") from error

    def crc32(self) -> int:
        """The CRC-32 of the content: an archive has it in its directory, any other file is read once more."""
        if self.container.is_dir():
            return zlib.crc32(self.read())
        with _archive_lock:
            return _open_archive(self.container, self.container.stat().st_mtime_ns)[1][self.name].CRC


@dataclass(frozen=True)
class Listing:
    """The files of a folder or archive, and what was passed over."""

    files: tuple[StoredFile, ...]
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # reason -> the pictures, folders and links

    @property
    def images(self) -> list[StoredFile]:
        """Those of a suffix that is decoded."""
        return [file for file in self.files if file.suffix in IMAGE_SUFFIXES]


def crc32s(files: Mapping[str, StoredFile]) -> dict[str, int]:
    """The CRC-32 of each file, by the same names and in the same order."""
    with ThreadPoolExecutor() as threads:
        return dict(zip(files, threads.map(StoredFile.crc32, files.values()), strict=True))


def find(root: Path, name: str) -> Path | None:
    """The archive `name`.zip as distributed, else the folder it was extracted to, else None."""
    return next((path for path in (root / f"{name}.zip", root / name) if path.exists()), None)


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
        found, skipped = _archived(container), {}
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


def _archived(path: Path) -> list[StoredFile]:
    """Every file in a zip archive; a name's separators are slashes, whatever made the archive."""
    with _archive_lock:
        entries = _open_archive(path, path.stat().st_mtime_ns)[1]
    return [StoredFile(path, name, entry.file_size) for name, entry in entries.items()]


@lru_cache(maxsize=32)
def _open_archive(path: Path, modified_ns: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Open an archive once as long as it stays unchanged, and refuse what no official archive contains."""
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError as error:
        raise DatasetError(f"{path}: may not be read. Ask its owner for the right (chmod +r).") from error
    except OSError as error:
        raise DatasetError(f"{said(error, path, 'cannot be read')}.") from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DatasetError(f"{path}: not a whole zip archive ({error}). Fetch it again.") from error
    entries = archive.infolist()
    unsafe = [entry.filename for entry in entries if _is_unsafe(entry)]
    if unsafe:
        raise DatasetError(
            f"{path}: {len(unsafe)} entries are links or point outside the archive: {some(unsafe)}. "
            "The official archives have none; do not use this one."
        )
    declared, there = sum(entry.file_size for entry in entries), path.stat().st_size
    if declared > 50 * there + 2**26:  # JPEG and PNG hardly shrink; masks of one bit a pixel shrink most
        raise DatasetError(
            f"{path}: {there} bytes that declare to be {declared} unpacked: no archive of images. Do not use this one."
        )
    if locked := [entry.filename for entry in entries if entry.flag_bits & 1]:
        raise DatasetError(
            f"{path}: {len(locked)} of {len(entries)} entries are encrypted: {some(locked)}. "
            "Extract it with its password into the folder beside it, and take the archive away."
        )
    # Reason: Python reads LZMA and bzip2 as well, but unpacks whatever they hold at once, however large.
    other = [entry for entry in entries if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    if other:
        methods = sorted({_METHODS.get(one.compress_type, f"method {one.compress_type}") for one in other})
        raise DatasetError(
            f"{path}: {len(other)} of {len(entries)} entries are compressed by {some(methods)}, which is not read: "
            f"{some([entry.filename for entry in other])}. Extract it (unzip and 7-Zip can) into the folder beside it, "
            "and take the archive away; or pack it anew with Deflate."
        )
    by_name = {entry.filename.replace("\\", "/"): entry for entry in entries}
    return archive, {name: entry for name, entry in by_name.items() if not name.endswith("/")}


def _is_unsafe(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.orig_filename.replace("\\", "/"))
    is_drive = len(path.parts) > 0 and ":" in path.parts[0]
    return path.is_absolute() or ".." in path.parts or is_drive or stat.S_ISLNK(entry.external_attr >> 16)
