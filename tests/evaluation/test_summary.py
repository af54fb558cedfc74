"""The summary of a network has the metrics of every split and class, and says where one is not defined."""

import numpy as np
import pandas as pd
import pytest

from arlrepro.errors import MetricError
from arlrepro.evaluation import metrics
from arlrepro.evaluation.summary import summary


def predictions(rng, split, lesions):
    positives = np.arange(lesions)
    frame = pd.DataFrame({"image_id": [f"ISIC_{i:07d}" for i in positives], "split": split})
    for offset, task in enumerate(("melanoma", "seborrheic_keratosis")):
        label = (positives % 4 == offset).astype(int)
        frame[task] = 1 / (1 + np.exp(-(rng.normal(size=lesions) + 1.5 * label - 1)))
        frame[f"{task}_label"] = label
    return frame


def test_summary_has_the_figures_of_every_split_and_task():
    rng = np.random.default_rng(9)
    table = pd.concat([predictions(rng, "validation", 40), predictions(rng, "test", 80)])
    found = summary(table)
    assert list(found) == ["validation", "test"]
    names = ["auc", "accuracy", "sensitivity", "specificity"]
    assert list(found["test"]) == ["melanoma", "seborrheic_keratosis", "mean_auc", "mean_auc_ci"]
    for split, figures in found.items():
        rows = table[table["split"] == split]
        for task in ("melanoma", "seborrheic_keratosis"):
            labels, values = rows[f"{task}_label"].to_numpy(), rows[task].to_numpy()
            assert list(figures[task]) == [key for name in names for key in (name, f"{name}_ci")]
            assert {name: figures[task][name] for name in names} == pytest.approx(
                {name: metrics.METRICS[name](labels, values) for name in names}
            )
            assert all(
                low < figures[task][name] < high for name in names for low, high in [figures[task][f"{name}_ci"]]
            )
        both = figures["melanoma"]["auc"] + figures["seborrheic_keratosis"]["auc"]
        assert figures["mean_auc"] == pytest.approx(both / 2)


def test_summary_of_a_network_of_one_task_has_that_task_alone():
    table = predictions(np.random.default_rng(10), "test", 40).assign(seborrheic_keratosis=np.nan)
    assert list(summary(table)["test"]) == ["melanoma"]


def test_summary_says_where_a_figure_is_not_defined():
    table = predictions(np.random.default_rng(11), "test", 40).assign(melanoma_label=0)
    with pytest.raises(MetricError) as caught:
        summary(table)
    assert str(caught.value) == "test, melanoma: auc needs lesions of both classes; got 0 positive of 40 lesions"
