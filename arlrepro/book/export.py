"""Tables and figures on a page with links that save them: as CSV, numbers in columns of their own, and as LaTeX."""

import json
import math
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

#: How a table, figure or widget begins that has nothing to show; a section of nothing else is left out of its page.
NOTHING = "No completed run"
#: How many points of a line a pointer finds at most, and what matplotlib leaves around a picture, inches.
MOST_POINTS, PADDING = 50, 0.1
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

    A column that is empty in every row is not shown; the files have it.

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
        shown_columns = self.table.loc[:, (self.table.astype(str) != "").any().to_numpy()]
        with pd.option_context("display.max_colwidth", None):
            shown = shown_columns._repr_html_()
        links = [
            link(f"{self.name}.csv", "text/csv", as_csv(self.table), "CSV"),
            link(f"{self.name}.tex", "application/x-tex", as_latex(self.table), "LaTeX"),
        ]
        return f'{shown}\n<p class="downloads">Save this table: {", ".join(links)}</p>'


@dataclass(frozen=True, eq=False)
class DataOf:
    """The numbers that a figure draws as lines and points: a link that saves them as CSV, and values under a pointer.

    Where the points lie in the picture is in the page as JSON, which `book/_static/hover.js` reads.
    """

    figure: "Figure | object"  # what is no figure has none
    name: str  # of the file, without ending

    def _lines(self) -> "Iterator[tuple[Axes, str, Line2D]]":
        """Each line with its axes and the panel that these are."""
        for place, axis in enumerate(getattr(self.figure, "axes", []), 1):
            panel = axis.get_title() or f"panel {place}"
            yield from ((axis, panel, line) for line in axis.lines)

    @property
    def table(self) -> pd.DataFrame:
        """A row a point: the panel, the line's label, x and y, rounded to six digits."""
        rows = []
        for axis, panel, line in self._lines():
            label = str(line.get_label())
            label = f"line {axis.lines.index(line)}" if label.startswith("_") else label
            rows += [(panel, label, f"{x:.6g}", f"{y:.6g}") for x, y in _points(line)]
        return pd.DataFrame(rows, columns=["panel", "line", "x", "y"])

    @property
    def points(self) -> list[dict[str, object]]:
        """What a pointer over the picture is told: by line, its words, and its points with their values.

        A point is `[left, top, x, y]`, the first two from 0 to 1 over the picture's width and height; of a long line
        `MOST_POINTS` are kept.
        """
        if not getattr(self.figure, "axes", []):
            return []
        figure = cast("Figure", self.figure)
        figure.draw_without_rendering()
        box = figure.get_tightbbox().padded(PADDING)
        told: list[dict[str, object]] = []
        for axis, _, line in self._lines():
            if line.get_transform() != axis.transData:
                continue  # a line across the axes has no value of its own
            xy = _points(line)
            chosen = np.unique(np.linspace(0, len(xy) - 1, min(len(xy), MOST_POINTS)).round().astype(int))
            inches = axis.transData.transform(xy[chosen]) / figure.dpi if len(xy) else np.empty((0, 2))
            parts = (inches - (box.x0, box.y0)) / (box.width, box.height)
            words = _tick_words(axis)
            at = [
                [round(left, 4), round(1 - up, 4), words.get(x, float(f"{x:.4g}")), float(f"{y:.4g}")]
                for (left, up), (x, y) in zip(parts.tolist(), xy[chosen].tolist(), strict=True)
                if 0 <= left <= 1 and 0 <= up <= 1
            ]
            if at:
                label = str(line.get_label())
                of = ", ".join(filter(None, [axis.get_title(), "" if label.startswith("_") else label]))
                told.append({"of": of, "x": axis.get_xlabel(), "y": _what_is_up(axis), "at": at})
        return told

    def __repr__(self) -> str:
        return f"{self.name}.csv: {len(self.table)} points" if len(self.table) else f"{NOTHING}s yet."

    def _repr_html_(self) -> str:
        if not len(self.table):
            return f"<p>{NOTHING}s yet.</p>"
        text = self.table.to_csv(index=False, lineterminator="\n")
        saved = link(f"{self.name}.csv", "text/csv", text, "CSV")
        told = json.dumps(self.points, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
        return (
            f'<p class="downloads">Save the data of this figure: {saved}</p>'
            f'<script type="application/json" class="figure-points">{told}</script>'
        )


def _points(line: "Line2D") -> Float[np.ndarray, "points 2"]:
    return np.column_stack([np.asarray(one, dtype=np.float64) for one in (line.get_xdata(), line.get_ydata())])


def _tick_words(axis: "Axes") -> dict[float, str]:
    """What stands at the ticks of an x axis that has words, or numbers that are names, in place of its values."""
    return _words(axis.get_xticks(), axis.get_xticklabels())


def _words(places: Iterable[float | np.number], labels: "Iterable[Text]") -> dict[float, str]:
    ticks = zip(map(float, places), (one.get_text() for one in labels), strict=False)  # a shared axis may have no words
    return {place: word for place, word in ticks if word and not _is_value(word, place)}


def _is_value(word: str, place: float) -> bool:
    try:
        return math.isclose(float(word.replace("\N{MINUS SIGN}", "-")), place, abs_tol=1e-9)
    except ValueError:
        return False


def _what_is_up(axis: "Axes") -> str | None:
    """What the y axis of a panel counts, or of the one that it shares; None where its ticks are words, no values."""
    shared = axis.get_shared_y_axes().get_siblings(axis)
    told = next((one.get_ylabel() for one in shared if one.get_ylabel()), "")
    words = axis.get_yscale() == "linear" and _words(axis.get_yticks(), axis.get_yticklabels())
    return None if words and not told else told
