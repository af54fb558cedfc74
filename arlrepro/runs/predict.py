"""A finished network on anyone's images."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, PngImagePlugin

from arlrepro import paths, registry, storage
from arlrepro.attention.overlay import overlay
from arlrepro.data.files.images import decode_image
from arlrepro.data.files.stored import IMAGE_SUFFIXES, Listing, StoredFile, list_files, merged
from arlrepro.errors import ArlReproError, DatasetError, OutputError, RunError, printable, some
from arlrepro.evaluation.calibration import with_temperature
from arlrepro.progress import bar
from arlrepro.registry import CLASSES, NETWORKS, classes_of
from arlrepro.runs import archive, weights
from arlrepro.runs.archive import Run

STATEMENT = "Research software, not a medical device: these numbers must not guide the care of any person."
DRAWN = "The network was trained on synthetic images and knows nothing about real lesions."


OTHER_FILES = "files that are no pictures"
#: The calibrated probability of a class, a column beside its raw score; `evaluation.submission` passes it over.
PROBABILITIES = {name: f"{name}_probability" for name in CLASSES}


@dataclass(frozen=True)
class Scored:
    """What came out for a list of images."""

    table: pd.DataFrame  # image_id; for each class that the network has, its score and probability; file; note
    failed: dict[str, str]  # file -> the one line that says what is wrong with it
    skipped: Mapping[str, tuple[str, ...]]  # reason -> what was passed over in the folders


def find_images(inputs: Sequence[Path]) -> Listing:
    """The files given, and the image files in the folders and zip archives given, as :func:`list_files` finds them.

    Raises:
        DatasetError: an input does not exist, or there is no image file at all.
    """
    found: dict[Path, StoredFile] = {}
    skipped: dict[str, tuple[str, ...]] = {}
    for one in inputs:
        try:
            size = one.stat().st_size
        except OSError as error:
            what = "may not be read" if isinstance(error, PermissionError) else "no such file or folder"
            raise DatasetError(f"{printable(str(one))}: {what}") from error
        if one.is_dir() or one.suffix.lower() == ".zip":
            listing = list_files(one)
            images = listing.images
            others = tuple(str(file) for file in listing.files if file.suffix not in IMAGE_SUFFIXES)
            skipped = merged(skipped, {**listing.skipped, **({OTHER_FILES: others} if others else {})})
        else:
            images = [StoredFile(one.parent, one.name, size)]
        found |= {(image.container / image.name).absolute(): image for image in images}
    if not found:
        passed = "".join(f"; passed over are {reason}: {some(names)}" for reason, names in skipped.items())
        known = ", ".join(IMAGE_SUFFIXES)
        raise DatasetError(f"{printable(str(inputs[0]))}: no image files in it; known suffixes: {known}{passed}")
    return Listing(tuple(found.values()), skipped)


def image_ids_of(images: Sequence[StoredFile]) -> list[str]:
    """An id for each file that is unique, also where capitals do not count, and can be a file's name anywhere.

    It is the file's name without suffix, a character that cannot be written as `_`; where several files are called
    alike, those after the first are numbered by numbers that no other file's name has.

    Example:
        >>> image_ids_of([StoredFile(Path("x"), name, 0) for name in ("mole.jpg", "d/mole.jpg", "mole-2.png")])
        ['mole', 'mole-3', 'mole-2']
    """
    names = [_writable(file.stem) for file in images]
    taken = {name.casefold() for name in names}
    seen: Counter[str] = Counter()
    ids = []
    for name in names:
        one = name
        while seen[name.casefold()] and one.casefold() in taken:
            seen[name.casefold()] += 1
            one = f"{name}-{seen[name.casefold()]}"
        seen[name.casefold()] = max(1, seen[name.casefold()])
        taken.add(one.casefold())
        ids.append(one)
    return ids


def _writable(name: str) -> str:
    """A name without what some file system or table cannot hold: at most 150 bytes of printable characters."""
    shown = "".join("_" if one in '/\\:*?<>|"' or not one.isprintable() else one for one in name)
    return shown.strip(" .").encode()[:150].decode(errors="ignore") or "image"


def score_images(
    inputs: Sequence[Path], run: Run, out: Path, device: str = "auto", weights_file: Path | None = None
) -> Scored:
    """Score images by the test protocol, the mean over the evaluation patches, and draw where the network looked.

    Args:
        inputs: image files of any size and usual format, and folders or zip archives of them.
        run: its weights are in its folder or committed.
        out: folder to make: `predictions.csv`, a row written as soon as its image is scored, and `<image_id>.png` for
            each image, with its scores and the scale of the map's colours. Beside a class's score, in the column named
            after it, stands in `<class>_probability` the same calibrated on the run's validation lesions; empty where
            they do not allow it.
        device: `auto`, `cpu` or `cuda`.
        weights_file: to load in place of those in the run's folder or the committed ones.

    Returns:
        The table that was written, and what failed; one bad file does not keep the others from being scored.

    Raises:
        DatasetError: no images.
        OutputError: the output folder cannot be written.
        RunError: the run has no weights here, or the output folder exists and is not empty.
    """
    from arlrepro.attention.localisation import activations
    from arlrepro.data.patches import Lesions
    from arlrepro.models.devices import choose_device
    from arlrepro.models.inference import Predictor

    listing = find_images(inputs)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: exists and is not an empty folder; name another with --out")
    predictor = Predictor(weights.load_network(run, device, weights_file), run.experiment)
    experiment, classes, where = run.experiment, list(classes_of(run.experiment.task)), choose_device(device)
    temperatures = weights.temperatures(run) if weights_file is None else weights.temperatures_of(weights_file)
    note = f"{STATEMENT} {DRAWN}" if experiment.data.source == "synthetic" else STATEMENT
    information = PngImagePlugin.PngInfo()
    information.add_text("Comment", note)

    def scored(image: Image.Image) -> tuple[list[float], np.ndarray]:
        """Scores by class, and the activation map."""
        side = experiment.data.side
        pixels = np.array(image.resize((side, side), Image.Resampling.LANCZOS))[None]
        lesion = Lesions.load(("",), pixels, np.zeros((1, 2), dtype=np.int64), where)
        activation = activations(predictor, lesion)[0].mean(dim=0).cpu().numpy()
        return predictor.scores(lesion)[0].tolist(), activation.astype(np.float64)

    columns = ["image_id", *CLASSES, *PROBABILITIES.values(), "file", "note"]
    rows, failed = [], {}
    with storage.writing(out):
        out.mkdir(parents=True, exist_ok=True)
        stream = (out / "predictions.csv").open("w", encoding="utf8", newline="")
    with stream:
        table = csv.writer(stream, lineterminator="\n")

        def write(row: Sequence[str]) -> None:
            with storage.writing(out / "predictions.csv"):
                table.writerow(row)
                stream.flush()

        write(columns)
        shown = bar(listing.files, unit="image")
        for file, image_id in zip(shown, image_ids_of(listing.files), strict=True):
            # Reason: whatever goes wrong with one image costs that image, never the rows of the others.
            try:
                # The image is decoded once for the picture, and reduced from there for the network.
                image = decode_image(file)
                scores, activation = scored(image)
            except ArlReproError as error:
                failed[str(file)] = str(error)
                continue
            except (OSError, RuntimeError, ValueError, MemoryError) as error:
                failed[str(file)] = f"{file}: not scored ({type(error).__name__}: {printable(str(error), 200)})."
                continue
            numbers = dict(zip(classes, scores, strict=True))
            for name, temperature in temperatures.items():
                numbers[PROBABILITIES[name]] = float(with_temperature(np.array([numbers[name]]), temperature)[0])
            rows.append({"image_id": image_id, **numbers, "file": str(file), "note": note})
            shown_numbers = (f"{numbers[one]:.9g}" if one in numbers else "" for one in columns[1:-2])
            write([image_id, *shown_numbers, str(file), note])
            of_each = (f"{registry.TASK_WORDS[one]} {numbers[one]:.2f}" for one in classes)
            said = f"{registry.network(run.network)}: {', '.join(of_each)}"
            try:
                with storage.writing(out / f"{image_id}.png"), storage.replacing(out / f"{image_id}.png") as new:
                    overlay(image, activation, said).save(new, "PNG", pnginfo=information)
            except (OutputError, ValueError, MemoryError) as error:
                failed[str(file)] = f"{file}: scored, but its picture is not there: {printable(str(error), 300)}."
    return Scored(pd.DataFrame(rows, columns=columns), failed, listing.skipped)


def find_run(name: str = "") -> Run:
    """A run by its folder, or by its id: a live one of any profile here, else an archived one.

    Args:
        name: if empty, the archived run of a network with attention whose weights are committed; one that started from
            pretrained weights, where there are several.

    Raises:
        RunError: there is no such run here; the message lists those whose weights are.
    """
    if not name:
        return _by_default()
    if Path(name).is_dir():
        return archive.read_run(Path(name))
    live = sorted((paths.root() / paths.RUNS).glob("*/*-s*-????????"))
    archived = sorted((paths.root() / paths.RESULTS).glob("*/*-s*-????????"))
    for folder in (*live, *archived):
        if folder.name == name:
            return archive.read_run(folder)
    there = list(dict.fromkeys([*(folder.name for folder in live), *(run.id for run in given_away())]))
    known = some(there) if there else "none; `arlrepro train` makes one"
    raise RunError(f"{name}: neither a run's folder nor the id of a run here ({known})")


def given_away(profile: str = "*") -> list[Run]:
    """The archived runs of a profile, or of any, whose weights are committed."""
    archived = sorted((paths.root() / paths.RESULTS).glob(f"{profile}/*-s*-????????"))
    return [archive.read_run(folder) for folder in archived if paths.committed_weights(folder.name).is_file()]


def _by_default() -> Run:
    """What `find_run` gives for no name."""
    runs = [run for run in given_away() if NETWORKS[run.network].attention]
    if not runs:
        raise RunError(f"{paths.root() / 'weights'}: no weights of an archived run with attention; name a run by --run")
    return min(runs, key=lambda run: (run.experiment.network.weights == "none", run.id))
