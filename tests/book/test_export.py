"""A table that is saved says what the page says, as CSV and as LaTeX."""

import io
import re
from base64 import b64decode

import pandas as pd
import pytest

from arlrepro.book.export import Downloadable, as_csv, as_latex, save
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
    table = comparison.differences(STUDY)
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
