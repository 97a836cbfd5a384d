"""The charts of the report: where the ticks of their axis stand."""

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
