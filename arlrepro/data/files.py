"""Files read where they lie, in a folder or unextracted in a zip archive; and the tables and pixels in their bytes.

Every command finds its images by :func:`list_files`, reads its tables by :func:`read_table` and decodes by
:func:`decode_image`. Nothing is ever extracted, so an archive can write nowhere; still, one that tries is refused.
"""

import csv
import io
import math
import os
import re
import stat
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import ExifTags, Image, ImageOps

from arlrepro.errors import ConfigError, DatasetError, printable, remedy, some

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
#: Pillow is asked for these formats only: some others (PostScript) run other programs.
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
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

MAX_MEGAPIXELS = "ARLREPRO_MAX_MEGAPIXELS"  # environment variable: the largest picture that is decoded
LONGEST_SIDE = 65_535  # px, JPEG's own limit

#: How files begin that are taken for images, and are none: what they are, and what to do with them.
_FOREIGN_BYTES = (
    (rb".{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1)", "a HEIC picture", "Export it as JPEG."),
    (rb".{4}ftypavi[fs]", "an AVIF picture", "Export it as JPEG or PNG."),
    (rb".{4}ftyp", "a film", "Take it out."),
    (rb"GIF8", "a GIF picture", "Save it as PNG."),
    (rb"8BPS", "a Photoshop file", "Export it as PNG."),
    (rb"(\xff\x0a|\x00{3}\x0cJXL )", "a JPEG XL picture", "Export it as JPEG or PNG."),
    (rb"\x00{3}\x0cjP  ", "a JPEG 2000 picture", "Export it as PNG."),
    (rb".{128}DICM", "a DICOM file", "Export its picture as PNG."),
    (rb"%(!PS|PDF)", "a PostScript or PDF document", "Export its picture as PNG."),
    (rb"\s*(<!doctype html|<html)", "a web page in place of the picture", "Fetch it again."),
    (rb"\s*<(\?xml|svg)", "an SVG or XML document", "Export its picture as PNG."),
    (rb"PK\x03\x04", "a zip archive", "Extract it."),
    (
        rb"\x00\x05\x16\x07",
        "macOS's note about a picture",
        "Take the file without ._ before its name.",
    ),
    (rb"version https://git-lfs", "a pointer of Git LFS", "Run `git lfs pull` where it came from."),
)

_IS_WHITE = [255 * (grey >= 128) for grey in range(256)]
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ"}  # of zip archives, by their number
_archive_lock = threading.Lock()  # ZipFile counts its open entries without one
#: Pixels of one image, as Pillow warns of: beyond it a small file may unpack without end.
MOST_PIXELS = 89_478_485


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
            raise DatasetError(f"{self}: cannot be read ({error.strerror}); {remedy(error)}.") from error
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
        with _archive_lock:
            entries = _open_archive(container, container.stat().st_mtime_ns)[1]
        found, skipped = [StoredFile(container, name, entry.file_size) for name, entry in entries.items()], {}
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


