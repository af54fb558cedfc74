"""A map laid over its image, in colours ordered by lightness, so that it reads without colour."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

#: From no evidence to most: dark violet, orange, pale yellow.
HEAT = np.array([[0, 0, 4], [187, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)

LONGEST_SIDE = 1024  # px of an overlay


def spread(values: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Values moved and scaled to [0, 1]; a flat map is 0 everywhere.

    Example:
        >>> spread(np.array([[2.0, 3.0, 6.0]])).tolist()
        [[0.0, 0.25, 1.0]]
    """
    lifted = values - values.min()
    return lifted / lifted.max() if lifted.any() else lifted


def heat(values: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Colours for values in [0, 1].

    Example:
        >>> heat(np.array([[0.0, 1.0]])).tolist()
        [[[0, 0, 4], [252, 255, 164]]]
    """
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(values, stops, HEAT[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


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
