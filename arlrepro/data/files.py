"""Files read where they lie, in a folder or unextracted in a zip archive; and the tables and pixels in their bytes.

Nothing is ever extracted, so an archive can write nowhere; still, one that tries is refused rather than read.
"""

import csv
import io
import stat
import threading
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import ExifTags, Image, ImageOps

from arlrepro.errors import DatasetError, some

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
#: Pillow is asked for these formats only: some others (PostScript) run other programs.
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")

_IS_WHITE = [255 * (grey >= 128) for grey in range(256)]
_archive_lock = threading.Lock()  # ZipFile counts its open entries without one
warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow's limit of 89 million pixels becomes an error


@dataclass(frozen=True, order=True)
class StoredFile:
    """One file in a folder or in a zip archive, by its path inside."""

    container: Path
    name: str
    size: int  # bytes, uncompressed

    def __str__(self) -> str:
        return f"{self.container}/{self.name}".encode(errors="backslashreplace").decode()

    @property
    def base(self) -> str:
        """The file's name without folder, zipped or extracted the same."""
        return PurePosixPath(self.name).name

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix, as one form of Unicode (macOS writes another)."""
        return unicodedata.normalize("NFC", PurePosixPath(self.name).stem)

    @property
    def suffix(self) -> str:
        """The suffix in small letters, with its dot."""
        return PurePosixPath(self.name).suffix.lower()

    def read(self) -> bytes:
        """Every byte; an archive's entry is held to its CRC.

        Raises:
            DatasetError: the file is gone, damaged, encrypted or of an unknown compression.
        """
        try:
            if self.container.is_dir():
                return (self.container / self.name).read_bytes()
            with _archive_lock:
                return _open_archive(self.container, self.container.stat().st_mtime_ns).read(self.name)
        except (
            OSError,
            KeyError,
            RuntimeError,
            NotImplementedError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise DatasetError(f"{self}: cannot be read ({error}). Fetch it again.") from error

    def crc32(self) -> int:
        """The CRC-32 of the content: an archive has it in its directory, any other file is read once more."""
        if self.container.is_dir():
            return zlib.crc32(self.read())
        with _archive_lock:
            return _open_archive(self.container, self.container.stat().st_mtime_ns).getinfo(self.name).CRC


def crc32s(files: Mapping[str, StoredFile]) -> dict[str, int]:
    """The CRC-32 of each file, by the same names and in the same order."""
    with ThreadPoolExecutor() as threads:
        return dict(zip(files, threads.map(StoredFile.crc32, files.values()), strict=True))


def find(root: Path, name: str) -> Path | None:
    """The archive `name`.zip as distributed, else the folder it was extracted to, else None."""
    return next((path for path in (root / f"{name}.zip", root / name) if path.exists()), None)


def list_files(container: Path) -> list[StoredFile]:
    """Every file in a folder (at any depth) or archive, by name; what macOS adds to archives is left out.

    Raises:
        DatasetError: not a zip archive, or one with unsafe entries or absurd declared sizes.
    """
    if container.is_dir():
        paths = sorted(path for path in container.rglob("*") if path.is_file())
        files = [StoredFile(container, path.relative_to(container).as_posix(), path.stat().st_size) for path in paths]
    else:
        with _archive_lock:
            entries = _open_archive(container, container.stat().st_mtime_ns).infolist()
        files = sorted(
            StoredFile(container, entry.filename, entry.file_size) for entry in entries if not entry.is_dir()
        )
    return [file for file in files if not any(part.startswith((".", "__MACOSX")) for part in file.name.split("/"))]


@lru_cache(maxsize=32)
def _open_archive(path: Path, modified_ns: int) -> zipfile.ZipFile:
    """Open an archive once as long as it stays unchanged, and refuse what no official archive contains."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
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
    return archive


def _is_unsafe(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.orig_filename.replace("\\", "/"))
    is_drive = len(path.parts) > 0 and ":" in path.parts[0]
    return path.is_absolute() or ".." in path.parts or is_drive or stat.S_ISLNK(entry.external_attr >> 16)


