"""The official ISIC-2017 archives fetched over HTTP, resumed where they broke off, and verified before they are used.

A busy server is asked again by urllib3. To go on with a file that broke off is our own: pooch and torch.hub verify a
hash but start again from the first byte, and huggingface_hub resumes without asking whether the file is the same.
"""

import hashlib
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from arlrepro.data.check import OFFICIAL_LABELS
from arlrepro.data.files.images import decode_image, decode_mask
from arlrepro.data.files.stored import StoredFile
from arlrepro.data.isic import OFFICIAL, read_dataset
from arlrepro.errors import ConfigError, DatasetError, some
from arlrepro.progress import bar

#: Where the challenge's files lie; public. Any server with the same files serves.
BASE_URL = "https://isic-challenge-data.s3.amazonaws.com/2017/"

#: Of the official label files. No hash of the archives is published: those are verified by what they contain.
SHA256: Mapping[str, str] = MappingProxyType(
    {f"{OFFICIAL[split]}_Part3_GroundTruth.csv": digest for split, (digest, _) in OFFICIAL_LABELS.items()}
)

TRIES = 6  # of a request; and of a file, in a row, each without one more byte than those before
LONGEST_WAIT = 60.0  # seconds
TIMEOUT = (10, 60)  # seconds until connected, and between two pieces of an answer
TRY_AGAIN = (408, 429, 500, 502, 503, 504)  # HTTP statuses that pass
PIECE = 2**16  # bytes; at most so many are lost when a transfer breaks off
GAVE_UP = (
    f"({TRIES} tries). Check the network and any proxy (HTTPS_PROXY), or try again later; what was fetched is kept."
)


def download(
    root: Path,
    *,
    base_url: str = BASE_URL,
    masks: bool = False,
    progress: bool = True,
    sha256: Mapping[str, str] = SHA256,
    back_off: float = 1.0,
) -> list[Path]:
    """Fetch what is missing of the official files into a folder, and verify everything that is there.

    A file has its name only when it is whole; until then it is ``<name>.<mark>.part``, and the next call goes on with
    it as long as the server still has the same file. Nothing that is there is ever overwritten.

    Args:
        root: the folder, made if it is not there.
        base_url: of a server with the same files.
        masks: fetch the lesion masks (Part1) too.
        progress: show progress bars.
        sha256: of the files whose hash is known, by name.
        back_off: seconds before the second try of a request; doubled from try to try.

    Returns:
        The files: the labels, the images and, if asked for, the masks, of training, validation and test.

    Raises:
        DatasetError: a file is not on the server or not what it should be, the disk is too full, or the server stays
            away.
        ConfigError: `base_url` is no address.
    """
    root = Path(root)
    paths = [root / f"{name}{end}" for end in _endings(masks) for name in OFFICIAL.values()]
    for path in filter(Path.exists, paths):
        if fault := _fault(path, sha256.get(path.name)):
            raise DatasetError(f"{path}: {fault}. Remove it, then run it again.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with patient_session(back_off) as session:
            missing = [_look(session, base_url, path) for path in paths if not path.exists()]
            _require_space(root, missing)
            total, there = sum(file.size for file in missing), sum(file.bytes_there() for file in missing)
            hidden = not (progress and missing)
            with bar(total=total, initial=there, unit="B", unit_scale=True, disable=hidden) as fetched:
                for file in missing:
                    _fetch(session, file, sha256.get(file.path.name), fetched, back_off)
    except OSError as error:
        raise DatasetError(f"{root}: cannot be written ({error}). Make room; what was fetched is kept.") from error
    verify(root, progress)
    return paths


def verify(root: Path, progress: bool = True) -> None:
    """Hold a data set to its labels: every id has an image that decodes, no image or mask is without an id.

    Raises:
        DatasetError: what is missing, extra or damaged.
    """
    dataset = read_dataset(root)
    if dataset.unlabelled:
        raise DatasetError(
            f"{root}: {len(dataset.unlabelled)} images or masks that no row of the CSVs names: "
            f"{some(dataset.unlabelled)}. The official archives have none; fetch them again."
        )

    def fault(decode: Callable[[StoredFile], object], file: StoredFile) -> str:
        try:
            decode(file)
        except DatasetError as error:
            return str(error)
        return ""

    files = [*dataset.images.values(), *dataset.masks.values()]
    decoders = [decode_image] * len(dataset.images) + [decode_mask] * len(dataset.masks)
    with ThreadPoolExecutor() as threads:
        faults = list(
            filter(
                None, bar(threads.map(fault, decoders, files), desc="verify", total=len(files), disable=not progress)
            )
        )
    if faults:
        raise DatasetError(f"{root}: {len(faults)} of {len(files)} images and masks do not decode: {some(faults)}")


def patient_session(back_off: float = 1.0) -> requests.Session:
    """A session that asks again where there is no answer or a status that passes, after pauses that double."""
    again = Retry(
        total=TRIES - 1,
        backoff_factor=back_off,
        backoff_max=LONGEST_WAIT,
        status_forcelist=TRY_AGAIN,
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again))
    session.headers["Accept-Encoding"] = "identity"  # ranges and lengths are those of the file itself
    return session


