"""The geometry of candidates: drawn parameters -> coefficients -> values at requested pixels.

A warp is applied backwards: every requested pixel of the candidate is mapped to the place of its
parent that it shows, and the parent is read there bilinearly. So the value of a pixel does not
depend on which others are requested.

Sines and powers differ in the last digit from one CPU to another. They are rounded to multiples of
2**-24, far above such differences; after that only additions, multiplications and divisions
follow, which IEEE 754 fixes to the last bit, and which are never fused (no matrix product, no
``addcmul``, no ``grid_sample``). So a candidate has the same pixels everywhere.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from databoost.candidates.recipes import Draws, Values

#: Canvas pixels around an image: left and above, right and below.
BEFORE, AFTER = 1, 2

_STEP = 2.0**24


@dataclass(frozen=True)
class Warps:
    """Backward maps of n candidates, (n,) float64 each.

    With u and v, the distances of an output pixel from the centre in pixels, the place in the
    parent is ``x = (xu * u + xv * v) / (1 + du * u + dv * v) + x0`` and likewise y, counted in
    pixels from the centre of the top left one.
    """

    xu: Values
    xv: Values
    x0: Values
    yu: Values
    yv: Values
    y0: Values
    du: Values
    dv: Values
    width: Values
    height: Values


def find_warps(
    draws: Draws, heights: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]
) -> Warps:
    """Compose the drawn steps for parents of these heights and widths, (n,) each, in pixels.

    Forwards they are: mirror, shear, rotate, scale, shift, perspective; all about the centre.
    """
    sine, cosine = _snap(np.sin(np.radians(draws.rotation))), _cosine(draws.rotation)
    lean = _snap(np.tan(np.radians(draws.shear)))
    shrink = 1.0 / _snap(draws.scale)
    side = np.where(draws.mirrored, -1.0, 1.0)
    xu, xv = side * shrink * (cosine + lean * sine), side * shrink * (lean * cosine - sine)
    yu, yv = shrink * sine, shrink * cosine
    width, height = widths.astype(np.float64), heights.astype(np.float64)
    right, down = draws.shift_x * width, draws.shift_y * height
    return Warps(
        xu=xu,
        xv=xv,
        x0=(width - 1.0) / 2.0 - (xu * right + xv * down),
        yu=yu,
        yv=yv,
        y0=(height - 1.0) / 2.0 - (yu * right + yv * down),
        du=draws.perspective_x / width,
        dv=draws.perspective_y / height,
        width=width,
        height=height,
    )


def sample(
    canvases: torch.Tensor,
    warps: Warps,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    bends: torch.Tensor | None = None,
) -> torch.Tensor:
    """Read parents at the places that output pixels show.

    Parameters
    ----------
    canvases
        (n, channels, H, W) uint8; each parent begins at row and column `BEFORE`, and has `AFTER`
        rows and columns of paper behind it, at least. Their device is the one that works.
    warps
        n backward maps.
    rows, columns
        (n, R) and (n, C): the output pixels wanted.
    bends
        (n, 2, R, C) float32: how far to the right of the place, and below it, the parent is read.

    Returns
    -------
    torch.Tensor
        (n, channels, R, C) float32, 0 to 255. Beyond its edge a parent fades into the paper
        within one pixel.
    """
    n, channels, high, wide = canvases.shape
    device = canvases.device

    def column(values: Values) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device).view(-1, 1, 1)

    u = _centred(columns, warps.width).to(device)[:, None, :]  # (n, 1, C)
    v = _centred(rows, warps.height).to(device)[:, :, None]  # (n, R, 1)
    x = u * column(warps.xu) + v * column(warps.xv)  # (n, R, C), and so on
    y = u * column(warps.yu) + v * column(warps.yv)
    if warps.du.any() or warps.dv.any():
        nearness = u * column(warps.du) + v * column(warps.dv)
        nearness += 1.0
        x /= nearness
        y /= nearness
    if bends is not None:
        x += bends[:, 0]
        y += bends[:, 1]
    x0, x_fractions = _split(x, column(warps.x0), column(warps.width))
    y0, y_fractions = _split(y, column(warps.y0), column(warps.height))
    places = y0.mul_(wide).add_(x0)
    firsts = torch.arange(n, dtype=torch.int32, device=device).mul_(channels * high * wide)
    places += firsts.view(n, 1, 1)
    places = places.view(-1)
    flat = canvases.view(-1)
    values = torch.empty((n, channels, *x.shape[1:]), dtype=torch.float32, device=device)
    for channel in range(channels):
        upper, lower = (
            _between_columns(flat[channel * high * wide + skipped :], places, x_fractions)
            for skipped in (0, wide)
        )
        lower.sub_(upper).mul_(y_fractions).add_(upper)
        values[:, channel] = lower
    return values


def _between_columns(
    pixels: torch.Tensor, places: torch.Tensor, fractions: torch.Tensor
) -> torch.Tensor:
    left = torch.index_select(pixels, 0, places).to(torch.float32).view(fractions.shape)
    right = torch.index_select(pixels[1:], 0, places).to(torch.float32).view(fractions.shape)
    return right.sub_(left).mul_(fractions).add_(left)


def _split(
    places: torch.Tensor, origin: torch.Tensor, length: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the canvas pixel before each place, int32, and how far behind it the place is."""
    places += origin + BEFORE
    places.clamp_(min=0.0)
    torch.minimum(places, length + BEFORE, out=places)
    whole = places.to(torch.int32)
    return whole, places.sub_(whole)


def _centred(positions: npt.NDArray[np.int64], lengths: Values) -> torch.Tensor:
    return torch.from_numpy((positions - (lengths[:, None] - 1.0) / 2.0).astype(np.float32))


def _cosine(degrees: Values) -> Values:
    return _snap(np.cos(np.radians(degrees)))


def _snap(values: Values) -> Values:
    snapped: Values = np.rint(values * _STEP) / _STEP
    return snapped
