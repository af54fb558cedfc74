"""A table that is saved says what the page says, as CSV and as LaTeX."""

import io
import re
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from arlrepro.book.export import MOST_POINTS, DataOf, Downloadable, as_csv, as_latex, save
from arlrepro.book.figures import style
from arlrepro.book.tables import comparison
from helpers.made_runs import made_study

STUDY = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0, 1))


def files_in(html: str) -> dict[str, str]:
    """The files that the links of a table hold, by name."""
    links = re.findall(r'download="([^"]+)" href="data:[^"]+;base64,([^"]+)"', html)
    return {name: b64decode(content).decode() for name, content in links}


@pytest.mark.parametrize("table", [comparison.resnet_vs_arl(STUDY), comparison.differences(STUDY)])
def test_a_saved_table_is_read_back_and_typeset(tmp_path, table):
    save(table, tmp_path / "main")
    stored = pd.read_csv(tmp_path / "main.csv", dtype=str, keep_default_na=False, header=None)
    assert stored.to_numpy().tolist()[-1][-1] == str(table.iloc[-1, -1])
    assert "\\begin{tabular}" in (tmp_path / "main.tex").read_text(encoding="utf8")


def test_the_links_below_a_table_hold_both_files_whole():
    table = comparison.differences(STUDY)
    found = files_in(Downloadable(table, "differences")._repr_html_())
    assert found == {"differences.csv": as_csv(table), "differences.tex": as_latex(table)}
    again = pd.read_csv(io.StringIO(found["differences.csv"]), index_col=0, dtype=str, keep_default_na=False)
    assert again["paper"].tolist() == table["paper"].tolist()


def test_the_page_shows_the_table_itself_and_comes_out_alike():
    table = comparison.spread_over_seeds(STUDY)
    first, second = (Downloadable(table, "differences")._repr_html_() for _ in range(2))
    assert first == second
    assert first.startswith(table._repr_html_())


def test_percent_signs_and_underscores_are_escaped_for_latex():
    assert "95 \\% CI" in as_latex(pd.DataFrame({"ours [95 % CI]": ["0.5"]}))


def test_a_table_is_shown_with_all_its_words_and_pandas_stays_as_it_was():
    long = "word " * 40
    table = pd.DataFrame({"why": [long.strip()]})
    assert long.strip() in Downloadable(table, "words")._repr_html_()
    assert long.strip() in repr(Downloadable(table, "words"))
    assert long.strip() not in table._repr_html_()


def test_a_pointer_is_told_the_values_of_points_where_they_lie_in_the_picture():
    with style.canvas(1, 2) as (figure, axes):
        axes[0, 0].plot([0.0, 1.0], [2.0, 4.0], label="ours")
        axes[0, 0].axhline(3.0)
        axes[0, 0].set(title="left", xlabel="epoch", ylabel="loss", xlim=(0, 1), ylim=(2, 4))
        axes[0, 1].plot([0, 1], [1.0, 1.0])
        axes[0, 1].set_xticks([0, 1], ["ResNet", "ARL"])
    first, second = DataOf(figure, "x").points
    assert (first["of"], first["x"], first["y"]) == ("left, ours", "epoch", "loss"), "a line across has no values"
    assert [point[2:] for point in first["at"]] == [[0.0, 2.0], [1.0, 4.0]]
    (left, low, *_), (right, high, *_) = first["at"]
    assert 0 < left < right < 0.55 and 1 > low > high > 0
    assert [point[2] for point in second["at"]] == ["ResNet", "ARL"]
    shown = io.BytesIO()
    figure.savefig(shown, bbox_inches="tight", facecolor="white")
    pixels = np.asarray(Image.open(shown).convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    row, column = round(high * height), round(right * width)
    around = pixels[row - 2 : row + 3, column - 2 : column + 3]
    assert (around.max(axis=2) - around.min(axis=2)).max() > 50, "the coloured line ends there"


def test_a_long_line_keeps_so_many_points_that_a_page_stays_light():
    with style.canvas() as (figure, axes):
        axes[0, 0].plot(np.arange(1000.0), np.arange(1000.0))
    data = DataOf(figure, "x")
    assert len(data.table) == 1000 and len(data.points[0]["at"]) == MOST_POINTS


def test_a_column_that_is_empty_in_every_row_is_not_shown_but_saved():
    shown = Downloadable(pd.DataFrame({"AUC": [0.5], "p": [""]}), "x")._repr_html_()
    assert "<th>AUC</th>" in shown and "<th>p</th>" not in shown
    assert as_csv(pd.DataFrame({"AUC": [0.5], "p": [""]})).startswith(",AUC,p")
