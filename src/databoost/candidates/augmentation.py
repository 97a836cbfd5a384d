"""Recipes to pixels, in batches.

A candidate is rendered at requested pixels of its own native size, which is its parent's. All of
them together are the image to be written; its taps (see :mod:`databoost.data.resizing`) are what
an embedder's resize would read of that image, equal to the last bit, and far fewer.

The steps are: the parent's strokes are thickened or thinned, the warp reads it bilinearly at places
that are displaced by its bends, noise is added, the result is rounded to uint8, and a square is
erased. What the warp shows beyond the parent, and the erased square, have the paper's colour.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from databoost.candidates.bending import bend
from databoost.candidates.recipes import (
    Draws,
    Seeds,
    Values,
    draw,
    hash_numbers,
    policy_version,
    recipe_seeds,
)
from databoost.candidates.strokes import thicken
from databoost.candidates.warping import AFTER, BEFORE, find_warps, sample
from databoost.data.images import Pixels
from databoost.data.resizing import Axis, tap_axis
from databoost.errors import DatasetError, ParamsError
from databoost.sections import CandidatesParams

Positions = npt.NDArray[np.int64]

CPU = torch.device("cpu")
#: Pixels worked on at once: their float32 intermediates stay in a CPU's cache, and fill a GPU.
_BLOCK, _GPU_BLOCK = 2**17, 2**23
#: Pixels of the parents that are laid out for them.
_CANVASES = 2**23
_ROW_KEYS, _COLUMN_KEYS = 2**32, 2**33
# Mean and standard deviation of the sum of four random bytes.
_BYTES_MEAN, _BYTES_SPREAD = 510.0, 147.8005412


class Parents:
    """Images that candidates are drawn from, and the policy by which they are.

    Parameters
    ----------
    rows
        ``image_id`` of each image.
    images
        uint8 pixels of any sizes, (height, width, 1) or (height, width, 3), in the order of
        `rows`. They are not copied.
    params
        The policy.

    Attributes
    ----------
    channels
        3 if one of them is coloured, else 1; grey ones are repeated when they are mixed.
    paper
        (n, channels) uint8: the median (of two middle ones the darker) of each image's outermost
        pixels.
    """

    def __init__(
        self, rows: pd.DataFrame, images: Sequence[Pixels], params: CandidatesParams
    ) -> None:
        self.positions = {name: place for place, name in enumerate(rows["image_id"])}
        self.images = images
        self.params = params
        self.policy = policy_version(params)
        seen = [(image.shape, _paper(image)) for image in images]
        shapes = np.array([shape for shape, _ in seen], dtype=np.int64).reshape(-1, 3)
        self.heights, self.widths = shapes[:, 0], shapes[:, 1]
        self.channels = int(shapes[:, 2].max(initial=1))
        self.paper = np.empty((len(images), self.channels), dtype=np.uint8)
        for place, (_, paper) in enumerate(seen):
            self.paper[place] = paper

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)


def render_taps(
    parents: Parents, recipes: pd.DataFrame, size: int, device: torch.device = CPU
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Render what resizing candidates to a square would read of them.

    Parameters
    ----------
    recipes
        n rows of ``RECIPES``, whose parents are among `parents`.
    size
        Side of the square, in pixels.
    device
        Where pixels are computed, a CPU or a CUDA GPU, to the same bytes: there are only
        operations that IEEE 754 fixes, and whole numbers.

    Returns
    -------
    tuple of torch.Tensor
        Arguments of :func:`~databoost.data.resizing.blend_taps`: taps, (n, channels, 2 * size,
        2 * size) uint8, and fractions of rows and of columns, (n, size) float32; on `device`.

    Raises
    ------
    DatasetError
        If a recipe's parent is not among `parents`.
    ParamsError
        If a recipe is of another policy.
    """
    which, seeds = _read(parents, recipes)
    drawn = draw(seeds, parents.params)
    n, side = len(recipes), 2 * size
    taps = torch.empty((n, parents.channels, side, side), dtype=torch.uint8, device=device)
    row_axes = [_axis(length, size) for length in parents.heights[which].tolist()]
    column_axes = [_axis(length, size) for length in parents.widths[which].tolist()]
    block = _BLOCK if device.type == "cpu" else _GPU_BLOCK
    for part in _parts(parents, which, max(1, block // side**2)):
        rows = np.stack([axis.positions for axis in row_axes[part]])
        columns = np.stack([axis.positions for axis in column_axes[part]])
        draws = drawn.of(part)
        canvases = _canvases(parents, which[part], draws.thickness).to(device)
        taps[part] = _render(parents, which[part], seeds[part], draws, canvases, rows, columns)
    row_fractions, column_fractions = (
        np.array([axis.fractions for axis in axes], dtype=np.float32).reshape(n, size)
        for axes in (row_axes, column_axes)
    )
    return taps, _to_device(device, row_fractions), _to_device(device, column_fractions)


def render(parents: Parents, recipe: pd.DataFrame) -> Pixels:
    """Render one candidate at its native size, which is its parent's.

    Parameters
    ----------
    recipe
        One row of ``RECIPES``, whose parent is among `parents`.

    Returns
    -------
    numpy.ndarray
        uint8, (height, width, ``parents.channels``).

    Raises
    ------
    DatasetError
        If the recipe's parent is not among `parents`.
    ParamsError
        If the recipe is of another policy.
    """
    which, seeds = _read(parents, recipe)
    height, width = int(parents.heights[which[0]]), int(parents.widths[which[0]])
    draws = draw(seeds, parents.params)
    canvases = _canvases(parents, which, draws.thickness)
    columns = np.arange(width)[None]
    n_rows = max(1, _BLOCK // width)
    tops = range(0, height, n_rows)
    rows = [np.arange(top, min(top + n_rows, height))[None] for top in tops]
    bands = [_render(parents, which, seeds, draws, canvases, band, columns) for band in rows]
    pixels: Pixels = torch.cat(bands, dim=2)[0].permute(1, 2, 0).contiguous().numpy()
    return pixels


def _read(parents: Parents, recipes: pd.DataFrame) -> tuple[Positions, Seeds]:
    others = sorted(set(recipes["policy"]) - {parents.policy})
    if others:
        raise ParamsError(
            f"recipes were drawn under policy {', '.join(others)}, but candidates in params.yaml "
            f"is policy {parents.policy}; restore the ranges or run the candidates stage again"
        )
    unknown = sorted(set(recipes["parent_id"]) - parents.positions.keys())
    if unknown:
        raise DatasetError(
            f"{len(unknown)} parent(s) of the recipes, {unknown[0]} first, are not among the "
            f"{len(parents)} images given; run the candidates stage again"
        )
    which = [parents.positions[name] for name in recipes["parent_id"]]
    return np.array(which, dtype=np.int64), recipe_seeds(recipes)


def _parts(parents: Parents, which: Positions, most: int) -> Iterator[slice]:
    """Cut a batch into parts of at most so many, and whose canvases' pixels are not too many."""
    heights, widths = (
        (lengths[which] + BEFORE + AFTER).tolist() for lengths in (parents.heights, parents.widths)
    )
    tallest, widest, start = 0, 0, 0
    for place, (height, width) in enumerate(zip(heights, widths, strict=True)):
        tallest, widest = max(tallest, height), max(widest, width)
        n = place - start
        if n and (n == most or (n + 1) * tallest * widest > _CANVASES):
            yield slice(start, place)
            start, tallest, widest = place, height, width
    if len(which):
        yield slice(start, len(which))


def _render(
    parents: Parents,
    which: Positions,
    seeds: Seeds,
    draws: Draws,
    canvases: torch.Tensor,
    rows: Positions,
    columns: Positions,
) -> torch.Tensor:
    """Render n candidates at the pixels (n, R) x (n, C): (n, channels, R, C) uint8."""
    heights, widths = parents.heights[which], parents.widths[which]
    device, bends = canvases.device, None
    if draws.elastic.any():
        bends = bend(seeds, draws.elastic, heights, widths, rows, columns, device)
    values = sample(canvases, find_warps(draws, heights, widths), rows, columns, bends)
    if draws.noise.any():
        values += _noise(seeds, draws.noise, rows, columns, device)[:, None]
    values.clamp_(0.0, 255.0).add_(0.5)
    pixels = values.to(torch.int32).to(torch.uint8)
    _erase(pixels, parents.paper[which], draws, (heights, widths), rows, columns)
    return pixels


def _canvases(parents: Parents, which: Positions, thickness: Values) -> torch.Tensor:
    """Lay each parent on paper: (n, channels, H, W) uint8, undefined where nothing is read."""
    margin = BEFORE + AFTER
    shape = (parents.heights[which].max() + margin, parents.widths[which].max() + margin)
    canvases = np.empty((len(which), parents.channels, *shape), dtype=np.uint8)
    for canvas, parent, amount in zip(canvases, which.tolist(), thickness.tolist(), strict=True):
        planes = thicken(parents.images[parent].transpose(2, 0, 1), amount)
        bottom, right = BEFORE + planes.shape[1], BEFORE + planes.shape[2]
        paper = parents.paper[parent][:, None, None]
        canvas[:, :BEFORE, : right + AFTER] = paper
        canvas[:, bottom : bottom + AFTER, : right + AFTER] = paper
        canvas[:, BEFORE:bottom, :BEFORE] = paper
        canvas[:, BEFORE:bottom, right : right + AFTER] = paper
        canvas[:, BEFORE:bottom, BEFORE:right] = planes
    return torch.from_numpy(canvases)


def _noise(
    seeds: Seeds, spreads: Values, rows: Positions, columns: Positions, device: torch.device
) -> torch.Tensor:
    """Draw noise, (n, R, C) float32: a sum of four random bytes (Irwin-Hall) is nearly normal."""
    down, across = (
        hash_numbers(seeds[:, None], positions.astype(np.uint64) + np.uint64(first))
        .astype(np.uint32)
        .view(np.int32)
        for positions, first in ((rows, _ROW_KEYS), (columns, _COLUMN_KEYS))
    )
    # Products wrap; a shift of int32 repeats the sign, which the masks take away.
    bits = _to_device(device, down)[:, :, None] ^ _to_device(device, across)[:, None, :]
    shifted = torch.empty_like(bits)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        torch.bitwise_right_shift(bits, shift, out=shifted)
        bits ^= shifted.bitwise_and_((1 << 32 - shift) - 1)
        bits *= factor
    torch.bitwise_right_shift(bits, 16, out=shifted)
    bits ^= shifted.bitwise_and_(0xFFFF)
    torch.bitwise_right_shift(bits, 8, out=shifted)
    bits &= 0x00FF00FF
    bits += shifted.bitwise_and_(0x00FF00FF)
    bits += torch.bitwise_right_shift(bits, 16, out=shifted)
    bits &= 0x7FF
    noise = bits.to(torch.float32)
    noise -= _BYTES_MEAN
    noise *= _to_device(device, (spreads / _BYTES_SPREAD).astype(np.float32)).view(-1, 1, 1)
    return noise


def _erase(
    pixels: torch.Tensor,
    paper: Pixels,
    draws: Draws,
    lengths: tuple[Positions, Positions],
    rows: Positions,
    columns: Positions,
) -> None:
    heights, widths = lengths
    sides = np.floor(draws.erasing * np.minimum(heights, widths) + 0.5)
    tops = np.floor(draws.erasing_y * (heights - sides + 1))
    lefts = np.floor(draws.erasing_x * (widths - sides + 1))
    (erased,) = np.nonzero(sides)
    if not erased.size:
        return
    down, across = (
        _to_device(
            pixels.device, (places >= firsts[:, None]) & (places < (firsts + sides)[:, None])
        )
        for places, firsts in ((rows, tops), (columns, lefts))
    )
    which = _to_device(pixels.device, erased)
    square = down[which][:, None, :, None] & across[which][:, None, None, :]
    colour = _to_device(pixels.device, paper[erased])[:, :, None, None]
    pixels[which] = torch.where(square, colour, pixels[which])


def _to_device(device: torch.device, values: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values).to(device)


def _paper(image: Pixels) -> Pixels:
    rim = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    colour: Pixels = np.sort(rim, axis=0)[(len(rim) - 1) // 2]
    return colour


@lru_cache(maxsize=4096)
def _axis(length: int, size: int) -> Axis:
    return tap_axis(length, size)