def read_table(file: StoredFile) -> pd.DataFrame:
    """Read a CSV as text, cell by cell: UTF-8 or UTF-16 with or without its mark, any line ends.

    Raises:
        DatasetError: another encoding, no header, doubled columns, or rows of another length than the header.
    """
    data = file.read()
    try:
        is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: not text in UTF-8 or UTF-16 ({error.reason}). Save it as UTF-8.") from error
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except csv.Error as error:
        raise DatasetError(f"{file}: not a CSV ({error}). Save it as comma-separated UTF-8.") from error
    lines = [(number, row) for number, row in enumerate(rows, start=1) if any(row)]
    if not lines or "\0" in text:
        raise DatasetError(f"{file}: {'has NUL bytes' if lines else 'is empty'}. Save it as comma-separated UTF-8.")
    (_, header), *body = lines
    if not body:
        raise DatasetError(f"{file}: has a header and no rows. Fetch it again.")
    if len(set(header)) < len(header):
        raise DatasetError(f"{file}: a column stands twice in its header: {some(header, 20)}. Name each once.")
    ragged = [number for number, row in body if len(row) != len(header)]
    if ragged:
        raise DatasetError(
            f"{file}: {len(ragged)} rows have not the header's {len(header)} cells: rows {some(ragged)}. Mend them."
        )
    return pd.DataFrame([row for _, row in body], columns=header, dtype=str)


def decode_image(file: StoredFile, side: int | None = None) -> Image.Image:
    """Decode an image to upright RGB, whatever its format, depth or colour model.

    Args:
        file: JPEG, PNG, BMP, TIFF or WebP, told by content, not by suffix. Colour profiles are not applied.
        side: if given, side x side pixels (px) by an anti-aliasing Lanczos filter; an image of that size stays as it
            is. A large JPEG is then decoded at 1/2, 1/4 or 1/8 of its size, never below twice the side, which changes
            drawn lesions of up to 6748 x 4499 by less than 0.3 of 255 levels on average and by 3 at most.

    Raises:
        DatasetError: empty, truncated or damaged, no such image, or of more than 89 million pixels.
    """
    with _decoding(file) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        drafted = image.draft(image.mode, (2 * side, 2 * side)) if side is not None and orientation == 1 else None
        image = _eight_bit(ImageOps.exif_transpose(image)).convert("RGB")
        if side is not None and image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS, box=drafted[1] if drafted else None)
        return image


def decode_mask(file: StoredFile, side: int | None = None) -> Bool[np.ndarray, "height width"]:
    """Decode a lesion mask: True where the pixel, or with `side` its area of the mask, is at least half white.

    Raises:
        DatasetError: it does not decode, or nothing in it but black reaches half of white (a mask of 0 and 1).
    """
    with _decoding(file) as image:
        grey = _eight_bit(ImageOps.exif_transpose(image)).convert("L")
    brightest = int(np.asarray(grey).max())
    if 0 < brightest < 128:
        raise DatasetError(f"{file}: its brightest pixel is {brightest} of 255. Masks are black with white lesions.")
    if side is not None:
        grey = grey.point(_IS_WHITE).resize((side, side), Image.Resampling.BOX)
    return np.asarray(grey) >= 128


@contextmanager
def _decoding(file: StoredFile) -> Iterator[Image.Image]:
    """Open an image, and turn whatever goes wrong with it into one line that names the file."""
    data = file.read()
    if not data:
        raise DatasetError(f"{file}: has 0 bytes. Fetch it again.")
    try:
        yield Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    except Image.UnidentifiedImageError as error:
        raise DatasetError(f"{file}: is no {', '.join(IMAGE_FORMATS)} image. Fetch it again.") from error
    except Exception as error:  # Pillow's decoders raise nearly every kind on damaged bytes
        raise DatasetError(f"{file}: does not decode ({error}). Fetch it again.") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel: Pillow's own conversion clips in place of scaling."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"{image.mode!r} pixels have no known range; save it with 8 bits a channel")
    return image.convert("RGBA") if image.mode == "P" else image
