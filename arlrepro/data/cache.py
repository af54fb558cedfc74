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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from arlrepro import storage
from arlrepro.data.files.images import decode_image, decode_mask
from arlrepro.data.files.stored import crc32s
from arlrepro.data.isic import IsicDataset
from arlrepro.errors import ConfigError, DatasetError, some
from arlrepro.progress import bar

#: Raised when the same source and side no longer give the same pixels.
VERSION = 1
FILES = MANIFEST, IMAGES, MASKS = "manifest.json", "images.npy", "masks.npy"
BLOCK = 2**24  # bytes that share a CRC-32


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

    The folder appears under its name only when whole; an interrupted call is started again by the next. A second call
    at the same time waits for the first. Anything that changed (a source file, a label, the side, a byte of the array,
    whose manifest holds the CRC-32 of each block) gives a new array.

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
        DatasetError: an image or mask does not decode, or there is too little room for all of them.
        OutputError: the folder cannot be written.
        ConfigError: side below 1.
    """
    if side < 1:
        raise ConfigError(f"side must be at least 1 px; got {side}")
    folder = Path("data/cache") / f"{dataset.fingerprint[:12]}-{side}" if folder is None else Path(folder)
    manifest = _manifest(dataset, side)
    if (finished := _open(folder, manifest)) is None:
        with storage.writing(folder), storage.alone(folder, "prepares it"):
            if (finished := _open(folder, manifest)) is None:
                finished = _build(dataset, folder, manifest, workers or os.cpu_count() or 1)
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
        del manifest["blocks"]
        return _open(folder, manifest) if manifest["fingerprint"] == fingerprint else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def require_whole(pixels: np.memmap) -> None:
    """Look whether a mapped file is as long as when it was opened: to read beyond its end would end the process.

    Reason: the system says that by a signal (SIGBUS), of which Python makes no error. A look takes microseconds, and so
    one goes before every batch.

    Raises:
        DatasetError: it was cut off.
    """
    # Reason: the open file is asked, not its name, under which another array may lie by now.
    there, needed = pixels._mmap.size(), pixels.offset + pixels.nbytes  # type: ignore[attr-defined]
    if there < needed:
        raise DatasetError(
            f"{pixels.filename}: was cut off to {there} of {needed} bytes while it was read. Start again: the images "
            "are decoded anew, and a training goes on from its checkpoint."
        )


def _manifest(dataset: IsicDataset, side: int) -> dict[str, Any]:
    """What determines every row: two arrays with equal manifests are equal."""
    crcs, mask_crcs = dataset.image_crc32s, crc32s(dataset.masks)
    images = [
        {"image_id": image_id, "file": file.base, "crc32": crcs[image_id], "mask_crc32": mask_crcs.get(image_id)}
        for image_id, file in dataset.images.items()
    ]
    return {"version": VERSION, "side": side, "fingerprint": dataset.fingerprint, "images": images}


def _open(folder: Path, manifest: dict[str, Any]) -> ImageArray | None:
    """Open an array if there is one, of just this manifest, each of its blocks as it was written."""
    try:
        stored = json.loads((folder / MANIFEST).read_text())
        del stored["blocks"]
        if stored != manifest:
            return None
        if found := damage(folder):
            print(f"{found}; the images are decoded again. Look at the disk if this comes back.", file=sys.stderr)
            return None
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):  # not there, or no manifest
        return None
    return _mapped(folder, manifest)


def _mapped(folder: Path, manifest: dict[str, Any]) -> ImageArray | None:
    """Map the arrays of a folder, if they are there and have the shapes that its manifest asks for."""
    has_mask = np.array([image["mask_crc32"] is not None for image in manifest["images"]], dtype=bool)
    shape = (len(has_mask), manifest["side"], manifest["side"])
    try:
        pixels = np.lib.format.open_memmap(folder / IMAGES, "r")
        masks = np.lib.format.open_memmap(folder / MASKS, "r") if has_mask.any() else None
    except (OSError, ValueError, EOFError):  # not there, not an array, or cut off
        return None
    if pixels.shape != (*shape, 3) or pixels.dtype != np.uint8:
        return None
    if masks is not None and (masks.shape != shape or masks.dtype != bool):
        return None
    image_ids = tuple(image["image_id"] for image in manifest["images"])
    return ImageArray(image_ids, pixels, masks, has_mask, manifest["side"], manifest["fingerprint"])


def _build(dataset: IsicDataset, folder: Path, manifest: dict[str, Any], workers: int) -> ImageArray:
    """Fill ``<folder>.new``, give it its checksums and its name."""
    _refuse_foreign(folder)
    _require_space(folder.parent, len(manifest["images"]), manifest["side"])
    with storage.replacing(folder) as new:
        array = _allocate(new, manifest)

        def decode(row: int) -> None:
            image_id = array.image_ids[row]
            _write(array.pixels, row, np.asarray(decode_image(dataset.images[image_id], array.side)))
            if array.masks is not None and array.has_mask[row]:
                _write(array.masks, row, decode_mask(dataset.masks[image_id], array.side))

        rows = range(len(array.image_ids))
        with (
            ThreadPoolExecutor(workers) as threads,
            bar(total=len(rows), unit=" images", desc="decode") as progress,
        ):
            for start in range(0, len(rows), 16 * workers):  # few at a time, so that an interruption is obeyed soon
                for _ in threads.map(decode, rows[start : start + 16 * workers]):
                    progress.update()
        blocks = {path.name: _block_crcs(path, workers) for path in _arrays(new)}
        (new / MANIFEST).write_text(json.dumps(manifest | {"blocks": blocks}, indent=1), encoding="utf-8")
    finished = _open(folder, manifest)
    assert finished is not None, f"{folder} was whole a moment ago"
    return finished


def _arrays(folder: Path) -> list[Path]:
    return [path for path in (folder / IMAGES, folder / MASKS) if path.is_file()]


def _block_crcs(path: Path, workers: int) -> list[int]:
    """The CRC-32 of each block of a file, read and not mapped: what is mapped would count as this process's memory."""

    def crc(start: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            return zlib.crc32(file.read(BLOCK))

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(crc, range(0, path.stat().st_size, BLOCK)))


