"""What a hand writes, before it meets a pen: numerals, other signs and scribbles as polylines.

Letters are drawn in a box one unit high, y growing downwards. A hand bends, slants, spaces and
joins them in its own way, which is the same within one numeral.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from databoost.errors import DatasetError

Floats = npt.NDArray[np.float64]
Shape = tuple[tuple[float, float], ...]
Case = Literal["upper", "lower"]
Bars = Literal["none", "separate", "joint"]

#: The numerals that can be written, in numeric order.
NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")

_LETTERS: dict[Case, dict[str, tuple[Shape, ...]]] = {
    "upper": {
        "i": (((0, 0), (0, 1)),),
        "v": (((0, 0), (0.3, 1), (0.6, 0)),),
        "x": (((0, 0), (0.58, 1)), ((0.58, 0), (0, 1))),
    },
    "lower": {
        "i": (((0, 0.4), (0, 1)), ((0.02, 0.1), (0.03, 0.14))),
        "v": (((0, 0.4), (0.2, 1), (0.42, 0.38)),),
        "x": (((0, 0.4), (0.42, 1)), ((0.42, 0.4), (0, 1))),
    },
}
_ANGULAR_SIGNS: dict[str, tuple[Shape, ...]] = {
    "A": (((0, 1), (0.35, 0), (0.7, 1)), ((0.1, 0.62), (0.6, 0.6))),
    "E": (((0.5, 0), (0, 0), (0, 1), (0.55, 1)), ((0, 0.5), (0.4, 0.48))),
    "H": (((0, 0), (0, 1)), ((0.6, 0), (0.6, 1)), ((0, 0.5), (0.6, 0.47))),
    "K": (((0, 0), (0, 1)), ((0.55, 0), (0.02, 0.55), (0.6, 1))),
    "M": (((0, 1), (0.1, 0), (0.4, 0.7), (0.7, 0), (0.8, 1)),),
    "Z": (((0, 0), (0.6, 0), (0, 1), (0.65, 1)),),
    "4": (((0.4, 0), (0, 0.65), (0.65, 0.62)), ((0.45, 0.3), (0.43, 1))),
}
#: The corners of these only pull the curve towards them.
_CURVED_SIGNS: dict[str, tuple[Shape, ...]] = {
    "S": (((0.6, 0.1), (0.3, -0.1), (-0.1, 0.3), (0.7, 0.6), (0.4, 1.1), (0, 0.9)),),
    "2": (((0, 0.25), (0.1, -0.1), (0.7, 0), (0.5, 0.5), (0, 1), (0.65, 1)),),
    "3": (
        ((0, 0.1), (0.6, -0.1), (0.6, 0.45), (0.15, 0.48)),
        ((0.15, 0.48), (0.8, 0.5), (0.6, 1.1), (0, 0.9)),
    ),
    "5": (((0.55, 0), (0.08, 0), (0.05, 0.42), (0.7, 0.4), (0.6, 1.1), (0, 0.92)),),
    "6": (((0.5, 0), (-0.05, 0.35), (0.05, 1.1), (0.65, 1), (0.55, 0.5), (0.05, 0.7)),),
    "8": (
        ((0.5, 0.1), (-0.2, 0), (0.05, 0.5), (0.8, 0.7)),
        ((0.8, 0.7), (0.3, 1.3), (-0.25, 0.8), (0.6, 0.4), (0.5, 0.1)),
    ),
    "?": (
        ((0, 0.25), (0.1, -0.1), (0.7, 0), (0.55, 0.45), (0.3, 0.5), (0.3, 0.75)),
        ((0.3, 0.95), (0.31, 0.98)),
    ),
    "face": (
        ((0.1, 0), (0.1, 0.25)),
        ((0.5, 0), (0.5, 0.25)),
        ((-0.1, 0.55), (0.1, 1), (0.5, 1), (0.75, 0.5)),
    ),
}


@dataclass(frozen=True)
class Hand:
    """How one person writes one numeral; lengths are in letter heights.

    Attributes
    ----------
    slant
        Shift to the right from a letter's foot to its head.
    width
        Factor on the letters' widths.
    gap
        Space between letters; below zero they touch.
    bend
        Standard deviation of the sag of a straight stroke.
    jitter
        Standard deviation of where strokes begin and end.
    rounding
        0 keeps a corner sharp, 1 turns it into an arc of half its arms.
    hook
        Probability that the pen leaves a stroke with a flick to the right.
    """

    slant: float
    width: float
    gap: float
    bend: float
    jitter: float
    rounding: float
    hook: float

    @staticmethod
    def of(rng: np.random.Generator, case: Case) -> "Hand":
        """Draw a hand."""
        low, high = (0.24, 0.46) if case == "upper" else (0.2, 0.36)
        return Hand(
            slant=float(rng.normal(-0.03, 0.1)),
            width=float(rng.uniform(0.8, 1.25)),
            gap=float(rng.uniform(low, high)),
            bend=float(rng.uniform(0.01, 0.05)),
            jitter=float(rng.uniform(0.01, 0.04 if case == "upper" else 0.025)),
            rounding=float(rng.choice([0.1, 0.35, 0.8], p=[0.35, 0.35, 0.3])),
            hook=float(rng.choice([0.0, 0.25, 0.8], p=[0.6, 0.25, 0.15])),
        )


def numeral_strokes(
    numeral: str, case: Case, bars: Bars, hand: Hand, rng: np.random.Generator
) -> list[Floats]:
    """Write a numeral.

    Parameters
    ----------
    bars
        ``separate``: every letter has its own serifs; ``joint``: one bar runs along the top of
        the whole numeral and one along its foot.

    Returns
    -------
    list of numpy.ndarray
        One float64 array (n, 2) of x and y a stroke, in letter heights, y growing downwards.

    Raises
    ------
    DatasetError
        If `numeral` is not one of `NUMERALS`.
    """
    if numeral not in NUMERALS:
        raise DatasetError(
            f"{numeral!r} cannot be written; choose one of the numerals {', '.join(NUMERALS)}"
        )
    strokes: list[Floats] = []
    pen_x = 0.0
    for letter in numeral:
        written, width = _letter(letter, case, bars, hand, rng)
        strokes += [stroke + np.array([pen_x, 0.0]) for stroke in written]
        own_gap = 0.16 if bars == "separate" and letter == "i" else 0.0
        pen_x += width + (hand.gap + own_gap) * (1 + rng.normal(0, 0.18))
    if bars == "joint":
        strokes += _joint_bars(strokes, hand, rng)
    return [_slanted(stroke, hand.slant) for stroke in strokes]


def other_strokes(hand: Hand, rng: np.random.Generator) -> list[Floats]:
    """Write something that is no numeral: a sign, a scribble, a blot, or next to nothing.

    Returns
    -------
    list of numpy.ndarray
        As :func:`numeral_strokes`.
    """
    kinds = ["sign", "scribble", "crossed", "fragments"]
    kind = rng.choice(kinds, p=[0.4, 0.25, 0.15, 0.2])
    if kind == "scribble":
        strokes = [_zigzag(int(rng.integers(7, 16)), 0.6, rng)]
        hand = replace(hand, slant=4 * hand.slant)
    elif kind == "fragments":
        starts = rng.uniform(0, 1, (int(rng.integers(1, 6)), 2))
        strokes = [np.stack([start, start + rng.normal(0, 0.06, 2)]) for start in starts]
    else:
        strokes = _sign(hand, rng)
    if kind == "crossed":
        strokes.append(_zigzag(int(rng.integers(14, 26)), 1.0, rng))
    return [_slanted(stroke, hand.slant) for stroke in strokes]


def _sign(hand: Hand, rng: np.random.Generator) -> list[Floats]:
    signs = {**_ANGULAR_SIGNS, **_CURVED_SIGNS}
    name = str(rng.choice(list(signs)))
    shapes = [np.array(shape, dtype=np.float64) for shape in signs[name]]
    if name in _ANGULAR_SIGNS:
        return [_written(points, hand, rng) for points in shapes]
    return [_rounded(points + rng.normal(0, hand.jitter, points.shape), [1.0]) for points in shapes]


def _letter(
    letter: str, case: Case, bars: Bars, hand: Hand, rng: np.random.Generator
) -> tuple[list[Floats], float]:
    """Write one letter from x = 0 on; gives its strokes and its width."""
    height, foot = 1 + rng.normal(0, 0.06), 1 + rng.normal(0, 0.035)
    lean = rng.normal(0, 0.02)
    strokes = []
    for shape in _LETTERS[case][letter]:
        points = np.array(shape, dtype=np.float64)
        if letter == "v":
            # Arms that sag towards each other would make it a y.
            points[1, 0] += rng.normal(0.02, 0.05)
            strokes.append(_written(points, replace(hand, bend=0.4 * hand.bend), rng))
        elif points[-1, 1] - points[0, 1] > 0.3 and rng.random() < hand.hook:
            hook = points[-1:] + np.array([[rng.uniform(0.05, 0.14), -rng.uniform(0.0, 0.12)]])
            points = np.concatenate([points, hook])
            strokes.append(_written(points, replace(hand, rounding=0.8), rng))
        else:
            strokes.append(_written(points, hand, rng))
    if bars == "separate":
        strokes += [_written(np.array(shape), hand, rng) for shape in _serifs(letter, rng)]
    for points in strokes:
        points[:, 0] = points[:, 0] * hand.width + lean * (1 - points[:, 1])
        points[:, 1] = foot - (1 - points[:, 1]) * height
    return strokes, max(x for shape in _LETTERS[case][letter] for x, _ in shape) * hand.width


def _serifs(letter: str, rng: np.random.Generator) -> tuple[Shape, ...]:
    feet = {
        "i": ((0.0, 0.0, 0.2), (0.0, 1.0, 0.2)),
        "v": ((0.0, 0.0, 0.12), (0.6, 0.0, 0.12)),
        "x": ((0.0, 0.0, 0.1), (0.58, 0.0, 0.1), (0.0, 1.0, 0.1), (0.58, 1.0, 0.1)),
    }[letter]
    longer = rng.uniform(0.7, 1.2)
    tilt = rng.normal(0, 0.02)
    return tuple(
        ((x - half * longer, y + tilt), (x + half * longer, y - tilt)) for x, y, half in feet
    )


def _joint_bars(strokes: list[Floats], hand: Hand, rng: np.random.Generator) -> list[Floats]:
    points = np.concatenate(strokes)
    left, right = points[:, 0].min(), points[:, 0].max()
    bars = []
    for y, away in ((points[:, 1].min(), -1.0), (points[:, 1].max(), 1.0)):
        over = rng.uniform(-0.05, 0.28, 2)
        # A lone i needs bars wide enough to be seen as serifs.
        over += max(0.0, 0.22 - (right - left) / 2)
        level = y + away * rng.uniform(-0.05, 0.09)
        tilt = rng.normal(0.02, 0.05)
        ends = np.array([[left - over[0], level + tilt], [right + over[1], level - tilt]])
        bars.append(_written(ends, hand, rng))
    return bars


def _written(points: Floats, hand: Hand, rng: np.random.Generator) -> Floats:
    """Bend straight lines and move their ends, as a hand does."""
    points = points + rng.normal(0, hand.jitter, points.shape)
    steps = np.diff(points, axis=0)
    sags = np.clip(rng.normal(0, hand.bend, len(steps)), -0.07, 0.07)
    normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1)
    middles = points[:-1] + 0.5 * steps + 2 * sags[:, None] * normals
    arms = np.empty((2 * len(points) - 1, 2))
    arms[0::2], arms[1::2] = points, middles
    # Sagging middles become arcs wholly, corners as far as the hand rounds them.
    return _rounded(arms, [1.0, hand.rounding])


def _rounded(points: Floats, roundings: list[float], n_steps: int = 8) -> Floats:
    """Replace the inner points by arcs of up to half their arms, going round `roundings`."""
    pieces = [points[:1]]
    along = (np.arange(n_steps + 1) / n_steps)[:, None]
    for number in range(1, len(points) - 1):
        before, here, after = points[number - 1 : number + 2]
        reach = 0.5 * roundings[(number - 1) % len(roundings)]
        start, end = here + reach * (before - here), here + reach * (after - here)
        arc = (1 - along) * (1 - along) * start + 2 * along * (1 - along) * here
        pieces.append(arc + along * along * end)
    pieces.append(points[-1:])
    return np.concatenate(pieces)


def _zigzag(n_turns: int, height: float, rng: np.random.Generator) -> Floats:
    x = np.cumsum(rng.uniform(0.0, 0.13, n_turns))
    side = np.where(np.arange(n_turns) % 2, 1.0, -1.0)
    y = 0.5 + 0.5 * height * side * rng.uniform(0.5, 1.0, n_turns)
    return _rounded(np.stack([x, y], axis=1), [0.8])


def _slanted(points: Floats, slant: float) -> Floats:
    return np.stack([points[:, 0] + slant * (1 - points[:, 1]), points[:, 1]], axis=1)
