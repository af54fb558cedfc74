"""Can a published row be true? The confusion matrices that its rounded metrics leave possible, and what follows."""

import logging
from dataclasses import dataclass

import pandas as pd

from arlrepro.errors import MetricError
from arlrepro.evaluation.comparisons import mcnemar_p
from arlrepro.evaluation.intervals import auc_interval_from_counts
from arlrepro.evaluation.metrics import Confusion
from arlrepro.paper.published import LESIONS, POSITIVES, published
from arlrepro.registry import CLASSES, PROPORTIONS

# mlscorecheck's names for ours.
SHORT_NAMES = {"accuracy": "acc", "sensitivity": "sens", "specificity": "spec"}
SHORT_CLASSES = {"melanoma": "M", "seborrheic_keratosis": "SK"}


@dataclass(frozen=True)
class Reported:
    """A share as printed.

    Example:
        >>> Reported(0.658, 3).agrees(77 / 117)
        True
    """

    value: float
    decimals: int

    @property
    def rounding(self) -> float:
        """How far the exact share may lie from the printed one: half a last digit, to either side."""
        return 0.5 * 10**-self.decimals + 1e-9

    def agrees(self, share: float) -> bool:
        """Whether the share prints so."""
        return abs(share - self.value) <= self.rounding


@dataclass(frozen=True)
class CheckedRow:
    """What one published row says about one task, and which confusion matrices it leaves possible."""

    row: str
    task: str
    reported: dict[str, Reported]
    matrices: tuple[Confusion, ...]

    @property
    def only_matrix(self) -> Confusion | None:
        """The confusion matrix, where there is just one; None else."""
        return self.matrices[0] if len(self.matrices) == 1 else None

    @property
    def verdict(self) -> str:
        """In words: impossible, possible in one way, or in several."""
        if len(self.matrices) > 1:
            return f"possible in {len(self.matrices)} ways"
        return "possible in one way" if self.matrices else "impossible"


def possible_matrices(reported: dict[str, Reported], positives: int, lesions: int) -> tuple[Confusion, ...]:
    """Every confusion matrix whose metrics print as reported, found by trying them all.

    Args:
        reported: Of `accuracy`, `sensitivity` and `specificity` those that are known, at least one.
        positives: Lesions with the disease.
        lesions: All lesions.

    Returns:
        None at all where the metrics contradict each other.

    Example:
        >>> row = {"accuracy": Reported(0.850, 3), "sensitivity": Reported(0.658, 3), "specificity": Reported(0.896, 3)}
        >>> possible_matrices(row, positives=117, lesions=600)
        (Confusion(true_positives=77, false_negatives=40, true_negatives=433, false_positives=50),)
    """
    if not reported:
        raise MetricError(f"a row is checked by its {', '.join(PROPORTIONS)}; none of them is known")
    negatives = lesions - positives

    def counts_of(name: str, whole: int) -> list[int]:
        return [count for count in range(whole + 1) if name not in reported or reported[name].agrees(count / whole)]

    candidates = (
        Confusion(found, positives - found, left_alone, negatives - left_alone)
        for found in counts_of("sensitivity", positives)
        for left_alone in counts_of("specificity", negatives)
    )
    return tuple(
        matrix for matrix in candidates if "accuracy" not in reported or reported["accuracy"].agrees(matrix.accuracy)
    )


def checked_rows() -> list[CheckedRow]:
    """Each published row and task of which one share at least is known, against the test set's counts."""
    numbers = published()
    known = numbers[numbers["metric"].isin(PROPORTIONS) & numbers["value"].notna()]
    return [
        check_row(row, task, {one.metric: Reported(one.value, one.decimals) for one in figures.itertuples()})
        for (row, task), figures in known.groupby(["row", "task"], sort=False)
    ]


def check_row(row: str, task: str, reported: dict[str, Reported]) -> CheckedRow:
    """One row and task against the test set's counts."""
    return CheckedRow(row, task, reported, possible_matrices(reported, POSITIVES["test"][task], LESIONS["test"]))


