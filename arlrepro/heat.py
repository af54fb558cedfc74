"""The colours of a map: ordered by lightness, so that it reads without colour."""

import numpy as np
from jaxtyping import Float, UInt8

#: From no evidence to most: dark violet, orange, pale yellow.
HEAT = np.array([[0, 0, 4], [187, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)


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
