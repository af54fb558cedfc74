r"""A patch of skin with one lesion, as amounts of pigment by pixel, and the photograph a dermatoscope takes of it.

A pixel is skin seen through pigment, after Beer and Lambert:

.. math:: I_c = L_c \, S_c \, \exp(-m \, k^{melanin}_c - h \, k^{blood}_c - q \, k^{keratin}_c)

with light :math:`L`, the scattering of skin :math:`S`, and the amounts of melanin :math:`m`, blood :math:`h` and
keratin :math:`q` at that pixel. What scatters light above the pigment (a white haze, a cyst) is paint laid over it.
Lengths are in half sides of the image or in lesion radii, never in pixels: another side shows the same scene.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFilter

Plane = Float[np.ndarray, "side side"]
Mask = Bool[np.ndarray, "side side"]
Photo = Float[np.ndarray, "3 side side"]  # linear light, by channel
Points = Float[np.ndarray, "points 2"]
Lines = list[tuple[np.ndarray, float]]  # points (points, 2) of each line and its width, in image coordinates

SKIN = np.array([0.93, 0.81, 0.76], dtype=np.float32)  # reflectance of skin without pigment in red, green, blue
MELANIN = np.array([0.38, 0.78, 1.10], dtype=np.float32)  # absorbance of one unit of pigment by channel: brown
BLOOD = np.array([0.06, 0.42, 0.34], dtype=np.float32)  # pink to red
KERATIN = np.array([0.12, 0.22, 0.50], dtype=np.float32)  # dull yellow


@dataclass
class Scene:
    """A lesion being drawn: where it lies and how much of each pigment each pixel holds."""

    side: int  # pixels
    x: Plane  # image coordinates in [-1, 1], to the right
    y: Plane  # and down
    centre: np.ndarray  # of the lesion, (x, y)
    axes: np.ndarray  # (2, 2): image coordinates = centre + axes @ lesion coordinates
    size: float  # mean radius of the lesion in half sides
    outline: np.ndarray  # its smooth radius by angle over one full turn
    angle: np.ndarray  # (side, side), index into outline
    radius: Plane  # 1 on the smooth outline
    depth: Plane  # above 0 inside the actual border, in lesion radii
    body: Plane  # share of the lesion's own colour, in [0, 1]
    strength: float  # how dark this lesion's pigment is, around 1
    melanin: Plane
    blood: Plane
    keratin: Plane
    mask: Mask
    paint: list[tuple[Plane, tuple[float, float, float]]] = field(default_factory=list)  # opacity, colour

    def noise(self, rng: np.random.Generator, cells: int, octaves: int = 1) -> Plane:
        """Smooth random field with variance 1 and `cells` bumps across half a side, or a lesion radius of 0.5."""
        return fractal_noise(rng, max(2, round(cells / self.size)), self.side, octaves)

    def scatter(self, rng: np.random.Generator, count: int, low: float, high: float) -> Points:
        """Random points between two radii of the smooth outline."""
        turn = rng.uniform(0, 1, count)
        reach = np.sqrt(rng.uniform(low**2, high**2, count))
        return self.place(turn, reach)

    def place(self, turn: np.ndarray, reach: np.ndarray) -> Points:
        """Image coordinates of points given by turn in [0, 1) and radius, 1 on the smooth outline."""
        reach = reach * self.outline[(turn * len(self.outline)).astype(int) % len(self.outline)]
        return self.centre + (reach * np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)])).T @ self.axes.T

    def discs(self, centres: Points, radii: np.ndarray, edge: float) -> Plane:
        """Soft discs, 1 in the middle and 0.5 at their radius; `edge` is the soft share of a radius."""
        plane = np.zeros_like(self.x)
        for (x, y), radius in zip(centres, radii, strict=True):
            (left, right), (top, bottom) = (
                [math.floor(np.clip((c + sign * 1.5 * radius + 1) / 2, 0, 1) * self.side) for sign in (-1, 1)]
                for c in (x, y)
            )
            window = np.s_[top : bottom + 1, left : right + 1]
            away = np.hypot(self.x[window] - x, self.y[window] - y) / radius
            plane[window] = np.maximum(plane[window], np.clip((1 - away) / edge + 0.5, 0, 1))
        return plane


def fractal_noise(rng: np.random.Generator, cells: int, side: int, octaves: int = 1) -> Plane:
    """Random field with mean near 0 and variance 1, drawn on grids that do not depend on `side`."""
    grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    for octave in range(1, octaves):
        cells *= 2
        finer = np.float32(0.6**octave) * rng.standard_normal((cells, cells), dtype=np.float32)
        grid = Image.fromarray(np.asarray(grid.resize((cells, cells), Image.Resampling.BICUBIC)) + finer)
    plane = np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))
    return plane / plane.std()


def smoothstep(values: Plane, low: float, high: float) -> Plane:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def rotation(turn: float) -> np.ndarray:
    """Matrix (2, 2) that turns points by an angle in radians."""
    return np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])


def lesion_on_skin(rng: np.random.Generator, character: dict[str, float], side: int) -> Scene:
    """Place a lesion roughly in the middle, with outline, edge and base colour after its character (see `signs`)."""
    line = (np.arange(side, dtype=np.float32) + 0.5) * np.float32(2 / side) - 1
    x, y = np.meshgrid(line, line)
    size = float(np.clip(0.5 * np.exp(0.3 * rng.standard_normal()), 0.22, 0.85))
    centre = np.clip(0.09 * rng.standard_normal(2), -0.25, 0.25)
    stretch = np.exp(rng.uniform(-0.25, 0.25))
    axes = size * rotation(rng.uniform(0, np.pi)) * [stretch, 1 / stretch]
    u, v = np.tensordot(np.float32(np.linalg.inv(axes)), np.stack([x - centre[0], y - centre[1]]).astype(np.float32), 1)

    turns = 2 * np.pi * np.arange(1024) / 1024
    waves = 0.13 * character["asymmetry"] * rng.standard_normal(5) / np.sqrt(np.arange(1, 6))
    outline = 1 + sum(wave * np.cos(k * turns + rng.uniform(0, 7)) for k, wave in enumerate(waves, start=1))
    outline = np.clip(outline, 0.5, 1.5).astype(np.float32)
    angle = (np.arctan2(v, u) * np.float32(512 / np.pi)).astype(np.int16) % 1024
    radius = np.hypot(u, v) / outline[angle]

    zero = np.zeros_like(x)
    scene = Scene(
        side, x, y, centre, axes, size, outline, angle, radius, depth=zero, body=zero, mask=radius < 1,
        strength=float(np.exp(0.45 * rng.standard_normal())), melanin=zero, blood=zero, keratin=zero,
    )  # fmt: skip
    ragged = scene.noise(rng, 4, 3)
    scene.depth = 1 - radius + np.float32(0.02 + 0.16 * character["irregularity"]) * ragged
    scene.mask = scene.depth > 0
    width = 0.40 - 0.34 * character["sharpness"]
    scene.body = smoothstep(scene.depth, -width / 2, width / 2)
    grain, clouds = scene.noise(rng, 16, 2), scene.noise(rng, 2, 3)
    tone = 0.14 * grain + 0.7 * character["variegation"] * clouds + rng.uniform(-0.3, 0.5) * scene.depth
    tone += 0.25 * character["asymmetry"] * (u * rng.standard_normal() + v * rng.standard_normal())
    scene.melanin = scene.strength * scene.body * np.exp(np.tanh(tone))
    redness = rng.uniform(0, 0.25) + 0.5 * character["variegation"] * smoothstep(scene.noise(rng, 2, 2), 0.3, 1.8)
    scene.blood = scene.body * redness
    scene.keratin = scene.body * np.float32(character["waxiness"]) * np.clip(0.8 + 0.3 * grain + 0.3 * clouds, 0, 2)
    waxy = np.float32(character["waxiness"]) * scene.body
    scene.paint.append((0.35 * waxy * smoothstep(clouds, -1.5, 1.5), (0.66, 0.56, 0.42)))  # thick dull keratin on top
    relief = np.clip(grain - np.roll(grain, max(1, side // 128), (0, 1)), 0, 4)
    scene.paint.append((0.15 * waxy * relief, (0.97, 0.93, 0.84)))  # lamp-lit sides of a granular surface
    return scene


def photograph(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, "side side 3"]:
    """See the scene through a dermatoscope: skin, light, hairs, ruler, gel bubbles, dark corners, blur, noise."""
    side, x, y = scene.side, scene.x, scene.y
    tone, flush = (np.array([0.10, 0.12]) * np.exp([0.8, 0.7] * rng.standard_normal(2))).astype(
        np.float32
    )  # pale to brown, to pink
    pores = 0.07 * fractal_noise(rng, 64, side, 2)
    melanin = scene.melanin + tone * (1 + 0.16 * fractal_noise(rng, 7, side, 4) + pores)
    blood = scene.blood + flush * (1 + 0.30 * fractal_noise(rng, 6, side, 3) + pores)
    image = np.empty((3, side, side), np.float32)
    for c, plane in enumerate(image):
        absorbed = MELANIN[c] * melanin + BLOOD[c] * blood + KERATIN[c] * scene.keratin
        np.multiply(SKIN[c], np.exp(-np.maximum(absorbed, 0)), out=plane)
        for opacity, colour in scene.paint:
            plane += opacity * (colour[c] - plane)

    light = 1 + 0.06 * (x * rng.standard_normal() + y * rng.standard_normal()) - rng.uniform(0, 0.2) * (x * x + y * y)
    balance = np.exp(rng.standard_normal(3) * [0.03, 0.03, 0.06] + 0.1 * rng.standard_normal())
    image *= light * np.asarray(balance, dtype=np.float32)[:, None, None]

    for _ in range(int(rng.integers(1, 6)) if rng.uniform() < 0.3 else 0):
        gel_bubble(image, x, y, rng)
    if rng.uniform() < 0.55:
        draw_lines(image, hairs(rng), np.array([0.13, 0.09, 0.08]) * rng.uniform(0.6, 3), rng.uniform(0.5, 0.95))
    if rng.uniform() < 0.3:
        draw_lines(image, ruler(rng), np.array([0.20, 0.18, 0.20]), 0.8)
    if rng.uniform() < 0.35:  # the round field of view; a 4:3 photograph made square turns it into an ellipse
        image *= 0.03 + 0.97 * smoothstep(rng.uniform(1.0, 1.3) - np.hypot(x * rng.uniform(1, 1.2), y), -0.03, 0.04)

    blur = ImageFilter.BoxBlur(rng.uniform(0.2, 0.9) * side / 256)
    image += np.float32(0.012) * rng.standard_normal((side, side), dtype=np.float32)
    pixels = np.clip(255 * image + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).filter(blur))


def gel_bubble(image: Photo, x: Plane, y: Plane, rng: np.random.Generator) -> None:
    """Add a bubble of the contact gel, in place: a thin rim, bright on the side of the lamp."""
    left, top, radius, lamp = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.02, 0.1), rng.uniform(0, 2 * np.pi)
    dx, dy = (x - left) / radius, (y - top) / radius
    rim = np.clip(1 - np.abs(np.hypot(dx, dy) - 1) * 6, 0, 1) * (1 + dx * math.cos(lamp) + dy * math.sin(lamp))
    image += 0.3 * rim * (1 - image)


def hairs(rng: np.random.Generator) -> Lines:
    """Curved hairs, roughly in one direction."""
    turn, spread, lines, t = rng.uniform(0, np.pi), rng.uniform(0.2, 1), [], np.linspace(0, 1, 16)[:, None]
    for _ in range(int(3 * np.exp(rng.uniform(0, 2.3)))):
        step = rotation(turn + spread * rng.standard_normal()) @ [rng.uniform(0.2, 0.9), 0]
        middle, bend = rng.uniform(-1.1, 1.1, 2), 0.35 * rng.standard_normal(2)
        curve = (1 - t) ** 2 * (middle - step) + 2 * t * (1 - t) * (middle + bend) + t**2 * (middle + step)
        lines.append((curve, 2 * rng.uniform(0.002, 0.007)))
    return lines


def ruler(rng: np.random.Generator) -> Lines:
    """The millimetre scale of a dermatoscope near one edge, and its MM."""
    ticks = np.linspace(-0.45, 0.45, 11)
    lines = [np.array([[ticks[0], 0.0], [ticks[-1], 0.0]])]
    lines += [np.array([[tick, 0.0], [tick, -0.09 if k % 5 == 0 else -0.05]]) for k, tick in enumerate(ticks)]
    letter = np.array([[0, 0.1], [0, 0.04], [0.015, 0.08], [0.03, 0.04], [0.03, 0.1]])
    lines += [letter + np.array([left, 0]) for left in (0.40, 0.45)]
    place = np.array([rng.uniform(-0.3, 0.3), 0.8])
    turn = rotation(0.3 * rng.standard_normal() + np.pi / 2 * rng.integers(4))
    return [((line + place) @ turn.T, 0.01) for line in lines]


def draw_lines(image: Photo, lines: Lines, colour: np.ndarray, opacity: float) -> None:
    """Lay smooth-edged lines over the image, in place."""
    fine = 2 * image.shape[-1]
    canvas = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(canvas)
    for points, width in lines:
        dots = ((points + 1) / 2 * fine).ravel().tolist()
        pen.line(dots, fill=255, width=max(1, round(width / 2 * fine)), joint="curve")
    share = np.asarray(canvas.reduce(2), dtype=np.float32) * np.float32(opacity / 255)
    image += share * (np.asarray(colour, dtype=np.float32)[:, None, None] - image)