def second_opinion(checked: CheckedRow) -> bool:
    """Whether mlscorecheck's ISIC-2017 bundle finds the row possible too.

    Source:
        mlscorecheck 1.0.3, `check_isic2017`; Fazekas and Kovács 2024.
    """
    from mlscorecheck.check.bundles.skinlesion import check_isic2017  # the book's dependency, not everyone's

    logging.getLogger("mlscorecheck").setLevel(logging.WARNING)
    target = SHORT_CLASSES[checked.task]
    result = check_isic2017(
        target=target,
        against=[kind for kind in ("M", "SK", "N") if kind != target],
        scores={SHORT_NAMES[name]: one.value for name, one in checked.reported.items()},
        eps={SHORT_NAMES[name]: one.rounding for name, one in checked.reported.items()},
    )
    return not result["inconsistency"]


def published_auc_intervals() -> pd.DataFrame:
    """Each published AUC of one task with the interval that its value and the test set's counts give.

    Returns:
        Columns `row`, `task`, `auc`, `low`, `high`; see `intervals.auc_interval_from_counts`.
    """
    numbers = published()
    known = numbers[(numbers["metric"] == "auc") & numbers["task"].isin(CLASSES) & numbers["value"].notna()]
    rows = []
    for one in known.itertuples():
        positives = POSITIVES["test"][one.task]
        interval = auc_interval_from_counts(one.value, positives, LESIONS["test"] - positives)
        rows.append({"row": one.row, "task": one.task, "auc": one.value, "low": interval.low, "high": interval.high})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class McNemarBounds:
    """Smallest and largest McNemar p value that two sets of counts allow, the lesions in common being unknown."""

    lowest_p: float
    highest_p: float
    fewest_discordant: int
    most_discordant: int


def mcnemar_bounds(groups_a: list[tuple[int, int]], groups_b: list[tuple[int, int]]) -> McNemarBounds:
    r"""Bounds on McNemar's exact p from how many lesions each network gets right.

    .. math:: \max(0, a - b) \le \text{only a right} \le \min(a, N - b) \quad \text{in each group of } N \text{ lesions}

    Args:
        groups_a: For each group of lesions, how many the first network gets right, and how many there are.
        groups_b: The same for the second network and the same groups.

    Returns:
        The bounds over every overlap that the counts allow.

    Example:
        >>> mcnemar_bounds([(77, 117)], [(74, 117)])
        McNemarBounds(lowest_p=0.25, highest_p=0.8264047244491927, fewest_discordant=3, most_discordant=83)
    """
    pairs = list(zip(groups_a, groups_b, strict=True))
    fewest = sum(max(0, right_a - right_b) for (right_a, _), (right_b, _) in pairs)
    most = sum(min(right_a, lesions - right_b) for (right_a, lesions), (right_b, _) in pairs)
    surplus = sum(right_a - right_b for (right_a, _), (right_b, _) in pairs)  # only a right, less only b right
    p_values = [mcnemar_p(only_a, only_a - surplus) for only_a in range(fewest, most + 1)]
    return McNemarBounds(min(p_values), max(p_values), 2 * fewest - surplus, 2 * most - surplus)


def compare_matrices(a: Confusion, b: Confusion) -> dict[str, McNemarBounds]:
    """McNemar bounds for accuracy, sensitivity and specificity of two matrices of the same lesions.

    Raises:
        MetricError: the two have not the same positives and negatives.
    """
    if (a.positives, a.negatives) != (b.positives, b.negatives):
        raise MetricError(
            f"two matrices of the same lesions are needed; got {a.positives} and {b.positives} positives "
            f"of {a.lesions} and {b.lesions} lesions"
        )
    found_a, found_b = (a.true_positives, a.positives), (b.true_positives, b.positives)
    left_a, left_b = (a.true_negatives, a.negatives), (b.true_negatives, b.negatives)
    return {
        "accuracy": mcnemar_bounds([found_a, left_a], [found_b, left_b]),
        "sensitivity": mcnemar_bounds([found_a], [found_b]),
        "specificity": mcnemar_bounds([left_a], [left_b]),
    }
