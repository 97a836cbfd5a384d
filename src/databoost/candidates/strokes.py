"""Stroke thickness: dark lines on light paper grow or shrink, by fractions of a pixel too."""

import numpy as np

from databoost.data.images import Pixels

_BITS = 8
_PARTS = 1 << _BITS
_RIM = 255  # minima ignore it


def thicken(planes: Pixels, amount: float) -> Pixels:
    """Let dark strokes grow, or shrink.

    >>> thicken(np.array([[[9, 9, 1, 9, 9]]], dtype=np.uint8), 0.5).tolist()
    [[[9, 5, 1, 5, 9]]]

    Parameters
    ----------
    planes
        uint8, (channels, height, width).
    amount
        Pixels by which they grow on every side: with r, each pixel becomes the minimum of the
        square of side 2 r + 1 around it, with -r the maximum (of what the image has of it).
        Between two whole numbers their results are mixed, in steps of 1/256.

    Returns
    -------
    numpy.ndarray
        uint8, the shape of `planes`.
    """
    if amount < 0:
        return ~thicken(~planes, -amount)
    radius, share = divmod(int(np.floor(amount * _PARTS + 0.5)), _PARTS)
    if radius == share == 0:
        return planes
    channels, height, width = planes.shape
    grown = np.full((channels, height + 2, width + 2), _RIM, dtype=np.uint8)
    grown[:, 1:-1, 1:-1] = planes
    for _ in range(radius):
        grown = _spread(grown)
    if share:
        change = (grown - _spread(grown)).astype(np.uint16)
        change *= share
        change += _PARTS // 2
        change >>= _BITS
        grown -= change.astype(np.uint8)
    return grown[:, 1:-1, 1:-1]


def _spread(padded: Pixels) -> Pixels:
    # Whole arrays are shifted, not row by row: what a row's end meets is the rim, which is neutral.
    row, flat = padded.shape[2], padded.reshape(-1)
    pairs = np.minimum(flat[:-1], flat[1:])
    threes = np.minimum(pairs[:-1], pairs[1:])
    pairs = np.minimum(threes[:-row], threes[row:])
    spread = np.empty_like(padded)
    np.minimum(pairs[:-row], pairs[row:], out=spread.reshape(-1)[row + 1 : -row - 1])
    for rim in (spread[:, 0], spread[:, -1], spread[:, :, 0], spread[:, :, -1]):
        rim[...] = _RIM
    return spread
