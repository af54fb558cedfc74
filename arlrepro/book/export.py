"""A table on a page with links that save it as CSV and as LaTeX; and the same two files written into a folder."""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import pandas as pd


def as_csv(table: pd.DataFrame) -> str:
    """The table as comma-separated text, its index first."""
    return table.to_csv(lineterminator="\n")


def as_latex(table: pd.DataFrame) -> str:
    """The table as a LaTeX tabular, for a document that uses booktabs and multirow."""
    return table.to_latex(escape=True)


def save(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV and as LaTeX: `path` with the endings `.csv` and `.tex`."""
    path.with_suffix(".csv").write_text(as_csv(table), encoding="utf8")
    path.with_suffix(".tex").write_text(as_latex(table), encoding="utf8")


@dataclass(frozen=True, eq=False)
class Downloadable:
    """A table as a notebook shows it, with two links below.

    Reason: the files are in the links themselves, so a page needs no other file, works from a disk without a network,
    and is the same each time.

    Example:
        >>> shown = Downloadable(pd.DataFrame({"AUC": [0.5]}), "areas")._repr_html_()
        >>> 'download="areas.csv" href="data:text/csv;charset=utf-8;base64,LEFVQ' in shown
        True
    """

    table: pd.DataFrame
    name: str  # of the files, without ending

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        files = {"CSV": ("csv", "text/csv", as_csv), "LaTeX": ("tex", "application/x-tex", as_latex)}
        links = [
            f'<a download="{self.name}.{ending}" '
            f'href="data:{kind};charset=utf-8;base64,{b64encode(write(self.table).encode()).decode()}">{label}</a>'
            for label, (ending, kind, write) in files.items()
        ]
        return f'{self.table._repr_html_()}\n<p class="downloads">Save this table: {", ".join(links)}</p>'
