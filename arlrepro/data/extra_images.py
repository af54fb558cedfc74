"""The 1,320 extra training images: the rule by which they are chosen, and a manifest by which the choice is repeated.

Departure: other extra images than the paper's; as many of each kind, from the ISIC Archive as it is now.
Reason: the paper's list is not published.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlencode

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from PIL import Image

from arlrepro.data.download import get, patient_session
from arlrepro.data.duplicates import near_duplicates, thumbnail
from arlrepro.data.files.images import decode_image
from arlrepro.data.files.stored import StoredFile
from arlrepro.data.files.tables import read_table
from arlrepro.data.isic import IsicDataset, read_dataset
from arlrepro.errors import DatasetError, some
from arlrepro.progress import bar
from arlrepro.registry import CLASSES, SPLITS
from arlrepro.storage import writing

#: Recalled by readers of the paper: 1,320 in all.
COUNTS: Mapping[str, int] = MappingProxyType({"melanoma": 466, "seborrheic_keratosis": 32, "nevus": 822})
SEED = 2019  # our choice
THREADS = 8

API_URL = "https://api.isic-archive.com/api/v2"
#: In the query language that the Archive's API and isic-cli share; Melanoma* is invasive, in situ, metastasis and NOS.
QUERIES: Mapping[str, str] = MappingProxyType(
    {
        "melanoma": "diagnosis_3:Melanoma* AND image_type:dermoscopic",
        "seborrheic_keratosis": 'diagnosis_3:"Seborrheic keratosis" AND image_type:dermoscopic',
        "nevus": "diagnosis_3:Nevus AND image_type:dermoscopic",
    }
)
#: HAM10000 has no class of its own for seborrheic keratosis: bkl puts it together with solar lentigo and lichen planus.
HAM10000_DX: Mapping[str, str] = MappingProxyType({"melanoma": "mel", "seborrheic_keratosis": "bkl", "nevus": "nv"})

MANIFEST, EXCLUDED = "extra.csv", "excluded.csv"
_ABOUT = ("lesion_id", "source", "license", "attribution")  # of each candidate; "" unknown
IN_CHALLENGE, LESION_IN_CHALLENGE = "is in the challenge", "shows a lesion of the challenge"
NEAR_DUPLICATE = "near-duplicate of test image"


@dataclass(frozen=True, eq=False)
class Choice:
    """The images chosen, and the candidates that came before them in the draw and were not."""

    chosen: pd.DataFrame  # index image_id; kind, lesion_id, source, license, attribution; in the order of the draw
    excluded: pd.DataFrame  # index image_id; kind, reason
    counts: pd.DataFrame  # index kind; candidates, each reason, chosen


def choose(
    candidates: pd.DataFrame,
    challenge: IsicDataset,
    open_image: Callable[[str], Image.Image],
    *,
    counts: Mapping[str, int] = COUNTS,
    seed: int = SEED,
    progress: bool = True,
) -> Choice:
    """Draw so many candidates of each kind, without those of the challenge and near-duplicates of its test images.

    Candidates are drawn in the order of :func:`lot`, so that one candidate more or less moves no other. One that has
    an id of the challenge, shows a lesion that a challenge image shows, or may show that of a test image again
    (:func:`arlrepro.data.duplicates.near_duplicates`) makes room for the next.

    Args:
        candidates: index image_id; columns `kind` and, "" where unknown, `lesion_id`, `source`, `license`,
            `attribution`.
        challenge: all three splits.
        open_image: gives a candidate's image; asked only for those that are drawn.
        counts: images by kind.
        seed: of the draw.
        progress: show a progress bar.

    Raises:
        DatasetError: too few candidates are left of a kind.
    """
    if lacking := [split for split in SPLITS if split not in set(challenge.lesions["split"])]:
        raise DatasetError(f"{challenge.root}: no {some(lacking)} images; the rule excludes those of all splits.")
    reason = pd.Series("", index=candidates.index)
    is_known = candidates.index.isin(challenge.lesions.index)
    lesions = set(candidates["lesion_id"][is_known]) - {""}
    reason[candidates["lesion_id"].isin(lesions)] = LESION_IN_CHALLENGE
    reason[is_known] = IN_CHALLENGE
    test_ids = list(challenge.lesions.index[challenge.lesions["split"] == "test"])
    test = _thumbnails(test_ids, challenge.open_image)

    chosen: list[str] = []
    with bar(desc="extra images", total=sum(counts.values()), disable=not progress) as shown:
        for kind, count in counts.items():
            waiting = sorted(candidates.index[(candidates["kind"] == kind) & (reason == "")], key=lot(seed))
            missing = count
            while missing:
                drawn, waiting = waiting[:missing], waiting[missing:]
                if not drawn:
                    raise DatasetError(
                        f"extra images: {count - missing} of {count} of {kind} found among "
                        f"{(candidates['kind'] == kind).sum()} candidates. Ask for fewer, or of another source."
                    )
                for match in near_duplicates(_thumbnails(drawn, open_image), test):
                    reason[drawn[match.first]] = f"{NEAR_DUPLICATE} {test_ids[match.second]}"
                taken = [image_id for image_id in drawn if reason[image_id] == ""]
                chosen += taken
                missing -= len(taken)
                shown.update(len(taken))

    reasons = [IN_CHALLENGE, LESION_IN_CHALLENGE, NEAR_DUPLICATE]
    excluded = candidates[["kind"]].assign(reason=reason)[reason != ""]
    table = pd.DataFrame(index=pd.Index(list(counts), name="kind"))
    table["candidates"] = candidates["kind"].value_counts()
    for why in reasons:
        table[why] = excluded["kind"][excluded["reason"].str.startswith(why)].value_counts()
    table["chosen"] = pd.Series(counts)
    return Choice(candidates.loc[chosen, ["kind", *_ABOUT]], excluded, table.fillna(0).astype(int))


def lot(seed: int) -> Callable[[str], bytes]:
    """What orders the draw: a hash of the seed and the id, the same on every machine and for any other candidates.

    Example:
        >>> sorted(["ISIC_1", "ISIC_2", "ISIC_3"], key=lot(0))
        ['ISIC_3', 'ISIC_2', 'ISIC_1']
    """
    return lambda image_id: hashlib.sha256(f"{seed} {image_id}".encode()).digest()


def gather(
    root: Path,
    candidates: pd.DataFrame,
    challenge: IsicDataset,
    image_bytes: Callable[[str], bytes],
    *,
    counts: Mapping[str, int] = COUNTS,
    seed: int = SEED,
    progress: bool = True,
) -> Choice:
    """Choose, and write the images with their labels to a folder that :func:`arlrepro.data.isic.read_dataset` reads.

    Beside the images stand ``extra.csv``, the manifest (labels, split "training", and of each image its lesion,
    source, licence, attribution, and the seed), and ``excluded.csv`` if there is any. Until it is whole the folder is
    called ``<root>.partial``; images that lie there from an interrupted call are not fetched again.

    Args:
        root: folder to make.
        candidates: as for :func:`choose`, or a manifest's (:func:`read_manifest`).
        challenge: all three splits.
        image_bytes: fetches a candidate's JPEG file.
        counts: images by kind.
        seed: of the draw.
        progress: show a progress bar.

    Raises:
        DatasetError: the folder is not empty, an image does not decode, or too few candidates are left.
        OutputError: the folder cannot be written.
    """
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise DatasetError(f"{root}: exists already; remove it or name another folder for the extra images.")
    if unsafe := [image_id for image_id in candidates.index if not re.fullmatch(r"[\w-]+", image_id)]:
        raise DatasetError(f"extra images: ids that are no file names: {some(unsafe)}. Do not use this source.")
    partial = root.with_name(f"{root.name}.partial")

    def open_image(image_id: str) -> Image.Image:
        path, part = partial / f"{image_id}.jpg", partial / f"{image_id}.part"
        if path.exists():
            return decode_image(StoredFile(partial, path.name, path.stat().st_size))
        image = decode_image(StoredFile(partial, part.name, part.write_bytes(image_bytes(image_id))))
        part.replace(path)
        return image

    with writing(partial):  # what was fetched is kept there
        partial.mkdir(parents=True, exist_ok=True)
        choice = choose(candidates, challenge, open_image, counts=counts, seed=seed, progress=progress)
        for path in partial.iterdir():
            if path.suffix != ".jpg" or path.stem not in choice.chosen.index:
                path.unlink()
        labels = {kind: (choice.chosen["kind"] == kind).astype(int) for kind in CLASSES}
        about = choice.chosen[list(_ABOUT)].assign(seed=seed)
        pd.DataFrame({"split": "training", **labels}).join(about).to_csv(partial / MANIFEST, lineterminator="\n")
        if len(choice.excluded):
            choice.excluded.rename_axis("candidate").to_csv(partial / EXCLUDED, lineterminator="\n")
        read_dataset(partial, splits=["training"])
        partial.replace(root)
    return choice


def read_manifest(path: Path) -> tuple[pd.DataFrame, dict[str, int], int]:
    """What repeats a manifest's choice: its images as candidates, their number by kind, and its seed.

    Raises:
        DatasetError: the file is no manifest of extra images.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: no such file. Name the {MANIFEST} of a folder of extra images.")
    table = read_table(StoredFile(path.parent, path.name, path.stat().st_size))
    if missing := [column for column in ("image_id", *CLASSES, *_ABOUT, "seed") if column not in table.columns]:
        raise DatasetError(f"{path}: no column {some(missing, 10)}. Name the {MANIFEST} of a folder of extra images.")
    seeds = table["seed"].unique()
    if len(seeds) > 1 or not seeds[0].isdecimal():
        raise DatasetError(f"{path}: not one seed but {some(list(seeds))}. Name a manifest as it was written.")
    kind = pd.Series(np.select([table[name] == "1" for name in CLASSES], CLASSES, "nevus"), table.index)
    candidates = table.assign(kind=kind).set_index("image_id")[["kind", *_ABOUT]]
    return candidates, {name: int((kind == name).sum()) for name in COUNTS}, int(seeds[0])


