"""Tables as spreadsheets save them, read as text where their meaning is certain, and ids as files bear them."""

import csv
import io
import re
import unicodedata

import pandas as pd

from arlrepro.data.files.stored import IMAGE_SUFFIXES, StoredFile
from arlrepro.errors import DatasetError, some

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
