"""The worst images are those of the sheet, and a large one takes no more memory than its cell."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from databoost.data.images import Pixels
from databoost.data.tables import MANIFEST
from databoost.model.evaluation import image_sheet
from databoost.views.plots import CELL
from databoost.views.worst_images import WorstImages

CLASSES = ["v", "iv", "x"]


def make_manifest(images: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """A row for each id, split and label."""
    rows: dict[str, list[object]] = {name: [""] * len(images) for name in MANIFEST.columns}
    rows |= dict(
        zip(("image_id", "split", "label"), map(list, zip(*images, strict=True)), strict=True)
    )
    rows["path"] = [f"{split}/{label}/{name}.png" for name, split, label in images]
    rows["similarity"] = [float("nan")] * len(images)
    return MANIFEST.frame(rows)


@pytest.mark.parametrize("at_once", [1, 2, 5])
@pytest.mark.parametrize("n_kept", [0, 1, 2, 10])
def test_the_worst_images_of_val_are_those_of_the_sheet(at_once: int, n_kept: int) -> None:
    random = np.random.default_rng(n_kept)
    shares = random.integers(1, 4, (30, 3)).astype(np.float64)  # equal losses among them
    shares /= shares.sum(axis=1, keepdims=True)
    manifest = make_manifest(
        [
            (f"{number % 10}", ("val", "train")[number // 20], CLASSES[number % 3])
            for number in range(30)
        ]
    )
    pixels = [np.full((1, 1, 1), number, dtype=np.uint8) for number in range(30)]
    worst = WorstImages(manifest, CLASSES, n_kept)
    for start in range(0, 30, at_once):
        part = slice(start, start + at_once)
        worst.see(np.log(shares[part]), pixels[part])
    sheet = image_sheet(manifest, np.log(shares), CLASSES)
    wrong = sheet[(sheet["split"] == "val") & sheet["is_misclassified"]].head(n_kept)
    numbers = {path: number for number, path in enumerate(manifest["path"])}
    assert len(numbers) == 30
    assert [image.item() for image in worst.images()] == [numbers[path] for path in wrong["path"]]


def kept(images: list[Pixels], at_once: int = 1) -> list[Pixels]:
    """All images, each misclassified, as they are kept."""
    manifest = make_manifest([(f"{number:02d}", "val", "v") for number in range(len(images))])
    worst = WorstImages(manifest, CLASSES, len(images))
    logs = np.log(np.tile([0.25, 0.5, 0.25], (len(images), 1)))
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        worst.see(logs[part], images[part])
    return worst.images()


@pytest.mark.parametrize("n_channels", [1, 3])
def test_large_images_are_kept_as_small_as_a_cell(n_channels: int) -> None:
    random = np.random.default_rng(0)
    shapes = [(CELL, 20), (CELL + 1, CELL + 1), (1000, 1500), (10, 2000), (1, 1)]
    images = [random.integers(0, 256, (*shape, n_channels), dtype=np.uint8) for shape in shapes]
    found = kept(images)
    assert [image.shape for image in found] == [
        (*shape, n_channels) for shape in ((CELL, 20), (CELL, CELL), (100, CELL), (1, CELL), (1, 1))
    ]
    assert all(image.dtype == np.uint8 for image in found)
    for number in (0, 4):  # a small one is the image itself
        assert found[number] is images[number]
    assert all(image.base is None or image.base.nbytes < 10**6 for image in found)
    for at_once in (2, 5):  # once is as often as it is made smaller
        again = kept(images, at_once)
        assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))


def test_a_smaller_image_looks_like_the_large_one() -> None:
    large = np.zeros((1000, 600, 3), dtype=np.uint8)
    large[:500, :, 0] = 200
    large[500:, 300:, 2] = 100
    (found,) = kept([large])
    height, width, _ = found.shape
    assert (height, width) == (CELL, 90)
    corners = [found[y, x].tolist() for y in (9, height - 9) for x in (9, width - 9)]
    assert corners == [[200, 0, 0], [200, 0, 0], [0, 0, 0], [0, 0, 100]]
