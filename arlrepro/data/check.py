"""Every check of a data set that reading it does not already make: images, masks, and pictures that stand in it twice.

A *fault* makes results wrong; a *warning* is for a person to look at.
"""

import hashlib
import html
import json
import os
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from io import BytesIO
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pandas as pd

from arlrepro.data.duplicates import near_duplicates, thumbnail
from arlrepro.data.isic import OFFICIAL, IsicDataset, read_dataset
from arlrepro.errors import DatasetError, some
from arlrepro.progress import bar
from arlrepro.registry import CLASSES

#: SHA-256 of the official label CSVs, and what they count: images, melanoma, seborrheic keratosis.
OFFICIAL_LABELS = {
    "training": ("b3ae90972e0a072083d3aa4a972b19aedcfa2b0216875bfe5e5691fd15fe9db3", (2000, 374, 254)),
    "validation": ("161117bf8d8ca600163df88e9b06981313ddc08273d5109486ac9fc81869f413", (150, 30, 42)),
    "test": ("06ec5a85a29fb6b99d691a7d8c3f53fb2fe69d39d4d0c25f54503c8c279066ec", (600, 117, 90)),
}


@dataclass(frozen=True)
class Finding:
    """One kind of fault or warning, with everything it concerns."""

    where: str
    what: str
    which: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {some(self.which)}. {self.remedy}"


@dataclass(frozen=True)
class Pair:
    """Two images of different splits that are the same or may show the same lesion."""

    first: str
    second: str
    first_split: str
    second_split: str
    is_identical: bool  # pixel by pixel
    hash_bits: int  # of 64 that differ
    correlation: float  # in [-1, 1]; see arlrepro.data.duplicates

    def __str__(self) -> str:
        return (
            f"{self.first} ({self.first_split}) {'=' if self.is_identical else '~'} {self.second} ({self.second_split})"
        )


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found."""

    dataset: IsicDataset
    counts: pd.DataFrame  # index split; images, melanoma, seborrheic_keratosis, neither, masks, labels
    faults: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    pairs: tuple[Pair, ...]  # the same picture or lesion in two splits, the most alike first

    def text(self) -> str:
        """The report for people, at most five offenders of a kind."""
        lines = [str(self.dataset.root), "", self.counts.to_string(), ""]
        for kind, findings in (("fault", self.faults), ("warning", self.warnings)):
            lines.append(f"{len(findings) or 'no'} {kind}{'s' * (len(findings) != 1)}")
            lines += [f"- {finding}" for finding in findings]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The whole report, every offender; paths begin with the folder's own name, so that it can be published."""
        whole = {
            "folder": self.dataset.root.name,
            "counts": json.loads(self.counts.to_json(orient="index")),
            "faults": [asdict(finding) for finding in self.faults],
            "warnings": [asdict(finding) for finding in self.warnings],
            "pairs": [asdict(pair) for pair in self.pairs],
        }
        return json.dumps(whole, indent=2).replace(str(self.dataset.root), self.dataset.root.name)

    def pairs_html(self, side: int = 256) -> str:
        """One page that needs nothing else, with the pairs side by side, each `side` px wide."""
        rows = []
        for pair in self.pairs:
            pictures = ""
            for image_id, split in ((pair.first, pair.first_split), (pair.second, pair.second_split)):
                jpeg = BytesIO()
                self.dataset.open_image(image_id).resize((side, side)).save(jpeg, "JPEG", quality=90)
                kinds = self.dataset.lesions.loc[image_id, list(CLASSES)]
                kind = next((name for name in CLASSES if kinds[name]), "neither")
                caption = html.escape(f"{image_id}, {split}, {kind.replace('_', ' ')}")
                source = f"data:image/jpeg;base64,{b64encode(jpeg.getvalue()).decode()}"
                pictures += f'<td><img src="{source}" width="{side}" alt="{caption}"><br>{caption}</td>'
            rows.append(f"<tr>{pictures}<td>correlation {pair.correlation:.3f}<br>hash {pair.hash_bits}/64</td></tr>")
        title = f"{len(rows)} cross-split near-duplicates"
        return (
            f'<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><table>{"".join(rows)}</table>'
        )


@dataclass
class _Look:
    """What decoding one image and its mask leaves behind."""

    problems: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None  # width, height in px; None where the image does not decode
    digest: str = ""  # of size and pixels
    thumbnail: np.ndarray | None = None
    mask_size: tuple[int, int] | None = None
    is_mask_blank: bool = False


