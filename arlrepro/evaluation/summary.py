"""The metrics of one network, with their intervals, from its table of predictions."""

import numpy as np
import pandas as pd

from arlrepro.errors import MetricError
from arlrepro.evaluation.delong import auc_interval, mean_auc_interval
from arlrepro.evaluation.intervals import Estimate, confusion_intervals
from arlrepro.evaluation.metrics import Labels, Scores, confusion
from arlrepro.registry import CLASSES


def summary(predictions: pd.DataFrame) -> dict[str, dict]:
    """Test metrics of one network, as `metrics.json` holds them: unrounded, each with its 95 % interval.

    Args:
        predictions: `split`, and for each class its score and `<class>_label`, as a run's `predictions.csv` has them;
            the scores of a class that the network has not are empty.

    Returns:
        By split, by task: `auc`, `accuracy`, `sensitivity`, `specificity` and for each `*_ci`, a list `[low, high]`;
        beside the tasks, where the network has both, `mean_auc` and `mean_auc_ci`.

    Raises:
        MetricError: a metric is not defined; the message begins with split and task.
    """
    return {str(split): _summarise(str(split), lesions) for split, lesions in predictions.groupby("split", sort=False)}


def _summarise(split: str, lesions: pd.DataFrame) -> dict:
    tasks = [task for task in CLASSES if lesions[task].notna().any()]
    labels = lesions[[f"{task}_label" for task in tasks]].to_numpy(dtype=np.int64).T
    scores = lesions[tasks].to_numpy(dtype=np.float64).T
    figures: dict = {}
    for task, truth, task_scores in zip(tasks, labels, scores, strict=True):
        try:
            figures[task] = _flat(_task_estimates(truth, task_scores))
        except MetricError as error:
            raise MetricError(f"{split}, {task}: {error}") from error
    if len(tasks) == len(CLASSES):
        figures |= _flat({"mean_auc": mean_auc_interval(labels.astype(bool), scores)})
    return figures


def _task_estimates(labels: Labels, scores: Scores) -> dict[str, Estimate]:
    return {"auc": auc_interval(labels, scores), **confusion_intervals(confusion(labels, scores))}


def _flat(estimates: dict[str, Estimate]) -> dict[str, float | list[float]]:
    pairs = {name: (one.value, [one.low, one.high]) for name, one in estimates.items()}
    return {key: part for name, (value, ci) in pairs.items() for key, part in ((name, value), (f"{name}_ci", ci))}
