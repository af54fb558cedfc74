r"""Drawn dermoscopic images whose truth is known: lesion, signs and their exact masks, in the official file layout.

A pixel is skin seen through pigment, after Beer and Lambert:

.. math:: I_c = L_c \, S_c \, \exp(-m \, k^{melanin}_c - h \, k^{blood}_c - q \, k^{keratin}_c)

with light :math:`L`, the scattering of skin :math:`S`, and the amounts of melanin :math:`m`, blood :math:`h` and
keratin :math:`q` at that pixel. Each dermoscopic sign is one function that adds pigment or paint to a scene and
returns the pixels it changed. Signs appear with a frequency that depends on the kind of lesion; the more difficult a
lesion, the more its frequencies approach those of all kinds together, so no classifier can be perfect.

The drawing imitates what textbooks of dermoscopy describe; it is no model of disease and says nothing about patients.
"""

import io
import math
import zipfile
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from zlib import crc32

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFilter
from tqdm.auto import tqdm

from arlrepro.config import CLASSES, SPLITS
from arlrepro.errors import ConfigError, DatasetError, some

KINDS = (*CLASSES, "nevus")
Plane = Float[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]

SKIN = np.float32([0.93, 0.80, 0.74])  # reflectance of unpigmented skin in red, green, blue
MELANIN = np.float32([0.45, 0.80, 1.05])  # absorbance of one unit of pigment, by channel: brown
BLOOD = np.float32([0.08, 0.55, 0.42])  # pink to red
KERATIN = np.float32([0.10, 0.22, 0.55])  # yellowish

# How marked a lesion's general character is, in [0, 1]: mean for melanoma, seborrheic keratosis, nevus.
CHARACTER = {
    "asymmetry": (0.80, 0.40, 0.20),  # outline and colour differ between the halves
    "irregularity": (0.80, 0.35, 0.25),  # notched, ragged border
    "variegation": (0.90, 0.40, 0.20),  # several colours
    "sharpness": (0.45, 0.90, 0.35),  # abrupt edge
    "waxiness": (0.10, 0.90, 0.05),  # stuck-on, granular, dull yellow surface
}


@dataclass(frozen=True)
class SyntheticLesion:
    """One drawn lesion with its truth; hairs and other artefacts may lie over the masked structures."""

    kind: str  # one of KINDS
    difficulty: float  # in [0, 1]; at 1 its signs are as frequent as in any other kind
    image: UInt8[np.ndarray, "side side 3"]
    lesion_mask: Bool[np.ndarray, "side side"]
    structures: dict[str, np.ndarray]  # sign -> bool mask (side, side), only of signs that are there


@dataclass
class Scene:
    """A lesion being drawn: where it lies and how much of each pigment each pixel holds."""

    side: int
    character: dict[str, float]
    x: Plane  # image coordinates in [-1, 1]
    y: Plane
    centre: np.ndarray
    axes: np.ndarray  # (2, 2), image coordinates = centre + axes @ lesion coordinates
    size: float  # radius in half sides
    outline: np.ndarray  # smooth radius of the lesion by angle, one full turn
    angle: np.ndarray  # index into outline, by pixel
    radius: Plane  # 1 on the smooth outline
    depth: Plane  # > 0 inside the actual border, in lesion radii
    body: Plane  # share of the lesion's own colour, in [0, 1]
    strength: float  # pigment of this lesion
    melanin: Plane
    blood: Plane
    keratin: Plane
    mask: Mask
    paint: list[tuple[Plane, tuple[float, float, float]]] = field(default_factory=list)

    def noise(self, rng: np.random.Generator, cells: int, octaves: int = 1) -> Plane:
        """Smooth random field with unit variance; `cells` bumps across one lesion diameter."""
        return fractal_noise(rng, max(2, round(cells / self.size)), self.side, octaves)

    def scatter(self, rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
        """Random points between two radii of the smooth outline, as (count, 2) image coordinates."""
        turn = rng.uniform(0, 1, count)
        reach = np.sqrt(rng.uniform(low**2, high**2, count)) * self.outline[(turn * len(self.outline)).astype(int)]
        return self.centre + (reach * np.array([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)])).T @ self.axes.T

    def discs(self, centres: np.ndarray, radii: np.ndarray, edge: float = 0.35) -> Plane:
        """Soft discs, 1 in the middle; radii in image coordinates, `edge` the soft share of a radius."""
        plane = np.zeros((self.side, self.side), np.float32)
        for (cx, cy), radius in zip(centres, radii, strict=True):
            top, left = (max(0, int((c - 1.3 * radius + 1) / 2 * self.side)) for c in (cy, cx))
            bottom, right = (max(0, math.ceil((c + 1.3 * radius + 1) / 2 * self.side)) for c in (cy, cx))
            window = np.s_[top:bottom, left:right]
            distance = np.hypot(self.x[window] - cx, self.y[window] - cy) / radius
            plane[window] = np.maximum(plane[window], np.clip((1 - distance) / edge + 0.5, 0, 1))
        return plane