def check(root: Path, workers: int | None = None) -> Report:
    """Read and decode a whole data set, and report everything that is wrong or doubtful in it.

    Args:
        root: as for :func:`arlrepro.data.isic.read_dataset`; all its splits are checked.
        workers: threads; by default one a core.

    Raises:
        DatasetError: there is nothing to check: a file or column of the layout is missing or unreadable.
    """
    findings: dict[str, list[Finding]] = {"fault": [], "warning": []}

    def fault(where: object, what: str, which: Sequence[object], remedy: str, kind: str = "fault") -> None:
        if which:
            findings[kind].append(Finding(str(where), what, tuple(map(str, which)), remedy))

    root = Path(root).absolute()
    dataset = read_dataset(root, report=fault)
    lesions = dataset.lesions
    extra = dataset.unlabelled
    fault(root, f"{len(extra)} images or masks are of no labelled lesion", extra, "Add their rows or remove them.")
    for reason, names in dataset.skipped.items():
        fault(
            root, f"{len(names)} passed over, {reason}", names, "Look whether they belong to the data set.", "warning"
        )

    looks = _look_at_all(dataset, workers)
    broken = [problem for look in looks.values() for problem in look.problems]
    fault(root, f"{len(broken)} files do not decode", broken, "Do what each line says.")
    unfit = [name for name, look in looks.items() if look.mask_size not in (None, look.size) and look.size is not None]
    fault(root, f"{len(unfit)} lesion masks have another size than their image", unfit, "Fetch the masks of this set.")
    blank = [name for name, look in looks.items() if look.is_mask_blank]
    fault(root, f"{len(blank)} lesion masks mark nothing or everything", blank, "Look at them.", "warning")
    masked = set(lesions["split"][lesions["has_mask"]])
    unmasked = list(lesions.index[~lesions["has_mask"] & lesions["split"].isin(masked)])
    fault(root, f"{len(unmasked)} lesions of masked splits have none", unmasked, "Fetch the masks again.", "warning")

    split = lesions["split"]
    same = [Pair(one, other, split[one], split[other], True, 0, 1.0) for one, other in _identical(looks)]
    across = [pair for pair in same if pair.first_split != pair.second_split]
    within = [pair for pair in same if pair.first_split == pair.second_split]
    alike = sorted(_alike(looks, split), key=lambda pair: -pair.correlation)
    fault(root, f"{len(across)} pairs across splits are the same, pixel by pixel", across, "Keep one of each.")
    fault(root, f"{len(within)} pairs in a split are the same, pixel by pixel", within, "Look at them.", "warning")
    fault(root, f"{len(alike)} pairs across splits may show one lesion twice", alike, "Look at them.", "warning")

    counts = _counts(dataset)
    for name in counts.index[counts["labels"] == "official"]:
        there, official = tuple(counts.loc[name, ["images", *CLASSES]]), OFFICIAL_LABELS[name][1]
        counted = zip(["images", *CLASSES], there, official, strict=True)
        lost = [f"{have} of {all_} {what}" for what, have, all_ in counted if have != all_]
        fault(root, f"{name} has not what the official labels count", lost, "Fetch what is missing.")
    return Report(dataset, counts, tuple(findings["fault"]), tuple(findings["warning"]), (*across, *alike))


def _look_at_all(dataset: IsicDataset, workers: int | None) -> dict[str, _Look]:
    ids = list(dataset.images)
    with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
        looks = threads.map(lambda image_id: _look(dataset, image_id), ids)
        return dict(zip(ids, bar(looks, desc="check", total=len(ids), unit=" images"), strict=True))


def _look(dataset: IsicDataset, image_id: str) -> _Look:
    look = _Look()
    try:
        image = dataset.open_image(image_id)
        look.size = image.size
        look.digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        look.thumbnail = thumbnail(image)
    except DatasetError as error:
        look.problems.append(str(error))
    if image_id in dataset.masks:
        try:
            mask = dataset.read_mask(image_id)
            look.mask_size, look.is_mask_blank = mask.shape[::-1], bool(mask.all() or not mask.any())
        except DatasetError as error:
            look.problems.append(str(error))
    return look


def _identical(looks: Mapping[str, _Look]) -> Iterator[tuple[str, str]]:
    """Images with the same pixels, two by two."""
    groups = defaultdict(list)
    for image_id, look in looks.items():
        groups[look.digest or image_id].append(image_id)
    return chain.from_iterable(combinations(group, 2) for group in groups.values())


def _alike(looks: Mapping[str, _Look], splits: pd.Series) -> Iterator[Pair]:
    """Images of different splits that may show one lesion, without those of the same pixels."""
    thumbnails: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for image_id, look in looks.items():
        if look.thumbnail is not None:
            thumbnails[splits[image_id]][image_id] = look.thumbnail
    for one, other in combinations(thumbnails, 2):
        firsts, seconds = list(thumbnails[one]), list(thumbnails[other])
        for match in near_duplicates(*(np.stack(list(thumbnails[split].values())) for split in (one, other))):
            first, second = firsts[match.first], seconds[match.second]
            if looks[first].digest != looks[second].digest:
                yield Pair(first, second, one, other, False, match.hash_bits, match.correlation)


def _counts(dataset: IsicDataset) -> pd.DataFrame:
    """Images by split and kind, and whether the labels are byte for byte the official ones."""
    lesions = dataset.lesions.assign(images=1, neither=1 - dataset.lesions[list(CLASSES)].sum(axis=1))
    lesions = lesions.rename(columns={"has_mask": "masks"})
    counts = lesions.groupby("split", sort=False)[["images", *CLASSES, "neither", "masks"]].sum().astype(int)
    return counts.assign(labels=["official" if _is_official(dataset.root, split) else "own" for split in counts.index])


def _is_official(root: Path, split: str) -> bool:
    labels_csv = root / f"{OFFICIAL[split]}_Part3_GroundTruth.csv"
    known = OFFICIAL_LABELS[split][0]
    return labels_csv.exists() and hashlib.sha256(labels_csv.read_bytes()).hexdigest() == known
