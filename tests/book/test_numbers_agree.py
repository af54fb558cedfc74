"""The committed pages print one value for one quantity, and none outside the range of its metric."""

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from arlrepro.book.export import WITH_INTERVAL

BOOK = Path(__file__).resolve().parents[2] / "book"
STUDIES = ("isic2017-256-imagenet", "isic2017-256")
#: Of whose cells each number is a proportion, an AUC, a correlation or a difference of two of these.
METRICS = re.compile(r"AUC|ACC|SEN|SPE|ours|paper|found|energy|pointing|IoU|correlation|area under|map minus|lost")
GAIN = re.compile(r"(?:the difference is|minus ResNet-\d\d is|as a whole changes the mean AUC by) ([+-]\d\.\d+)")


@cache
def shown(study: str, page: str, kind: str) -> str:
    """What the cells of a committed page put out, of one kind."""
    cells = nbformat.read(BOOK / study / page, 4).cells
    outputs = (output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    return "\n".join(data.get(kind, "") for data in outputs)


def gains(study: str) -> dict[str, str]:
    """The difference in mean AUC that each page names in its sentences, by page."""
    pages = [path.name for path in sorted((BOOK / study).glob("*.ipynb"))]
    found = {page: GAIN.search(shown(study, page, "text/markdown").partition("second study")[0]) for page in pages}
    return {page: match[1] for page, match in found.items() if match}


@pytest.mark.parametrize("study", STUDIES)
def test_pages_name_one_difference_in_mean_auc(study):
    named = gains(study)
    assert {"02_resnet_against_arl.ipynb", "09_ablation.ipynb"} <= set(named)
    assert len(set(named.values())) == 1, named


@pytest.mark.parametrize("study", STUDIES)
def test_the_table_of_differences_has_the_value_of_the_sentences(study):
    tables = BeautifulSoup(shown(study, "02_resnet_against_arl.ipynb", "text/html"), "html.parser").find_all("table")
    cells = [cell.text for table in tables for cell in table.find_all("td")]
    (value,) = set(gains(study).values())
    assert any(cell.startswith(value) for cell in cells)


@pytest.mark.parametrize("path", sorted(BOOK.glob("isic*/*.ipynb")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_metric_and_no_end_of_an_interval_leaves_its_range(path):
    page = BeautifulSoup(shown(path.parent.name, path.name, "text/html"), "html.parser")
    for table in page.select("table.dataframe"):
        headers = [cell.text for row in table.select("thead tr") for cell in row.find_all("th")]
        if not METRICS.search(" ".join(headers)):
            continue
        for cell in table.find_all("td"):
            if found := WITH_INTERVAL.fullmatch(cell.text):
                value, low, high = map(float, found.groups())
                assert -1 <= low <= value <= high <= 1, f"{path.name}: {cell.text}"
