"""The map as one page that opens from disk: every point an image, with its picture inside."""

import base64
import json
import re
from html import escape
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from databoost.layout import HELDOUT_SPLITS, SPLITS
from databoost.views.map_picture import CLASS_COLOURS, SPLIT_COLOURS
from databoost.views.sprites import sprite_columns


def map_page(
    points: pd.DataFrame,
    classes: list[str],
    rounds: tuple[str, ...],
    sprite: bytes,
    side: int,
    n_images: int,
) -> str:
    """Write the page.

    Parameters
    ----------
    points
        ``MAP``, in the order of the pictures of `sprite`.
    classes
        Labels in order.
    rounds
        Names of the declared rounds in order; predictions are the last one's.
    sprite
        A JPEG of :func:`~databoost.views.sprites.sprite_sheet`.
    side
        Of each of its pictures, in pixels.
    n_images
        Images that there are, of which `points` may be a sample.

    Returns
    -------
    str
        HTML, the same for the same input. Everything is inside; it makes no requests.
    """
    content = _content(points, classes, rounds) | {
        "side": side,
        "columns": sprite_columns(len(points)),
    }
    # "<" is all that could end the element that holds the data.
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {
        "style": _file("map.css"),
        "script": _file("map.js"),
        "sprite": "data:image/jpeg;base64," + base64.b64encode(sprite).decode("ascii"),
        "note": escape(_note(len(points), n_images, rounds[0])),
        "data": data,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("map.html"))


def _content(points: pd.DataFrame, classes: list[str], rounds: tuple[str, ...]) -> dict[str, Any]:
    labels = {label: number for number, label in enumerate(classes)}
    numbers = {name: number for number, name in enumerate(rounds)}
    splits = {name: number for number, name in enumerate(SPLITS)}

    def label_numbers(column: str) -> list[int]:
        return [labels.get(label, -1) for label in points[column]]

    return {
        "classes": classes,
        "rounds": list(rounds),
        "splits": list(SPLITS),
        "heldout": list(HELDOUT_SPLITS),
        "colours": {"classes": list(CLASS_COLOURS), "splits": SPLIT_COLOURS},
        "ids": list(points["image_id"]),
        "label": label_numbers("label"),
        "predicted": label_numbers("predicted_label"),
        "first": label_numbers("first_predicted_label"),
        "suggested": label_numbers("suggested_label"),
        "split": [splits[name] for name in points["split"]],
        "round": [numbers[name] for name in points["round_added"]],
        "query": list(points["query_id"]),
        "score": [None if np.isnan(score) else float(score) for score in points["label_score"]],
        "x": [float(value) for value in points["x"]],
        "y": [float(value) for value in points["y"]],
    }


def _note(n_points: int, n_images: int, first: str) -> str:
    told = f"Near points look alike to the embedder: UMAP, fitted on {first}'s train and val."
    if n_points == n_images:
        return f"{n_images:,} images. {told}"
    return (
        f"A sample of {n_points:,} of {n_images:,} images, in proportion by split, class and round "
        f"(map.max_points). {told}"
    )


def _file(name: str) -> str:
    return (resources.files("databoost.views") / name).read_text(encoding="utf-8")
