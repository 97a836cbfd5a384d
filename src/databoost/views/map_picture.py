"""The map as a PNG: two panels of the same points, coloured by split and by class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from databoost.layout import HELDOUT_SPLITS
from databoost.views.plots import figure_png

_DPI = 100
_MOST_CLASSES = 20  # more colours cannot be told apart
#: Paul Tol's bright colours. Any two are 14 apart or more (CIEDE2000), to the colour-blind too.
SPLIT_COLOURS = {
    "train": "#4477aa",
    "train, added": "#66ccee",
    "val": "#ee6677",
    "test": "#ccbb44",
    "label_book": "#aa3377",
}
#: Of up to ten classes, found by a search: any two are 17 apart or more in the same sense, and
#: their contrast is 1.8 or more with white, and 2.2 with the ground of the map's page in dark mode.
CLASS_COLOURS = (
    "#241af9", "#ca470f", "#49d0f0", "#bcbcaa", "#9d7897",
    "#308e67", "#867bfb", "#95c433", "#8e1c77", "#035b46",
)  # fmt: skip
_ROUND, _SQUARE = "o", "s"
_OUTCOMES = {"right": "#4477aa", "misclassified": "#ee6677"}


def map_picture(points: pd.DataFrame, classes: list[str], last_round: str) -> bytes:
    """Draw the map by split, and by class; by correctness where there are more than 20 classes.

    Squares are images that are held out.

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
    _panel(left, points, points["split"].where(~is_added, "train, added"), SPLIT_COLOURS)
    left.set_title("by split")
    if len(classes) <= _MOST_CLASSES:
        many = [colormaps["tab20"](place) for place in range(_MOST_CLASSES)]
        palette = CLASS_COLOURS if len(classes) <= len(CLASS_COLOURS) else many
        _panel(right, points, points["label"], dict(zip(classes, palette, strict=False)))
        right.set_title("by class")
    else:
        outcome = points["is_misclassified"].map({True: "misclassified", False: "right"})
        _panel(right, points, outcome, _OUTCOMES)
        right.set_title(f"by correctness in {last_round}")
    if points["split"].isin(HELDOUT_SPLITS).any():
        right.set_title(f"{right.get_title()}; squares are held out")
    return figure_png(figure)


def _panel(
    axes: Axes, points: pd.DataFrame, category: pd.Series, colours: Mapping[str, Any]
) -> None:
    counts = category.value_counts()
    size = float(np.clip(30_000 / max(len(points), 1), 3.0, 14.0))  # square points
    names = [name for name in colours if name in counts.index]
    is_heldout = points["split"].isin(HELDOUT_SPLITS)
    for place, name in enumerate(sorted(names, key=lambda name: -counts[name])):  # rare ones on top
        for marker, is_shown in ((_ROUND, ~is_heldout), (_SQUARE, is_heldout)):
            rows = points[(category == name) & is_shown]
            axes.scatter(
                rows["x"], rows["y"], s=size, color=[colours[name]], marker=marker, alpha=0.75,
                linewidths=0, zorder=2 + place,
            )  # fmt: skip
    for name in names:
        marker = _SQUARE if is_heldout[category == name].all() else _ROUND
        axes.scatter(  # "_" at the start would hide a name from the legend
            [], [], s=50, color=[colours[name]], marker=marker, linewidths=0, label=f" {name}"
        )
    handles, _ = axes.get_legend_handles_labels()
    told = [f"{name} ({counts[name]:,})" for name in names]
    axes.legend(
        handles, told, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=5, frameon=False
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
