"""The plot of a study: test accuracy of the arms over the rounds, and how far apart they are.

Left by the epoch that each training keeps, right by the mean over its late epochs.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from databoost.views.plots import figure_png

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#555555")
_MARKERS = "osD^vPX"
_SPREAD = 0.06
_MEASURES = {"kept": "kept epoch", "late": "mean over late epochs"}


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
    figure = Figure(figsize=(12.5, 8), dpi=100, layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for (above, below), (measure, told) in zip(panels.T, _MEASURES.items(), strict=True):
        for number, arm in enumerate(names):
            rows = arms[(arms["arm"] == arm) & (arms["measure"] == measure)]
            rows = rows.rename(columns={"test_accuracy": "value"})
            _draw(above, rows, rounds, number, len(names), arm)
            if arm != control:
                pairs = verdicts[verdicts["measure"] == measure]
                _draw(below, _against(pairs, arm, control), rounds, number, len(names), arm)
        above.set_title(f"test accuracy, {told}, {_seeds(arms)}", loc="left", fontsize=11)
        below.set_title(f"difference from {control}, {told}", loc="left", fontsize=11)
        below.axhline(0, color="#999999", linewidth=1, zorder=0)
        below.set_xticks(range(len(rounds)), [_tick(arms, name) for name in rounds])
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("difference, paired by seed and image")
    for axes in panels.flat:
        axes.grid(axis="y", color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    bars = "bars: 95% over seeds and images"
    if arms["n_seeds"].min() == 1:
        bars += ", of one seed over images alone"
    figure.supxlabel(f"round, and mean number of training images; {bars}", fontsize=9)
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


def _seeds(arms: pd.DataFrame) -> str:
    fewest, most = int(arms["n_seeds"].min()), int(arms["n_seeds"].max())
    if fewest < most:
        return f"{fewest} to {most} seeds"
    return f"{most} seed{'s' if most != 1 else ''}"


def _tick(arms: pd.DataFrame, name: str) -> str:
    sizes = arms[arms["round"] == name]["n_train"]
    low, high = round(sizes.min()), round(sizes.max())
    return f"{name}\n{low:,}" if low == high else f"{name}\n{low:,} to {high:,}"
