"""The published numbers as tables: each with its source, whether it can be true, what could have been found."""

import pandas as pd

from arlrepro import registry
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Estimate, confusion_intervals
from arlrepro.evaluation.power import (
    detectable_difference,
    detectable_in_cross_validation,
)
from arlrepro.paper import consistency
from arlrepro.paper.published import LESIONS, POSITIVES, SOURCES, published, published_gain
from arlrepro.profiles import ISIC2017_256_CV
from arlrepro.registry import CLASSES, SPLITS


def published_numbers() -> pd.DataFrame:
    """Every published number, a row for each who reports them, with where it is known from.

    Returns:
        Columns by task and metric; empty where no source gives the number.
    """
    numbers = published()
    numbers["shown"] = [formatting.number(one.value, one.decimals) for one in numbers.itertuples()]
    rows = list(dict.fromkeys(numbers["row"]))
    columns = list(dict.fromkeys(zip(numbers["task"], numbers["metric"], strict=True)))
    table = numbers.pivot(index="row", columns=["task", "metric"], values="shown").loc[rows, columns]
    table.columns = pd.MultiIndex.from_tuples(
        [(registry.TASK_WORDS[task], registry.METRICS[metric]) for task, metric in columns]
    )
    sources = numbers[numbers["source"] != ""].groupby("row")["source"].agg(lambda some: ", ".join(dict.fromkeys(some)))
    table["known from", ""] = sources.reindex(rows).fillna("no source known to us")
    table.index.name = "reported by"
    return table


def consistency_table() -> pd.DataFrame:
    """Can each published row be true on 600 lesions? The counts that its rounded shares leave possible.

    Returns:
        A row for each report and task of which a share is known.
    """
    rows = []
    for checked in consistency.checked_rows():
        matrix = checked.only_matrix
        shares = {
            registry.METRICS[name]: formatting.number(one.value, one.decimals) for name, one in checked.reported.items()
        }
        counts = ("", "")
        if matrix is not None:
            counts = (
                f"{matrix.true_positives} of {matrix.positives}",
                f"{matrix.true_negatives} of {matrix.negatives}",
            )
        rows.append(
            {
                "reported by": checked.row,
                "task": registry.TASK_WORDS[checked.task],
                **{name: shares.get(name, "") for name in ("ACC", "SEN", "SPE")},
                "verdict": checked.verdict,
                "true positives": counts[0],
                "true negatives": counts[1],
                "mlscorecheck": "possible" if consistency.second_opinion(checked) else "impossible",
            }
        )
    return pd.DataFrame(rows)


def published_aucs() -> pd.DataFrame:
    """Each published AUC with the 95 % interval that its value and the counts of the test set give it."""
    found = consistency.published_auc_intervals()
    return pd.DataFrame(
        {
            "reported by": found["row"],
            "task": found["task"].map(registry.TASK_WORDS),
            "AUC [95 % CI]": [Estimate(one.auc, one.low, one.high).text() for one in found.itertuples()],
        }
    )


def recovered_shares() -> pd.DataFrame:
    """Shares of the rows of which the confusion matrix is known for certain, with the 95 % intervals that it gives."""
    rows = []
    for checked in consistency.checked_rows():
        if checked.only_matrix is not None:
            intervals = confusion_intervals(checked.only_matrix)
            shares = {f"{registry.METRICS[name]} [95 % CI]": one.text() for name, one in intervals.items()}
            rows.append({"reported by": checked.row, "task": registry.TASK_WORDS[checked.task], **shares})
    return pd.DataFrame(rows)


def mcnemar_bounds() -> pd.DataFrame:
    """Could the published decisions of ARL-CNN50 and ResNet-50 be told apart? McNemar's p, as far as counts bound it.

    Returns:
        A row for each who reports both networks, task and metric: how many lesions more ARL-CNN50 decides rightly, on
        how few and how many lesions the two may differ, and the lowest and highest p value that this allows.
    """
    matrices = {(one.row, one.task): one.only_matrix for one in consistency.checked_rows()}
    rows = []
    for (row, task), base in matrices.items():
        other = matrices.get((row.replace("ResNet-50", "ARL-CNN50"), task))
        if "ResNet-50" not in row or base is None or other is None:
            continue
        for share, bounds in consistency.compare_matrices(base, other).items():
            rows.append(
                {
                    "reported by": f"{row.replace('ResNet-50', 'ARL-CNN50')} against {row}",
                    "task": registry.TASK_WORDS[task],
                    "metric": registry.METRICS[share],
                    "lesions more": f"{other.parts(share)[0] - base.parts(share)[0]:+d}",
                    "lesions on which they differ": f"{bounds.fewest_discordant} to {bounds.most_discordant}",
                    "lowest p": formatting.p_value(bounds.lowest_p),
                    "highest p": formatting.p_value(bounds.highest_p),
                }
            )
    return pd.DataFrame(rows)


def designs() -> pd.DataFrame:
    """Which difference could be found? The test set alone, and (repeated) cross-validation over all images.

    Returns:
        A row a design and task: lesions that are scored, the smallest gain over the published AUC of ResNet-50 that is
        found at 80 % power where the two AUC estimates correlate at 0.7, and at 0.9; the published gain beside them.
    """
    folds = ISIC2017_256_CV.experiment.data.folds
    rows = []
    for task in CLASSES:
        gain = published_gain(f"{task}.auc")
        assert gain is not None
        for repetitions in (0, 1, 2, 5, 10):
            splits = ("test",) if repetitions == 0 else SPLITS
            positives = sum(POSITIVES[split][task] for split in splits)
            lesions = sum(LESIONS[split] for split in splits)
            counts = (positives, lesions - positives)
            smallest = {
                f"found at correlation {correlation}": formatting.number(
                    detectable_difference(gain.before, *counts, correlation)
                    if repetitions == 0
                    else detectable_in_cross_validation(gain.before, *counts, correlation, folds, repetitions)
                )
                for correlation in (0.7, 0.9)
            }
            times = "once" if repetitions == 1 else f"{repetitions} times"
            rows.append(
                {
                    "task": registry.TASK_WORDS[task],
                    "design": f"{folds}-fold cross-validation, {times}" if repetitions else "the test set alone",
                    "lesions scored": f"{lesions:,}",
                    **smallest,
                    "published gain": f"{gain.value:.3f}",
                }
            )
    return pd.DataFrame(rows)


def sources() -> pd.DataFrame:
    """What the short names of sources stand for."""
    return pd.DataFrame({"source": SOURCES.keys(), "stands for": SOURCES.values()})
