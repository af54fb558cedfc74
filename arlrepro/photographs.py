"""Anyone's photographs in; probabilities, and pictures of where the network looked, out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image, PngImagePlugin

from arlrepro import material, runs
from arlrepro.archive import Run
from arlrepro.config import CLASSES, classes_of
from arlrepro.errors import DatasetError, RunError, some
from arlrepro.heat import heat, spread
from arlrepro.progress import bar
from arlrepro.sources import IMAGE_SUFFIXES, StoredFile, decode_image

STATEMENT = "Research software, not a medical device: these numbers must not guide the care of any person."
DRAWN = "The network was trained on drawn images and knows nothing about real lesions."
LONGEST_SIDE = 1024  # px of an overlay


@dataclass(frozen=True)
class Scored:
    """What came out for a list of photographs."""

    table: pd.DataFrame  # image_id, a probability for each class the network scores (else empty), note
    failed: dict[str, str]  # file -> the one line that says what is wrong with it


def find_photographs(inputs: Sequence[Path]) -> list[Path]:
    """The files given, and the image files in the folders given; other files in a folder are passed over.

    Raises:
        DatasetError: an input does not exist, or there is no image file at all.
    """
    found: list[Path] = []
    for one in inputs:
        if not one.exists():
            raise DatasetError(f"{one}: no such file or folder")
        inside = sorted(path for path in one.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
        found += inside if one.is_dir() else [one]
    if not found:
        raise DatasetError(f"{inputs[0]}: no image files in it; known suffixes: {', '.join(IMAGE_SUFFIXES)}")
    return list(dict.fromkeys(found))


def score_photographs(inputs: Sequence[Path], run: Run, out: Path, device: str = "auto") -> Scored:
    """Score photographs by the test protocol, the mean over the evaluation patches, and draw where the network looked.

    Args:
        inputs: image files of any size and usual format, and folders of them.
        run: its weights are in its folder or committed.
        out: folder to make: `predictions.csv`, and `<image_id>.png` for each photograph.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        The table that was written, and what failed; one bad file does not keep the others from being scored.

    Raises:
        DatasetError: no photographs.
        RunError: the run has no weights here, or the output folder exists and is not empty.
    """
    import torch

    from arlrepro.attention import whole_image
    from arlrepro.maps import class_activation_maps
    from arlrepro.patches import evaluation_boxes
    from arlrepro.precision import autocast
    from arlrepro.predict import Lesions, score

    photographs = find_photographs(inputs)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: exists and is not an empty folder; name another with --out")
    network = runs.load_network(run, device)
    experiment, classes = run.experiment, list(classes_of(run.experiment.task))
    boxes = evaluation_boxes(experiment.evaluation_patches, experiment.evaluation)
    note = f"{STATEMENT} {DRAWN}" if experiment.data.source == "synthetic" else STATEMENT
    out.mkdir(parents=True, exist_ok=True)
    rows, failed = [], {}
    for path, image_id in zip(bar(photographs, unit="photograph"), _names(photographs), strict=True):
        try:
            # The photograph is decoded once for the picture, and reduced from there for the network.
            image = decode_image(StoredFile(path.parent, path.name, path.stat().st_size))
        except DatasetError as error:
            failed[str(path)] = str(error)
            continue
        side = experiment.data.side
        pixels = np.array(image.resize((side, side), Image.Resampling.LANCZOS))[None]
        where, unknown = material.choose_device(device), np.zeros((1, 2), dtype=np.int64)
        lesion = Lesions.load((image_id,), pixels, unknown, where)
        probabilities = score(network, lesion, boxes, experiment.evaluation_patches, experiment.train.precision)[0]
        whole = lesion.cut(
            torch.zeros(1, dtype=torch.long), whole_image(experiment.evaluation_patches), experiment.evaluation_patches
        )
        with autocast(whole.device, experiment.train.precision):
            activation = class_activation_maps(network, whole)[0].mean(dim=0).cpu().numpy()
        rows.append({"image_id": image_id, **dict(zip(classes, probabilities, strict=True)), "note": note})
        information = PngImagePlugin.PngInfo()
        information.add_text("Comment", note)
        overlay(image, activation.astype(np.float64)).save(out / f"{image_id}.png", pnginfo=information)
    table = pd.DataFrame(rows, columns=["image_id", *CLASSES, "note"])
    table.to_csv(out / "predictions.csv", index=False, float_format="%.9g", lineterminator="\n")
    return Scored(table, failed)


def overlay(photograph: Image.Image, activation: Float[np.ndarray, "height width"]) -> Image.Image:
    """A photograph with a map over it, side by side with the photograph alone.

    Args:
        photograph: RGB; reduced so that its longest side is at most 1024 px, its shape kept.
        activation: any real values; the lowest shows as dark, the highest as pale.
    """
    plain = photograph.copy()
    plain.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    enlarged = Image.fromarray(spread(activation).astype(np.float32)).resize(plain.size, Image.Resampling.BILINEAR)
    covered = Image.blend(plain.convert("L").convert("RGB"), Image.fromarray(heat(np.asarray(enlarged))), 0.55)
    pair = Image.new("RGB", (2 * plain.width, plain.height))
    pair.paste(plain)
    pair.paste(covered, (plain.width, 0))
    return pair


def _names(photographs: Sequence[Path]) -> list[str]:
    """An id for each file: its name without suffix, and where two would be the same, numbered."""
    seen: Counter[str] = Counter()
    names = []
    for path in photographs:
        seen[path.stem] += 1
        names.append(path.stem if seen[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}")
    return names


def find_run(name: str) -> Run:
    """A run by its folder, or by its id: a live one of any profile here, else an archived one.

    Raises:
        RunError: there is no such run here; the message lists those whose weights are.
    """
    if Path(name).is_dir():
        return runs.read_run(Path(name))
    live = sorted((runs.root() / runs.RUNS).glob("*/*-s*-????????"))
    archived = sorted((runs.root() / runs.RESULTS).glob("*/*-s*-????????"))
    for folder in (*live, *archived):
        if folder.name == name:
            return runs.read_run(folder)
    committed = [folder for folder in archived if runs.committed_weights(folder.name).is_file()]
    there = list(dict.fromkeys(folder.name for folder in (*live, *committed)))
    known = some(there) if there else "none; `arlrepro train` makes one"
    raise RunError(f"{name}: neither a run's folder nor the id of a run here ({known})")
