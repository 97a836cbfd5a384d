"""The charts of the report: where the ticks of their axis and the values stand."""

import re
from typing import Any

import pandas as pd
import pytest

from databoost.views.charts import accuracy_chart, accuracy_range

PAIRS = [(low, high) for high in range(1, 11) for low in range(high)]


def ticks(low: float, high: float) -> dict[int, float]:
    """Give the height of each tick of an axis, in user units, by its percentage."""
    row = {"round": "r00", "strategy": "none", "accuracy": high, "low": low, "high": high}
    chart = accuracy_chart(pd.DataFrame([row | {"n_images": 9}]), None, (low, high))
    found = re.findall(r'y1="([\d.]+)" y2="[\d.]+"/><text [^>]*text-anchor="end">(\d+)%', chart)
    return {int(percent): float(y) for y, percent in found}


@pytest.mark.parametrize(("low", "high"), PAIRS)
def test_ticks_stay_on_the_axis_and_stand_evenly(low: int, high: int) -> None:
    found = ticks(low / 10, high / 10)
    step = 10 if high - low <= 5 else 20
    assert list(found) == list(range(10 * low, 10 * high + 1, step))
    height = 230 - 26 - 12  # of the picture, less what is above and below the axis
    for percent, y in found.items():
        share = (percent / 10 - low) / (high - low)
        assert y == pytest.approx(230 - 26 - share * height, abs=0.051)


def test_a_dot_stands_at_the_accuracy_and_its_bar_reaches_from_end_to_end() -> None:
    row = {"round": "r00", "strategy": "none", "accuracy": 0.75, "low": 0.25, "high": 1.0}
    chart = accuracy_chart(pd.DataFrame([row | {"n_images": 9}]), None, (0.0, 1.0))
    heights = re.search(
        r'class="bar" [^>]*y1="([\d.]+)" y2="([\d.]+)"/><circle [^>]*cy="([\d.]+)"', chart
    )
    assert heights
    # The axis ends 26 below and 12 above, so that 192 units are all of it.
    assert heights.groups() == ("156.0", "12.0", "60.0")
    assert re.findall(r'<polyline points="[\d.]+,([\d.]+)"/>', chart) == ["60.0"]


def row(name: str, accuracy: float, n_additions: int) -> dict[str, Any]:
    ends = {"low": accuracy - 0.05, "high": accuracy + 0.05}
    told = {"round": name, "strategy": "none", "accuracy": accuracy, "n_images": 9}
    return told | ends | {"n_additions": n_additions}


def test_a_control_above_or_below_the_run_stands_where_it_belongs() -> None:
    own = pd.DataFrame([row("r00", 0.65, 0)])
    for accuracy in (0.15, 0.9):
        control = pd.DataFrame([row("r00", accuracy, 0)])
        low, high = accuracy_range(pd.concat([own, control]))
        chart = accuracy_chart(own, control, (low, high))
        places = [204 - 192 * (value - low) / (high - low) for value in (accuracy, 0.65)]
        found = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', chart)]
        assert found == pytest.approx(places, abs=0.051)
        assert all(12 <= y <= 204 for y in found)


def test_a_value_outside_of_the_axis_is_not_drawn_as_another() -> None:
    rows = pd.DataFrame([row("r00", 0.65, 0)])
    (y,) = re.findall(r'cy="(-?[\d.]+)"', accuracy_chart(rows, None, (0.0, 0.5)))
    assert float(y) == pytest.approx(204 - 192 * 1.3, abs=0.051)


def test_a_round_that_added_nothing_is_hollow() -> None:
    names = (("r00", 0), ("r01", 5), ("r02", 0))
    chart = accuracy_chart(pd.DataFrame([row(name, 0.65, n) for name, n in names]), None, (0, 1))
    assert re.findall(r"<circle( class=[^ ]+)? cx", chart) == ["", "", ' class="again"']
    assert re.findall(r"<title>(r\d\d)[^<]*nothing added</title>", chart) == ["r02"]
