"""Files where they lie, in a folder or unextracted in a zip archive.

Nothing is ever extracted, so an archive can write nowhere; still, one that tries is refused.
"""

import stat
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from arlrepro.errors import DatasetError, printable, said, some

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


def crc32s(files: Mapping[str, StoredFile]) -> dict[str, int]:
    """The CRC-32 of each file, by the same names and in the same order."""
    with ThreadPoolExecutor() as threads:
        return dict(zip(files, threads.map(StoredFile.crc32, files.values()), strict=True))


def find(root: Path, name: str) -> Path | None:
    """The archive `name`.zip as distributed, else the folder it was extracted to, else None."""
    return next((path for path in (root / f"{name}.zip", root / name) if path.exists()), None)


def archived(path: Path) -> list[StoredFile]:
    """Every file in a zip archive; a name's separators are slashes, whatever made the archive.

    Raises:
        DatasetError: not a zip archive, or one with unsafe entries, absurd declared sizes or a compression that is
            not read.
    """
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