def get(session: requests.Session, url: str, method: str = "GET", **options: Any) -> requests.Response:
    """Ask a server.

    Raises:
        DatasetError: the server refuses, or stays away.
        ConfigError: `url` is no address.
    """
    try:
        answer = session.request(method, url, timeout=TIMEOUT, **options)
    except requests.RequestException as error:
        if isinstance(error, ValueError):  # InvalidURL, MissingSchema and their like
            raise ConfigError(f"{url}: is no address of a server; it begins with https:// or http://.") from error
        raise DatasetError(f"{url}: no answer ({type(error).__name__}) {GAVE_UP}") from error
    if answer.ok:
        return answer
    answer.close()
    remedy = f" {GAVE_UP}" if answer.status_code in TRY_AGAIN else ". Check the address."
    raise DatasetError(f"{url}: the server answers {answer.status_code} {answer.reason}{remedy}")


@dataclass(frozen=True)
class _Remote:
    """One file on the server, and where it is to lie."""

    url: str
    path: Path
    size: int  # bytes
    validator: str  # ETag, else Last-Modified: changes with the content; "" where the server sends none

    @property
    def part(self) -> Path:
        """What is there of just this version of the file: parts of two versions are never joined."""
        mark = hashlib.sha256(f"{self.size} {self.validator}".encode()).hexdigest()[:8]
        return self.path.with_name(f"{self.path.name}.{mark}.part")

    def bytes_there(self) -> int:
        """Bytes of this very version that are on disk; 0 where the server names no version of the file."""
        there = self.part.stat().st_size if self.validator and self.part.exists() else 0
        return there if there <= self.size else 0


def _endings(masks: bool) -> tuple[str, ...]:
    """Small files first, so that a wrong address shows at once."""
    return ("_Part3_GroundTruth.csv", *(("_Part1_GroundTruth.zip",) if masks else ()), "_Data.zip")


def _look(session: requests.Session, base_url: str, path: Path) -> _Remote:
    """Ask the server what it has, before anything is fetched."""
    url = f"{base_url.rstrip('/')}/{path.name}"
    with get(session, url, "HEAD") as answer:
        size, validator = _version(answer)
    if size is None:
        raise DatasetError(f"{url}: the server does not say how long the file is. Use one that serves plain files.")
    return _Remote(url, path, size, validator)


def _version(answer: requests.Response) -> tuple[int | None, str]:
    """Size in bytes and validator of the whole file that an answer, or a part of it, belongs to."""
    size = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    etag = answer.headers.get("ETag", "")
    is_strong = etag != "" and not etag.startswith("W/")  # a weak one may stand for other bytes
    return int(size) if size.isdecimal() else None, etag if is_strong else answer.headers.get("Last-Modified", "")


def _require_space(root: Path, missing: Iterable[_Remote]) -> None:
    needed = sum(file.size - file.bytes_there() for file in missing)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DatasetError(
            f"{root}: {needed / 1e9:.1f} GB are still to fetch and {free / 1e9:.1f} GB are free. "
            "Make room or choose another folder."
        )


def _fetch(session: requests.Session, file: _Remote, sha256: str | None, fetched: tqdm, back_off: float) -> None:
    """Fetch one file, from where an earlier call left it, and give it its name when it is whole and right."""
    for part in file.path.parent.glob(f"{file.path.name}.*.part"):
        if part != file.part:
            part.unlink()
    fetched.set_description(file.path.name)
    most, tried = file.bytes_there(), 0
    before = fetched.n - most  # bytes of the files before this one
    while True:
        with suppress(requests.RequestException):
            _append(session, file, lambda there: fetched.update(before + there - fetched.n))
        there = file.part.stat().st_size if file.part.exists() else 0
        if there == file.size:
            break
        tried = 1 if there > most else tried + 1  # in a row, each without one more byte than those before
        most = max(there, most)
        if tried == TRIES:
            raise DatasetError(f"{file.url}: broke off after {there} of {file.size} bytes {GAVE_UP}")
        time.sleep(min(back_off * 2 ** (tried - 1), LONGEST_WAIT))
    if fault := _fault(file.part, sha256):
        file.part.unlink()
        raise DatasetError(f"{file.url}: {fault}. Run it again; if it stays so, the server has another file.")
    file.part.replace(file.path)


def _append(session: requests.Session, file: _Remote, advance: Callable[[int], object]) -> None:
    """Fetch the bytes that are not there yet; all of them if the server cannot give a part."""
    there = file.bytes_there()
    if there == file.size:
        file.part.touch()  # an empty file has no bytes to ask for
        return
    headers = {"Range": f"bytes={there}-", "If-Range": file.validator} if there else {}
    with get(session, file.url, headers=headers, stream=True) as answer:
        if _version(answer) != (file.size, file.validator):
            raise DatasetError(f"{file.url}: changed while it was fetched. Run it again.")
        is_rest = answer.status_code == 206
        if is_rest and not answer.headers["Content-Range"].startswith(f"bytes {there}-"):
            raise DatasetError(f"{file.url}: the server sends another part of it than asked for. Use another server.")
        with file.part.open("ab" if is_rest else "wb") as part:
            for piece in answer.iter_content(PIECE):
                part.write(piece)
                advance(part.tell())


def _fault(path: Path, sha256: str | None) -> str:
    """What is wrong with a file: its hash if that is known, or what an archive's own sums say; "" if nothing is."""
    if sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        return "" if found == sha256 else f"its SHA-256 is {found[:12]}..., not the known {sha256[:12]}..."
    if ".zip" not in path.name:
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        return f"not a whole zip archive ({error})"
    return f"its entry {damaged} is damaged" if damaged else ""
