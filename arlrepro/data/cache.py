"""Images decoded once into a memory-mapped array with a manifest; everything that trains or predicts reads from it.

Departure: the whole image is squeezed into a square; the paper cut its patches from images of their own shape.
Reason: its patches are a fraction of each side resized to a square, so the same patch of the square copy is the same
picture, and one array holds every image.
"""

import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Bool, UInt8

from arlrepro.data.files import crc32s, decode_image, decode_mask
from arlrepro.data.isic import IsicDataset
from arlrepro.errors import ConfigError, DatasetError, some
from arlrepro.progress import bar

#: Raised when the same source and side no longer give the same pixels.
VERSION = 1
FILES = MANIFEST, IMAGES, MASKS, JOURNAL = "manifest.json", "images.npy", "masks.npy", "journal.jsonl"


@dataclass(frozen=True, eq=False)
class ImageArray:
    """Every image of a data set, in memory only where it is looked at."""

    image_ids: tuple[str, ...]
    pixels: UInt8[np.memmap, "images side side 3"]  # RGB
    masks: Bool[np.memmap, "images side side"] | None  # True inside the lesion; None where no image has a mask
    has_mask: Bool[np.ndarray, " images"]
    side: int  # px
    fingerprint: str  # of the data set it was decoded from


def prepare(dataset: IsicDataset, side: int, folder: Path | None = None, workers: int | None = None) -> ImageArray:
    """Decode every image and mask to side x side pixels, or open the array that an earlier call has finished.

    An interrupted call is continued by the next: the folder appears under its name only when whole, and of the
    unfinished one, ``<folder>.partial``, every row is kept whose pixels are still what its journal says.
    A second call at the same time waits for the first. Anything that changed (a source file, a label, the side) gives
    a new array.

    Images are resized with an anti-aliasing Lanczos filter; an image that has side x side pixels stays as decoded.
    Large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size first, never below twice the side. Masks keep the majority.

    Args:
        dataset: what to decode.
        side: px.
        folder: where the array lies; by default ``data/cache/<fingerprint>-<side>``.
        workers: threads (Pillow decodes outside Python's lock); by default one a core.

    Returns:
        The array, memory-mapped and read-only, its rows in the order of ``dataset.lesions``.

    Raises:
        DatasetError: an image or mask does not decode, or the disk is too full.
        ConfigError: side below 1.
    """
    if side < 1:
        raise ConfigError(f"side must be at least 1 px; got {side}")
    folder = Path("data/cache") / f"{dataset.fingerprint[:12]}-{side}" if folder is None else Path(folder)
    manifest = _manifest(dataset, side)
    if (finished := _open(folder, manifest)) is None:
        try:
            with _alone(folder):
                if (finished := _open(folder, manifest)) is None:
                    finished = _build(dataset, folder, manifest, workers or os.cpu_count() or 1)
        except OSError as error:
            raise DatasetError(f"{folder}: cannot be written ({error}). Make room, then run it again.") from error
    return finished


