"""Anyone's predictions in the challenge's submission format, scored against the truth: every metric with its interval.

AUCs have DeLong's interval, proportions Wilson's, the rest a bootstrap over lesions within each class. Against a
second file: DeLong's paired test for AUCs, McNemar's for accuracy, sensitivity and specificity, the bootstrap else.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from arlrepro.data.files.stored import StoredFile
from arlrepro.data.files.tables import DOWNSAMPLED, read_table, without_suffix
from arlrepro.errors import DatasetError, MetricError, some
from arlrepro.evaluation.bootstrap import Resampled, bootstrap_difference, resample
from arlrepro.evaluation.comparisons import mcnemar_difference
from arlrepro.evaluation.delong import auc_interval, mean_auc_interval, paired_difference
from arlrepro.evaluation.intervals import Difference, Estimate, wilson_interval
from arlrepro.evaluation.metrics import METRICS, PROPORTIONS, Labels, Scores, as_truth, confusion
from arlrepro.registry import CLASSES

ID_COLUMNS = ("image_id", "image")  # ours and ISIC-2017's; the later challenges'
#: What may stand beside ids and scores or labels, and is passed over: what `arlrepro predict` and label tables have.
OTHER_COLUMNS = (
    *("file", "note", "split", "lesion_id", "age_approximate", "sex"),
    *(f"{name}_probability" for name in CLASSES),
)
REPLICATES = 1000


@dataclass(frozen=True)
class TaskScore:
    """One task: its metrics, and the differences from the other file where there is one."""

    positives: int
    figures: dict[str, Estimate]  # by the names of `metrics.METRICS`, those that are defined
    differences: dict[str, Difference]
    undefined: dict[str, str]  # why the others are not


@dataclass(frozen=True)
class ScoreReport:
    """What `arlrepro score` found. Differences are the scored file minus the one it is held against."""

    predictions: Path
    truth: Path
    against: Path | None
    lesions: int
    tasks: dict[str, TaskScore]
    mean_auc: Estimate | None  # None where one task only is scored or an AUC is not defined
    mean_auc_difference: Difference | None  # None also without another file


def score(predictions: Path, truth: Path, against: Path | None = None, replicates: int = REPLICATES) -> ScoreReport:
    """Score a submission file, and compare it with another one.

    Args:
        predictions: CSV with `image_id` (or `image`), `melanoma`, `seborrheic_keratosis`, scores in [0, 1], such as
            `arlrepro predict` and `arlrepro submission` write; a task whose column is empty throughout is not scored.
        truth: The same columns with 0 and 1, such as the challenge's ground truth.
        against: Another submission for the same lesions.
        replicates: Bootstrap samples of the lesions; a thousand take a second or two a file.

    Raises:
        DatasetError: a file is not so, or its lesions are not those of the truth.
    """
    labels = read_labels(truth)
    ours = _for_lesions(read_scores(predictions), labels, predictions, truth)
    theirs = None if against is None else _for_lesions(read_scores(against), labels, against, truth)
    tasks = [task for task in CLASSES if task in ours and (theirs is None or task in theirs)]
    if not tasks:
        raise DatasetError(f"{predictions} and {against} score no task in common. Compare files of the same task.")
    by_task = {
        task: score_task(
            labels[task].to_numpy(),
            ours[task].to_numpy(),
            None if theirs is None else theirs[task].to_numpy(),
            replicates,
        )
        for task in tasks
    }
    mean, mean_difference = None, None
    if len(tasks) == len(CLASSES) and all("auc" in one.figures for one in by_task.values()):
        both = labels.to_numpy().T == 1
        mean = mean_auc_interval(both, ours.to_numpy().T)
        if theirs is not None and all("auc" in one.differences for one in by_task.values()):
            mean_difference = paired_difference(both, theirs.to_numpy().T, ours.to_numpy().T)
    return ScoreReport(predictions, truth, against, len(labels), by_task, mean, mean_difference)


def score_task(labels: Labels, ours: Scores, theirs: Scores | None, replicates: int = REPLICATES) -> TaskScore:
    """Every metric of one task, and its difference from another file's where `theirs` is given."""
    files = {"ours": ours} if theirs is None else {"ours": ours, "theirs": theirs}
    by_bootstrap = [name for name in METRICS if name not in ("auc", "accuracy", "sensitivity", "specificity")]

    @cache
    def all_resampled(whose: str) -> dict[str, Resampled]:
        return resample(labels, files[whose], by_bootstrap, replicates=replicates)

    def resampled(metric: str, whose: str) -> Resampled:
        return all_resampled(whose)[metric]

    def estimate(metric: str) -> Estimate:
        METRICS[metric](labels, ours)  # raises, and says why, where it is not defined
        if metric == "auc":
            return auc_interval(labels, ours)
        if metric in PROPORTIONS:
            return wilson_interval(*confusion(labels, ours).parts(metric))
        return resampled(metric, "ours").estimate

    def difference(metric: str) -> Difference:
        if metric == "auc":
            return paired_difference(as_truth(labels), files["theirs"], ours)
        among = {"accuracy": labels >= 0, "sensitivity": labels == 1, "specificity": labels == 0}
        if metric in among:
            right = [((files[whose] > 0.5) == (labels == 1))[among[metric]] for whose in ("theirs", "ours")]
            return mcnemar_difference(*right)
        return bootstrap_difference(resampled(metric, "theirs"), resampled(metric, "ours"))

    figures, differences, undefined = {}, {}, {}
    for name in METRICS:
        try:
            figures[name] = estimate(name)
            if theirs is not None:
                differences[name] = difference(name)
        except MetricError as error:
            undefined[name] = str(error)
    return TaskScore(int(labels.sum()), figures, differences, undefined)


