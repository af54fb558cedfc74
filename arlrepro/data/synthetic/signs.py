"""The dermoscopic signs, one function each: it adds its pigment or paint to a scene and returns the pixels of the sign.

Each docstring names the sign, what it looks like and what dermoscopy takes it to come from. The drawing imitates what
textbooks describe; it is no model of disease and says nothing about patients. The frequencies at the end are our
choice, in the direction of those books: they make the kinds of lesion different but not separable.
"""

import math
from collections.abc import Callable

import numpy as np

from arlrepro.data.synthetic.scene import Mask, Plane, Scene, smoothstep


def honeycomb(scene: Scene, rng: np.random.Generator, meshes: float, disorder: float) -> Plane:
    """Height of a hexagonal net's lines, near 1 on a line: three plane waves at 120 degrees, bent by noise."""
    wave = np.pi * meshes / scene.size
    bend_x, bend_y = (np.float32(disorder) * scene.noise(rng, 4, 2) for _ in range(2))
    turn, total = rng.uniform(0, np.pi), np.zeros_like(scene.x)
    for k in range(3):
        c, s = np.float32(math.cos(turn + k * 2 * np.pi / 3)), np.float32(math.sin(turn + k * 2 * np.pi / 3))
        total -= np.cos(c * (wave * scene.x + bend_x) + s * (wave * scene.y + bend_y))
    return total / np.float32(1.5)


def pigment_network(scene: Scene, rng: np.random.Generator) -> Mask:
    """Typical network: even thin brown lines around even holes, fading to the edge (pigmented rete ridges)."""
    net = honeycomb(scene, rng, rng.uniform(10, 14), 1.3) + 0.25 * scene.noise(rng, 6)
    lines = smoothstep(net, 0.1, 1.05) * smoothstep(scene.depth, 0.0, 0.6)
    scene.melanin *= 1 - 0.3 * smoothstep(scene.depth, 0.0, 0.4)
    scene.melanin += scene.strength * 1.1 * lines
    return lines > 0.4


def atypical_network(scene: Scene, rng: np.random.Generator) -> Mask:
    """Atypical network: dark, thick, uneven lines around uneven holes, ending abruptly, in part of a lesion."""
    patch = smoothstep(scene.noise(rng, 2), -0.4, 0.4) * smoothstep(scene.depth, 0.0, 0.08)
    net = honeycomb(scene, rng, rng.uniform(7, 10), 1.7) + 0.45 * scene.noise(rng, 5, 2)
    lines = smoothstep(net, -0.2, 0.9) * patch
    scene.melanin += (0.4 + 0.9 * scene.strength) * lines
    return lines > 0.4


def globules(scene: Scene, rng: np.random.Generator) -> Mask:
    """Regular globules: brown dots of one size, evenly spread (nests of pigmented cells)."""
    count = int(rng.integers(30, 60))
    points, size = scene.scatter(rng, count, 0.1, 0.85), scene.size * rng.uniform(0.035, 0.05)
    spots = scene.discs(points, size * rng.uniform(0.85, 1.15, count), 0.9)
    scene.melanin += scene.strength * 0.9 * spots
    return spots > 0.4


def irregular_dots(scene: Scene, rng: np.random.Generator) -> Mask:
    """Irregular dots: black or brown, of many sizes, crowded to one side."""
    count = int(rng.integers(10, 24))
    points = scene.scatter(rng, 3 * count, 0.2, 1.0)
    crowded = np.argsort((points - scene.centre) @ rng.standard_normal(2))[:count]
    spots = scene.discs(points[crowded], scene.size * 0.02 * np.exp(rng.uniform(0, 1.4, count)), 0.7)
    scene.melanin += (1 + scene.strength) * spots
    return spots > 0.4


def area(scene: Scene, rng: np.random.Generator, reach: float, size: float) -> Plane:
    """A field above 0 in one blot with an uneven edge, its middle up to `reach` radii from the lesion's."""
    (left, top), radius = scene.scatter(rng, 1, reach / 2, reach)[0], scene.size * size
    away = np.hypot(scene.x - np.float32(left), scene.y - np.float32(top)) / np.float32(radius)
    return 1 - away + 0.3 * scene.noise(rng, 4, 4)


def irregular_blotch(scene: Scene, rng: np.random.Generator) -> Mask:
    """Irregular blotch: an off-centre, dark, structureless area with an uneven edge (dense pigment at all levels)."""
    blotch = smoothstep(area(scene, rng, 0.6, rng.uniform(0.3, 0.5)), -0.15, 0.4) * scene.body
    scene.melanin += 1.7 * blotch
    return blotch > 0.4


def blue_white_veil(scene: Scene, rng: np.random.Generator) -> Mask:
    """Blue-white veil: confluent blue under a ground-glass haze (melanin deep in the dermis, thick epidermis above)."""
    veil = smoothstep(area(scene, rng, 0.5, rng.uniform(0.45, 0.75)), -0.2, 0.7) * smoothstep(scene.depth, 0.0, 0.25)
    scene.melanin += 0.9 * veil
    scene.paint.append((0.68 * veil, (0.29, 0.33, 0.41)))
    scene.paint.append((0.4 * veil * smoothstep(scene.noise(rng, 5, 4), -0.2, 2.2), (0.74, 0.76, 0.81)))
    return veil > 0.4


