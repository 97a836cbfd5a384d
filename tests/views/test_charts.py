"""The charts of the report: where the ticks of their axis and the values stand."""

import re

import pandas as pd
import pytest

from databoost.views.charts import accuracy_chart

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
