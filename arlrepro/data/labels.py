"""The tables of a data set, found by their columns and read cell by cell: which lesion, of which class, on whom."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from arlrepro.data.files.stored import StoredFile
from arlrepro.data.files.tables import read_header, read_table, without_suffix
from arlrepro.errors import DatasetError, some
from arlrepro.registry import CLASSES, SPLITS

UNKNOWN = ("", "unknown", "na", "n/a", "nan", "none")  # ages and sexes, as the official CSVs and HAM10000's write them
_TABLE_SUFFIXES = (".csv", ".tab", ".tsv", ".txt", "")
_LABELS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}

#: Told of each fault: where, what, which (every offender), what to do. Reading goes on without the offenders.
Report = Callable[[object, str, Sequence[str], str], None]


def refuse(where: object, what: str, which: Sequence[str], remedy: str) -> None:
    """The usual report: the first fault ends the reading.

    Raises:
        DatasetError: always.
    """
    raise DatasetError(f"{where}: {what}: {some(which)}. {remedy}")


def table_files(root: Path) -> list[StoredFile]:
    """What may be a table in a folder itself, by name; hidden files are none."""
    paths = [path for path in root.iterdir() if path.suffix.lower() in _TABLE_SUFFIXES and path.name[0] != "."]
    return [StoredFile(root, path.name, path.stat().st_size) for path in sorted(paths) if path.is_file()]


def tables_with(root: Path, columns: Sequence[str]) -> dict[StoredFile, pd.DataFrame]:
    """The tables in a folder that have these columns, read whole."""
    found = {}
    for file in table_files(root):
        # Reason: a small CSV that cannot be read is an error; of other files only those with the columns are tables.
        if set(columns) <= set(read_header(file)) or (file.suffix == ".csv" and file.size < 2**20):
            table = table_of_images(file)
            if set(columns) <= set(table.columns):
                found[file] = table
    return found


def table_of_images(file: StoredFile) -> pd.DataFrame:
    """A table, the ids in it as the files bear them."""
    table = read_table(file)
    if "image_id" in table:
        table["image_id"] = table["image_id"].map(without_suffix)
    return table


def table_at(root: Path, name: str) -> StoredFile:
    """A table of the official layout.

    Raises:
        DatasetError: it is not there.
    """
    if not (root / name).is_file():
        raise DatasetError(f"{root}: no {name}. Run `arlrepro data download`, or name the right folder with --data.")
    return StoredFile(root, name, (root / name).stat().st_size)


def require(table: pd.DataFrame, columns: Sequence[str], where: StoredFile) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DatasetError: it lacks one; the message names those it has.
    """
    if missing := [column for column in columns if column not in table.columns]:
        raise DatasetError(f"{where}: no column {some(missing)}; it has {some(list(table.columns), 20)}.")


def report_rows(table: pd.DataFrame, is_bad: pd.Series, what: str, remedy: str, where: object, report: Report) -> None:
    """Report the rows of a table that cannot be used, by their ids, if there are any."""
    if is_bad.any():
        ids = table["image_id"][is_bad]
        report(where, f"{len(ids)} of {len(table)} rows {what}", [repr(text) for text in ids.unique()], remedy)


def labelled(
    table: pd.DataFrame, where: StoredFile, split: str, report: Report, also: Sequence[str] = ()
) -> pd.DataFrame:
    """Split and labels by image id, of the rows of a label CSV that can be used; the others are reported."""
    require(table, ("image_id", *CLASSES), where)
    if "split" not in table.columns:
        table = table.assign(split=split)
    labels = table[list(CLASSES)].apply(lambda column: column.map(_LABELS))
    is_bad = {
        "have an id that is no file name": (~table["image_id"].map(_is_file_name), "Rename them."),
        "repeat an id": (table["image_id"].duplicated(), "Keep one row of each."),
        "have a label that is neither 0 nor 1": (labels.isna().any(axis=1), "Mend them."),
        "are both melanoma and seborrheic keratosis": (labels.eq(1).all(axis=1), "A lesion is one of them at most."),
        "are of an unknown split": (~table["split"].isin(SPLITS), f"Known are {', '.join(SPLITS)}."),
    }
    for what, (rows, remedy) in is_bad.items():
        report_rows(table, rows, what, remedy, where, report)
    usable = ~pd.concat([rows for rows, _ in is_bad.values()], axis=1).any(axis=1)
    lesions = table[["image_id", "split"]].join(labels)[usable].astype(dict.fromkeys(CLASSES, "int8"))
    return lesions.assign(age=np.nan, sex="").join(table[list(also)]).set_index("image_id")


def with_people(lesions: pd.DataFrame, table: pd.DataFrame, where: StoredFile, report: Report) -> pd.DataFrame:
    """Add age (years, NaN unknown) and sex ("" unknown); an entry that is neither is reported and left unknown."""
    require(table, ("image_id", "age_approximate", "sex"), where)
    table = table.assign(sex=table["sex"].str.lower())
    age = pd.to_numeric(table["age_approximate"], errors="coerce")
    age = age.where(age.between(0, 120))
    is_bad = {
        "have an age not from 0 to 120": age.isna() & ~table["age_approximate"].str.lower().isin(UNKNOWN),
        "have a sex not female or male": ~table["sex"].isin(["female", "male", *UNKNOWN]),
    }
    for what, rows in is_bad.items():
        report_rows(table, rows, what, "Write unknown where it is.", where, report)
    people = table.assign(age=age).drop_duplicates("image_id").set_index("image_id").reindex(lesions.index)
    return lesions.assign(age=people["age"], sex=people["sex"].where(people["sex"].isin(["female", "male"]), ""))


def _is_file_name(text: str) -> bool:
    is_usual = text.isprintable() and not set(text) & set('/\\:*?<>|"')
    return is_usual and 0 < len(text) <= 200 and not text.startswith(".")