def regression(scene: Scene, rng: np.random.Generator) -> Mask:
    """Regression: a white scar-like area with blue-grey pepper, where the tumour has gone (fibrosis, melanophages)."""
    scar = smoothstep(area(scene, rng, 0.7, rng.uniform(0.35, 0.55)), -0.2, 0.5) * smoothstep(scene.depth, 0.0, 0.2)
    scene.melanin *= 1 - 0.85 * scar
    scene.paint.append((0.4 * scar, (0.90, 0.80, 0.78)))
    scene.paint.append((0.5 * scar * smoothstep(scene.noise(rng, 28, 2), 0.6, 2.2), (0.36, 0.39, 0.47)))
    return scar > 0.4


def streaks(scene: Scene, rng: np.random.Generator) -> Mask:
    """Streaks: dark radial lines and knobbed pseudopods at a part of the edge (growth along the skin, radial phase)."""
    count, start, reach = int(rng.integers(12, 26)), rng.uniform(0, 1), rng.uniform(0.2, 0.45)
    middles, tips = (start + reach * rng.uniform(0, 1, count)) % 1, rng.uniform(0.06, 0.26, count)
    turns, length = np.arange(len(scene.outline)) / len(scene.outline), np.zeros(len(scene.outline))
    for middle, tip in zip(middles, tips, strict=True):
        away = np.abs((turns - middle + 0.5) % 1 - 0.5)
        length = np.maximum(length, tip * np.clip(1.2 - away / rng.uniform(0.004, 0.009), 0, 1))
    beyond = length.astype(np.float32)[scene.angle] - np.maximum(scene.radius - 1, 0)
    rays = smoothstep(beyond, -0.03, 0.12) * smoothstep(scene.radius, 0.7, 0.9) * (scene.radius < 1.4)
    ends = scene.place(middles, 1 + 0.7 * tips)[::3]
    knobs = scene.discs(ends, scene.size * rng.uniform(0.025, 0.045, len(ends)), 1.0)
    rays = np.maximum(rays, knobs)
    scene.melanin += (0.3 + 0.9 * scene.strength) * rays
    return rays > 0.4


def milia_like_cysts(scene: Scene, rng: np.random.Generator) -> Mask:
    """Milia-like cysts: small round white or yellowish spots, hazy or sharp (balls of keratin under the surface)."""
    count = int(rng.integers(7, 22))
    radii = scene.size * 0.03 * np.exp(rng.uniform(0, 1.0, count))
    spots = scene.discs(scene.scatter(rng, count, 0.1, 0.9), radii, 1.2)
    scene.paint.append((0.7 * spots, (0.95, 0.90, 0.78)))
    return spots > 0.4


def comedo_openings(scene: Scene, rng: np.random.Generator) -> Mask:
    """Comedo-like openings: round to oval, sharp brown-black plugs (keratin in widened follicles)."""
    count = int(rng.integers(6, 18))
    radii = scene.size * 0.035 * np.exp(rng.uniform(0, 1.1, count))
    spots = scene.discs(scene.scatter(rng, count, 0.05, 0.9), radii, 1.2)
    spots = smoothstep(spots + 0.12 * scene.noise(rng, 14, 2) * (spots > 0), 0.3, 0.6)
    scene.paint.append((0.75 * spots, (0.21, 0.14, 0.10)))
    return spots > 0.4


def fissures(scene: Scene, rng: np.random.Generator) -> Mask:
    """Fissures and ridges: winding dark furrows between pale ridges, like the surface of a brain (folded epidermis)."""
    furrows = smoothstep(-np.abs(scene.noise(rng, 7, 2)), -0.32, -0.05) * smoothstep(scene.depth, 0.0, 0.2)
    scene.melanin *= 1 - 0.2 * scene.body
    scene.melanin += (0.3 + 0.6 * scene.strength) * furrows
    return furrows > 0.4


# Frequency of each sign in easy melanomas, seborrheic keratoses and nevi, in the order of drawing.
SIGNS: dict[Callable[[Scene, np.random.Generator], np.ndarray], tuple[float, float, float]] = {
    pigment_network: (0.15, 0.05, 0.75),
    atypical_network: (0.70, 0.03, 0.06),
    globules: (0.05, 0.03, 0.35),
    irregular_dots: (0.55, 0.06, 0.08),
    irregular_blotch: (0.55, 0.08, 0.08),
    fissures: (0.03, 0.50, 0.03),
    regression: (0.35, 0.03, 0.03),
    blue_white_veil: (0.65, 0.04, 0.03),
    streaks: (0.45, 0.02, 0.04),
    comedo_openings: (0.02, 0.60, 0.02),
    milia_like_cysts: (0.03, 0.80, 0.03),
}

# How marked the general character of an easy lesion is on average, in [0, 1], by kind in the same order.
CHARACTER = {
    "asymmetry": (0.85, 0.40, 0.12),  # outline and colour differ between the halves
    "irregularity": (0.85, 0.25, 0.15),  # notched, ragged border
    "variegation": (0.90, 0.30, 0.12),  # several colours
    "sharpness": (0.45, 0.90, 0.35),  # abrupt edge
    "waxiness": (0.10, 0.90, 0.05),  # stuck-on look: granular, dull yellow surface
}
