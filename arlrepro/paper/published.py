"""The published numbers as data: what each row reports, and where that is known from.

`published.csv` beside this file is the only place where they stand. A number that no source gives us is an empty field;
a reader who owns the paper can fill it, with a source, and every table and check follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from arlrepro import storage
from arlrepro.errors import ConfigError, some
from arlrepro.registry import CLASSES, METRICS, PAIR, Quantity

PUBLISHED_CSV = Path(__file__).with_name("published.csv")

#: What the first word of a `source` stands for.
SOURCES = {
    "abs": "the paper's abstract, doi 10.1109/TMI.2019.2893944",
    "paper": "the paper's full text, doi 10.1109/TMI.2019.2893944 (behind a paywall; for readers who own it)",
    "AP": "github.com/e-wxy/AI-Praxis, a re-implementation whose README and notebooks quote the paper",
    "V": "github.com/Vipermdl/ARL, a re-implementation with its result file",
    "C": "the challenge's page, challenge.isic-archive.com/landing/2017/44",
    "R": "github.com/learningtitans/isbi2017-part3, a challenge entry",
    "L": "github.com/sebastienlange/dermatologist-ai, whose README names the winner's score",
    "M": "the abstract of Mahbod and others, Fusing fine-tuned deep features for skin lesion classification, 2019 "
    "(PubMed 30458354)",
}
ORIGINS = ("paper", "quoted", "reimplementation", "challenge", "later")
COLUMNS = ["row", "origin", "network", "task", "metric", "value", "source"]

#: ISIC-2017 as its ground-truth files have it; the training counts are also on the challenge's page.
LESIONS = {"training": 2000, "validation": 150, "test": 600}
POSITIVES = {
    "training": {"melanoma": 374, "seborrheic_keratosis": 254},
    "validation": {"melanoma": 30, "seborrheic_keratosis": 42},
    "test": {"melanoma": 117, "seborrheic_keratosis": 90},
}


def read_published(path: Path) -> pd.DataFrame:
    """Read and check a file of published numbers.

    Args:
        path: CSV with the columns of `COLUMNS`: `row` names who reports, `origin` is one of `ORIGINS`, `network` our
            name for what was trained (empty where it is none of ours), `task` a class or "mean", `value` in [0, 1] as
            printed (its decimals count) or empty, `source` begins with a key of `SOURCES`.

    Returns:
        Its rows in order; `value` a number, NaN where empty, and a column `decimals`: how many the source prints.

    Raises:
        ConfigError: the file is not so.
    """
    with storage.reading(path, ConfigError, f"restore it: git checkout {path.name}"):
        text = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(text.columns) != COLUMNS:
        raise ConfigError(f"{path}: the columns are {', '.join(COLUMNS)}; got {some(list(text.columns), 20)}")
    value = pd.to_numeric(text["value"], errors="coerce")
    known = text["value"] != ""
    pairs = {(task, metric) for task in CLASSES for metric in METRICS} | {("mean", "auc")}
    wrong = {
        "a value that is not in [0, 1]": known & ~value.between(0, 1),
        "a value without a known source": known & ~text["source"].str.split(" ").str[0].isin(list(SOURCES)),
        "an unknown origin": ~text["origin"].isin(ORIGINS),
        "an unknown task and metric": ~pd.Series(list(zip(text["task"], text["metric"], strict=True))).isin(
            list(pairs)
        ),
        "a number given twice": text.duplicated(["row", "task", "metric"], keep=False),
    }
    for what, where in wrong.items():
        if where.any():
            lines = [int(line) + 2 for line in text.index[where]]  # 1 for the header, 1 for counting from 1
            raise ConfigError(f"{path}: {what} in line {some(lines)} ({len(lines)} in all)")
    decimals = text["value"].str.partition(".")[2].str.len()
    return text.assign(value=value, decimals=decimals)[[*COLUMNS[:-1], "decimals", "source"]]


@cache
def _published() -> pd.DataFrame:
    return read_published(PUBLISHED_CSV)


def published() -> pd.DataFrame:
    """The published numbers, one a line; see `read_published`.

    Example:
        >>> first = published().iloc[0]
    >>> f"{first.row}, {first.task} {first.metric}: {first.value}, after {first.source}"
    'ARL-CNN50, melanoma auc: 0.875, after AP README'
    """
    return _published().copy()


def published_value(network: str, quantity: str) -> float | None:
    """What the paper itself reports for a network, as far as a source gives it.

    Args:
        network: Our name for it.
        quantity: As in `metrics.json`: "melanoma.auc", "seborrheic_keratosis.sensitivity", "mean_auc".

    Returns:
        In [0, 1]; None where not known.

    Example:
        >>> published_value("arl_cnn50", "melanoma.auc")
        0.875
    """
    asked, numbers = Quantity.parse(quantity), _published()
    if asked.measure:
        return None
    named = ["paper", network, asked.task, asked.metric]
    wanted = (numbers[["origin", "network", "task", "metric"]] == named).all(axis=1)
    values = numbers.loc[wanted, "value"].dropna()
    return float(values.iloc[0]) if len(values) else None


def published_effect(networks: Sequence[str], quantity: str) -> float | None:
    """The published metric of one network, or that of the second of two minus the first's; None where not known.

    Example:
        >>> published_effect(["resnet50", "arl_cnn50"], "melanoma.auc")
        0.018
    """
    values = [value for one in networks if (value := published_value(one, quantity)) is not None]
    if len(values) < len(networks):
        return None
    # Reason: printed metrics have three decimals; their difference in binary would carry a sixteenth.
    return round(values[-1] - (values[0] if len(values) > 1 else 0.0), 6)


@dataclass(frozen=True)
class Gain:
    """What the paper reports of ResNet-50 and of its own network."""

    before: float
    after: float

    @property
    def value(self) -> float:
        """The second minus the first."""
        return round(self.after - self.before, 6)  # as `published_effect` has it


def published_gain(quantity: str) -> Gain | None:
    """What attention gained in the paper; None where one of the two metrics is not known.

    Example:
        >>> gain = published_gain("melanoma.auc")
        >>> gain.before, gain.after, gain.value
        (0.857, 0.875, 0.018)
    """
    before, after = (published_value(network, quantity) for network in PAIR)
    return None if before is None or after is None else Gain(before, after)
