"""Pictures as PNG bytes: the confusion matrix, grids of misclassified images and of candidates."""

import io
import textwrap
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from databoost.data.images import Pixels

#: Side in pixels of the cell of a misclassified image, its borders included.
CELL = 150
_COLUMNS = 8
_DPI = 100
_LABELLED, _TICKS = 60, 40  # classes that are all named on an axis; names on it if there are more


def confusion_picture(counts: npt.NDArray[np.int64], classes: list[str], title: str) -> bytes:
    """Draw a confusion matrix; of more than 60 classes some 40 at most are named, evenly.

    Parameters
    ----------
    counts
        (n_classes, n_classes): rows are given labels, columns predicted ones.
    classes
        Labels in order.
    title
        Line above the matrix.

    Returns
    -------
    bytes
        A PNG file.
    """
    n = len(classes)
    side = min(3.0 + 0.45 * n, 14.0)
    figure = Figure(figsize=(side, side), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    every, size = (1, None) if n <= _LABELLED else (-(-n // _TICKS), 7)
    ticks, told = range(0, n, every), classes[::every]
    axes.set_xticks(ticks, told, rotation=90 if n > 12 else 0, fontsize=size)
    axes.set_yticks(ticks, told, fontsize=size)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("given label")
    axes.set_title(title)
    if n <= 30:
        for row, column in zip(*np.nonzero(counts), strict=True):
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[row, column] > 0.5 else "black",
            )
    return figure_png(figure)


def misclassified_grid(rows: pd.DataFrame, images: list[Pixels], title: str) -> bytes:
    """Draw images with given and predicted label, worst first.

    Parameters
    ----------
    rows
        ``label``, ``predicted_label``, ``p_predicted``, ``image_id`` of each image.
    images
        uint8 pixels (height, width, 1 or 3) in the order of `rows`; may be empty.
    title
        Line above the grid.

    Returns
    -------
    bytes
        A PNG file.
    """
    n_rows = max(1, -(-len(images) // _COLUMNS))
    size = (_COLUMNS * CELL / _DPI, n_rows * 1.95 + 0.5)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(n_rows, _COLUMNS, squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_axis_off()
    told = zip(grid.flat, images, rows.itertuples(), strict=False)
    for axes, image, row in told:
        _show(axes, image)
        axes.set_title(
            f"{row.label} \N{RIGHTWARDS ARROW} {row.predicted_label}  {row.p_predicted:.0%}",
            fontsize=10,
            pad=3,
        )
        axes.set_xlabel(str(row.image_id), fontsize=6, family="monospace", labelpad=2)
    return figure_png(figure)


@dataclass(frozen=True)
class Shown:
    """A training image and candidates drawn of it.

    Pixels are uint8, (height, width, 1 or 3). A candidate has a line of text, which may be empty.
    """

    label: str
    image_id: str
    pixels: Pixels
    candidates: list[tuple[str, Pixels]]


def candidates_grid(rows: list[Shown], title: str) -> bytes:
    """Draw training images, and beside each the candidates drawn of it.

    Parameters
    ----------
    rows
        One or more, each with as many candidates.
    title
        Line above the grid.

    Returns
    -------
    bytes
        A PNG file.
    """
    n_columns = 1 + len(rows[0].candidates)
    figure = Figure(
        figsize=(n_columns * 1.3, len(rows) * 1.6 + 0.7), dpi=_DPI, layout="constrained"
    )
    figure.suptitle(textwrap.fill(title, 16 * n_columns), fontsize=9)
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        cells = [(row.label, row.pixels), *row.candidates]
        for axes, (told, image) in zip(line, cells, strict=True):
            _show(axes, image)
            axes.set_title(told if len(told) <= 18 else f"{told[:17]}…", fontsize=8, pad=2)
        line[0].set_xlabel(row.image_id, fontsize=6, family="monospace", labelpad=2)
        for spine in line[0].spines.values():
            spine.set_color("#ee6677")
            spine.set_linewidth(2)
    return figure_png(figure)


def _show(axes: Axes, image: Pixels) -> None:
    # In a square frame, so that images of any shape line up and their borders can be seen.
    height, width, channels = image.shape
    axes.imshow(image[:, :, 0] if channels == 1 else image, cmap="gray", vmin=0, vmax=255)
    half = max(height, width) / 2
    axes.set_xlim((width - 1) / 2 - half, (width - 1) / 2 + half)
    axes.set_ylim((height - 1) / 2 + half, (height - 1) / 2 - half)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#eeeeee")
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")


def figure_png(figure: Figure) -> bytes:
    """Give a figure as a PNG file: the same figure, the same bytes."""
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        artist.set_parse_math(False)  # "$" in the name of a class is no formula
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
