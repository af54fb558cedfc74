"""A model card says what its network reaches, in the archive's own numbers."""

from pathlib import Path

import pandas as pd
import pytest

from arlrepro import paths
from arlrepro.book import model_card
from arlrepro.book.tables import baselines
from arlrepro.evaluation.formatting import number
from arlrepro.evaluation.intervals import Estimate
from arlrepro.runs.archive import Run, read_run, write_run
from arlrepro.runs.weights import temperatures
from helpers.made_runs import small_run

ARCHIVED = Path(__file__).parents[2] / "results" / "isic2017-256" / "arl_cnn14-joint-s1-53c72dba"


@pytest.fixture
def made(tmp_path, monkeypatch) -> Run:
    """A run in a checkout of its own, whose archive has nothing by subgroup."""
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    monkeypatch.setattr(baselines, "subgroups", lambda study: pd.DataFrame())
    (tmp_path / "weights").mkdir()
    run = small_run()
    place = tmp_path / "results" / "smoke" / run.id
    place.mkdir(parents=True)
    write_run(run, place)
    return read_run(place)


def test_a_card_gives_the_runs_figures_with_their_intervals(made):
    card = model_card.as_markdown(made)
    for name in ("melanoma", "seborrheic_keratosis"):
        figures = made.metrics["test"][name]
        assert Estimate(figures["auc"], *figures["auc_ci"]).text() in card
        assert f"| {number(temperatures(made)[name], 2)} |" in card
    assert card.startswith("---\nlicense: mit\n") and "not a medical device" in card


def test_a_card_has_the_figures_over_seeds_and_by_subgroup_that_the_archive_has():
    card = model_card.as_markdown(read_run(ARCHIVED))
    assert "| melanoma | under 40 years | 41 | 1 |" in card and "(seeds 0 to 4) |" in card


def test_a_card_lies_beside_the_weights_and_says_what_was_not_measured(made):
    path = model_card.write(made)
    assert path == paths.committed_weights(made.id).with_suffix(".md")
    assert "Not measured for this network." in path.read_text()
