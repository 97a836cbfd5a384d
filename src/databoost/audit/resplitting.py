"""A new split of train and val, with the figures that say what it changed."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.audit.shift import ShiftResult, two_sample_test
from databoost.data.splitting import apply_sides, choose_sides, pool_of, with_offspring
from databoost.errors import DatasetError
from databoost.sections import SplitParams

Vectors = npt.NDArray[np.float32]
Groups = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]
_BLOCK = 1000  # rows compared with all others at once


@dataclass(frozen=True)
class Resplit:
    """A new split.

    Attributes
    ----------
    images
        The rows given, with ``split`` drawn anew for train and val.
    before, after
        How far train and val differ; None if no label had images in both.
    distance_before, distance_after
        Mean distance of a training image to the nearest validation image of its label, as
        :func:`distance_to_validation` gives it.
    n_pinned
        Images that stayed where a correction had moved them.
    n_grouped
        Images that have a near-duplicate, a parent or offspring in the pool.
    """

    images: pd.DataFrame
    before: ShiftResult | None
    after: ShiftResult | None
    distance_before: float | None
    distance_after: float | None
    n_pinned: int
    n_grouped: int

    def summary(self, strategy: str) -> dict[str, Any]:
        """Give the content of ``split.json``; figures that cannot be measured are left out."""
        figures = {
            "before": self.before and self.before.metrics(),
            "after": self.after and self.after.metrics(),
            "distance_before": self.distance_before,
            "distance_after": self.distance_after,
        }
        measured = {name: value for name, value in figures.items() if value is not None}
        counts = {"n_pinned": self.n_pinned, "n_grouped": self.n_grouped}
        return {"strategy": strategy, **counts, **measured}


def resplit(
    images: pd.DataFrame,
    split: SplitParams,
    vectors: Vectors,
    groups: Groups,
    moved_ids: Collection[str] = (),
) -> Resplit:
    """Draw train and val anew, and measure how far they differ before and after.

    Parameters
    ----------
    images
        Rows of all splits with ``image_id``, ``split``, ``label`` and, where images have
        offspring, ``parent_id``. The result does not depend on their order.
    split
        Strategy ``stratified`` or ``matched``, share and seed.
    vectors
        (N, D) float32 unit vectors of the :func:`~databoost.data.splitting.pool_of` the images.
    groups
        (N,) int64: near-duplicates in the pool have one number.
    moved_ids
        Images that stay in the split that they have.
    """
    pool = pool_of(images)
    if "parent_id" in pool.columns:
        groups = with_offspring(groups, list(pool["image_id"]), list(pool["parent_id"]))
    was_val = (pool["split"] == "val").to_numpy()
    looks = vectors if split.strategy == "matched" else None
    is_val = choose_sides(pool, split, groups, looks, moved_ids)
    labels = pool["label"].to_numpy(dtype=object)
    seed = split.seed
    return Resplit(
        images=apply_sides(images, pool, is_val),
        before=_difference(vectors, was_val, labels, groups, seed),
        after=_difference(vectors, is_val, labels, groups, seed),
        distance_before=distance_to_validation(vectors, was_val, labels),
        distance_after=distance_to_validation(vectors, is_val, labels),
        n_pinned=int(pool["image_id"].isin(list(moved_ids)).sum()),
        n_grouped=int((np.bincount(pd.factorize(groups)[0]) > 1)[pd.factorize(groups)[0]].sum()),
    )


def distance_to_validation(
    vectors: Vectors, is_val: Truths, labels: npt.NDArray[np.object_]
) -> float | None:
    """Mean distance of the training images to the nearest validation image of their label.

    Parameters
    ----------
    vectors
        (N, D) unit vectors.
    is_val
        (N,) bool.
    labels
        (N,) label of each image.

    Returns
    -------
    float or None
        1 - cosine, 0 to 2, to 4 digits: smaller is better covered. None if no label has both.

    >>> square = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    >>> distance_to_validation(square, np.array([True, False, False]), np.array(["i"] * 3))
    0.5
    """
    distances = []
    for label in sorted(set(labels[is_val]) & set(labels[~is_val])):
        val = vectors[(labels == label) & is_val]
        train = vectors[(labels == label) & ~is_val]
        # In parts: 10,000 images of one label would need half a gigabyte at once.
        distances += [
            1 - (part @ val.T).max(axis=1)
            for part in np.array_split(train, 1 + len(train) // _BLOCK)
        ]
    if not distances:
        return None
    return round(float(np.concatenate(distances).mean(dtype=np.float64)), 4)


def _difference(
    vectors: Vectors, is_val: Truths, labels: npt.NDArray[np.object_], groups: Groups, seed: int
) -> ShiftResult | None:
    try:
        return two_sample_test(vectors, is_val, labels, seed, groups)
    except DatasetError:  # a pool of two images can be split, but not compared
        return None
