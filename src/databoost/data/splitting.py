"""Splitting train and val again: who lies where, by class, by group and by looks.

A *group* is a set of images that must lie on one side: near-duplicates, and an image with its
offspring. Within each class every group has the same chance of becoming validation, but for those
of more images than are to be drawn, which go to train, and the number of images comes out as asked.
``stratified`` leaves it at that; ``matched`` also spreads validation over the looks of the class:
of two images that look alike, one that goes to validation makes it unlikely that the other does.
This is the local pivotal method (Grafström, Lundström and Schelin 2012, Biometrics 68).

Chance comes from the seed and the ids, by SHA-256: what is drawn of a class depends on its own
images alone, and when one of them goes or comes, most of the others stay on their side.
"""

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from databoost.layout import SNAPSHOT_SPLITS
from databoost.sections import SplitParams

Truths = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.int64]
Texts = npt.NDArray[np.str_]
_EXACT = 1e-9  # a chance this close to 0 or 1 differs from it by rounding alone


def pool_of(images: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of train and val in the order of their ids, numbered from 0."""
    pool = images[images["split"].isin(SNAPSHOT_SPLITS)]
    return pool.sort_values("image_id").reset_index(drop=True)


def with_offspring(
    groups: Groups, image_ids: Sequence[str], parent_ids: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Join the groups of images with those of their parents.

    Parameters
    ----------
    groups
        (N,) integers: the group of each image.
    image_ids, parent_ids
        N ids each; a parent that is empty or no image joins nothing.

    Returns
    -------
    numpy.ndarray
        (N,) int64 from 0, numbered by first appearance.

    >>> with_offspring(np.array([4, 5, 5, 6]), ["a", "b", "c", "d"], ["", "", "", "b"]).tolist()
    [0, 1, 1, 1]
    """
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    first = dict(zip(groups[::-1].tolist(), range(len(groups) - 1, -1, -1), strict=True))
    links = [(row, first[group]) for row, group in enumerate(groups.tolist())]
    links += [(row, row_of[parent]) for row, parent in enumerate(parent_ids) if parent in row_of]
    rows, others = np.array(links, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, others)), shape=(len(groups), len(groups)))
    joined = connected_components(graph, directed=False)[1]
    numbers: Groups = pd.factorize(joined)[0].astype(np.int64)
    return numbers


def choose_sides(
    pool: pd.DataFrame,
    split: SplitParams,
    groups: Groups,
    features: npt.NDArray[np.float32] | None = None,
    pinned_ids: Collection[str] = (),
) -> Truths:
    """Draw the validation side of a pool, class by class.

    Parameters
    ----------
    pool
        Rows with ``image_id``, ``split`` and ``label`` (:func:`pool_of`); no id occurs twice.
    split
        Share of validation (0 to 1) and seed. Every class of two or more groups gets at least one
        validation and one training image.
    groups
        (N,) integers: images of one group stay together, in the class that most of them have.
    features
        (N, D) unit vectors, by which ``matched`` spreads validation; None: ``stratified``.
    pinned_ids
        Images that stay in their ``split`` and keep their group there. Where those of one group
        contradict each other, each stays, and the rest of the group goes to train.

    Returns
    -------
    numpy.ndarray
        (N,) bool, True for validation. Without larger groups and pins the validation images of a
        class number its share, rounded; a last group that does not fit makes it more or less.
    """
    if len(pool) == 0:
        return np.zeros(0, dtype=np.bool_)
    first_ids = pool["image_id"].groupby(groups).transform("min")
    keys = np.array([_digest(f"{split.seed} {image_id}") for image_id in first_ids])
    is_pinned = pool["image_id"].isin(list(pinned_ids)).to_numpy()
    was_val = (pool["split"] == "val").to_numpy()
    units = _Units.of(keys, pool["label"].to_numpy(), is_pinned, was_val)
    chosen = units.is_pinned_val.copy()
    for label in sorted(set(units.labels)):
        here = np.flatnonzero(units.labels == label)
        free = here[~units.is_pinned[here]]
        n_images = int(units.sizes[here].sum())
        n_pinned = int(units.sizes[here[units.is_pinned_val[here]]].sum())
        n_val = min(max(round(n_images * split.val_fraction), 1), n_images - 1) - n_pinned
        vectors = None if features is None else units.means(features, free)
        drawn = _draw(units.sizes[free], n_val, units.keys[free], vectors)
        chosen[free[drawn]] = True
        _leave_none_empty(chosen, here, free, units.sizes)
    sides: Truths = chosen[units.unit_of]
    return np.where(is_pinned, was_val, sides)


def apply_sides(images: pd.DataFrame, pool: pd.DataFrame, is_val: Truths) -> pd.DataFrame:
    """Write the drawn sides into ``split``; held-out rows and the order of rows stay.

    Parameters
    ----------
    images
        Rows with ``image_id`` and ``split``.
    pool
        Their :func:`pool_of`.
    is_val
        (N,) bool: what :func:`choose_sides` drew for the pool.
    """
    side = dict(zip(pool["image_id"], np.where(is_val, "val", "train"), strict=True))
    again = images.copy()
    is_ours = again["split"].isin(SNAPSHOT_SPLITS)
    again.loc[is_ours, "split"] = again.loc[is_ours, "image_id"].map(side)
    return again