def _read(path: Path) -> pd.DataFrame:
    """One row a lesion, indexed by its id without the suffix of a file; the classes' columns as text."""
    table = read_table(StoredFile(path.parent, path.name, 0))
    ids = [column for column in ID_COLUMNS if column in table]
    if len(ids) != 1 or set(table.columns) - set(OTHER_COLUMNS) != {*ids, *CLASSES}:
        raise DatasetError(
            f"{path}: the columns are image_id, {', '.join(CLASSES)}; got {some(list(table.columns), 20)}"
        )
    table = table.set_index(table[ids[0]].map(without_suffix).str.removesuffix(DOWNSAMPLED))[list(CLASSES)]
    doubled = table.index[table.index.duplicated()].unique()
    if len(doubled):
        raise DatasetError(f"{path}: {len(doubled)} ids stand twice: {some(list(doubled))}. Give each lesion one row.")
    return table


def read_scores(path: Path) -> pd.DataFrame:
    """Read a submission: one row a lesion, one column a task that is scored, numbers in [0, 1].

    Raises:
        DatasetError: the file cannot be read as one, in one line that names the offenders.
    """
    text = _read(path)
    scored = [task for task in CLASSES if (text[task] != "").any()]
    if not scored:
        raise DatasetError(f"{path}: no score at all. Give each lesion a score in [0, 1].")
    scores = text[scored].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    for task in scored:
        wrong = text.loc[~scores[task].between(0, 1), task]
        if len(wrong):
            offenders = [f"{lesion} {score!r}" for lesion, score in wrong.items()]
            raise DatasetError(f"{path}: {len(wrong)} scores of {task} are not numbers in [0, 1]: {some(offenders)}")
    return scores


