"""Results as tables to be read: a Study in, a DataFrame with words for headers out; no network, no image."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from arlrepro import outcomes, words
from arlrepro.archive import RESULTS, Run, Study
from arlrepro.config import CLASSES, classes_of
from arlrepro.errors import RunError
from arlrepro.paper import published, published_value

PAPER, OURS = "paper", "ours [95 % CI]"
#: The rows of a network in the main table: a task and its quantities by metric.
ROWS = {
    **{task: {metric: f"{task}.{metric}" for metric in words.METRICS} for task in CLASSES},
    "mean": {"auc": "mean_auc"},
}


def save(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV and as LaTeX: `path` with the endings `.csv` and `.tex`."""
    path.with_suffix(".csv").write_text(table.to_csv(lineterminator="\n"), encoding="utf8")
    path.with_suffix(".tex").write_text(table.to_latex(escape=True), encoding="utf8")


def networks_of_paper() -> list[str]:
    """Our names of the networks for which a number of the paper itself is known, in the order of the file."""
    known = published().dropna(subset="value")
    return list(dict.fromkeys(known.loc[known["origin"] == "paper", "network"]))


def resnet_vs_arl(study: Study) -> pd.DataFrame:
    """The main table: each network's test figures, the paper's beside ours.

    Returns:
        Rows: network and task, the networks of the study and those whose published figures are known. Columns: AUC,
        ACC, SEN and SPE at 0.5, each the paper's and ours with its 95 % interval; ours averaged over the seeds, which
        the last columns name with what the interval covers. Empty: not known, or not run.
    """
    shown = list(dict.fromkeys([*study.profile.networks, *networks_of_paper()]))
    shown.sort(key=lambda network: (list(words.NETWORKS).index(network) // 2, list(words.NETWORKS).index(network)))
    rows = {}
    for network in shown:
        for task, quantities in ROWS.items():
            row: dict[tuple[str, str], str] = {}
            over = ("", "")
            for metric, quantity in quantities.items():
                row[words.METRICS[metric], PAPER] = words.number(published_value(network, quantity))
                row[words.METRICS[metric], OURS] = ""
                if ours := _figure(study, network, quantity):
                    row[words.METRICS[metric], OURS] = words.with_interval(ours.estimate)
                    over = (words.seeds(ours.seeds), ours.over)
            row["our runs", "seeds"], row["our runs", "interval over"] = over
            rows[words.network(network), words.TASKS[task]] = row
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    table.index.names = ["network", "task"]
    return table


def _figure(study: Study, network: str, quantity: str) -> outcomes.Outcome | None:
    try:
        return outcomes.figure(study, network, quantity)
    except RunError:
        return None  # not run, or not for this task: an empty cell


def _test_aucs(run: Run) -> Iterator[tuple[str, str]]:
    for task in CLASSES:
        scored = task in classes_of(run.experiment.task)
        yield f"AUC, {words.TASKS[task]}", words.number(run.metrics["test"][task]["auc"]) if scored else ""
    yield "mean AUC", words.number(run.metrics["test"].get("mean_auc"))


def runs_table(study: Study) -> pd.DataFrame:
    """Each run of a study: its folder in the archive, test AUCs, and how long it took on what.

    Returns:
        One row a run that is there, by task, network and seed.
    """
    rows = [
        {
            "network": words.network(run.network),
            "task": words.TASKS[run.experiment.task],
            "seed": run.seed,
            **dict(_test_aucs(run)),
            "epochs": len(run.history),
            "minutes": words.number(run.environment["seconds"] / 60, 1),
            "device": run.environment["device"],
            "threads": run.environment["threads"],
            "folder": (RESULTS / study.profile.name / run.id).as_posix(),
        }
        for run in study.runs
    ]
    return pd.DataFrame(rows)
