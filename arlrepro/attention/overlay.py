"""A map laid over its image, in colours ordered by lightness, so that it reads without colour."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

#: From no evidence to most: dark violet, orange, pale yellow.
HEAT = np.array([[0, 0, 4], [187, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)

LONGEST_SIDE = 1024  # px of an overlay
#: Of the strip below a picture, px: the height of its words at least, and their part of the picture's width.
WORDS_PX, WORDS_PART = 13, 1 / 64
#: What the ends of the scale of colours say.
LOW, HIGH = "map: low", "high"


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


def overlay(image: Image.Image, activation: Float[np.ndarray, "height width"], said: str = "") -> Image.Image:
    """An image with a map over it, side by side with the image alone.

    Args:
        image: RGB; reduced so that its longest side is at most 1024 px, its shape kept.
        activation: any real values; the lowest shows as dark, the highest as pale.
        said: words for a strip below, such as classes and scores, beside the scale of the colours; without it no strip.
    """
    plain = image.copy()
    plain.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    enlarged = Image.fromarray(spread(activation).astype(np.float32)).resize(plain.size, Image.Resampling.BILINEAR)
    covered = Image.blend(plain.convert("L").convert("RGB"), Image.fromarray(heat(np.asarray(enlarged))), 0.55)
    pair = Image.new("RGB", (2 * plain.width, plain.height))
    pair.paste(plain)
    pair.paste(covered, (plain.width, 0))
    return _with_strip(pair, said) if said else pair


def _with_strip(picture: Image.Image, said: str) -> Image.Image:
    """A picture above words and the scale of the colours; as wide as both at least."""
    size = max(WORDS_PX, round(picture.width * WORDS_PART))
    font = ImageFont.load_default(size)
    words, low, high = (round(font.getlength(text)) for text in (said, LOW, HIGH))
    scale, gap = 8 * size, size // 2
    wanted = words + low + scale + high + 6 * gap
    whole = Image.new("RGB", (max(picture.width, wanted), picture.height + 2 * size), "white")
    whole.paste(picture)
    drawing, top = ImageDraw.Draw(whole), picture.height + gap
    drawing.text((gap, top), said, fill="black", font=font)
    left = whole.width - high - scale - low - 3 * gap
    drawing.text((left, top), LOW, fill="black", font=font)
    ramp = Image.fromarray(heat(np.tile(np.linspace(0, 1, scale), (size, 1))))
    whole.paste(ramp, (left + low + gap, top + gap // 4))
    drawing.text((left + low + scale + 2 * gap, top), HIGH, fill="black", font=font)
    return whole
