"""Where networks look, as figures: maps over lesions, mean maps, masks, curves of deletion and insertion.

A lesion is `(image, lesion_mask)`: uint8 pixels (side, side, 3) and a mask of the same sides. A run that was made
before a measure was added lacks it; every figure here says so and goes on with the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from arlrepro import registry
from arlrepro.book.figures.lesions import kind_of
from arlrepro.book.figures.style import (
    Drawn,
    Plane,
    canvas,
    draw_outline,
    enlarge,
    grey,
    no_runs,
    show,
)
from arlrepro.book.tables.attention import CURVES
from arlrepro.errors import RunError
from arlrepro.registry import CLASSES, COLOURS
from arlrepro.runs.study import Study, partners, present

MOST_OCTAVES = 3  # masks are drawn from an eighth to eight times a flat one's weight


def map_of(maps: pd.DataFrame, image_id: str, name: str) -> Plane:
    """One archived map, from the rows of `maps.csv`."""
    rows = maps[(maps["image_id"] == image_id) & (maps["map"] == name)]
    if rows.empty:
        raise RunError(f"no map {name} of {image_id} in maps.csv")
    return rows.pivot(index="row", columns="column", values="value").to_numpy(dtype=np.float64)


def class_activation(maps: pd.DataFrame, image_id: str) -> Plane:
    """The mean of the outputs' class activation maps of a lesion, its lowest value set to 0."""
    names = [one for one in CLASSES if (maps["map"] == one).any()]
    mean = np.mean([map_of(maps, image_id, one) for one in names], axis=0)
    return mean - mean.min()


def seed_shown(study: Study) -> int:
    """Whose maps are shown: the first seed in which every network's run has gradient maps too, else the first seed."""
    having = [
        {run.seed for run in study.of(network) if _gradient_maps(run.measures.get("maps"))}
        for network in study.profile.networks
        if study.of(network)
    ]
    shared = set.intersection(*having) if having else set()
    return min(shared or {run.seed for run in study.runs} or {0})


def _gradient_maps(maps: pd.DataFrame | None) -> bool:
    return maps is not None and bool(maps["map"].astype(str).str.startswith("grad_cam.").any())


def maps_of_runs(study: Study, seed: int, measure: str = "maps") -> dict[str, pd.DataFrame]:
    """A table of the runs of one seed, by network; networks whose run lacks it are left out."""
    runs = {network: [run for run in study.of(network) if run.seed == seed] for network in study.profile.networks}
    return {
        network: found[0].measures[measure] for network, found in runs.items() if found and measure in found[0].measures
    }


def attention_maps(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], study: Study, seed: int = 0) -> Drawn:
    """Where each network looks: the lesion with its outline, and over it each network's class activation map.

    Args:
        lesions: by id, image and lesion mask; the ids of archived maps.
        study: runs with the measure `maps`.
        seed: which run of each network.

    Returns:
        A row a lesion; under each map the share of it that lies inside the outline and, where the run has scored the
        lesion, whether it is a hit or a miss.
    """
    maps = maps_of_runs(study, seed)
    if not maps:
        return no_runs(study, f" with seed {seed}")
    return activation_grid(lesions, maps, maps_of_runs(study, seed, "gallery"))