class _Units:
    """The groups of a pool in random order, each with its class, number of images and pins."""

    def __init__(
        self, unit_of: Groups, keys: Texts, labels: Texts, is_pinned: Truths, to_val: Truths
    ) -> None:
        self.unit_of, self.keys, self.labels = unit_of, keys, labels
        self.is_pinned, self.is_pinned_val = is_pinned, is_pinned & to_val
        self.sizes = np.bincount(unit_of, minlength=len(labels))

    @classmethod
    def of(
        cls, keys: Texts, labels: npt.NDArray[np.object_], is_pinned: Truths, was_val: Truths
    ) -> "_Units":
        """Make a unit of the images that have one key, numbered in the order of the keys."""
        unit_keys, unit_of = np.unique(keys, return_inverse=True)
        names, label_of = np.unique(labels.astype(str), return_inverse=True)
        n_units = len(unit_keys)
        counts = np.zeros((n_units, len(names)), dtype=np.int64)
        np.add.at(counts, (unit_of, label_of), 1)
        main = names[counts.argmax(axis=1)]  # the first name wins a tie
        in_val = np.bincount(unit_of, is_pinned & was_val, n_units) > 0
        in_train = np.bincount(unit_of, is_pinned & ~was_val, n_units) > 0
        return cls(unit_of, unit_keys, main, in_val | in_train, in_val & ~in_train)

    def means(self, features: npt.NDArray[np.float32], units: Groups) -> npt.NDArray[np.float64]:
        """Mean vectors of some units, of any length."""
        place = np.full(len(self.labels), -1)
        place[units] = np.arange(len(units))
        rows = np.flatnonzero(place[self.unit_of] >= 0)
        sums = np.zeros((len(units), features.shape[1]))
        np.add.at(sums, place[self.unit_of[rows]], features[rows].astype(np.float64))
        means: npt.NDArray[np.float64] = sums / self.sizes[units][:, None]
        return means


def _draw(
    sizes: npt.NDArray[np.int64],
    n_images: int,
    keys: Texts,
    vectors: npt.NDArray[np.float64] | None,
) -> Truths:
    """Draw groups of `n_images` images in all, each with the same chance.

    Larger groups are drawn first; what they leave too much or too little is spread over the
    smaller ones, so that single images make the number exact. A group of more images than are
    left to draw is not drawn. The groups come in random order: without vectors the first are drawn.
    """
    drawn = np.zeros(len(sizes), dtype=np.bool_)
    n_left = n_images
    for size in np.unique(sizes)[::-1]:
        same = np.flatnonzero(sizes == size)
        n_open = int(sizes[sizes <= size].sum())
        n_asked = 0 if size > n_left else min(n_left, n_open)
        if vectors is None:
            whole, rest = divmod(n_asked * len(same), n_open)
            n_drawn = whole + (_uniform(keys[same[0]]) < rest / n_open)
            drawn[same[:n_drawn]] = True
        else:
            chance = np.full(len(same), n_asked / n_open)
            drawn[same] = _pivotal(chance, keys[same], vectors[same])
        n_left -= int(size * drawn[same].sum())
    return drawn


def _pivotal(
    chance: npt.NDArray[np.float64], keys: Texts, vectors: npt.NDArray[np.float64]
) -> Truths:
    """Decide (n,) chances, of units in random order, so that as many are drawn as they add up to.

    Chance moves between the next unit and its nearest partner until one of the two is decided;
    what either expects stays.
    """
    is_open = (chance > _EXACT) & (chance < 1 - _EXACT)
    squares = (vectors**2).sum(axis=1)
    for one in range(len(chance)):
        while is_open[one]:
            is_open[one] = False
            if not is_open.any():
                chance[one] = float(_uniform(keys[one]) < chance[one])
                break
            other = np.where(is_open, squares - 2 * (vectors @ vectors[one]), np.inf).argmin()
            up, down = min(1 - chance[one], chance[other]), min(chance[one], 1 - chance[other])
            step = up if _uniform(keys[one], keys[other]) * (up + down) < down else -down
            chance[one] += step
            chance[other] -= step
            for unit in (one, other):
                is_open[unit] = _EXACT < chance[unit] < 1 - _EXACT
    return chance > 0.5


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _uniform(*keys: str) -> float:
    """Give a number from 0 to 1 that the keys determine."""
    return int(_digest(" ".join(keys))[:12], 16) / 16**12


def _leave_none_empty(
    chosen: Truths, here: Groups, free: Groups, sizes: npt.NDArray[np.int64]
) -> None:
    """Give a class of several groups a group on either side, the smallest one, where it can."""
    if len(here) < 2 or len(free) == 0 or 0 < chosen[here].sum() < len(here):
        return
    smallest = free[sizes[free].argmin()]
    chosen[smallest] = not chosen[smallest]