def damage(folder: Path) -> str:
    """Which blocks of an array are not what was written, in words; empty where all are.

    Reason: every byte is read once, as a process opens the array, not at each pass over it; what a look takes beside a
    pass of training is measured by `benchmarks.checksums` and stands on the book's page on reliability.
    """
    blocks = json.loads((folder / MANIFEST).read_text())["blocks"]
    for path in _arrays(folder):
        found, written = _block_crcs(path, os.cpu_count() or 1), blocks.get(path.name)
        if found != written:
            same = written is not None and len(written) == len(found)
            number = sum(one != other for one, other in zip(found, written or [], strict=same)) if same else len(found)
            return f"{path}: {number} of {len(found)} blocks are not what was written"
    return ""


def _allocate(partial: Path, manifest: dict[str, Any]) -> ImageArray:
    """Arrays without content in a new folder."""
    partial.mkdir()
    images, side = len(manifest["images"]), manifest["side"]
    np.lib.format.open_memmap(partial / IMAGES, "w+", np.uint8, (images, side, side, 3)).flush()
    if any(image["mask_crc32"] is not None for image in manifest["images"]):
        np.lib.format.open_memmap(partial / MASKS, "w+", np.bool_, (images, side, side)).flush()
    array = _mapped(partial, manifest)
    assert array is not None, f"{partial} was written a moment ago"
    return array


def _write(stored: np.memmap, row: int, values: np.ndarray) -> None:
    """Write one row through the file: pages written through the map would count as this process's memory."""
    with Path(str(stored.filename)).open("r+b") as file:
        file.seek(stored.offset + row * values.nbytes)
        file.write(values.tobytes())


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