def fractal_noise(rng: np.random.Generator, cells: int, side: int, octaves: int = 1) -> Plane:
    """Random field with mean near 0 and variance near 1, drawn on grids that do not depend on `side`."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        grid = Image.fromarray(rng.standard_normal((cells << octave, cells << octave), dtype=np.float32))
        total += np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC)) * np.float32(0.6**octave)
    return total / total.std()


def smoothstep(values: Plane, low: float, high: float) -> Plane:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def honeycomb(scene: Scene, rng: np.random.Generator, meshes: float, disorder: float) -> Plane:
    """Lines of a hexagonal net in [0, 1]: three plane waves at 120 degrees, bent by noise."""
    wave = np.pi * meshes / scene.size
    bend_x, bend_y = (disorder * scene.noise(rng, 4, 2) for _ in range(2))
    turn = rng.uniform(0, np.pi)
    total = np.zeros_like(scene.x)
    for k in range(3):
        c, s = math.cos(turn + k * 2 * np.pi / 3), math.sin(turn + k * 2 * np.pi / 3)
        total += np.cos(wave * (c * scene.x + s * scene.y) + c * bend_x + s * bend_y)
    return smoothstep(-total, -0.6, 1.1)


def pigment_network(scene: Scene, rng: np.random.Generator) -> Mask:
    """Typical network: even thin brown lines with even meshes, fading to the edge (pigmented rete ridges)."""
    lines = honeycomb(scene, rng, rng.uniform(9, 13), 0.6) * smoothstep(scene.depth, 0.0, 0.5)
    scene.melanin += scene.strength * (0.9 * lines - 0.25 * scene.body)
    return lines > 0.4


def atypical_network(scene: Scene, rng: np.random.Generator) -> Mask:
    """Atypical network: dark, thick, uneven lines that end abruptly, in part of the lesion only."""
    patch = smoothstep(scene.noise(rng, 2), -0.3, 0.5) * (scene.depth > 0.02)
    lines = honeycomb(scene, rng, rng.uniform(6, 9), 2.0) * patch * np.clip(1 + 0.5 * scene.noise(rng, 4), 0.2, 2)
    scene.melanin += scene.strength * 1.5 * lines
    return lines > 0.4


def globules(scene: Scene, rng: np.random.Generator) -> Mask:
    """Regular globules: brown dots of one size, evenly spread (nests of melanocytes)."""
    count = int(rng.integers(25, 50))
    spots = scene.discs(scene.scatter(rng, count, 0.1, 0.85), scene.size * rng.uniform(0.035, 0.045, count), 0.6)
    scene.melanin += scene.strength * 0.9 * spots
    return spots > 0.4


def irregular_dots(scene: Scene, rng: np.random.Generator) -> Mask:
    """Irregular dots: black or brown, of many sizes, crowded to one side."""
    count = int(rng.integers(8, 22))
    points = scene.scatter(rng, 4 * count, 0.2, 0.95)
    side_of = (points - scene.centre) @ rng.standard_normal(2)
    spots = scene.discs(points[np.argsort(side_of)[:count]], scene.size * rng.uniform(0.025, 0.09, count))
    scene.melanin += (1 + scene.strength) * spots
    return spots > 0.4


def irregular_blotch(scene: Scene, rng: np.random.Generator) -> Mask:
    """Off-centre dark structureless area with an uneven edge."""
    middle = scene.scatter(rng, 1, 0.35, 0.6)[0]
    distance = np.hypot(scene.x - middle[0], scene.y - middle[1]) / (scene.size * rng.uniform(0.3, 0.5))
    blotch = smoothstep(1 - distance + 0.25 * scene.noise(rng, 5, 2), -0.15, 0.15) * scene.body
    scene.melanin += 1.6 * blotch
    return blotch > 0.4


def blue_white_veil(scene: Scene, rng: np.random.Generator) -> Mask:
    """Confluent blue area under a white ground-glass haze (melanin deep in the dermis below thick epidermis)."""
    middle = scene.scatter(rng, 1, 0.0, 0.55)[0]
    distance = np.hypot(scene.x - middle[0], scene.y - middle[1]) / (scene.size * rng.uniform(0.45, 0.75))
    veil = smoothstep(1 - distance + 0.35 * scene.noise(rng, 4, 3), -0.1, 0.5) * smoothstep(scene.depth, 0, 0.15)
    scene.melanin += 0.8 * veil
    scene.paint.append((0.75 * veil, (0.36, 0.42, 0.55)))
    scene.paint.append((0.35 * veil * smoothstep(scene.noise(rng, 6, 2), 0, 1.5), (0.75, 0.78, 0.85)))
    return veil > 0.4


def regression(scene: Scene, rng: np.random.Generator) -> Mask:
    """Regression: a white scar-like area with blue-grey peppering, where the tumour has gone."""
    scar = smoothstep(scene.noise(rng, 3, 2), 0.2, 0.9) * smoothstep(scene.depth, 0.0, 0.2)
    scene.melanin *= 1 - 0.8 * scar
    scene.paint.append((0.55 * scar, (0.88, 0.80, 0.78)))
    scene.paint.append((0.6 * scar * smoothstep(scene.noise(rng, 40), 0.8, 1.6), (0.38, 0.42, 0.50)))
    return scar > 0.4


def streaks(scene: Scene, rng: np.random.Generator) -> Mask:
    """Streaks: dark radial lines and pseudopods that leave the edge over part of the circumference."""
    turns = np.arange(len(scene.outline)) / len(scene.outline)
    start, reach = rng.uniform(0, 1), rng.uniform(0.25, 0.6)
    length = np.zeros_like(turns)
    for turn in start + reach * (np.arange(16) + rng.uniform(-0.3, 0.3, 16)) / 16:
        away = np.abs((turns - turn + 0.5) % 1 - 0.5)
        length = np.maximum(length, rng.uniform(0.10, 0.28) * np.clip(1 - away / rng.uniform(0.006, 0.012), 0, 1))
    length = np.float32(length)[scene.angle]
    rays = smoothstep(length - np.maximum(scene.radius - 1, 0), 0.0, 0.06) * smoothstep(scene.radius, 0.75, 0.95)
    scene.melanin += (0.6 + scene.strength) * rays
    scene.mask |= rays > 0.4
    return rays > 0.4


def milia_like_cysts(scene: Scene, rng: np.random.Generator) -> Mask:
    """Milia-like cysts: small round white or yellowish spots, hazy (balls of keratin under the surface)."""
    count = int(rng.integers(6, 20))
    spots = scene.discs(scene.scatter(rng, count, 0.1, 0.85), scene.size * rng.uniform(0.04, 0.085, count), 0.7)
    scene.paint.append((0.75 * spots, (0.95, 0.90, 0.78)))
    return spots > 0.4


def comedo_openings(scene: Scene, rng: np.random.Generator) -> Mask:
    """Comedo-like openings: round sharp brown-black plugs (keratin in dilated follicles)."""
    count = int(rng.integers(5, 16))
    spots = scene.discs(scene.scatter(rng, count, 0.05, 0.85), scene.size * rng.uniform(0.04, 0.09, count), 0.25)
    scene.paint.append((0.8 * spots, (0.20, 0.13, 0.09)))
    return spots > 0.4


def fissures(scene: Scene, rng: np.random.Generator) -> Mask:
    """Fissures and ridges: winding dark furrows between pale ridges, like a brain's surface."""
    furrows = smoothstep(-np.abs(scene.noise(rng, 6)), -0.35, -0.1) * smoothstep(scene.depth, 0.0, 0.15)
    scene.melanin += (0.4 + 0.6 * scene.strength) * furrows - 0.15 * scene.body
    return furrows > 0.4


