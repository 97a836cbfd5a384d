"""The plot of a study: test accuracy of the arms over the rounds, and how far apart they are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from databoost.views.plots import figure_png

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#555555")
_MARKERS = "osD^vPX"
_SPREAD = 0.06


def study_picture(arms: pd.DataFrame, verdicts: pd.DataFrame, control: str) -> bytes:
    """Draw a study.

    Parameters
    ----------
    arms
        ``STUDY_ARMS``.
    verdicts
        ``VERDICTS``.
    control
        The arm that the others are compared with, in the lower half.

    Returns
    -------
    bytes
        A PNG file.
    """
    names = list(dict.fromkeys(arms["arm"]))
    rounds = sorted(set(arms["round"]))
    figure = Figure(figsize=(8.5, 8), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for number, arm in enumerate(names):
        rows = arms[arms["arm"] == arm].rename(columns={"test_accuracy": "value"})
        _draw(above, rows, rounds, number, len(names), arm)
        if arm != control:
            _draw(below, _against(verdicts, arm, control), rounds, number, len(names), arm)
    n_seeds = int(arms["n_seeds"].max())
    above.set_title(f"test accuracy, {n_seeds} seed{'s' if n_seeds != 1 else ''}", loc="left")
    above.set_ylabel("accuracy")
    below.set_title(f"difference from {control}, paired by seed and image", loc="left")
    below.set_ylabel("difference")
    below.axhline(0, color="#999999", linewidth=1, zorder=0)
    below.set_xticks(range(len(rounds)), [_tick(arms, name) for name in rounds])
    for axes in (above, below):
        axes.grid(axis="y", color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*above.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.supxlabel("round, and mean number of training images; bars: 95% over seeds and images",
                     fontsize=9)  # fmt: skip
    return figure_png(figure)


def _draw(
    axes: Axes, rows: pd.DataFrame, rounds: list[str], number: int, n_arms: int, arm: str
) -> None:
    # Side by side, so that intervals do not hide each other.
    shift = (number - (n_arms - 1) / 2) * min(_SPREAD, 0.7 / n_arms)
    places = np.array([rounds.index(name) for name in rows["round"]]) + shift
    values = rows["value"].to_numpy()
    ends = np.abs(rows[["low", "high"]].to_numpy().T - values)
    axes.errorbar(
        places, values, yerr=np.nan_to_num(ends), label=arm, capsize=3, linewidth=1.2, markersize=5,
        color=_COLOURS[number % len(_COLOURS)], marker=_MARKERS[number % len(_MARKERS)],
        linestyle="-" if number < len(_COLOURS) else "--",
    )  # fmt: skip


def _against(verdicts: pd.DataFrame, arm: str, control: str) -> pd.DataFrame:
    """Give the differences arm minus control, whichever way round the pair stands."""
    columns = ["round", "difference", "low", "high"]
    own = verdicts[(verdicts["arm"] == arm) & (verdicts["other_arm"] == control)][columns]
    other = verdicts[(verdicts["arm"] == control) & (verdicts["other_arm"] == arm)][columns]
    turned = other.assign(difference=-other["difference"], low=-other["high"], high=-other["low"])
    return pd.concat([own, turned]).rename(columns={"difference": "value"})


def _tick(arms: pd.DataFrame, name: str) -> str:
    sizes = arms[arms["round"] == name]["n_train"]
    low, high = round(sizes.min()), round(sizes.max())
    return f"{name}\n{low:,}" if low == high else f"{name}\n{low:,} to {high:,}"