def from_archive(
    root: Path,
    challenge: IsicDataset,
    *,
    manifest: Path | None = None,
    counts: Mapping[str, int] = COUNTS,
    seed: int = SEED,
    api_url: str = API_URL,
    progress: bool = True,
    back_off: float = 1.0,
) -> Choice:
    """Gather extra images from the ISIC Archive by its API: newly chosen ones, or a manifest's by its counts and seed.

    Raises:
        DatasetError: as :func:`gather`, or the Archive does not answer as its API does.
    """
    if manifest is not None:
        candidates, counts, seed = read_manifest(manifest)
    else:
        candidates = archive_candidates(api_url, progress=progress, back_off=back_off)

    def image_bytes(image_id: str) -> bytes:
        about = f"{api_url}/images/{image_id}/"
        with patient_session(back_off) as session:  # one a thread
            with _as_documented(about):  # asked only now, for the address it tells expires
                url = get(session, about).json()["files"]["full"]["url"]
            return get(session, url).content

    return gather(root, candidates, challenge, image_bytes, counts=counts, seed=seed, progress=progress)


def from_ham10000(
    root: Path,
    challenge: IsicDataset,
    ham10000: IsicDataset,
    *,
    counts: Mapping[str, int] = COUNTS,
    seed: int = SEED,
    progress: bool = True,
) -> Choice:
    """Gather extra images from HAM10000 by the same rule; "seborrheic keratosis" is any of its class bkl.

    Raises:
        DatasetError: as :func:`gather`.
    """
    lesions, kind_of = ham10000.lesions, {dx: kind for kind, dx in HAM10000_DX.items()}
    candidates = pd.DataFrame(
        {
            "kind": lesions["dx"].map(kind_of),
            "lesion_id": lesions["lesion_id"],
            "source": "HAM10000, dx = " + lesions["dx"],
            "license": "CC BY-NC 4.0",
            "attribution": "Tschandl, Rosendahl, Kittler 2018",
        }
    ).dropna(subset="kind")
    return gather(root, candidates, challenge, ham10000.image_bytes, counts=counts, seed=seed, progress=progress)


