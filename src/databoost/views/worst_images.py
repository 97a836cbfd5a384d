"""The images of the misclassified grid, picked while all images are evaluated."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from databoost.data.datasets import label_positions
from databoost.data.images import Pixels
from databoost.model.evaluation import Probabilities, image_losses
from databoost.views.pictures import small_picture
from databoost.views.plots import CELL


class WorstImages:
    """The worst misclassified validation images, kept as all images pass by.

    A large one is kept as small as a cell of the grid: forty photos would take gigabytes.

    Parameters
    ----------
    manifest
        All images (``MANIFEST`` columns), in the order in which they pass.
    classes
        Labels in the order of the predictions.
    n_kept
        Images that are kept at most.
    """

    def __init__(self, manifest: pd.DataFrame, classes: list[str], n_kept: int) -> None:
        self._given = label_positions(manifest["label"], classes)
        self._is_val = (manifest["split"] == "val").to_numpy()
        self._names = list(zip(manifest["image_id"], manifest["path"], strict=True))
        self._n_kept, self._n_seen = n_kept, 0
        self._kept: list[tuple[tuple[float, str, str], Pixels]] = []

    def see(self, log_probabilities: Probabilities, images: Sequence[Pixels]) -> None:
        """Look at the next images and at what was predicted of them, (n, n_classes) float64."""
        rows = slice(self._n_seen, self._n_seen + len(images))
        given, self._n_seen = self._given[rows], rows.stop
        is_wrong = self._is_val[rows] & (log_probabilities.argmax(axis=1) != given)
        losses = image_losses(log_probabilities, given)
        for number in np.flatnonzero(is_wrong).tolist():
            order = (-losses[number], *self._names[rows.start + number])
            self._kept.append((order, images[number]))
        self._kept.sort(key=lambda kept: kept[0])
        del self._kept[self._n_kept :]
        self._kept = [(order, _shown(image)) for order, image in self._kept]

    def images(self) -> list[Pixels]:
        """Give the pixels of those kept, in the order of the :func:`image_sheet`."""
        return [image for _, image in self._kept]


def _shown(image: Pixels) -> Pixels:
    """Make an image as small as a cell; one that is small already stays."""
    if max(image.shape[:2]) <= CELL:
        return image
    small: Pixels = np.asarray(small_picture(image, CELL))
    return small.reshape(*small.shape[:2], -1)
