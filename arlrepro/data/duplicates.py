"""Pictures that may show one lesion twice: a perceptual hash proposes pairs, correlation of their pixels confirms."""

from collections.abc import Iterator
from typing import NamedTuple

import imagehash
import numpy as np
from jaxtyping import Integer, UInt8, UInt64
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Our choice, by eye on ISIC-2017: 24 pairs of images across its splits show one lesion twice, 21 of them pass both
# thresholds and no other pair does; the nearest that shows two lesions correlates at 0.966.
HASH_BITS = 10  # of 64: a pair whose hashes differ in more is not looked at
LEAST_CORRELATION = 0.97
_SIDE, _BORDER, _MOST_SHIFT = 64, 12, 6  # px of the thumbnail


def correlation(first: UInt8[np.ndarray, "64 64"], second: UInt8[np.ndarray, "64 64"]) -> float:
    r"""Look for the centre of one thumbnail in the other.

    .. math:: \max_s \operatorname{corr}_p(a_p, b_{p+s})

    where :math:`p` runs over the middle 40 x 40 px and the shift :math:`s` is at most 6 px down and across.

    Returns:
        In [-1, 1]; 0 where one of them is of a single grey.

    Example:
        >>> picture = np.random.default_rng(0).integers(0, 200, (64, 64), dtype=np.uint8)
        >>> round(correlation(picture, np.roll(picture + 50, 4, axis=1)), 3)
        1.0
    """
    template = first[_BORDER:-_BORDER, _BORDER:-_BORDER].astype(np.float64)
    margin = _BORDER - _MOST_SHIFT
    windows = sliding_window_view(second[margin:-margin, margin:-margin].astype(np.float64), template.shape)
    windows = windows.reshape(-1, template.size)  # (shifts, pixels)
    template = template.ravel() - template.mean()
    spread = np.sqrt(len(template)) * windows.std(axis=1) * np.linalg.norm(template)
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(windows @ template / spread).max())


class Match(NamedTuple):
    """Two pictures of which each may show the other's lesion."""

    first: int  # row of the first set
    second: int  # row of the second set
    hash_bits: int  # of 64 that differ
    correlation: float


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "64 64"]:
    """A grey copy of 64 x 64 px, all that the comparison needs of an image."""
    return np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX))


def near_duplicates(
    first: UInt8[np.ndarray, "first 64 64"], second: UInt8[np.ndarray, "second 64 64"]
) -> Iterator[Match]:
    """Find the pairs, one picture of each set, that may show the same lesion: light, colour and a small shift apart.

    Args:
        first: thumbnails.
        second: thumbnails of another set.

    Yields:
        The pairs whose hashes differ in at most 10 of 64 bits and whose centres correlate to 0.97 or more. Turned,
        mirrored and enlarged copies are not looked for.
    """
    first_hashes, second_hashes = _hashes(first), _hashes(second)
    for row, own in enumerate(first_hashes):
        bits = np.bitwise_count(second_hashes ^ own)
        for other in np.flatnonzero(bits <= HASH_BITS):
            if (alike := correlation(first[row], second[other])) >= LEAST_CORRELATION:
                yield Match(row, int(other), int(bits[other]), alike)


def _hashes(thumbnails: UInt8[np.ndarray, "images 64 64"]) -> UInt64[np.ndarray, " images"]:
    """The perceptual hash of each thumbnail: which of its 8 x 8 lowest cosine frequencies are above their median."""
    bits = [imagehash.phash(Image.fromarray(values)).hash.ravel() for values in thumbnails]
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def groups(pixels: UInt8[np.ndarray, "images side side 3"]) -> Integer[np.ndarray, " images"]:
    """Number the images so that those which may show the same lesion have one number, also through a third image.

    Args:
        pixels: decoded images, as `cache.prepare` gives them.

    Returns:
        One number an image, from 0.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
        >>> groups(noise[[0, 1, 0, 2]]).tolist()
        [0, 1, 0, 2]
    """
    thumbnails = np.stack([thumbnail(Image.fromarray(np.asarray(one))) for one in pixels])
    pairs = [(match.first, match.second) for match in near_duplicates(thumbnails, thumbnails)]
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(len(pixels), len(pixels)))
    return connected_components(graph, directed=False)[1]
