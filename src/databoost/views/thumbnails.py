"""Images as small pictures: as they are stored, and as the model sees them."""

import numpy as np
from PIL import Image

from databoost.data.images import Pixels
from databoost.data.resizing import TapStore


def thumbnail(pixels: Pixels, side: int) -> Pixels:
    """Scale an image to fit a square, in proportion; a small one by whole numbers of pixels.

    Parameters
    ----------
    pixels
        uint8, (height, width, 1 or 3).
    side
        Of the square, in pixels.

    Returns
    -------
    numpy.ndarray
        uint8, at most (side, side, same channels); each side at least 1.
    """
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return enlarged(pixels, side)
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    grey = pixels.shape[2] == 1
    scaled = Image.fromarray(pixels[:, :, 0] if grey else pixels).resize(
        size, Image.Resampling.LANCZOS
    )
    small = np.asarray(scaled, dtype=np.uint8)
    return small[:, :, None] if grey else small


def enlarged(pixels: Pixels, side: int) -> Pixels:
    """Repeat pixels a whole number of times, up to `side` pixels on the longer side.

    >>> enlarged(np.array([[[7], [9]]], dtype=np.uint8), 5)[:, :, 0].tolist()
    [[7, 7, 9, 9], [7, 7, 9, 9]]
    """
    times = max(1, side // max(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def model_input(images: TapStore, number: int) -> Pixels:
    """Give an image as the model sees it, resized as it resizes it, in 8 bits.

    Returns
    -------
    numpy.ndarray
        uint8, (size, size, 1 if the store is grey, else 3).
    """
    channels = images.taps.shape[1]
    blended = images.batch(slice(number, number + 1))[0, :channels]  # (c, size, size)
    pixels: Pixels = blended.round().byte().permute(1, 2, 0).numpy()
    return pixels
