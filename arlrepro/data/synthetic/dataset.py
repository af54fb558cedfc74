"""Drawn dermoscopic images whose truth is known (lesion, signs, masks), alone or as a set in the official layout.

Every lesion has a difficulty: as it grows from 0 to 1, the frequency of each sign and the lesion's general character
go from those of its kind to those of all kinds together. So some melanomas show few signs, some nevi show one of a
melanoma, and no classifier can be perfect.
"""

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from types import MappingProxyType

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from PIL import Image

from arlrepro import storage
from arlrepro.data.isic import OFFICIAL
from arlrepro.data.synthetic.scene import lesion_on_skin, photograph
from arlrepro.data.synthetic.signs import CHARACTER, SIGNS
from arlrepro.errors import ConfigError, DatasetError, some
from arlrepro.progress import bar
from arlrepro.registry import CLASSES, SPLITS

KINDS = (*CLASSES, "nevus")


@dataclass(frozen=True)
class SyntheticLesion:
    """One synthetic lesion with its truth; hairs and other artefacts may lie over the masked structures."""

    kind: str  # one of KINDS
    difficulty: float  # in [0, 1]; at 1 its signs are as frequent as in any other kind
    image: UInt8[np.ndarray, "side side 3"]
    lesion_mask: Bool[np.ndarray, "side side"]
    structures: dict[str, np.ndarray]  # sign -> bool mask (side, side), only of signs that are there


def draw_lesion(
    kind: str, seed: int | tuple[int, ...], side: int = 256, signs: Collection[str] | None = None
) -> SyntheticLesion:
    """Draw one lesion; the same kind, seed and side give the same pixels, another side the same lesion.

    Args:
        kind: One of `KINDS`.
        seed: A number, or numbers such as (seed of the data set, number of the image).
        side: Height and width in pixels.
        signs: Names of the signs to draw, in place of chance; everything else stays as the seed has it,
            so that the same lesion can be seen with and without one sign.

    Returns:
        The image with the exact mask of the lesion and of each sign.

    Raises:
        ConfigError: the kind or a sign does not exist, or the side is below 16 pixels.

    Example:
        >>> lesion = draw_lesion("melanoma", seed=1, side=64, signs=["streaks"])
        >>> lesion.image.shape, sorted(lesion.structures)
        ((64, 64, 3), ['streaks'])
    """
    names = [sign.__name__ for sign in SIGNS]
    if kind not in KINDS:
        raise ConfigError(f"draw_lesion: no lesion of kind {kind!r}; there are {', '.join(KINDS)}.")
    if side < 16:
        raise ConfigError(f"draw_lesion: a side of {side} px shows no lesion; it must be 16 or more.")
    if unknown := sorted(set(signs or ()) - set(names)):
        raise ConfigError(f"draw_lesion: no sign {', '.join(unknown)}; there are {', '.join(names)}.")

    def stream(part: str) -> np.random.Generator:
        """Random numbers of one part of the picture, which no other part can shift."""
        return np.random.Generator(np.random.PCG64([*np.atleast_1d(seed).tolist(), zlib.crc32(part.encode())]))

    rng, own = stream("lesion"), KINDS.index(kind)
    difficulty = float(rng.beta(1.2, 3.2))

    def blend(by_kind: tuple[float, ...]) -> float:
        return (1 - difficulty) * by_kind[own] + difficulty * sum(by_kind) / len(by_kind)

    character = {
        name: float(np.clip(blend(mean) + 0.15 * rng.standard_normal(), 0, 1)) for name, mean in CHARACTER.items()
    }
    scene = lesion_on_skin(rng, character, side)
    structures = {}
    for sign, frequency in SIGNS.items():
        rng = stream(sign.__name__)
        if rng.uniform() < blend(frequency) if signs is None else sign.__name__ in signs:
            structures[sign.__name__] = sign(scene, rng)
    scene.mask |= np.logical_or.reduce([scene.mask, *structures.values()])
    structures = {name: mask for name, mask in structures.items() if mask.any()}
    return SyntheticLesion(kind, difficulty, photograph(scene, stream("photograph")), scene.mask, structures)


# Lesions by kind in the official splits; the written set keeps these proportions in each of its own.
OFFICIAL_KINDS = {"training": (374, 254, 1372), "validation": (30, 42, 78), "test": (117, 90, 393)}