# Frequency of each sign in easy melanomas, seborrheic keratoses and nevi; our choice, in the direction of textbooks.
SIGNS: dict[Callable[[Scene, np.random.Generator], np.ndarray], tuple[float, float, float]] = {
    pigment_network: (0.15, 0.05, 0.75),
    atypical_network: (0.65, 0.03, 0.06),
    globules: (0.05, 0.03, 0.35),
    irregular_dots: (0.55, 0.06, 0.08),
    irregular_blotch: (0.50, 0.10, 0.10),
    fissures: (0.03, 0.50, 0.03),
    regression: (0.35, 0.03, 0.03),
    blue_white_veil: (0.60, 0.04, 0.03),
    streaks: (0.45, 0.02, 0.04),
    comedo_openings: (0.02, 0.60, 0.02),
    milia_like_cysts: (0.03, 0.75, 0.03),
}


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
        ConfigError: the kind or a sign does not exist.

    Example:
        >>> lesion = draw_lesion("melanoma", seed=1, side=64, signs=["streaks"])
        >>> lesion.image.shape, sorted(lesion.structures)
        ((64, 64, 3), ['streaks'])
    """
    names = [sign.__name__ for sign in SIGNS]
    if kind not in KINDS:
        raise ConfigError(f"draw_lesion: no lesion of kind {kind!r}; there are {', '.join(KINDS)}.")
    if unknown := sorted(set(signs or ()) - set(names)):
        raise ConfigError(f"draw_lesion: no sign {', '.join(unknown)}; there are {', '.join(names)}.")

    def stream(part: str) -> np.random.Generator:
        """Random numbers of one part of the picture, which no other part can shift."""
        return np.random.Generator(np.random.PCG64([*np.atleast_1d(seed).tolist(), crc32(part.encode())]))

    rng, own = stream("lesion"), KINDS.index(kind)
    difficulty = float(rng.beta(1.5, 2.5))

    def blend(by_kind: tuple[float, ...]) -> float:
        return (1 - difficulty) * by_kind[own] + difficulty * sum(by_kind) / len(by_kind)

    character = {
        name: float(np.clip(blend(mean) + 0.15 * rng.standard_normal(), 0, 1)) for name, mean in CHARACTER.items()
    }
    scene = shape(rng, character, side)
    structures = {}
    for sign, frequency in SIGNS.items():
        rng = stream(sign.__name__)
        if rng.uniform() < blend(frequency) if signs is None else sign.__name__ in signs:
            structures[sign.__name__] = sign(scene, rng)
    scene.mask |= np.logical_or.reduce([scene.mask, *structures.values()])
    structures = {name: mask for name, mask in structures.items() if mask.any()}
    return SyntheticLesion(kind, difficulty, photograph(scene, stream("photograph")), scene.mask, structures)


def shape(rng: np.random.Generator, character: dict[str, float], side: int) -> Scene:
    """Place a lesion on skin and give it outline and base colour after its character."""
    line = (np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1
    x, y = np.meshgrid(line, line)
    size = float(np.clip(0.52 * np.exp(0.28 * rng.standard_normal()), 0.25, 0.9))
    centre = np.clip(0.1 * rng.standard_normal(2), -0.25, 0.25)
    turn, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.22, 0.22))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    axes = size * rotation * [stretch, 1 / stretch]
    u, v = np.tensordot(np.float32(np.linalg.inv(axes)), np.stack([x - centre[0], y - centre[1]]), 1)

    turns = 2 * np.pi * np.arange(1024) / 1024
    waves = 0.13 * character["asymmetry"] * rng.standard_normal(5) / np.sqrt(np.arange(1, 6))
    outline = 1 + sum(w * np.cos(k * turns + rng.uniform(0, 7)) for k, w in enumerate(waves, start=1))
    outline = np.float32(np.clip(outline, 0.5, 1.5))
    angle = (np.arctan2(v, u) * np.float32(512 / np.pi)).astype(np.int16) % 1024
    radius = np.hypot(u, v) / outline[angle]

    nothing = np.zeros_like(x)
    scene = Scene(
        side, character, x, y, centre, axes, size, outline, angle, radius, 1 - radius, nothing,
        strength=float(np.exp(0.4 * rng.standard_normal())),
        melanin=nothing, blood=nothing, keratin=nothing, mask=radius < 1,
    )  # fmt: skip
    scene.depth = 1 - radius + (0.02 + 0.14 * character["irregularity"]) * scene.noise(rng, 5, 3)
    scene.mask = scene.depth > 0
    width = 0.22 - 0.19 * character["sharpness"]
    scene.body = smoothstep(scene.depth, -width / 2, width / 2)
    lopsided = u * rng.standard_normal() + v * rng.standard_normal()
    tone = 0.15 * scene.noise(rng, 12, 2) + character["variegation"] * 0.55 * scene.noise(rng, 3, 3)
    tone += 0.25 * character["asymmetry"] * lopsided + rng.uniform(-0.3, 0.3) * scene.depth
    scene.melanin = scene.strength * scene.body * np.exp(np.clip(tone, -1.5, 1.2))
    scene.blood = scene.body * (
        rng.uniform(0, 0.4) + character["variegation"] * 0.4 * smoothstep(scene.noise(rng, 3), 0.3, 1.5)
    )
    grain = scene.noise(rng, 20, 2)
    scene.keratin = scene.body * character["waxiness"] * (0.5 + 0.25 * grain)
    return scene


def photograph(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, "side side 3"]:
    """See the scene through a dermatoscope: skin, light, hairs, ruler, gel bubbles, dark corners, blur, noise."""
    side, x, y = scene.side, scene.x, scene.y
    tone = 0.12 * np.exp(0.7 * rng.standard_normal())
    melanin = scene.melanin + tone * (1 + 0.25 * fractal_noise(rng, 8, side, 3))
    flush = rng.uniform(0.05, 0.4)
    blood = scene.blood + flush * (1 + 0.35 * fractal_noise(rng, 10, side, 3))
    absorbed = [m * melanin + h * blood + q * scene.keratin for m, h, q in zip(MELANIN, BLOOD, KERATIN, strict=True)]
    image = SKIN * np.exp(-np.clip(np.stack(absorbed, axis=-1), 0, None))
    for share, colour in scene.paint:
        image += share[..., None] * (np.float32(colour) - image)

    light = 1 + 0.08 * (x * rng.standard_normal() + y * rng.standard_normal())
    light -= rng.uniform(0, 0.22) * (x * x + y * y)
    balance = np.exp(rng.standard_normal(3) * [0.05, 0.04, 0.08] + 0.08 * rng.standard_normal())
    image *= light[..., None] * np.float32(balance)

    if rng.uniform() < 0.3:
        for _ in range(int(rng.integers(1, 6))):
            gel_bubble(image, x, y, rng)
    if rng.uniform() < 0.6:
        draw_lines(image, hairs(rng), np.float32([0.13, 0.09, 0.08]) * rng.uniform(0.6, 3), rng.uniform(0.5, 0.9))
    if rng.uniform() < 0.3:
        draw_lines(image, ruler(rng), np.float32([0.22, 0.20, 0.22]), 0.75)
    if rng.uniform() < 0.35:
        field_of_view = smoothstep(rng.uniform(1.05, 1.35) - np.hypot(x, y), -0.02, 0.03)
        image *= 0.03 + 0.97 * field_of_view[..., None]

    image += np.float32(0.012) * rng.standard_normal((side, side, 1), dtype=np.float32)
    photo = Image.fromarray(np.uint8(np.clip(image, 0, 1) * 255 + 0.5))
    return np.asarray(photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8) * side / 256)))


def gel_bubble(image: np.ndarray, x: Plane, y: Plane, rng: np.random.Generator) -> None:
    """A bubble in the contact gel: a thin rim, bright on the side of the lamp."""
    centre, radius, lamp = rng.uniform(-0.95, 0.95, 2), rng.uniform(0.02, 0.1), rng.uniform(0, 2 * np.pi)
    dx, dy = x - centre[0], y - centre[1]
    away = np.hypot(dx, dy) / radius
    rim = np.clip(1 - np.abs(away - 1) * 6, 0, 1) * (1 + (dx * np.cos(lamp) + dy * np.sin(lamp)) / radius) / 2
    image += 0.55 * rim[..., None] * (1 - image)


def hairs(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Curved hairs, roughly in one direction: points in [-1, 1] and width in image sides."""
    turn, lines, t = rng.uniform(0, np.pi), [], np.linspace(0, 1, 14)[:, None]
    for _ in range(int(rng.integers(3, 28))):
        direction = turn + 0.5 * rng.standard_normal()
        step = np.array([np.cos(direction), np.sin(direction)]) * rng.uniform(0.3, 1.2)
        middle, bend = rng.uniform(-1.1, 1.1, 2), 0.2 * rng.standard_normal(2)
        curve = (1 - t) ** 2 * (middle - step) + 2 * t * (1 - t) * (middle + bend) + t**2 * (middle + step)
        lines.append((curve, rng.uniform(0.003, 0.009)))
    return lines


