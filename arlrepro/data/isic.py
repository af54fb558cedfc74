"""ISIC-2017 on disk: labels, splits, masks, age and sex, in the official file layout, zipped or extracted.

Two more layouts give the same :class:`IsicDataset`: a plain folder of images with one table of the same columns, and
HAM10000 as its archives serve it. They are told apart by what the tables hold, not by their names.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image

from arlrepro.data.files.images import decode_image, decode_mask
from arlrepro.data.files.stored import Listing, StoredFile, crc32s, find, list_files, merged
from arlrepro.data.files.tables import DOWNSAMPLED, read_header
from arlrepro.data.labels import (
    Report,
    labelled,
    refuse,
    report_rows,
    require,
    table_at,
    table_files,
    table_of_images,
    tables_with,
    with_people,
)
from arlrepro.errors import ConfigError, DatasetError, some
from arlrepro.registry import CLASSES, SPLITS

#: The official name of each split.
OFFICIAL = {"training": "ISIC-2017_Training", "validation": "ISIC-2017_Validation", "test": "ISIC-2017_Test_v2"}

_MASK = "_segmentation"  # ends the name of a lesion mask
_NO_IMAGE = ("_superpixels", _MASK)  # end the names of what lies beside the images to classify
_HAM10000 = ("lesion_id", "image_id", "dx")  # what its table has, whatever its name
#: Other data sets by columns of their tables, for the message on a layout that is not read.
_OTHER_LAYOUTS = {
    "ISIC 2018 or 2019": ("image", "mel", "nv"),
    "ISIC 2020": ("image_name", "target"),
    "the ISIC Archive's metadata": ("isic_id",),
    "PAD-UFES-20": ("img_id", "diagnostic"),
    "HAM10000's pixels without its images": ("pixel0000", "label"),
    "Derm7pt": ("derm", "diagnosis"),
}


@dataclass(frozen=True, eq=False)
class IsicDataset:
    """Labelled images on disk; nothing is decoded until asked for."""

    root: Path
    lesions: pd.DataFrame  # index image_id; split, melanoma, seborrheic_keratosis, age, sex, has_mask, mask_source
    images: Mapping[str, StoredFile]
    masks: Mapping[str, StoredFile]
    unlabelled: tuple[StoredFile, ...] = ()  # images and masks that no row of the CSVs names
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # reason -> what was not read, as in `Listing`

    def image_bytes(self, image_id: str) -> bytes:
        """The image file's bytes as they are on disk."""
        return self._file(self.images, image_id, "image").read()

    def open_image(self, image_id: str) -> Image.Image:
        """Decode one image, RGB and upright."""
        return decode_image(self._file(self.images, image_id, "image"))

    def read_mask(self, image_id: str) -> Bool[np.ndarray, "height width"]:
        """Decode one lesion mask: True inside the lesion."""
        return decode_mask(self._file(self.masks, image_id, "mask"))

    def _file(self, files: Mapping[str, StoredFile], image_id: str, what: str) -> StoredFile:
        if image_id not in files:
            raise DatasetError(f"{self.root}: no {what} of {image_id!r}; {len(files)} of {len(self.lesions)} have one.")
        return files[image_id]

    @cached_property
    def image_crc32s(self) -> dict[str, int]:
        """The CRC-32 of each image file, in the order of the lesions; files of an extracted archive are read for it."""
        return crc32s(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over each lesion's id, split and labels and the CRC-32 and size of its image file.

        The same images have the same fingerprint, zipped or extracted.
        """
        digest = hashlib.sha256()
        for image_id, *row in self.lesions[["split", *CLASSES]].itertuples():
            digest.update(repr((image_id, *row, self.image_crc32s[image_id], self.images[image_id].size)).encode())
        return digest.hexdigest()

    def with_splits(self, split: pd.Series) -> "IsicDataset":
        """The same images and labels dealt otherwise into splits; the fingerprint stays, it says what is on disk."""
        dealt = replace(self, lesions=self.lesions.assign(split=split))
        vars(dealt)["fingerprint"] = self.fingerprint  # where `cached_property` looks first
        return dealt


def read_dataset(root: Path, splits: Sequence[str] = SPLITS, report: Report = refuse) -> IsicDataset:
    r"""Read what a folder says of its images: the official ISIC-2017 layout, or a plain folder with one CSV.

    Of each official split, ``<split>_Part3_GroundTruth.csv`` and ``<split>_Data`` are needed, the latter as the
    archive or the folder extracted from it; ``<split>_Part1_GroundTruth`` (lesion masks) is used where it is there.
    A plain folder holds images and one table with ``image_id,melanoma,seborrheic_keratosis`` and, if wanted,
    ``split`` (else every row is of the test split), ``age_approximate`` and ``sex``. HAM10000: :func:`read_ham10000`.

    Args:
        root: the folder.
        splits: which of "training", "validation", "test" to read.
        report: told of every fault; raises by default.

    Returns:
        The data set, its lesions in the order of the splits, then of the CSV.

    Raises:
        DatasetError: a file or column is missing, or the first fault of the content.
        ConfigError: no such split.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> Image.new("RGB", (8, 8)).save(folder / "mole.png")
        >>> _ = (folder / "mine.csv").write_text("image_id,melanoma,seborrheic_keratosis\nmole,1,0\n")
        >>> read_dataset(folder).lesions["split"].to_dict()
        {'mole': 'test'}
    """
    root = Path(root)
    if unknown := [split for split in splits if split not in SPLITS]:
        raise ConfigError(f"unknown splits {some(unknown)}; known: {', '.join(SPLITS)}")
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder. Run `arlrepro data download`, or name the folder with --data.")
    if not os.access(root, os.R_OK | os.X_OK):
        raise DatasetError(f"{root}: may not be read. Ask its owner for the right (chmod +rx).")
    if any((root / f"{name}_Part3_GroundTruth.csv").exists() for name in OFFICIAL.values()):
        return _joined([_read_official_split(root, split, report) for split in SPLITS if split in splits], report)
    if tables_with(root, _HAM10000):
        return _of_splits(read_ham10000(root, report), splits)
    return _of_splits(_read_plain(root, report), splits)


def with_extra(dataset: IsicDataset, extra: IsicDataset) -> IsicDataset:
    """A data set with more training images, see :mod:`arlrepro.data.extra_images`; the other splits stay as they are.

    Raises:
        DatasetError: an extra image is in the data set already, or is not a training image.
    """
    if foreign := list(extra.lesions.index[extra.lesions["split"] != "training"]):
        refuse(extra.root, f"{len(foreign)} extra images are not of the training split", foreign, "Take them out.")
    if again := list(dataset.lesions.index.intersection(extra.lesions.index)):
        refuse(extra.root, f"{len(again)} extra images are in {dataset.root} already", again, "Take them out.")
    return _of_splits(_joined([dataset, extra], refuse), SPLITS)


def read_ham10000(root: Path, report: Report = refuse) -> IsicDataset:
    """Read HAM10000 as Dataverse or Kaggle serves it: its table and the images, zipped or not; all of the test split.

    The table is known by its columns `lesion_id`, `image_id` and `dx`: a ``.csv``, a ``.tab`` or without suffix.

    Melanoma is `dx` = mel, against the rest. HAM10000 has no class for seborrheic keratosis: its `bkl` puts them
    together with solar lentigines and lichen-planus-like keratoses, and is what ``seborrheic_keratosis`` says here.

    Returns:
        The data set, with two more columns: `lesion_id` (several images may show one lesion) and `dx`.

    Raises:
        DatasetError: as :func:`read_dataset`.

    Source:
        Tschandl, Rosendahl, Kittler, Scientific Data 5:180161, 2018.
    """
    root = Path(root)
    tables = tables_with(root, _HAM10000)
    if not tables:
        raise DatasetError(
            f"{root}: no table of HAM10000, with columns {', '.join(_HAM10000)}. Put HAM10000_metadata.csv there."
        )
    labels_csv, table = next(iter(tables.items()))
    require(table, ("image_id", "lesion_id", "dx", "age", "sex"), labels_csv)
    is_melanoma, is_bkl = (table["dx"].eq(dx).map({True: "1", False: "0"}) for dx in ("mel", "bkl"))
    table = table.assign(melanoma=is_melanoma, seborrheic_keratosis=is_bkl).rename(columns={"age": "age_approximate"})
    lesions = with_people(labelled(table, labels_csv, "test", report, ["lesion_id", "dx"]), table, labels_csv, report)
    archives = sorted(path for path in root.iterdir() if path.name.lower().startswith("ham10000_"))
    listings = [list_files(place) for place in (root, *(path for path in archives if path.suffix.lower() == ".zip"))]
    return _with_files(root, lesions, listings, listings, "official", report)


def _read_official_split(root: Path, split: str, report: Report) -> IsicDataset:
    name = OFFICIAL[split]
    labels_csv = table_at(root, f"{name}_Part3_GroundTruth.csv")
    data = find(root, f"{name}_Data")
    if data is None:
        raise DatasetError(f"{root}: neither {name}_Data.zip nor the folder {name}_Data. Run `arlrepro data download`.")
    listing, labels = list_files(data), table_of_images(labels_csv)
    lesions = labelled(labels, labels_csv, split, report)
    for metadata_csv in [file for file in listing.files if file.name.endswith("_metadata.csv")][:1]:
        people = table_of_images(metadata_csv)
        lesions = with_people(lesions, people, metadata_csv, report)
        is_foreign = ~people["image_id"].isin(labels["image_id"])
        report_rows(people, is_foreign, f"name no lesion of {labels_csv.base}", "Remove them.", metadata_csv, report)
        report_rows(people, people["image_id"].duplicated(), "repeat an id", "Keep one of each.", metadata_csv, report)
    # The test split's automatic masks are a network's, published with Mahbod et al. 2020; a person's are preferred.
    sources = {"official": f"{name}_Part1_GroundTruth", "automatic": f"{name}_auto_masks_SkinFPN"}
    for mask_source, archive in sources.items():
        if place := find(root, archive):
            return _with_files(root, lesions, [listing], [list_files(place)], mask_source, report)
    return _with_files(root, lesions, [listing], [], "", report)


def _read_plain(root: Path, report: Report) -> IsicDataset:
    tables = tables_with(root, ("image_id",))
    if len(tables) != 1:
        raise DatasetError(
            f"{root}: no {OFFICIAL['training']}_Part3_GroundTruth.csv, and {len(tables)} CSVs with a column image_id. "
            f"{_likeness(root)}Give the official files, or a folder of images with one CSV of "
            "image_id,melanoma,seborrheic_keratosis."
        )
    [(labels_csv, table)] = tables.items()
    lesions = labelled(table, labels_csv, "test", report)
    if "age_approximate" in table.columns:
        lesions = with_people(lesions, table, labels_csv, report)
    listings = [list_files(root)]
    return _with_files(root, lesions, listings, listings, "own", report)


def _likeness(root: Path) -> str:
    """A sentence on what a folder looks like that is not read; nothing if it looks like nothing known."""
    inside = sorted(path for path in root.iterdir() if path.is_dir())
    for place in (root, *inside):
        for file in table_files(place):
            columns = set(read_header(file))
            for layout, of_it in _OTHER_LAYOUTS.items():
                if set(of_it) <= columns:
                    return f"{file} looks like {layout}, which is not read as it is. "
    for place in inside:
        official = any((place / f"{name}_Part3_GroundTruth.csv").exists() for name in OFFICIAL.values())
        if official or any("image_id" in read_header(file) for file in table_files(place)):
            return f"{place} looks like a data set; name that folder. "
    return ""


def _with_files(
    root: Path,
    lesions: pd.DataFrame,
    listings: Sequence[Listing],
    mask_listings: Sequence[Listing],
    mask_source: str,
    report: Report,
) -> IsicDataset:
    """Join lesions and files by id; lesions without an image are reported and left out.

    Raises:
        DatasetError: none of the lesions has an image: the ids of table and files are of two kinds.
    """
    images = [file for one in listings for file in one.images if not file.stem.endswith(_NO_IMAGE)]
    masks = [file for one in mask_listings for file in one.files if file.suffix == ".png" and file.stem.endswith(_MASK)]
    skipped: dict[str, tuple[str, ...]] = {}
    for listing in listings if mask_listings is listings else (*listings, *mask_listings):
        skipped = merged(skipped, listing.skipped)
    image_of, mask_of = (
        _forlabelled(_by_id(files, ending, report), lesions.index) for files, ending in ((images, ""), (masks, _MASK))
    )
    without = [image_id for image_id in lesions.index if image_id not in image_of]
    place = images[0].container if images else root
    if without and len(without) == len(lesions):
        seen = some([file.base for file in images], 3) if images else "none"
        passed = "".join(f"; passed over are {reason}: {some(names, 3)}" for reason, names in skipped.items())
        raise DatasetError(
            f"{place}: none of the {len(lesions)} lesions has an image. The table's ids: {some(without, 3)}; "
            f"the images there: {seen}{passed}. Fetch the images, or write their names into the table."
        )
    if without:
        what = f"{len(without)} of {len(lesions)} lesions have no image"
        report(place, what, without, "Fetch the images again, or take the rows out of the CSV.")
    lesions = lesions.drop(index=without)
    has_mask = lesions.index.isin(list(mask_of))
    return IsicDataset(
        root,
        lesions.assign(has_mask=has_mask, mask_source=np.where(has_mask, mask_source, "")),
        {image_id: image_of[image_id] for image_id in lesions.index},
        {image_id: mask_of[image_id] for image_id in lesions.index if image_id in mask_of},
        tuple(file for of in (image_of, mask_of) for image_id, file in of.items() if image_id not in lesions.index),
        skipped,
    )


def _of_splits(dataset: IsicDataset, splits: Sequence[str]) -> IsicDataset:
    """The lesions of these splits, in the splits' order."""
    of_split = dict(list(dataset.lesions.groupby("split")))
    missing = [split for split in splits if split not in of_split]
    if len(missing) == len(splits):
        raise DatasetError(
            f"{dataset.root}: no labelled image of {some(missing)}; it has those of {some(list(of_split))}."
        )
    lesions = pd.concat([of_split[split] for split in SPLITS if split in splits and split in of_split])
    return replace(dataset, lesions=lesions, images={image_id: dataset.images[image_id] for image_id in lesions.index})


def _joined(parts: Sequence[IsicDataset], report: Report) -> IsicDataset:
    """One data set of all splits; an id in two of them is reported and kept in the first."""
    lesions = pd.concat([part.lesions for part in parts])
    is_again = lesions.index.duplicated()
    if is_again.any():
        again = list(lesions.index[is_again])
        report(parts[0].root, f"{len(again)} ids stand in more than one split", again, "Keep each in one.")
    images: dict[str, StoredFile] = {}
    masks: dict[str, StoredFile] = {}
    for part in reversed(parts):
        images, masks = images | dict(part.images), masks | dict(part.masks)
    lesions = lesions[~is_again]
    return IsicDataset(
        parts[0].root,
        lesions,
        {image_id: images[image_id] for image_id in lesions.index},
        masks,
        tuple(file for part in parts for file in part.unlabelled),
        reduce(merged, (part.skipped for part in parts)),
    )


def _by_id(files: Sequence[StoredFile], ending: str, report: Report) -> dict[str, StoredFile]:
    """Files by the image id in their names, the first of each; others of an id are reported, but for copies of it.

    Kaggle serves HAM10000 with every image twice, in two folders.
    """
    by_id: dict[str, StoredFile] = {}
    again = [file for file in files if by_id.setdefault(file.stem.removesuffix(ending), file) is not file]
    doubled = []
    for file in again:
        first = by_id[file.stem.removesuffix(ending)]
        if (file.base, file.size) != (first.base, first.size) or file.crc32() != first.crc32():
            doubled.append(str(file))
    if doubled:
        report(files[0].container, f"{len(doubled)} of {len(files)} files repeat an id", doubled, "Keep one of each.")
    return by_id


def _forlabelled(files: Mapping[str, StoredFile], image_ids: pd.Index) -> dict[str, StoredFile]:
    """Files by the ids of the table, which may have the ending `_downsampled` where they have not, or the reverse."""
    plain = {image_id.removesuffix(DOWNSAMPLED): image_id for image_id in image_ids}
    wanted = set(image_ids)
    return {
        image_id if image_id in wanted else plain.get(image_id.removesuffix(DOWNSAMPLED), image_id): file
        for image_id, file in sorted(files.items(), key=lambda one: one[0] in wanted)  # its own name is the last word
    }