def kinds_of(split: str, count: int, seed: int) -> list[str]:
    """Kinds of a split's lesions: the official proportions by count, at least one of each, in random order.

    Example:
        >>> kinds = kinds_of("test", 200, seed=0)
        >>> [kinds.count(kind) for kind in KINDS]
        [39, 30, 131]
    """
    official = OFFICIAL_KINDS[split]
    melanomas, keratoses = (max(1, round(count * part / sum(official))) for part in official[:2])
    kinds = np.repeat(KINDS, [melanomas, keratoses, count - melanomas - keratoses])
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(split.encode())])).permutation(kinds).tolist()


def encode_lesion(kind: str, seed: int, number: int, side: int) -> tuple[dict[str, object], bytes, dict[str, bytes]]:
    """Draw image `number` of a data set: its row of truth, its JPEG file and the PNG files of its masks by name."""
    lesion = draw_lesion(kind, (seed, number), side)
    patient = np.random.Generator(np.random.PCG64([seed, number, zlib.crc32(b"patient")]))
    age = 5 * round(float(np.clip(patient.normal((60, 65, 43)[KINDS.index(kind)], 15), 10, 85)) / 5)
    row = {
        "image_id": f"SYNTH_{number:07d}",
        "kind": kind,
        "difficulty": round(lesion.difficulty, 4),
        "signs": " ".join(lesion.structures),
        "age_approximate": "unknown" if patient.uniform() < 0.1 else str(age),
        "sex": str(patient.choice(["female", "male", "unknown"], p=[0.45, 0.45, 0.1])),
    }
    jpeg = io.BytesIO()
    Image.fromarray(lesion.image).save(jpeg, "JPEG", quality=90)
    masks = {}
    for name, mask in {"segmentation": lesion.lesion_mask, **lesion.structures}.items():
        png = io.BytesIO()
        Image.fromarray(mask).save(png, "PNG")
        masks[name] = png.getvalue()
    return row, jpeg.getvalue(), masks


def add_to(archive: zipfile.ZipFile, name: str, content: bytes | str) -> None:
    """Store a file in the folder named like the archive, with a fixed time, so that equal files give equal archives."""
    folder = Path(str(archive.filename)).stem
    archive.writestr(zipfile.ZipInfo(f"{folder}/{name}", (2017, 3, 1, 0, 0, 0)), content)