def ruler(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """The millimetre scale of a dermatoscope, near one edge."""
    along, across = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    ticks = np.linspace(-0.45, 0.45, 11)
    lines = [(np.array([ticks[0] * along, ticks[-1] * along]), 0.006)]
    for number, tick in enumerate(ticks):
        lines.append((np.array([tick * along, tick * along - (0.08 if number % 5 == 0 else 0.045) * across]), 0.005))
    turn, place = 0.3 * rng.standard_normal() + np.pi / 2 * rng.integers(4), np.array([rng.uniform(-0.3, 0.3), 0.8])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return [((points + place) @ rotation.T, width) for points, width in lines]


def draw_lines(image: np.ndarray, lines: list[tuple[np.ndarray, float]], colour: np.ndarray, opacity: float) -> None:
    """Lay smooth-edged lines over the image, in place."""
    fine = 3 * len(image)
    canvas = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    for points, width in lines:
        pen.line([tuple(p) for p in ((points + 1) / 2 * fine).tolist()], fill=255, width=max(1, round(width * fine)))
    share = np.asarray(canvas.reduce(3), dtype=np.float32)[..., None] * np.float32(opacity / 255)
    image += share * (np.float32(colour) - image)


# Lesions by kind in the official splits; the written set keeps these proportions in each of its own.
OFFICIAL_KINDS = {"training": (374, 254, 1372), "validation": (30, 42, 78), "test": (117, 90, 393)}
OFFICIAL_NAMES = {
    "training": "ISIC-2017_Training",
    "validation": "ISIC-2017_Validation",
    "test": "ISIC-2017_Test_v2",
}


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
    return np.random.Generator(np.random.PCG64([seed, crc32(split.encode())])).permutation(kinds).tolist()


def encode_lesion(kind: str, seed: int, number: int, side: int) -> tuple[dict[str, object], bytes, dict[str, bytes]]:
    """Draw image `number` of a data set: its row of truth, its JPEG file and the PNG files of its masks by name."""
    lesion = draw_lesion(kind, (seed, number), side)
    patient = np.random.Generator(np.random.PCG64([seed, number, crc32(b"patient")]))
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

    Args:
        root: Folder to make. It appears under its name only when it is whole.
        seed: Seed of the data set, 0 or more.
        side: Height and width of every image in pixels.
        counts: Images by split, at least 3 each; splits left out are not written.
        workers: Processes; one for each core if not given.
        progress: Show a progress bar with the time left.

    Raises:
        DatasetError: the folder exists already and is not empty.
        ConfigError: a split does not exist or is too small to hold one lesion of each kind.
    """
    if root.exists() and any(root.iterdir()):
        raise DatasetError(f"{root}: exists already; remove it or name another folder for the synthetic data set.")
    wrong = [f"{split}={count}" for split, count in counts.items() if split not in OFFICIAL_NAMES or count < 3]
    if wrong:
        raise ConfigError(
            f"synthetic data set: {some(wrong)}: splits are {', '.join(SPLITS)}, each of 3 images or more."
        )

    jobs = [
        (split, kind, seed, 1_000_000 * SPLITS.index(split) + place, side)
        for split in counts
        for place, kind in enumerate(kinds_of(split, counts[split], seed), start=1)
    ]
    root.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as temporary, ExitStack() as open_files:
        whole = Path(temporary) / root.name
        whole.mkdir()

        def archive(name: str) -> zipfile.ZipFile:
            return open_files.enter_context(zipfile.ZipFile(whole / f"{name}.zip", "w"))

        images = {split: archive(f"{OFFICIAL_NAMES[split]}_Data") for split in counts}
        lesion_masks = {split: archive(f"{OFFICIAL_NAMES[split]}_Part1_GroundTruth") for split in counts}
        structures = archive("SYNTH_Structures")
        pool = open_files.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
        drawn = pool.map(encode_lesion, *zip(*[job[1:] for job in jobs], strict=True), chunksize=16)
        rows = []
        for (split, *_), (row, jpeg, masks) in zip(
            jobs, tqdm(drawn, "draw", len(jobs), disable=not progress), strict=True
        ):
            rows.append({"split": split, **row})
            add_to(images[split], f"{row['image_id']}.jpg", jpeg)
            add_to(lesion_masks[split], f"{row['image_id']}_segmentation.png", masks.pop("segmentation"))
            for sign, png in masks.items():
                add_to(structures, f"{row['image_id']}_{sign}.png", png)

        lesions = pd.DataFrame(rows)
        for kind in CLASSES:
            lesions[kind] = (lesions["kind"] == kind).astype(float)
        for split, part in lesions.groupby("split"):
            metadata = part[["image_id", "age_approximate", "sex"]].to_csv(index=False, lineterminator="\n")
            add_to(images[split], f"{OFFICIAL_NAMES[split]}_Data_metadata.csv", metadata)
            truth = whole / f"{OFFICIAL_NAMES[split]}_Part3_GroundTruth.csv"
            part[["image_id", *CLASSES]].to_csv(truth, index=False, lineterminator="\r\n")
        lesions[["image_id", "split", "kind", "difficulty", "signs"]].to_csv(whole / "SYNTH_lesions.csv", index=False)
        open_files.close()
        whole.replace(root)


def read_structures(root: Path, image_id: str) -> dict[str, np.ndarray]:
    """Masks (height, width) of the signs of one lesion that `write_dataset` wrote, by name of the sign."""
    with zipfile.ZipFile(root / "SYNTH_Structures.zip") as archive:
        start = f"SYNTH_Structures/{image_id}_"
        files = [name for name in archive.namelist() if name.startswith(start)]
        return {Path(n).stem.removeprefix(f"{image_id}_"): np.asarray(Image.open(archive.open(n))) for n in files}
