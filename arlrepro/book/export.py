"""Tables and figures on a page with links that save them: as CSV, numbers in columns of their own, and as LaTeX."""

import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How a table, figure or widget begins that has nothing to show; a section of nothing else is left out of its page.
NOTHING = "No completed run"
NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
#: A cell that holds a value and its interval, as `formatting.with_interval` and `signed` print them.
WITH_INTERVAL = re.compile(rf"({NUMBER}) \[({NUMBER}), ({NUMBER})\]")


def in_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose cells of a value with its interval are three columns of numbers.

    Example:
        >>> in_columns(pd.DataFrame({"AUC [95 % CI]": ["0.622 [0.541, 0.696]", ""]})).iloc[0].to_dict()
        {'AUC': '0.622', 'AUC, low': '0.541', 'AUC, high': '0.696'}
    """
    columns: dict[str, pd.Series] = {}
    for place, name in enumerate(table.columns):
        flat = " ".join(filter(None, name)) if isinstance(name, tuple) else str(name)
        cells = table.iloc[:, place].astype(str)
        found = cells.str.extract(rf"^{WITH_INTERVAL.pattern}$")
        if found[0].notna().any():
            short = flat.replace(" [95 % CI]", "")
            columns[short] = found[0].where(found[0].notna(), cells)
            columns |= {f"{short}, low": found[1].fillna(""), f"{short}, high": found[2].fillna("")}
        else:
            columns[flat] = cells
    return pd.DataFrame(columns, index=table.index)


def as_csv(table: pd.DataFrame) -> str:
    """The table as comma-separated text, its index first, a value and the ends of its interval in three columns."""
    return in_columns(table).to_csv(lineterminator="\n")


def as_latex(table: pd.DataFrame) -> str:
    """The table as a LaTeX tabular, for a document that uses booktabs and multirow."""
    return table.to_latex(escape=True)


def save(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV and as LaTeX: `path` with the endings `.csv` and `.tex`."""
    path.with_suffix(".csv").write_text(as_csv(table), encoding="utf8")
    path.with_suffix(".tex").write_text(as_latex(table), encoding="utf8")


def link(name: str, kind: str, text: str, label: str) -> str:
    """An HTML link that saves a text as a file.

    Reason: the file is in the link itself, so a page needs no other file, works from a disk without a network, and is
    the same each time.
    """
    coded = b64encode(text.encode()).decode()
    return f'<a download="{name}" href="data:{kind};charset=utf-8;base64,{coded}">{label}</a>'


@dataclass(frozen=True, eq=False)
class Downloadable:
    """A table as a notebook shows it, with two links below; of a table without rows a line that says so.

    Example:
        >>> shown = Downloadable(pd.DataFrame({"AUC": [0.5]}), "areas")._repr_html_()
        >>> 'download="areas.csv" href="data:text/csv;charset=utf-8;base64,LEFVQ' in shown
        True
        >>> Downloadable(pd.DataFrame(), "areas")._repr_html_()
        '<p>No completed runs yet.</p>'
    """

    table: pd.DataFrame
    name: str  # of the files, without ending

    def __repr__(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return repr(self.table) if len(self.table) else f"{NOTHING}s yet."

    def _repr_html_(self) -> str:
        if not len(self.table):
            return f"<p>{NOTHING}s yet.</p>"
        # Reason: a table's words are to be read; pandas would cut them after fifty letters.
        with pd.option_context("display.max_colwidth", None):
            shown = self.table._repr_html_()
        links = [
            link(f"{self.name}.csv", "text/csv", as_csv(self.table), "CSV"),
            link(f"{self.name}.tex", "application/x-tex", as_latex(self.table), "LaTeX"),
        ]
        return f'{shown}\n<p class="downloads">Save this table: {", ".join(links)}</p>'


@dataclass(frozen=True, eq=False)
class DataOf:
    """The numbers that a figure draws as lines and points, as a link that saves them as CSV."""

    figure: "Figure | object"  # what is no figure has none
    name: str  # of the file, without ending

    @property
    def table(self) -> pd.DataFrame:
        """A row a point: the panel, the line's label, x and y, rounded to six digits."""
        rows = []
        for place, axis in enumerate(getattr(self.figure, "axes", []), 1):
            panel = axis.get_title() or f"panel {place}"
            for number, line in enumerate(axis.lines):
                label = str(line.get_label())
                label = f"line {number}" if label.startswith("_") else label
                points = zip(line.get_xdata(), line.get_ydata(), strict=True)
                rows += [(panel, label, f"{float(x):.6g}", f"{float(y):.6g}") for x, y in points]
        return pd.DataFrame(rows, columns=["panel", "line", "x", "y"])

    def __repr__(self) -> str:
        return f"{self.name}.csv: {len(self.table)} points" if len(self.table) else f"{NOTHING}s yet."

    def _repr_html_(self) -> str:
        if not len(self.table):
            return f"<p>{NOTHING}s yet.</p>"
        text = self.table.to_csv(index=False, lineterminator="\n")
        saved = link(f"{self.name}.csv", "text/csv", text, "CSV")
        return f'<p class="downloads">Save the data of this figure: {saved}</p>'