def write_dataset(
    root: Path,
    *,
    seed: int = 0,
    side: int = 256,
    counts: Mapping[str, int] = MappingProxyType({"training": 2000, "validation": 150, "test": 600}),
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Write a synthetic data set in the official ISIC-2017 layout: the same arguments give the same bytes.

    Beside the official files stand `SYNTH_lesions.csv` (kind, difficulty and signs of each lesion) and
    `SYNTH_Structures.zip` (a mask of each sign); readers of the official layout pass over both.
    An image depends on the seed and its number alone, and ids say the split: 0, 1 or 2 million and the place in it.

    A second process that draws the same set into the same folder waits for the first, and finds it drawn.

    Args:
        root: Folder to make. It appears under its name only when it is whole; until then it is called `<root>.new`,
            which the next call removes where a process was killed. A folder that holds just this set stays as it is.
        seed: Seed of the data set, 0 or more.
        side: Height and width of every image in pixels.
        counts: Images by split, at least 3 each; splits left out are not written.
        workers: Processes. If not given, one for each core, as far as each has 100 images to draw; 1 starts none.
        progress: Show a progress bar with the time left.

    Raises:
        ConfigError: a split does not exist or is too small to hold one lesion of each kind.
        DatasetError: the folder is there already, with something else in it.
        OutputError: it cannot be written.
    """
    wrong = [f"{split}={count}" for split, count in counts.items() if split not in OFFICIAL or count < 3]
    if wrong:
        raise ConfigError(
            f"synthetic set: {some(wrong)}; the splits are {', '.join(SPLITS)}, each of 3 images or more."
        )
    jobs = [
        (split, kind, seed, 1_000_000 * SPLITS.index(split) + place, side)
        for split in counts
        for place, kind in enumerate(kinds_of(split, counts[split], seed), start=1)
    ]
    if _is_drawn(root, jobs):
        return
    workers = workers or max(1, min(os.cpu_count() or 1, len(jobs) // 100))
    with storage.writing(root), storage.alone(root, "draws it"):
        if not _is_drawn(root, jobs):  # drawn by the process that was waited for
            with storage.replacing(root) as new:
                _draw(jobs, new, workers, progress)


#: Split, kind, seed, number and side of an image to draw.
Job = tuple[str, str, int, int, int]


def _is_drawn(root: Path, jobs: Sequence[Job]) -> bool:
    """Whether a folder holds just these images, by its list of them and by the first, byte for byte; False if empty.

    Raises:
        DatasetError: it holds something else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    wanted = [(f"SYNTH_{number:07d}", split, kind) for split, kind, _, number, _ in jobs]
    split = jobs[0][0]
    name = f"{OFFICIAL[split]}_Data"
    try:
        truth = pd.read_csv(root / "SYNTH_lesions.csv")
        with zipfile.ZipFile(root / f"{name}.zip") as archive:
            first = archive.read(f"{name}/{wanted[0][0]}.jpg")
        is_same = list(truth[["image_id", "split", "kind"]].itertuples(index=False, name=None)) == wanted
        is_same = is_same and first == encode_lesion(*jobs[0][1:])[1]
    except (OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile, zlib.error):
        is_same = False
    if not is_same:
        raise DatasetError(f"{root}: is there already; remove it or name another folder for the synthetic set.")
    return True


def _end_with_parent() -> None:
    """Let a worker end when the process that started it does, however that ends: it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None, "a worker has a parent"

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _draw(jobs: Sequence[Job], whole: Path, workers: int, progress: bool) -> None:
    """Draw images into a new folder, with their tables."""
    whole.mkdir()
    splits = list(dict.fromkeys(split for split, *_ in jobs))
    with ExitStack() as open_files:

        def archive(name: str) -> zipfile.ZipFile:
            return open_files.enter_context(zipfile.ZipFile(whole / f"{name}.zip", "w"))

        images = {split: archive(f"{OFFICIAL[split]}_Data") for split in splits}
        lesion_masks = {split: archive(f"{OFFICIAL[split]}_Part1_GroundTruth") for split in splits}
        structures = archive("SYNTH_Structures")
        draw: Callable[..., Iterable] = map
        if workers > 1:  # spawn: a fork would copy the threads of whoever imported torch before
            context = get_context("spawn")
            draw = open_files.enter_context(ProcessPoolExecutor(workers, context, initializer=_end_with_parent)).map
        drawn = draw(encode_lesion, *zip(*[job[1:] for job in jobs], strict=True))
        rows = []
        for (split, *_), (row, jpeg, masks) in zip(
            jobs, bar(drawn, desc="draw", total=len(jobs), disable=not progress), strict=True
        ):
            rows.append({"split": split, **row})
            add_to(images[split], f"{row['image_id']}.jpg", jpeg)
            add_to(lesion_masks[split], f"{row['image_id']}_segmentation.png", masks.pop("segmentation"))
            for sign, png in masks.items():
                add_to(structures, f"{row['image_id']}_{sign}.png", png)

        write_tables(pd.DataFrame(rows), whole, images)


def write_tables(lesions: pd.DataFrame, root: Path, images: dict[str, zipfile.ZipFile]) -> None:
    """Write the labels (CRLF, as the official files), the metadata inside the archives of images, and the truth."""
    for kind in CLASSES:
        lesions[kind] = (lesions["kind"] == kind).astype(float)
    for split, part in lesions.groupby("split"):
        metadata = part[["image_id", "age_approximate", "sex"]].to_csv(index=False, lineterminator="\n")
        add_to(images[split], f"{OFFICIAL[split]}_Data_metadata.csv", metadata)
        labels = part[["image_id", *CLASSES]].to_csv(index=False, lineterminator="\r\n")
        (root / f"{OFFICIAL[split]}_Part3_GroundTruth.csv").write_bytes(labels.encode())
    truth = lesions[["image_id", "split", "kind", "difficulty", "signs"]].to_csv(index=False, lineterminator="\n")
    (root / "SYNTH_lesions.csv").write_bytes(truth.encode())