def reopen(folder: Path, fingerprint: str) -> ImageArray | None:
    """Open a finished array, where its images' source files need not be.

    Args:
        folder: where it lies.
        fingerprint: of the data set that it must have been decoded from.

    Returns:
        The array; None where there is none, or one of other images.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return _open(folder, manifest) if manifest["fingerprint"] == fingerprint else None


def _manifest(dataset: IsicDataset, side: int) -> dict[str, Any]:
    """What determines every row: two arrays with equal manifests are equal."""
    crcs, mask_crcs = dataset.image_crc32s, crc32s(dataset.masks)
    images = [
        {"image_id": image_id, "file": file.base, "crc32": crcs[image_id], "mask_crc32": mask_crcs.get(image_id)}
        for image_id, file in dataset.images.items()
    ]
    return {"version": VERSION, "side": side, "fingerprint": dataset.fingerprint, "images": images}


def _open(folder: Path, manifest: dict[str, Any]) -> ImageArray | None:
    """Open an array if there is one, whole, and of just this manifest."""
    has_mask = np.array([image["mask_crc32"] is not None for image in manifest["images"]], dtype=bool)
    shape = (len(has_mask), manifest["side"], manifest["side"])
    try:
        if json.loads((folder / MANIFEST).read_text()) != manifest:
            return None
        pixels = np.lib.format.open_memmap(folder / IMAGES, "r")
        masks = np.lib.format.open_memmap(folder / MASKS, "r") if has_mask.any() else None
    except (OSError, ValueError, EOFError):  # not there, not JSON, not an array, or cut off
        return None
    if pixels.shape != (*shape, 3) or pixels.dtype != np.uint8:
        return None
    if masks is not None and (masks.shape != shape or masks.dtype != bool):
        return None
    image_ids = tuple(image["image_id"] for image in manifest["images"])
    return ImageArray(image_ids, pixels, masks, has_mask, manifest["side"], manifest["fingerprint"])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back from a process that dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process prepares it; waiting until it is done.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(dataset: IsicDataset, folder: Path, manifest: dict[str, Any], workers: int) -> ImageArray:
    """Fill ``<folder>.partial``, from where an earlier call left it, and give it its name."""
    partial = folder.with_name(folder.name + ".partial")
    _refuse_foreign(folder)
    array = _open(partial, manifest)
    done = _rows_done(array, partial / JOURNAL) if array is not None else set()
    todo = [row for row in range(len(manifest["images"])) if row not in done]
    _require_space(folder.parent, len(todo), manifest["side"])
    array = array if array is not None else _allocate(partial, manifest)

    def decode(row: int) -> str:
        image_id = array.image_ids[row]
        _write(array.pixels, row, np.asarray(decode_image(dataset.images[image_id], array.side)))
        if array.masks is not None and array.has_mask[row]:
            _write(array.masks, row, decode_mask(dataset.masks[image_id], array.side))
        return json.dumps([row, _row_crc32(array, row)])

    with (
        (partial / JOURNAL).open("a", encoding="utf-8") as journal,
        ThreadPoolExecutor(workers) as threads,
        bar(total=len(array.image_ids), initial=len(done), unit=" images", desc="decode") as progress,
    ):
        for start in range(0, len(todo), 16 * workers):  # few at a time, so that an interruption is obeyed soon
            for line in threads.map(decode, todo[start : start + 16 * workers]):
                journal.write(line + "\n")
                progress.update()
            journal.flush()
    (partial / JOURNAL).unlink()
    for path in partial.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    _remove(folder)
    partial.rename(folder)
    finished = _open(folder, manifest)
    assert finished is not None, f"{folder} was whole a moment ago"
    return finished


def _allocate(partial: Path, manifest: dict[str, Any]) -> ImageArray:
    """Arrays without content in a new folder, the manifest last."""
    _remove(partial)
    partial.mkdir()
    images, side = len(manifest["images"]), manifest["side"]
    np.lib.format.open_memmap(partial / IMAGES, "w+", np.uint8, (images, side, side, 3)).flush()
    if any(image["mask_crc32"] is not None for image in manifest["images"]):
        np.lib.format.open_memmap(partial / MASKS, "w+", np.bool_, (images, side, side)).flush()
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    array = _open(partial, manifest)
    assert array is not None, f"{partial} was written a moment ago"
    return array


def _write(stored: np.memmap, row: int, values: np.ndarray) -> None:
    """Write one row through the file: pages written through the map would count as this process's memory."""
    with Path(str(stored.filename)).open("r+b") as file:
        file.seek(stored.offset + row * values.nbytes)
        file.write(values.tobytes())


def _read(stored: np.memmap, row: int) -> bytes:
    with Path(str(stored.filename)).open("rb") as file:
        file.seek(stored.offset + row * stored[row].nbytes)
        return file.read(stored[row].nbytes)


def _row_crc32(array: ImageArray, row: int) -> int:
    """CRC-32 of one row's pixels, and of its mask where it has one, as they are in the files."""
    crc = zlib.crc32(_read(array.pixels, row))
    return crc if array.masks is None else zlib.crc32(_read(array.masks, row), crc)


def _rows_done(array: ImageArray, journal: Path) -> set[int]:
    """The rows whose content is still what the journal says; a line cut off by a crash says nothing."""
    done = set()
    lines = journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.exists() else []
    for line in lines:
        with suppress(ValueError, TypeError):
            row, crc = json.loads(line)
            if 0 <= row < len(array.image_ids) and _row_crc32(array, row) == crc:
                done.add(row)
    return done


def _require_space(folder: Path, images: int, side: int) -> None:
    needed = images * side**2 * 4  # red, green, blue, mask
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder}: {images} images of {side} px need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. "
            "Make room or choose another folder."
        )


def _refuse_foreign(folder: Path) -> None:
    """What is not ours is never removed."""
    foreign = [path.name for path in folder.iterdir() if path.name not in FILES] if folder.exists() else []
    if foreign:
        raise DatasetError(f"{folder}: holds other files ({some(sorted(foreign))}). Choose another folder.")


def _remove(folder: Path) -> None:
    _refuse_foreign(folder)
    if folder.exists():
        shutil.rmtree(folder)
