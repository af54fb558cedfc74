"""What figures have in common: the canvas and its colours, a mean curve over runs, an image with its outline."""

import base64
import io
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from arlrepro.book.export import NOTHING
from arlrepro.registry import COLOURS
from arlrepro.runs.study import Study

INK = "#4d4d4d"  # text and lines; on a dark page the figure has a white ground (book.css)
STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "figure.dpi": 120,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.7,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "svg.hashsalt": "arlrepro",
}

Pixels = UInt8[np.ndarray, "side side 3"]
Mask = Bool[np.ndarray, "side side"]
Plane = Float[np.ndarray, "height width"]


@contextmanager
def canvas(rows: int = 1, columns: int = 1, *, width: float = 7.2, height: float = 3.4, **options: Any):
    """A new figure in the house's style, of a size in inches, and its axes, an array (rows, columns).

    pyplot forgets the figure on leaving: a notebook shows the one that a cell returns, once.
    """
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
        )
        try:
            yield figure, axes
        finally:
            plt.close(figure)


@dataclass(frozen=True)
class NoRuns:
    """In place of a figure that has nothing to show yet: a half-done matrix gives a book that says so."""

    said: str

    def __repr__(self) -> str:
        return self.said

    def _repr_html_(self) -> str:
        return f"<p>{self.said}</p>"


Drawn: TypeAlias = Figure | NoRuns


def no_runs(study: Study, of: str = "") -> NoRuns:
    """What a figure gives where a study has no completed run, or none with what it shows."""
    return NoRuns(f"{NOTHING}{of} of {study.profile.name} yet.")


def mean_and_range(axis: Axes, x: np.ndarray, curves: Sequence[np.ndarray], network: str, label: str) -> None:
    """Draw the mean of several seeds' curves in a network's colour, and the range that they span."""
    axis.plot(x, np.mean(curves, axis=0), color=COLOURS[network], label=label)
    if len(curves) > 1:
        span = np.min(curves, axis=0), np.max(curves, axis=0)
        axis.fill_between(x, *span, color=COLOURS[network], alpha=0.18, lw=0)


def mean_curve(axis: Axes, curves: Sequence[pd.Series], colour: Any, label: str) -> None:
    """Thin lines for the runs, a thick one for their mean; dots where a run has one point only."""
    marker = "o" if all(len(curve) < 2 for curve in curves) else None
    if len(curves) > 1:
        for curve in curves:
            axis.plot(curve.index, curve, color=colour, lw=0.7, alpha=0.45)
    if curves:
        mean = pd.concat(curves, axis=1).mean(axis=1)
        axis.plot(mean.index, mean, color=colour, label=label, marker=marker, ms=5)


def enlarge(values: Plane, side: int) -> Float[np.ndarray, "{side} {side}"]:
    """A map at the side of an image, bilinearly, as `localisation.focus` does it.

    Example:
        >>> enlarge(np.array([[0.0, 4.0]]), 4)[0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    resized = Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)


def show(axis: Axes, image: Pixels, mask: Mask | None = None) -> None:
    """Draw an image without axes, and the outline of a mask on it."""
    axis.imshow(image, interpolation="antialiased")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if mask is not None:
        draw_outline(axis, mask)


def draw_outline(axis: Axes, mask: Mask) -> None:
    """Draw the outline of a mask, white in black; nothing where it is empty or full."""
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors="black", linewidths=2.2)
        axis.contour(mask, levels=[0.5], colors="white", linewidths=1.1)


def grey(image: Pixels) -> Pixels:
    """An image without its colours."""
    return np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


def image_uri(picture: Image.Image, kind: str, **options: Any) -> str:
    """A picture as a data URI of some kind, PNG or JPEG."""
    stored = io.BytesIO()
    picture.save(stored, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stored.getvalue()).decode()}"


def jpeg_uri(picture: Image.Image) -> str:
    """A picture as a data URI, a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