def read_labels(path: Path) -> pd.DataFrame:
    """Read a truth file: one row a lesion, one column a class, 0 or 1, at most one of them 1.

    Raises:
        DatasetError: the file cannot be read as one, in one line that names the offenders.
    """
    labels = _read(path).apply(pd.to_numeric, errors="coerce")
    wrong = labels.index[~labels.isin([0, 1]).all(axis=1)]
    if len(wrong):
        raise DatasetError(f"{path}: {len(wrong)} lesions have a label that is not 0 or 1: {some(list(wrong))}")
    both = labels.index[labels.sum(axis=1) > 1]
    if len(both):
        raise DatasetError(f"{path}: {len(both)} lesions are of both classes: {some(list(both))}")
    return labels.astype(np.int64)


def _for_lesions(scores: pd.DataFrame, labels: pd.DataFrame, path: Path, truth: Path) -> pd.DataFrame:
    """The scores in the order of the truth, each lesion there once."""
    missing, extra = labels.index.difference(scores.index), scores.index.difference(labels.index)
    faults = []
    if len(missing):
        faults.append(f"{len(missing)} of {len(labels)} lesions of {truth} are missing: {some(list(missing))}")
    if len(extra):
        faults.append(f"{len(extra)} of {len(scores)} lesions are not in {truth}: {some(list(extra))}")
    if faults:
        raise DatasetError(f"{path}: {'; '.join(faults)}")
    return scores.loc[labels.index]


def submission(predictions: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """A run's predictions for one split in the challenge's submission format, which `read_scores` reads back.

    Args:
        predictions: The columns of a run's `predictions.csv`.
        split: Which lesions.

    Returns:
        Columns `image_id`, `melanoma`, `seborrheic_keratosis`; empty where the network has not that task.
    """
    return predictions.loc[predictions["split"] == split, ["image_id", *CLASSES]].reset_index(drop=True)


def to_text(report: ScoreReport) -> str:
    """The report as a table for the terminal."""
    names = f"{report.predictions} minus {report.against}" if report.against else f"{report.predictions}"
    lines = [f"{names}: {report.lesions} lesions of {report.truth}; [95 % interval]"]
    for task, one in report.tasks.items():
        lines += ["", f"{task} ({one.positives} positive)"]
        lines += [_line(name, one.figures.get(name), one.differences.get(name), one.undefined) for name in METRICS]
    if report.mean_auc:
        lines += ["", _line("mean_auc", report.mean_auc, report.mean_auc_difference, {})]
    return "\n".join(lines) + "\n"


def _line(name: str, figure: Estimate | None, difference: Difference | None, undefined: dict[str, str]) -> str:
    parts = [f"  {name:<30}"]
    if figure:
        parts.append(f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]")
    if difference:
        p = "p < 0.001" if difference.p < 0.001 else f"p = {difference.p:.3f}"
        parts.append(f"  difference {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] {p}")
    if name in undefined:
        parts.append(f"not defined: {undefined[name]}")
    return " ".join(parts)


def to_json(report: ScoreReport) -> str:
    """The whole report, unrounded; a metric that is not defined is null and `undefined` says why."""
    content: dict = {"predictions": str(report.predictions), "truth": str(report.truth)}
    if report.against:
        content["against"] = str(report.against)
    content["lesions"] = report.lesions
    for task, one in report.tasks.items():
        content[task] = {"positives": one.positives} | _json_figures(one.figures, one.differences, METRICS)
        content[task]["undefined"] = one.undefined
    differences = {"mean_auc": report.mean_auc_difference} if report.mean_auc_difference else {}
    if report.mean_auc:
        content |= _json_figures({"mean_auc": report.mean_auc}, differences, ["mean_auc"])
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _json_figures(figures: dict[str, Estimate], differences: dict[str, Difference], names: Iterable[str]) -> dict:
    content: dict = {}
    for name in names:
        figure, difference = figures.get(name), differences.get(name)
        content[name] = figure.value if figure else None
        content[f"{name}_ci"] = [figure.low, figure.high] if figure else None
        if difference:
            ci = [difference.low, difference.high]
            content[f"{name}_difference"] = {"value": difference.value, "ci": ci, "p": difference.p}
    return content
