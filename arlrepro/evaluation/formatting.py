"""How things are called where people read: networks, tasks and metrics in words, numbers with their interval."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def number(value: float | None, decimals: int = 3) -> str:
    """A number as printed; empty where it is not known.

    Example:
        >>> number(0.875), number(None)
        ('0.875', '')
    """
    return "" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


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
    """A table as Markdown, without its index."""
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
