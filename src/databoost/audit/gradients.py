"""Describe the strokes of an image without any training: histograms of gradient directions.

Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) of the image's content, cut out by
its own bounding box, so that a numeral's place and size on the paper do not matter.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from databoost.data.images import Pixels

_SIDE = 32
_CELL = 4
_DIRECTIONS = 9
#: Share of the strongest contrast to the border from which a pixel counts as content.
_CONTENT = 0.3
#: Pixels of a side above which an image is shrunk before it is cut: the square around it must fit
#: into memory, however long and narrow it is.
_LONGEST = 2048
_AT_ONCE = 256  # squares described at once


def gradient_descriptors(images: Iterable[Pixels]) -> npt.NDArray[np.float32]:
    """Describe images by the directions of their strokes.

    Returns
    -------
    numpy.ndarray
        (n, 1764) float32, unit vectors; zeros for an image of one colour.
    """
    return describe_squares([content_square(image) for image in images])


def describe_squares(squares: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Describe what :func:`content_square` made of images, as :func:`gradient_descriptors` does."""
    every = np.array(squares, dtype=np.float32).reshape(-1, _SIDE, _SIDE)
    starts = range(0, max(len(every), 1), _AT_ONCE)
    return np.concatenate([_described(every[start : start + _AT_ONCE]) for start in starts])


def content_square(image: Pixels) -> npt.NDArray[np.float32]:
    """Cut out what differs from the border: (32, 32) float32, 0 (border's grey) to 1.

    An image with a side of more than 2,048 pixels is shrunk first, by a whole number.
    """
    grey = grey_levels(_shrunk(image))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    contrast = np.abs(grey - np.median(border))
    contrast /= max(float(contrast.max()), 1.0)
    rows = np.flatnonzero((contrast > _CONTENT).any(axis=1))
    columns = np.flatnonzero((contrast > _CONTENT).any(axis=0))
    if not len(rows):
        return np.zeros((_SIDE, _SIDE), dtype=np.float32)
    cut = contrast[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = cut.shape
    side = max(height, width)
    square = np.zeros((side, side), dtype=np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = cut
    small = Image.fromarray((square * 255).astype(np.uint8)).resize(
        (_SIDE, _SIDE), Image.Resampling.BILINEAR
    )
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def grey_levels(image: Pixels) -> npt.NDArray[np.float32]:
    """Average the channels: (height, width) float32, 0 to 255.

    The same as ``image.mean(axis=2, dtype=np.float32)``, which takes several times as long.
    """
    grey: npt.NDArray[np.float32] = image[:, :, 0].astype(np.float32)
    for channel in range(1, image.shape[2]):
        grey += image[:, :, channel]
    grey /= image.shape[2]
    return grey


def _described(squares: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    histograms = _direction_histograms(squares)
    # Blocks of 2 x 2 cells are normalised together, which takes pen pressure out.
    blocks = np.concatenate(
        [
            histograms[:, :-1, :-1],
            histograms[:, 1:, :-1],
            histograms[:, :-1, 1:],
            histograms[:, 1:, 1:],
        ],
        axis=3,
    )
    blocks /= np.sqrt((blocks**2).sum(axis=3, keepdims=True) + 0.01)
    flat = blocks.reshape(len(squares), int(np.prod(blocks.shape[1:])))
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    described: npt.NDArray[np.float32] = flat / np.maximum(lengths, 1e-9)
    return described


def _shrunk(image: Pixels) -> Pixels:
    factor = -(-max(image.shape[:2]) // _LONGEST)
    if factor == 1:
        return image
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    return np.atleast_3d(np.asarray(picture.reduce(factor)))


def _direction_histograms(squares: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sum gradients by cell and direction: (n, 32, 32) -> (n, 8, 8, 9) float32."""
    across, down = np.zeros_like(squares), np.zeros_like(squares)
    across[:, :, 1:-1] = squares[:, :, 2:] - squares[:, :, :-2]
    down[:, 1:-1] = squares[:, 2:] - squares[:, :-2]
    strength = np.hypot(across, down)
    direction = (np.arctan2(down, across) % np.pi) / np.pi * _DIRECTIONS
    lower = np.floor(direction).astype(np.int64) % _DIRECTIONS
    share = direction - np.floor(direction)
    n, cells = len(squares), _SIDE // _CELL
    found = np.zeros((n, cells, cells, _DIRECTIONS), dtype=np.float32)
    for number in range(_DIRECTIONS):
        weight = (lower == number) * (1 - share)
        weight += ((lower + 1) % _DIRECTIONS == number) * share
        parts = (strength * weight).reshape(n, cells, _CELL, cells, _CELL)
        found[..., number] = parts.sum(axis=(2, 4))
    return found
