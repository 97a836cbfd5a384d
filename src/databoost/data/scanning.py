"""Ink on paper to the pixels of a scan.

Collections of handwriting on paper are mostly thresholded to black, dark grey and white: pencil
breaks into crumbs, a pen gets a ragged rim, ruled lines survive in dashes.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from databoost.data.images import Pixels

Field = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]
#: ``pencil``: faint, one grey, crumbling; ``pen``: black with a ragged grey rim; ``photo``: all
#: greys, soft and unevenly lit.
Scan = Literal["pencil", "pen", "photo"]


def scanned(ink: Field, scan: Scan, image_size: int, rng: np.random.Generator) -> Pixels:
    """Scan a sheet.

    Parameters
    ----------
    ink
        Float32 (height, width), 0 blank to 1 full ink.
    image_size
        Usual side of an image in pixels: the scale of crumbs and dust.

    Returns
    -------
    numpy.ndarray
        uint8, (height, width, 1), dark ink on light paper; ``pencil`` has the values 64 and 255,
        ``pen`` 0, 64 and 255.
    """
    if scan == "pencil":
        return _pencil(ink, image_size, rng)[:, :, None]
    if scan == "pen":
        return _pen(ink, image_size, rng)[:, :, None]
    return _photo(ink, rng)[:, :, None]


def _pencil(ink: Field, image_size: int, rng: np.random.Generator) -> Grey:
    height, width = ink.shape
    # Pencil skips over the paper's grain; what is left is thickened, as scanners' clean-up does.
    grip = 1 + 0.22 * _blotches(height, width, 9, rng) + 0.25 * _grain(height, width, rng)
    is_dark = ink * grip > rng.uniform(0.5, 0.9)
    is_dark |= _specks(height, width, int(rng.choice([0, 2, 6], p=[0.6, 0.3, 0.1])), 1, rng)
    is_dark = _thickened(is_dark, max(2, round(image_size / 50)))
    return np.where(is_dark, 64, 255).astype(np.uint8)


def _pen(ink: Field, image_size: int, rng: np.random.Generator) -> Grey:
    height, width = ink.shape
    ink = _blurred(ink) + 0.07 * _grain(height, width, rng) * ink.clip(0.1, 0.6)
    ink += 0.06 * _blotches(height, width, 14, rng) * (ink > 0.2)
    dark = rng.uniform(0.62, 0.75)
    pixels = np.where(ink > dark, 0, np.where(ink > 0.42, 64, 255)).astype(np.uint8)
    if rng.random() < 0.03:
        # A shadow along one side that the threshold turned into dust.
        shade = np.linspace(-1.2, rng.uniform(0.2, 0.9), height, dtype=np.float32)[:, None]
        pixels[shade + 0.3 * _grain(height, width, rng) > 0.6] = 64
    n_specks = int(rng.choice([0, 2, 5], p=[0.65, 0.25, 0.1]))
    pixels[_specks(height, width, n_specks, max(1, image_size // 100), rng)] = 64
    return pixels


def _photo(ink: Field, rng: np.random.Generator) -> Grey:
    height, width = ink.shape
    paper = rng.uniform(222, 248) + 6 * _blotches(height, width, 3, rng)
    pen = rng.uniform(35, 90)
    cover = _blurred(_blurred(ink)) * (1 + 0.08 * _blotches(height, width, 12, rng))
    photo = paper + (pen - paper) * cover.clip(0, 1) + 4 * _grain(height, width, rng)
    return np.asarray(photo.clip(0, 255).round().astype(np.uint8))


def _grain(height: int, width: int, rng: np.random.Generator) -> Field:
    return rng.standard_normal((height, width), dtype=np.float32)


def _blotches(height: int, width: int, n_cells: int, rng: np.random.Generator) -> Field:
    """Smooth noise, about `n_cells` blotches to a side."""
    coarse = Image.fromarray(_grain(n_cells, n_cells, rng))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def _blurred(ink: Field) -> Field:
    """Mean of each pixel's 3 by 3 neighbourhood."""
    padded = np.pad(ink, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9, dtype=np.float32)


def _thickened(is_dark: npt.NDArray[np.bool_], n: int) -> npt.NDArray[np.bool_]:
    """Grow every dark pixel to a square of `n` pixels."""
    for axis in (0, 1):
        grown = is_dark.copy()
        for shift in range(1, n):
            if axis == 0:
                grown[shift:] |= is_dark[:-shift]
            else:
                grown[:, shift:] |= is_dark[:, :-shift]
        is_dark = grown
    return is_dark


def _specks(
    height: int, width: int, n_specks: int, side: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Dust: dark squares anywhere on the sheet."""
    dust = np.zeros((height, width), dtype=np.bool_)
    for y, x in zip(
        rng.integers(0, height, n_specks), rng.integers(0, width, n_specks), strict=True
    ):
        dust[y : y + side, x : x + side] = True
    return dust
