"""Charts as SVG inside a page: their colours are the page's, so that they follow dark mode."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

# The user units are the CSS pixels of a narrow screen, where letters must still be readable.
_WIDTH, _HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 26


def accuracy_range(rows: pd.DataFrame) -> tuple[float, float]:
    """Give the tenths that hold all intervals of ``ROUNDS`` rows, so that charts share an axis."""
    low = math.floor(rows["low"].min() * 10) / 10
    high = math.ceil(rows["high"].max() * 10) / 10
    return low, max(high, low + 0.1)


def accuracy_chart(
    rows: pd.DataFrame, control: pd.DataFrame | None, bounds: tuple[float, float]
) -> Markup:
    """Draw the accuracy of one split over the rounds, with its intervals.

    Hollow points are of rounds that added nothing, so that their model is the one before again.

    Parameters
    ----------
    rows
        ``ROUNDS`` of one split, in order.
    control
        The same of another run, drawn dashed; None if there is none.
    bounds
        Lower and upper end of the axis, 0 to 1, which hold all that is drawn.

    Returns
    -------
    markupsafe.Markup
        An ``<svg>`` element.
    """
    shown = [("own", rows)] + ([("control", control)] if control is not None else [])
    names = sorted({str(name) for _, table in shown for name in table["round"]})
    parts = [_axes(names, bounds)]
    # The control first, so that the run itself lies above it.
    for kind, table in reversed(shown):
        shift = 0.0 if len(shown) == 1 else {"own": -4.0, "control": 4.0}[kind]
        parts.append(_line(kind, table, names, bounds, shift))
    label = f"accuracy over {len(names)} rounds, with 95% intervals; the table below has the values"
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="chart">{}</svg>'
    ).format(_WIDTH, _HEIGHT, label, Markup("").join(parts))


def adds_nothing(row: Mapping[Any, Any]) -> bool:
    """Tell whether a row of ``ROUNDS`` is of a round after r00 that added nothing."""
    return bool(row["round"] != "r00" and row["n_additions"] == 0)


def _axes(names: list[str], bounds: tuple[float, float]) -> Markup:
    parts = []
    step = 0.1 if bounds[1] - bounds[0] <= 0.55 else 0.2
    # A little more, since tenths are not exact: 0.3 / 0.1 is less than 3.
    for number in range(math.floor((bounds[1] - bounds[0]) / step + 1e-9) + 1):
        value = bounds[0] + number * step
        y = _y(value, bounds)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text x="{}" y="{:.1f}" text-anchor="end">{:.0%}</text>'
            ).format(_LEFT, _WIDTH - _RIGHT, y, y, _LEFT - 5, y + 4, value)
        )
    every = math.ceil(len(names) / 8)
    for place, name in enumerate(names):
        if place % every == 0:
            parts.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                    _x(place, len(names)), _HEIGHT - 7, name
                )
            )
    return Markup("").join(parts)


def _line(
    kind: str, rows: pd.DataFrame, names: list[str], bounds: tuple[float, float], shift: float
) -> Markup:
    points, marks = [], []
    for row in rows.to_dict("records"):
        x = _x(names.index(row["round"]), len(names)) + shift
        y = _y(row["accuracy"], bounds)
        points.append(f"{x:.1f},{y:.1f}")
        told = (
            f"{row['round']} ({row['strategy']}): {row['accuracy']:.3f}, "
            f"{row['low']:.3f} to {row['high']:.3f}, {row['n_images']} images"
        )
        is_again = adds_nothing(row)
        marks.append(
            Markup(
                '<g><title>{}{}</title><line class="bar" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}"'
                ' y2="{:.1f}"/><circle{} cx="{:.1f}" cy="{:.1f}" r="4"/></g>'
            ).format(
                told, ", nothing added" if is_again else "",
                x, x, _y(row["low"], bounds), _y(row["high"], bounds),
                Markup(' class="again"') if is_again else "", x, y,
            )
        )  # fmt: skip
    return Markup('<g class="{}"><polyline points="{}"/>{}</g>').format(
        kind, " ".join(points), Markup("").join(marks)
    )


def _x(place: int, n: int) -> float:
    width = _WIDTH - _LEFT - _RIGHT
    return _LEFT + width * (place + 0.5) / n


def _y(value: float, bounds: tuple[float, float]) -> float:
    share = (value - bounds[0]) / (bounds[1] - bounds[0])
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)
