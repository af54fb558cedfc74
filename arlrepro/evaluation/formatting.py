"""How things are called where people read: networks, tasks and metrics in words, numbers with their interval."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from arlrepro.evaluation.intervals import Difference, Estimate

if TYPE_CHECKING:
    import pandas as pd


def number(value: float | None, decimals: int = 3) -> str:
    """A number as printed; empty where it is not known.

    Example:
        >>> number(0.875), number(None)
        ('0.875', '')
    """
    return "" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def with_interval(figure: Difference | Estimate, *marks: float) -> str:
    """A figure with its interval, in three decimals, or as many more as tell its ends from the marks it is held to.

    Example:
        >>> with_interval(Estimate(0.875, 0.8344, 0.91)), with_interval(Estimate(0.875, 0.8344, 0.91), 0.834)
        ('0.875 [0.834, 0.910]', '0.8750 [0.8344, 0.9100]')
    """
    decimals = _decimals_apart(figure, marks)
    return f"{figure.value:.{decimals}f} [{figure.low:.{decimals}f}, {figure.high:.{decimals}f}]"


def signed(difference: Difference | Estimate, *marks: float) -> str:
    """A difference with its interval, each with its sign; no end is printed as 0 that is not 0.

    Example:
        >>> signed(Estimate(0.018, -0.02, 0.056)), signed(Estimate(-0.002, -0.0131, 0.0099), 0.01)
        ('+0.018 [-0.020, +0.056]', '-0.0020 [-0.0131, +0.0099]')
    """
    decimals = _decimals_apart(difference, (0.0, *marks))
    value, low, high = (f"{part:+z.{decimals}f}" for part in (difference.value, difference.low, difference.high))
    return f"{value} [{low}, {high}]"


def _decimals_apart(figure: Difference | Estimate, marks: Sequence[float]) -> int:
    """With how many decimals, 3 to 9, both ends of an interval are printed unlike each mark."""

    def printed(value: float, decimals: int) -> str:
        return f"{value:z.{decimals}f}"

    pairs = [(end, mark) for end in (figure.low, figure.high) for mark in marks]
    pairs = [(end, mark) for end, mark in pairs if printed(end, 9) != printed(mark, 9)]
    return next(one for one in range(3, 10) if all(printed(end, one) != printed(mark, one) for end, mark in pairs))


def change(value: float) -> str:
    """A difference without an interval, with its sign; of one that would be printed as 0 a digit more.

    Example:
        >>> change(0.018), change(-0.0002), change(0.0)
        ('+0.018', '-0.0002', '+0.000')
    """
    return f"{value:+z.{3 if value == 0 or abs(value) >= 0.0005 else 4}f}"


def over_seeds(values: Sequence[float], decimals: int = 3) -> str:
    """A mean, with the range over seeds where there are several.

    Example:
        >>> over_seeds([0.5]), over_seeds([0.5, 0.6])
        ('0.500', '0.550 (0.500 to 0.600)')
    """
    mean = f"{sum(values) / len(values):.{decimals}f}"
    if min(values) == max(values):
        return mean
    return f"{mean} ({min(values):.{decimals}f} to {max(values):.{decimals}f})"


def p_value(p: float) -> str:
    """A p value as printed: two significant digits, none below 0.001; empty where there is none.

    Example:
        >>> p_value(0.0213), p_value(0.6), p_value(1e-9)
        ('0.021', '0.60', '< 0.001')
    """
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def seeds(some: tuple[int, ...]) -> str:
    """Seeds in words: consecutive ones as a range.

    Example:
        >>> seeds((0,)), seeds((0, 1, 2)), seeds((0, 3))
        ('seed 0', 'seeds 0 to 2', 'seeds 0, 3')
    """
    if not some:
        return "no seed"
    if len(some) == 1:
        return f"seed {some[0]}"
    consecutive = list(some) == list(range(some[0], some[0] + len(some)))
    return f"seeds {some[0]} to {some[-1]}" if consecutive and len(some) > 2 else f"seeds {', '.join(map(str, some))}"


def markdown(table: "pd.DataFrame") -> str:
    """A table as Markdown, without its index; headers of several lines joined, for most readers show no other kind."""
    headers = [" ".join(filter(None, one)) if isinstance(one, tuple) else str(one) for one in table.columns]
    lines = [headers, ["---"] * len(headers), *([str(value) for value in row] for row in table.to_numpy())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
