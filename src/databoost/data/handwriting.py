"""How one picture of handwriting is made: the styles, and the pen that writes on a sheet.

:mod:`~databoost.data.lettering` says what is written, :mod:`~databoost.data.scanning` turns the
inked sheet into pixels.

Arithmetic on arrays stays with sums, products and roots: unlike exponentials and sines they are
the same to the last bit on every processor, and so are the pictures.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from databoost.data.images import Pixels
from databoost.data.lettering import (
    Bars,
    Case,
    Floats,
    Hand,
    numeral_strokes,
    other_strokes,
)
from databoost.data.scanning import Field, Scan, scanned
from databoost.errors import DatasetError

Range = tuple[float, float]
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Style:
    """A kind of handwriting and of scan.

    Attributes
    ----------
    weight
        How often the style is drawn, relative to the others.
    radius
        Of the pen, as a share of the image's usual side.
    height
        Of a capital letter, as a share of the image's height.
    aspect
        Width of the image by its height.
    scan
        See :data:`databoost.data.scanning.Scan`.
    lines
        Share of the images on ``grid`` paper (``ruled`` where `scan` is ``photo``).
    """

    weight: float
    case: Case
    bars: Bars
    scan: Scan
    radius: Range
    height: Range
    aspect: Range
    lines: float = 0.0


_CLOSE, _WIDE = (0.9, 1.25), (1.05, 1.6)
STYLES = {
    "pencil": Style(3.4, "upper", "none", "pencil", (0.004, 0.016), (0.5, 0.8), _CLOSE, 0.3),
    "pencil_serifs": Style(
        1.2, "upper", "separate", "pencil", (0.005, 0.014), (0.4, 0.65), (0.8, 1.2), 0.3
    ),
    "fineliner": Style(1.2, "upper", "none", "pen", (0.01, 0.018), (0.38, 0.62), _WIDE),
    "pen_bars": Style(2.2, "upper", "joint", "pen", (0.011, 0.02), (0.4, 0.65), _WIDE),
    "pen_serifs": Style(0.8, "upper", "separate", "pen", (0.010, 0.018), (0.4, 0.62), _WIDE),
    "marker": Style(1.0, "upper", "none", "pen", (0.02, 0.034), (0.48, 0.75), (0.8, 1.3)),
    "marker_bars": Style(1.0, "upper", "joint", "pen", (0.02, 0.032), (0.45, 0.7), (0.8, 1.3)),
    "lower": Style(1.6, "lower", "none", "pen", (0.011, 0.019), (0.42, 0.68), (0.9, 1.5)),
    "pencil_bars": Style(1.0, "upper", "joint", "pencil", (0.006, 0.016), (0.4, 0.65), _CLOSE, 0.5),
    "lower_marker": Style(1.0, "lower", "none", "pen", (0.022, 0.034), (0.45, 0.7), (0.8, 1.3)),
    "photo": Style(1.0, "upper", "none", "photo", (0.009, 0.02), (0.4, 0.7), _CLOSE, 0.6),
}


def draw_numeral(numeral: str, style: str, image_size: int, rng: np.random.Generator) -> Pixels:
    """Draw a numeral on a sheet of paper and scan it.

    Parameters
    ----------
    numeral
        One of :data:`databoost.data.lettering.NUMERALS`.
    style
        A key of `STYLES`.
    image_size
        Usual side in pixels; the image's own sides vary around it.
    rng
        Decides everything else; same state, same pixels.

    Returns
    -------
    numpy.ndarray
        uint8, (height, width, 1), white paper and dark ink.

    Raises
    ------
    DatasetError
        If `numeral` or `style` is unknown.
    """
    chosen = _style(style)
    hand = Hand.of(rng, chosen.case)
    strokes = numeral_strokes(numeral, chosen.case, chosen.bars, hand, rng)
    return _picture(strokes, chosen, image_size, rng)


def draw_other(style: str, image_size: int, rng: np.random.Generator) -> Pixels:
    """Draw a sheet without a numeral: another sign, a scribble, a blot, or next to nothing.

    Parameters and result are those of :func:`draw_numeral`.

    Raises
    ------
    DatasetError
        If `style` is unknown.
    """
    chosen = _style(style)
    strokes = other_strokes(Hand.of(rng, chosen.case), rng)
    return _picture(strokes, chosen, image_size, rng)


def _style(name: str) -> Style:
    if name not in STYLES:
        raise DatasetError(f"no style is called {name!r}; choose one of {', '.join(STYLES)}")
    return STYLES[name]


def _picture(
    strokes: list[Floats], style: Style, image_size: int, rng: np.random.Generator
) -> Pixels:
    aspect = rng.uniform(*style.aspect)
    height = max(16, round(image_size * rng.uniform(0.8, 1.2) * (1 if aspect < 1.3 else 0.85)))
    width = max(16, round(height * aspect))
    sheet = _Sheet(width, height, image_size)
    radius = rng.uniform(*style.radius) * image_size
    for stroke in _placed(strokes, style, width, height, rng):
        sheet.write(stroke, radius, rng)
    if style.scan == "pencil":
        sheet.write_surroundings(radius, rng)
    if rng.random() < style.lines:
        sheet.rule(style.scan != "photo", rng)
    return scanned(sheet.ink(), style.scan, image_size, rng)


def _placed(
    strokes: list[Floats], style: Style, width: int, height: int, rng: np.random.Generator
) -> list[Floats]:
    """Scale strokes to pixels and put them somewhere on the sheet."""
    if not strokes:
        return []
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = rng.uniform(*style.height) * height
    # Long numerals are written smaller, or would not fit.
    scale = min(
        scale,
        0.86 * width / max(high[0] - low[0], 0.01),
        0.92 * height / max(high[1] - low[1], 0.01),
    )
    free = np.array([width, height]) - scale * (high - low)
    # The sum of two draws lies near the middle more often than near the rim.
    offset = free * (0.03 + 0.94 * (0.5 * (rng.random(2) + rng.random(2)))) - scale * low
    return [stroke * scale + offset for stroke in strokes]


class _Sheet:
    """Paper that strokes are written on; coordinates and radii in pixels of the final image."""

    def __init__(self, width: int, height: int, image_size: int) -> None:
        self.width, self.height, self.image_size = width, height, image_size
        self._image = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING), 0)
        self._pen = ImageDraw.Draw(self._image)

    def write(
        self, stroke: Floats, radius: float, rng: np.random.Generator, darkness: float = 1.0
    ) -> None:
        """Lay discs along a stroke; the hand trembles, and presses harder here than there."""
        path = _resampled(stroke * _SUPERSAMPLING, max(1.0, 0.7 * radius * _SUPERSAMPLING))
        n = len(path)
        tremble = 0.003 * self.image_size * _SUPERSAMPLING
        path = path + tremble * np.stack([_wander(n, rng), _wander(n, rng)], axis=1)
        radii = radius * _SUPERSAMPLING * np.clip(1 + 0.13 * _wander(n, rng), 0.6, 1.5)
        fade = np.clip(darkness * (0.93 + 0.1 * _wander(n, rng)), 0.0, 1.0)
        fills = np.round(255 * fade).astype(int).tolist()
        for (x, y), r, fill in zip(path.tolist(), radii.tolist(), fills, strict=True):
            self._pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def write_surroundings(self, radius: float, rng: np.random.Generator) -> None:
        """Let the neighbours on the sheet reach into the cut-out."""
        size = np.array([self.width, self.height], dtype=np.float64)
        for _ in range(int(rng.choice([0, 1, 2], p=[0.6, 0.28, 0.12]))):
            side = int(rng.integers(4))
            start = rng.uniform(0.05, 0.95, 2) * size
            start[side % 2] = size[side % 2] if side > 1 else 0.0
            inward = np.array([0.0, 0.0])
            inward[side % 2] = (-1.0 if side > 1 else 1.0) * rng.uniform(0.0, 0.09)
            inward[1 - side % 2] = rng.normal(0, 0.05)
            self.write(np.stack([start, start + inward * self.image_size]), radius, rng)

    def rule(self, with_columns: bool, rng: np.random.Generator) -> None:
        """Print faint lines across the sheet, the way exercise books have them."""
        spacing = self.image_size * rng.uniform(0.3, 0.75) * (1.0 if with_columns else 0.4)
        tilt = rng.normal(0, 0.012)
        darkness = rng.uniform(0.35, 0.6)
        corner = rng.uniform(0, spacing, 2)
        for y in np.arange(corner[1], self.height, spacing).tolist():
            line = np.array([[0.0, y], [self.width, y + tilt * self.width]])
            self.write(line, 0.006 * self.image_size, rng, darkness)
        if with_columns:
            for x in np.arange(corner[0], self.width, spacing).tolist():
                line = np.array([[x, 0.0], [x - tilt * self.height, self.height]])
                self.write(line, 0.006 * self.image_size, rng, darkness)

    def ink(self) -> Field:
        """Darkness of the paper: float32 (height, width), 0 blank to 1 full ink."""
        small = self._image.reduce(_SUPERSAMPLING)
        return np.asarray(small, dtype=np.float32) / np.float32(255)


def _resampled(points: Floats, spacing: float) -> Floats:
    """Points at equal distances along a polyline."""
    steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    where = np.linspace(0.0, along[-1], max(3, int(along[-1] / spacing) + 1))
    return np.stack([np.interp(where, along, points[:, axis]) for axis in (0, 1)], axis=1)


def _wander(n: int, rng: np.random.Generator) -> Floats:
    """Slow random walk around zero: `n` values that turn about six times."""
    knots = rng.normal(0, 1, 8)
    where = np.arange(n) * (6.0 / max(n - 1, 1))
    left = where.astype(int)
    part = where - left
    smooth = part * part * (3 - 2 * part)
    return np.asarray(knots[left] * (1 - smooth) + knots[left + 1] * smooth)