def archive_candidates(api_url: str = API_URL, *, progress: bool = True, back_off: float = 1.0) -> pd.DataFrame:
    """Every public image of each kind that the ISIC Archive has, as candidates for :func:`choose`.

    Raises:
        DatasetError: the Archive does not answer, or not as its API does.

    Source:
        https://api.isic-archive.com/api/docs/swagger/, of which `images/search/` and `images/{isic_id}/` are used.
    """
    rows = []
    with patient_session(back_off) as session, bar(desc="candidates", disable=not progress) as shown:
        for kind, query in QUERIES.items():
            page: str | None = f"{api_url}/images/search/?{urlencode({'query': query})}"
            while page is not None:
                with _as_documented(page):
                    answer = get(session, page).json()
                    for image in answer["results"]:
                        lesion_id = image["metadata"]["clinical"].get("lesion_id") or ""
                        about = (lesion_id, query, image["copyright_license"], image["attribution"] or "")
                        rows.append((image["isic_id"], kind, *about))
                    shown.update(len(answer["results"]))
                    page = answer["next"]
    candidates = pd.DataFrame(rows, columns=["image_id", "kind", *_ABOUT])
    return candidates.drop_duplicates("image_id").set_index("image_id")  # the Archive may grow from page to page


@contextmanager
def _as_documented(url: str) -> Iterator[None]:
    """Turn an answer that is no JSON, or has not the documented fields, into one line."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{url}: not an answer of the Archive's API ({error!r}). It may have changed.") from error


def _thumbnails(
    image_ids: Sequence[str], open_image: Callable[[str], Image.Image]
) -> UInt8[np.ndarray, "images 64 64"]:
    with ThreadPoolExecutor(THREADS) as threads:
        return np.stack(list(threads.map(lambda image_id: thumbnail(open_image(image_id)), image_ids)))
