"""A look at the policy: training images, and beside each the first candidates drawn of it."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from databoost.candidates.augmentation import Parents, render
from databoost.candidates.recipes import make_recipes
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.images import ImageFiles, Pixels
from databoost.layout import Layout
from databoost.params import Params
from databoost.views.pictures import small_picture
from databoost.views.plots import Shown, candidates_grid

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
    files = ImageFiles([r00.dataset / path for path in shown["path"]])
    rows = []
    bar = tqdm(total=len(shown) * _OF_EACH, desc="preview", unit="image", mininterval=1.0)
    with bar:
        for number, image in enumerate(files):  # one at a time: photos are large
            row = shown.iloc[[number]]
            parents = Parents(row, [image], params.candidates)
            own = recipes[recipes["parent_id"] == row["image_id"].iat[0]]
            label = str(row["label"].iat[0])
            drawn = []
            for place, after in enumerate(own["label"]):
                small = _small(render(parents, own.iloc[[place]]))
                drawn.append((after if after != label else "", small))
                bar.update()
            rows.append(Shown(label, str(row["image_id"].iat[0]), _small(image), drawn))
    return candidates_grid(rows, f"Training images of r00, and candidates of each: {_told(params)}")


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
    image = small_picture(pixels, _SIDE)
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
    if params.candidates.mirror and params.candidates.mirror_probability:
        pairs = [f"{before} to {after}" for before, after in params.candidates.mirror.items()]
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        share = f"{params.candidates.mirror_probability:.0%}"
        varied.append(f"mirrored in {share} ({', '.join(pairs[:3])}{more})")
    return ", ".join(varied) or "nothing varies"
