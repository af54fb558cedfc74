"""Damage to what people bring: pictures, tables and archives that are read, or refused in one line."""

import io
import random
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from arlrepro.config import Experiment, to_dict, with_settings
from arlrepro.data.files.images import IMAGE_FORMATS, decode_image
from arlrepro.data.files.stored import StoredFile, list_files
from arlrepro.data.isic import read_dataset
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.errors import ArlReproError
from arlrepro.evaluation.submission import read_labels, read_scores
from arlrepro.paper.claims import CLAIMS_YAML, read_claims
from arlrepro.paper.published import PUBLISHED_CSV, read_published
from arlrepro.registry import CLASSES
from benchmarks.faults.damage import Damage, survives

HEADER = f"image_id,{','.join(CLASSES)}\n"


def pictures(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Pictures of every format that is read; most carry no checksum, so other pixels may come of them."""
    lesion = Image.fromarray(draw_lesion("melanoma", 1, 48).image)
    made = []
    for format in IMAGE_FORMATS:
        encoded = io.BytesIO()
        lesion.save(encoded, format)
        made.append(encoded.getvalue())
    file = StoredFile(folder, "lesion.jpg", 0)
    while True:
        (folder / file.name).write_bytes(damage(draw.choice(made), draw))
        yield survives(lambda: decode_image(file), lambda image: image.mode == "RGB" and min(image.size) > 0)


def tables(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Tables of scores and of labels; a digit may change, but what is read is a table of that kind."""
    path = folder / "table.csv"
    ids = [f"ISIC_{number:07d}" for number in range(20)]
    scores = HEADER + "".join(f"{one},0.{number:02d},0.5\n" for number, one in enumerate(ids))
    labels = HEADER + "".join(f"{one},{number % 2},0\n" for number, one in enumerate(ids))
    while True:
        text, read = draw.choice([(scores, read_scores), (labels, read_labels)])
        path.write_bytes(damage(text.encode(draw.choice(["utf8", "utf-8-sig", "utf-16"])), draw))
        yield survives(partial(read, path), lambda table: table.isna().sum().sum() == 0 and table.index.is_unique)


def data_sets(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """The table of a folder of images, as `--data` takes it."""
    names = [f"mole{number}" for number in range(4)]
    for name in names:
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    whole = f"{HEADER[:-1]},age_approximate,sex\n" + "".join(f"{name},0,1,50,female\n" for name in names)
    while True:
        (folder / "labels.csv").write_bytes(damage(whole.encode(), draw))
        yield survives(lambda: read_dataset(folder), lambda read: set(read.lesions.index) <= set(names))


def archives(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Zip archives of images: what comes out of one is what was put in."""
    path, inside = folder / "images.zip", {f"a/{name}.jpg": bytes([name]) * 300 for name in range(5)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in inside.items():
            archive.writestr(name, content)
    whole = path.read_bytes()

    def read() -> list[bytes]:
        contents = []
        for file in list_files(path).files:
            try:
                contents.append(file.read())
            except ArlReproError as error:  # of one image, which costs that image
                assert "\n" not in str(error)
        return contents

    while True:
        path.unlink()  # as another file, or the archive that was read before would be taken for this one
        path.write_bytes(damage(whole, draw))
        yield survives(read, lambda contents: set(contents) <= set(inside.values()))


def files_of_the_paper(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """`claims.yaml` and `published.csv`, which anyone may edit."""
    while True:
        source, read = draw.choice([(CLAIMS_YAML, read_claims), (PUBLISHED_CSV, read_published)])
        path = folder / source.name
        path.write_bytes(damage(source.read_bytes(), draw))
        yield survives(partial(read, path), lambda content: len(content) > 0)


def settings(folder: Path, draw: random.Random, damage: Damage) -> Iterator[bool]:
    """Settings given on the command line: a config that comes back, or a line."""
    fields = [
        f"{section}.{name}"
        for section, entries in to_dict(Experiment()).items()
        if section != "task"
        for name in entries
    ]
    numbers = ["-1", "0", "NaN", "Infinity", "1e400", "9" * 5000]
    values = [*numbers, "[" * 5000, "[5]", "[]", "{}", "null", "true", "x" * 9999, '""']
    while True:
        read = partial(with_settings, Experiment(), [f"{draw.choice(fields)}={draw.choice(values)}"])
        yield survives(read, lambda made: to_dict(made) is not None)
