"""The map as a PNG: two panels of the same points, coloured by split and by class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from databoost.views.plots import figure_png

_DPI = 100
_MOST_CLASSES = 20  # more colours cannot be told apart
_SPLITS = {
    "train": "#4c8dd6",
    "train, added": "#35b3a4",
    "val": "#ee7d2b",
    "test": "#9a79d1",
    "label_book": "#d25fa0",
}
_OUTCOMES = {"right": "#4c8dd6", "misclassified": "#e2504a"}


def map_picture(points: pd.DataFrame, classes: list[str], last_round: str) -> bytes:
    """Draw the map by split, and by class; by correctness where there are more than 20 classes.

    Parameters
    ----------
    points
        ``MAP``.
    classes
        Labels in order.
    last_round
        The round whose predictions `points` holds.

    Returns
    -------
    bytes
        A PNG file; same points, same bytes.
    """
    figure = Figure(figsize=(16.0, 8.2), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    is_added = (points["split"] == "train") & (points["round_added"] != "r00")
    _panel(left, points, points["split"].where(~is_added, "train, added"), _SPLITS)
    left.set_title("by split")
    if len(classes) <= _MOST_CLASSES:
        palette = colormaps["tab10" if len(classes) <= 10 else "tab20"]
        _panel(right, points, points["label"], {k: palette(i) for i, k in enumerate(classes)})
        right.set_title("by class")
    else:
        outcome = points["is_misclassified"].map({True: "misclassified", False: "right"})
        _panel(right, points, outcome, _OUTCOMES)
        right.set_title(f"by correctness in {last_round}")
    return figure_png(figure)


def _panel(
    axes: Axes, points: pd.DataFrame, category: pd.Series, colours: Mapping[str, Any]
) -> None:
    counts = category.value_counts()
    size = float(np.clip(30_000 / max(len(points), 1), 3.0, 14.0))  # square points
    names = [name for name in colours if name in counts.index]
    for place, name in enumerate(sorted(names, key=lambda name: -counts[name])):  # rare ones on top
        rows = points[category == name]
        axes.scatter(
            rows["x"], rows["y"], s=size, color=[colours[name]], alpha=0.75, linewidths=0,
            zorder=2 + place,
        )  # fmt: skip
    for name in names:  # "_" at the start would hide a name from the legend
        axes.scatter([], [], s=50, color=[colours[name]], linewidths=0, label=f" {name}")
    handles, _ = axes.get_legend_handles_labels()
    told = [f"{name} ({counts[name]:,})" for name in names]
    axes.legend(
        handles, told, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=5, frameon=False
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
