"""Elastic bends: what differs from stroke to stroke, which turning and leaning do not show.

Each candidate has a lattice of control points over its image, displaced at random; between them
the displacement is a uniform cubic B-spline. Up to amounts of 0.2 of the shorter side, which
params.yaml allows, strokes bend and stay whole; from about 0.25 on some images fold, and show a
stroke twice. The lattice is a hash of the candidate's seed, and the value at a pixel depends on
that pixel's place alone.

The idea of bending digits by smooth random fields is that of Simard, Steinkraus and Platt, "Best
practices for convolutional neural networks applied to visual document analysis", ICDAR 2003; they
smooth white noise at every pixel, which asks for all pixels of the image.
"""

import numpy as np
import numpy.typing as npt
import torch

from databoost.candidates.recipes import Seeds, Values, draw_unit

#: Pieces of the spline along each side of an image.
SPANS = 4

_POINTS = SPANS + 3
_FIRST_KEY = 2**34


def bend(
    seeds: Seeds,
    amounts: Values,
    heights: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    device: torch.device,
) -> torch.Tensor:
    """Give the displacements of n candidates at output pixels.

    Parameters
    ----------
    seeds
        (n,) of the candidates.
    amounts
        (n,): the most that a control point moves along each axis, a share of the shorter side.
        The displacement of a pixel is smaller, about 0.28 times that much along each axis
        (standard deviation), and never larger.
    heights, widths
        (n,) pixels.
    rows, columns
        (n, R) and (n, C): the output pixels wanted, from 0.
    device
        Which works.

    Returns
    -------
    torch.Tensor
        (n, 2, R, C) float32 on `device`: pixels to the right and downwards.
    """
    n = len(seeds)
    keys = np.arange(_FIRST_KEY, _FIRST_KEY + 2 * _POINTS**2, dtype=np.uint64)
    reach = (amounts * np.minimum(heights, widths))[:, None]
    lattice = torch.from_numpy((2.0 * draw_unit(seeds[:, None], keys) - 1.0) * reach)
    lattice = lattice.to(torch.float32).to(device).view(n, 2, _POINTS, _POINTS)
    across = _blend(lattice.transpose(2, 3), *_spline(columns, widths, device))  # (n, 2, C, points)
    return _blend(across.transpose(2, 3), *_spline(rows, heights, device))


def _blend(points: torch.Tensor, firsts: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Blend four neighbours along the third axis: (n, 2, points, K) to (n, 2, places, K)."""
    n, axes, count, wide = points.shape
    lines = points.reshape(n * axes * count, wide)
    starts = torch.arange(n * axes, device=points.device).mul_(count).view(n, axes, 1)
    starts = starts + firsts[:, None]
    blended = torch.zeros(
        (n, axes, firsts.shape[1], wide), dtype=torch.float32, device=points.device
    )
    for step in range(4):
        chosen = torch.index_select(lines, 0, starts.view(-1) + step).view(blended.shape)
        blended += chosen.mul_(weights[step, :, None, :, None])
    return blended


def _spline(
    positions: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find each place's first control point, (n, P) int64, and the weights of four, (4, n, P)."""
    places = (positions + 0.5) / lengths[:, None] * SPANS
    firsts = np.minimum(places.astype(np.int64), SPANS - 1)
    t = places - firsts
    rest = 1.0 - t
    squares, cubes = t * t, t * t * t
    weights = np.stack(
        [
            rest * rest * rest,
            3.0 * cubes - 6.0 * squares + 4.0,
            -3.0 * cubes + 3.0 * squares + 3.0 * t + 1.0,
            cubes,
        ]
    )
    narrow = torch.from_numpy((weights / 6.0).astype(np.float32))
    return torch.from_numpy(firsts).to(device), narrow.to(device)
