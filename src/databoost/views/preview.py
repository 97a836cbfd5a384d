"""A look at the policy: training images, and beside each the first candidates drawn of it."""

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from databoost.candidates.augmentation import Parents, render
from databoost.candidates.recipes import make_recipes
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.images import ImageFiles, Pixels
from databoost.layout import Layout
from databoost.params import Params
from databoost.views.plots import candidates_grid

_PARENTS, _OF_EACH = 10, 8
_SIDE = 160  # pixels


def preview(layout: Layout, params: Params) -> bytes:
    """Draw candidates of some training images of r00: as the candidates stage would, the first.

    Returns
    -------
    bytes
        A PNG file. A row is a training image, of each class in turn, and its candidates.

    Raises
    ------
    DatasetError, TableError
        If r00's snapshot is not there, or has no training image.
    ParamsError
        If ``candidates.mirror`` names an unknown class.
    """
    r00 = layout.round("r00")
    manifest = read_manifest(r00.manifest, r00.dataset)
    train = manifest[manifest["split"] == "train"].sort_values("image_id")
    classes = read_classes(layout.classes)
    recipes = make_recipes(0, _OF_EACH * len(train), train, params.candidates, classes)
    shown = _some_of_each_class(train, classes)
    images = list(ImageFiles([r00.dataset / path for path in shown["path"]]))
    parents = Parents(shown, images, params.candidates)
    grid: list[list[tuple[str, Pixels]]] = []
    bar = tqdm(total=len(shown) * _OF_EACH, desc="preview", unit="image", mininterval=1.0)
    with bar:
        for row, image in zip(shown.itertuples(), images, strict=True):
            cells = [(f"{row.label}  {row.image_id}", _small(image))]
            own = recipes[recipes["parent_id"] == row.image_id]
            for place, label in enumerate(own["label"]):
                told = label if label != row.label else ""
                cells.append((told, _small(render(parents, own.iloc[[place]]))))
                bar.update()
            grid.append(cells)
    return candidates_grid(grid, f"Training images of r00, and candidates of each: {_told(params)}")


def _some_of_each_class(train: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Choose training images: the first of every class, or of classes evenly apart; then more."""
    present = [label for label in classes if (train["label"] == label).any()]
    if len(present) > _PARENTS:
        places = np.linspace(0, len(present) - 1, _PARENTS).round().astype(int)
        present = [present[place] for place in places.tolist()]
    numbers = train.groupby("label").cumcount()
    order = train["label"].map({label: place for place, label in enumerate(present)})
    chosen = train.assign(number=numbers, order=order).dropna(subset="order")
    chosen = chosen.sort_values(["number", "order"]).head(_PARENTS)
    return chosen.sort_values(["order", "number"])


def _small(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    # Averaged over areas: thin strokes grow pale and do not break up.
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    small: Pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return small


def _told(params: Params) -> str:
    """Say what the policy varies, in the order of params.yaml."""
    ranges = {
        name: value
        for name, value in params.candidates.model_dump(mode="json").items()
        if isinstance(value, list) and name != "erasing"
    }
    neutral = {"scale": [1.0, 1.0]}
    varied = [
        f"{name} {low:g} to {high:g}"
        for name, (low, high) in ranges.items()
        if [low, high] != neutral.get(name, [0.0, 0.0])
    ]
    if params.candidates.erasing_probability and params.candidates.erasing[1]:
        low, high = params.candidates.erasing
        varied.append(f"erasing {low:g} to {high:g} in {params.candidates.erasing_probability:.0%}")
    return ", ".join(varied) or "nothing varies"
