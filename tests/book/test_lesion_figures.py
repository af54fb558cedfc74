"""Lesions that the book shows, chosen by a rule."""

from dataclasses import replace

import pandas as pd

from arlrepro.book.figures import attention, lesions
from arlrepro.profiles import SMOKE
from arlrepro.registry import CLASSES
from arlrepro.runs.study import Study
from helpers.made_runs import small_run


def test_patches_are_cut_where_the_run_says():
    drawn = next(iter(lesions.synthetic_lesions(SMOKE.experiment).values()))
    places = pd.DataFrame({"x": [0.5, 0.25], "y": [0.5, 0.25], "scale": [1.0, 0.5]})
    with_places = Study(SMOKE, (replace(small_run(), measures={"patches": places}),))
    where, cut = lesions.evaluation_patches(drawn.image, with_places)
    assert where.tolist() == [[0.5, 0.5, 1.0], [0.25, 0.25, 0.5]]
    assert (cut[0] == drawn.image).all(), "the whole image at its own size is the image"
    assert cut.shape == (2, 64, 64, 3)


def test_hits_and_misses_are_of_each_kind_where_there_are_both():
    run = small_run()
    chosen = lesions.hits_and_misses(run)
    assert lesions.hits_and_misses(run) == chosen, "the same seed chooses the same"
    test = run.of("test")
    for kind in (*CLASSES, "neither"):
        of_kind = [one for one, other in chosen.items() if other == kind]
        called = [attention.hit_or_miss(kind, run.predictions, one).split(":")[0] for one in of_kind]
        assert called in (["hit", "miss"], ["hit"], ["miss"])
        assert all(test.loc[one, f"{kind}_label"] == 1 for one in of_kind if kind in CLASSES)


def test_a_kind_without_a_hit_has_none():
    run = small_run()
    blind = replace(run, predictions=run.predictions.assign(melanoma=0.0, seborrheic_keratosis=0.0))
    assert list(lesions.hits_and_misses(blind).values()) == ["melanoma", "seborrheic_keratosis", "neither"]