@lru_cache(maxsize=32)
def _open_archive(path: Path, modified_ns: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Open an archive once as long as it stays unchanged, and refuse what no official archive contains.

    Returns:
        The archive, and its files by name; a name's separators are slashes, whatever made the archive.
    """
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError as error:
        raise DatasetError(f"{path}: may not be read. Ask its owner for the right (chmod +r).") from error
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


DOWNSAMPLED = "_downsampled"  # ends the ids of some images of the later challenges, in one of their files or another
_NUMBER = re.compile(r"-?\d*[.,]?\d+([eE][-+]?\d+)?")
_IMAGE_SUFFIX = re.compile("|".join(rf"\{suffix}$" for suffix in IMAGE_SUFFIXES), re.IGNORECASE)


def without_suffix(image_id: str) -> str:
    """An id as files bear it: one form of Unicode, and no suffix of an image file, which some tables add.

    Example:
        >>> without_suffix("ISIC_0012086.JPG")
        'ISIC_0012086'
    """
    return _IMAGE_SUFFIX.sub("", unicodedata.normalize("NFC", image_id))


def read_table(file: StoredFile) -> pd.DataFrame:
    """Read a table as text, cell by cell, as spreadsheets save them.

    UTF-8 or UTF-16 with or without its mark; any line ends; separated by commas, semicolons or tabs, as the header or a
    line `sep=;` before it says. Where commas do not separate, a column of numbers with decimal commas gets points.
    A column without name is left out if its cells are empty or count the rows.

    Returns:
        One row a line that is not empty; columns as the header names them, in small letters.

    Raises:
        DatasetError: another encoding, no header, doubled or nameless columns, or rows of another length than the
            header.
    """
    separator, lines = _lines(file, file.read())
    if not lines:
        raise DatasetError(f"{file}: is empty. Save it as comma-separated UTF-8.")
    (_, header), *body = lines
    if not body:
        raise DatasetError(f"{file}: has a header and no rows. Write one row an image below it.")
    width, named = len(header), [place for place, name in enumerate(header) if name]
    rows = [row[:width] if not any(row[width:]) else row for _, row in body]
    rows = [row + [""] * (width - len(row)) if named and len(row) > named[-1] else row for row in rows]
    ragged = [number for (number, _), row in zip(body, rows, strict=True) if len(row) != width]
    if ragged:
        raise DatasetError(
            f"{file}: {len(ragged)} rows have not the header's {width} cells: rows {some(ragged)}. Mend them."
        )
    columns = [list(column) for column in zip(*rows, strict=True)]
    numbered = [[str(number) for number in range(first, first + len(rows))] for first in (0, 1)]
    nameless = [
        place for place, cells in enumerate(columns) if place not in named and any(cells) and cells not in numbered
    ]
    if nameless:
        where = some([place + 1 for place in nameless])
        raise DatasetError(f"{file}: {len(nameless)} columns have cells but no name: columns {where}. Name them.")
    names = [header[place].lower() for place in named]
    if len(set(names)) < len(names):
        raise DatasetError(f"{file}: a column stands twice in its header: {some(header, 20)}. Name each once.")
    if separator != ",":
        columns = [_with_points(column) for column in columns]
    return pd.DataFrame(dict(zip(names, (columns[place] for place in named), strict=True)), dtype=str)


def read_header(file: StoredFile) -> list[str]:
    """The names of a table's columns, in small letters, from its first bytes; [] if it cannot be read."""
    try:
        with (file.container / file.name).open("rb") as opened:
            start = opened.read(2**16)
        return [name.lower() for name in _lines(file, start[: start.rfind(b"\n") + 1] or start)[1][0][1]]
    except (DatasetError, IndexError, OSError):
        return []


def _lines(file: StoredFile, data: bytes) -> tuple[str, list[tuple[int, list[str]]]]:
    """The separator, and each line that is not empty with its number, from 1, and its cells."""
    try:
        is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: not text in UTF-8 or UTF-16 ({error.reason}). Save it as UTF-8.") from error
    if "\0" in text:
        raise DatasetError(f"{file}: has NUL bytes. Save it as comma-separated UTF-8.")
    first, _, rest = text.partition("\n")
    said = re.fullmatch(r'"?sep=([,;|\t])"?', first.strip(" \r"))
    skipped = 1 if said else 0
    text = rest if said else text
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = said[1] if said else next((one for one in ",;\t" if one in header), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [[cell.strip() for cell in row] for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{file}: not a CSV ({error}). Save it as comma-separated UTF-8.") from error
    return separator, [(number, row) for number, row in enumerate(rows, start=1 + skipped) if any(row)]


def _with_points(cells: list[str]) -> list[str]:
    """Decimal commas as points, where every cell of a column is a number or empty."""
    if all(_NUMBER.fullmatch(cell) for cell in cells if cell):
        return [cell.replace(",", ".") for cell in cells]
    return cells


def decode_image(file: StoredFile, side: int | None = None) -> Image.Image:
    """Decode an image to upright RGB, whatever its format, depth or colour model.

    Args:
        file: JPEG, PNG, BMP, TIFF or WebP, told by content, not by suffix. Colour profiles are not applied.
        side: if given, side x side pixels (px) by an anti-aliasing Lanczos filter; an image of that size stays as it
            is. A large JPEG is then decoded at 1/2, 1/4 or 1/8 of its size, never below twice the side, which changes
            synthetic images of up to 6748 x 4499 by less than 0.3 of 255 levels on average and by 3 at most.

    Raises:
        DatasetError: empty, truncated or damaged, no such image, with a side of more than 65,535 px, or of more than
            89 million pixels (or as many million as the environment variable ARLREPRO_MAX_MEGAPIXELS says).
    """
    with _decoding(file) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        drafted = image.draft(image.mode, (2 * side, 2 * side)) if side is not None and orientation == 1 else None
        image = _eight_bit(file, ImageOps.exif_transpose(image)).convert("RGB")
        if side is not None and image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS, box=drafted[1] if drafted else None)
        return image


def decode_mask(file: StoredFile, side: int | None = None) -> Bool[np.ndarray, "height width"]:
    """Decode a lesion mask: True where the pixel, or with `side` its area of the mask, is at least half white.

    Raises:
        DatasetError: it does not decode, or nothing in it but black reaches half of white (a mask of 0 and 1).
    """
    with _decoding(file) as image:
        grey = _eight_bit(file, ImageOps.exif_transpose(image)).convert("L")
    brightest = int(np.asarray(grey).max())
    if 0 < brightest < 128:
        raise DatasetError(f"{file}: its brightest pixel is {brightest} of 255. Masks are black with white lesions.")
    if side is not None:
        grey = grey.point(_IS_WHITE).resize((side, side), Image.Resampling.BOX)
    return np.asarray(grey) >= 128


@contextmanager
def _decoding(file: StoredFile) -> Iterator[Image.Image]:
    """Open an image, and turn whatever goes wrong with it into one line that names the file."""
    data, limit = file.read(), _pixel_limit()
    if not data:
        raise DatasetError(f"{file}: has 0 bytes. Fetch it again.")
    if limit > MOST_PIXELS:  # only where a person asked for it: it is the limit of the whole process
        Image.MAX_IMAGE_PIXELS = limit
    try:
        image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        if max(image.size) > LONGEST_SIDE:
            raise DatasetError(
                f"{file}: is {image.width} x {image.height} px. Cut it: no side above {LONGEST_SIDE} px."
            )
        if image.width * image.height > limit:
            raise Image.DecompressionBombError(f"({image.width * image.height} pixels)")
        yield image
    except DatasetError:
        raise
    except Image.UnidentifiedImageError as error:
        for start, what, to_do in _FOREIGN_BYTES:
            if re.match(start, data[:200], re.DOTALL | re.IGNORECASE):
                raise DatasetError(f"{file}: is {what}, which is not read. {to_do}") from error
        known = ", ".join(IMAGE_FORMATS)
        raise DatasetError(f"{file}: is no {known} image. Fetch it again if it should be, else take it out.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        [pixels] = re.findall(r"\((\d+) pixels\)", str(error))
        raise DatasetError(
            f"{file}: has {int(pixels) / 1e6:.0f} million pixels, and at most {limit / 1e6:.0f} million are decoded. "
            f"Reduce it, or raise the limit: {MAX_MEGAPIXELS}={math.ceil(int(pixels) / 1e6)}."
        ) from error
    except MemoryError as error:
        raise DatasetError(f"{file}: there is not the memory to decode it. Reduce it.") from error
    except Exception as error:  # Pillow's decoders raise nearly every kind on damaged bytes
        raise DatasetError(f"{file}: does not decode ({printable(str(error))}). Fetch it again.") from error


def _pixel_limit() -> int:
    """How many pixels a picture may have: `MOST_PIXELS`, or what the environment says.

    Raises:
        ConfigError: the environment says no number.
    """
    said = os.environ.get(MAX_MEGAPIXELS, "")
    if not said:
        return MOST_PIXELS
    if not re.fullmatch(r"[1-9]\d{0,5}", said):
        raise ConfigError(f"{MAX_MEGAPIXELS} is {said!r}; it must be a whole number of million pixels, such as 120")
    return 10**6 * int(said)


def _eight_bit(file: StoredFile, image: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel: Pillow's own conversion clips in place of scaling."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DatasetError(f"{file}: {image.mode!r} pixels have no known range. Save it with 8 bits a channel.")
    return image.convert("RGBA") if image.mode == "P" else image