def activation_grid(
    lesions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    maps: Mapping[str, pd.DataFrame],
    scores: Mapping[str, pd.DataFrame] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Figure:
    """`attention_maps` for maps that are at hand.

    Args:
        lesions: by id, image and lesion mask.
        maps: by network, a table as `cam.maps_of` gives it.
        scores: by network, `image_id` and a score for each class.
        kinds: of the lesions, by id; if not given, what stands before the last hyphen of the id.
    """
    kinds = kinds or {image_id: image_id.rpartition("-")[0] for image_id in lesions}
    rows, columns = len(lesions), 1 + len(maps)
    cell = min(2.3, 9.2 / columns)  # inches: many networks make smaller maps, not a heavier page
    with canvas(rows, columns, width=cell * columns, height=(cell + 0.45) * rows + 0.2) as (figure, axes):
        for line, (image_id, (image, mask)) in zip(axes, lesions.items(), strict=True):
            show(line[0], image, mask)
            line[0].set_ylabel(kinds[image_id].replace("_", "\n"))
            line[0].set_xlabel(f"{mask.mean():.0%} of the image")
            for axis, (network, table) in zip(line[1:], maps.items(), strict=True):
                activation = enlarge(class_activation(table, image_id), len(image))
                show(axis, grey(image))
                axis.imshow(activation, cmap="inferno", alpha=0.6)
                draw_outline(axis, mask)
                share = f"{(activation * mask).sum() / activation.sum():.0%} in mask"
                scored = (scores or {}).get(network)
                said = "" if scored is None else hit_or_miss(kinds[image_id], scored, image_id)
                axis.set_xlabel("\n".join(filter(None, [share, *said.split(": ")])), fontsize=8)
        for axis, title in zip(axes[0], ["image, outline", *map(registry.network, maps)], strict=True):
            axis.set_title(title)
    return figure


#: Which lesions and output a row of `mean_maps` shows: the class of the lesions, whether the output is right on them.
GROUPS = {
    "melanoma, hits": ("melanoma", True),
    "melanoma, misses": ("melanoma", False),
    "seborrheic keratosis, hits": ("seborrheic_keratosis", True),
    "seborrheic keratosis, misses": ("seborrheic_keratosis", False),
    "nevus": ("nevus", None),
}


def framed(table: pd.DataFrame, kind: str, right: bool | None) -> Plane | None:
    """The mean map of a group of lesions, from the rows of `mean_maps.csv`; of nevi that of both outputs.

    Returns:
        In the frame of the lesions, weighted by their number; None where the group is empty.
    """
    chosen = table[table["lesion"] == kind]
    if right is not None:
        chosen = chosen[(chosen["map"] == kind) & (chosen["right"] == int(right))]
    if chosen.empty:
        return None
    places = [column for column in table.columns if column.isdigit()]
    groups = [(one[places].to_numpy(dtype=np.float64), one["lesions"].iloc[0]) for _, one in _by_group(chosen)]
    return np.average([values for values, _ in groups], axis=0, weights=[lesions for _, lesions in groups])


def _by_group(table: pd.DataFrame):
    return ((key, one.sort_values("row")) for key, one in table.groupby(["map", "right"]))


def mean_maps(study: Study) -> Drawn:
    """Where two networks look on the real test lesions: mean class activation maps in the lesions' own frame.

    Returns:
        A row a group of lesions; in columns the first pair's networks, averaged over their shared seeds, their
        difference, and with several seeds the standard deviation of that difference. The circle is the lesion.
    """
    pairs = partners(study)
    runs = [
        (base, other)
        for base, other in (study.pairs(*pairs[0]) if pairs else [])
        if "mean_maps" in base.measures and "mean_maps" in other.measures
    ]
    if not runs:
        return no_runs(study, " with mean maps")
    tables = [tuple(run.measures["mean_maps"] for run in pair) for pair in runs]
    planes = {
        title: _planes([tuple(framed(one, *group) for one in pair) for pair in tables])
        for title, group in GROUPS.items()
    }
    columns = [*map(registry.network, pairs[0]), "difference", *(["SD over seeds"] if len(runs) > 1 else [])]
    apart, spread = (max(_highest(one[place]) for one in planes.values()) for place in (2, 3))
    height = {"cmap": "inferno", "vmin": 0, "vmax": 3}
    difference = {"cmap": "PuOr_r", "vmin": -apart, "vmax": apart}
    scales: list[dict[str, Any]] = [height, height, difference, {"cmap": "viridis", "vmin": 0, "vmax": spread}]
    drawn: dict[int, Any] = {}
    with canvas(
        len(GROUPS), len(columns), width=1.85 * len(columns), height=1.62 * len(GROUPS) + 0.9, sharex=True, sharey=True
    ) as (figure, axes):
        for line, (title, of_group) in zip(axes, planes.items(), strict=True):
            for column, axis in enumerate(line):
                drawn[column] = axis.imshow(of_group[column], extent=(-2, 2, 2, -2), **scales[column])
                axis.add_patch(Circle((0, 0), 1, fill=False, edgecolor="white", lw=2.4))
                axis.add_patch(Circle((0, 0), 1, fill=False, edgecolor="black", lw=1.0))
                axis.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
                axis.grid(False)
            line[0].set_ylabel(title.replace(", ", ",\n").replace("seborrheic ", "seborrheic\n"))
        for column, title in enumerate(columns):
            axes[0, column].set_title(title)
            axes[-1, column].set_xlabel("lesion radii")
            label = ("relative height", "relative height", "difference", "SD")[column]
            figure.colorbar(drawn[column], ax=axes[:, column], orientation="horizontal", shrink=0.9, label=label)
    return figure


def _planes(both: Sequence[tuple[Plane | None, ...]]) -> tuple[Plane, ...]:
    """Means of the two networks' maps over seeds, of their difference, and its standard deviation; NaN if unknown."""
    there = [pair for pair in both if pair[0] is not None and pair[1] is not None]
    stacked = np.array(there) if there else np.full((1, 2, 2, 2), np.nan)
    apart = stacked[:, 1] - stacked[:, 0]
    spread = apart.std(axis=0, ddof=1) if len(apart) > 1 else np.full(apart.shape[1:], np.nan)
    return (*stacked.mean(axis=0), apart.mean(axis=0), spread)


def _highest(values: Plane) -> float:
    """The highest absolute value, rounded up to tenths; at least a tenth."""
    known = np.abs(values[np.isfinite(values)])
    return float(np.ceil(10 * known.max(initial=0.05)) / 10)


def hit_or_miss(kind: str, scores: pd.DataFrame, image_id: str) -> str:
    """What a network said of a lesion at the threshold of 0.5, with the score that decides.

    A lesion of a class is a hit where its score is above 0.5, another one where no score is.

    Example:
        >>> scores = pd.DataFrame({"image_id": ["a"], "melanoma": [0.7], "seborrheic_keratosis": [0.1]})
        >>> hit_or_miss("melanoma", scores, "a"), hit_or_miss("nevus", scores, "a")
        ('hit: melanoma 0.70', 'miss: melanoma 0.70')
    """
    row = scores.set_index("image_id").loc[image_id]
    classes = [one for one in CLASSES if one in row.index and not pd.isna(row[one])]
    decisive = kind if kind in classes else max(classes, key=lambda one: row[one])
    hit = (row[decisive] > 0.5) == (kind in classes)
    return f"{'hit' if hit else 'miss'}: {registry.TASK_WORDS[decisive]} {row[decisive]:.2f}"


def masks(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], study: Study, seed: int = 0) -> Drawn:
    """Where an ARL network's attention lies: its masks' mean over channels, over that of a flat mask, by stage.

    The last block of each stage is shown: a page holds no picture for each of sixteen.

    Args:
        lesions: by id, image and lesion mask; the ids of archived maps.
        study: runs with the measure `maps`; the first network with ARL blocks is shown.
        seed: which of its runs.
    """
    run = next((run for run in study.runs if run.seed == seed and len(run.attention)), None)
    if run is None:
        return no_runs(study, f" with ARL blocks and seed {seed}")
    blocks = list({block.rpartition(".")[0]: block for block in run.attention["block"]}.values())
    table = run.measures["maps"]
    rows, columns = len(lesions), 1 + len(blocks)
    with canvas(rows, columns, width=1.75 * columns + 0.7, height=1.75 * rows + 0.3) as (figure, axes):
        for line, (image_id, (image, mask)) in zip(axes, lesions.items(), strict=True):
            show(line[0], image, mask)
            line[0].set_ylabel(kind_of(image_id))
            for axis, block in zip(line[1:], blocks, strict=True):
                octaves = np.log2(np.clip(map_of(table, image_id, block), 2.0**-MOST_OCTAVES, 2.0**MOST_OCTAVES))
                show(axis, grey(image))
                values = enlarge(octaves, len(image))
                drawn = axis.imshow(values, cmap="PuOr_r", vmin=-MOST_OCTAVES, vmax=MOST_OCTAVES, alpha=0.75)
                draw_outline(axis, mask)
        for axis, block in zip(axes[0, 1:], blocks, strict=True):
            axis.set_title(registry.block(block), fontsize=9)
        bar = figure.colorbar(drawn, ax=axes, shrink=0.6, label="weight over that of a flat mask")
        bar.set_ticks([-3, -2, -1, 0, 1, 2, 3], labels=["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    return figure


def deletion_curves(study: Study) -> Drawn:
    """The score as the image is taken away, or put back, in the map's order (solid) and shuffled (dotted)."""
    having = {
        network: [run.measures["deletion"] for run in study.of(network) if "deletion" in run.measures]
        for network in present(study)
    }
    having = {network: tables for network, tables in having.items() if tables}
    if not having:
        return no_runs(study, " with deletion curves")
    with canvas(1, len(CURVES), width=7.6, height=3.4, sharey=True) as (figure, axes):
        for axis, curve in zip(axes[0], CURVES, strict=True):
            for network, tables in having.items():
                for ending, style in (("", "-"), ("_shuffled", ":")):
                    mean = pd.concat(tables).groupby("fraction")[curve + ending].mean()
                    label = registry.network(network) + (" shuffled" if ending else "")
                    axis.plot(mean.index, mean, style, color=COLOURS.get(network), label=label)
            done = "deleted" if curve == "deletion" else "inserted"
            axis.set(title=curve, xlabel=f"proportion of the image {done}", xlim=(0, 1))
        axes[0, 0].set_ylabel("score of the class scored highest")
        axes[0, 1].legend()
    return figure
