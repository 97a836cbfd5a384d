"""Regions of the looks that have training images and too few validation ones, or the reverse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hypergeom

from databoost.errors import DatasetError

Truths = npt.NDArray[np.bool_]
_N_EXAMPLES = 5
_MOST = 200  # regions: the time of k-means grows with their number


@dataclass(frozen=True)
class Region:
    """Images that look alike, and how they are split.

    Attributes
    ----------
    number
        Of the region, from 0, the larger regions first; the same for any split of the images.
    n_train, n_val
        Its images.
    expected_val
        Validation images that a random split with the same class proportions would put here.
    label
        The label that most of its images have.
    p_value
        Chance that a random split has, anywhere, a region as uneven as this one, 0 to 1.
    example_ids
        Images of the side that there are too many of, the most typical first.
    """

    number: int
    n_train: int
    n_val: int
    expected_val: float
    label: str
    p_value: float
    example_ids: tuple[str, ...]

    @property
    def lacks(self) -> str:
        """The side that has too few images here: ``val`` or ``train``."""
        return "val" if self.n_val < self.expected_val else "train"


def uncovered_regions(
    features: npt.NDArray[np.float32],
    is_val: Truths,
    labels: npt.NDArray[np.object_],
    image_ids: Sequence[str],
    seed: int,
    images_per_region: int = 50,
    level: float = 0.05,
) -> list[Region]:
    """List the regions that train and val cover unevenly.

    K-means divides the images, whatever their split, into 200 regions at most. In each region the
    number of validation images is compared with its exact distribution under a random split within
    each label, and the two-sided probabilities are corrected for the number of regions (Holm).

    Parameters
    ----------
    features
        (N, D) vectors that no training has seen.
    is_val
        (N,) bool.
    labels
        (N,) label of each image.
    image_ids
        N ids.
    seed
        Of k-means.
    images_per_region
        Mean size, larger where there are more images than 200 such regions hold: smaller regions
        are finer, but of fewer than about 20 images none is found.
    level
        Share of random splits, 0 to 1, for which any region is listed at most.

    Returns
    -------
    list of Region
        The surest first.

    Raises
    ------
    DatasetError
        If there is no image.
    """
    if len(features) == 0:
        raise DatasetError("there is no image in train or val to divide into regions")
    region_of, distances = _divided(features, images_per_region, seed)
    chances = _chances(is_val, pd.factorize(labels, sort=True)[0], region_of)
    regions = []
    for number, p_value in enumerate(_holm(chances)):
        here = np.flatnonzero(region_of == number)
        if p_value <= level:
            found = _region(number, p_value, here, is_val, labels)
            is_shown = is_val[here] == (found.lacks == "train")
            shown = here[is_shown][np.argsort(distances[here][is_shown], kind="stable")]
            examples = tuple(str(image_ids[row]) for row in shown[:_N_EXAMPLES])
            regions.append(Region(**(vars(found) | {"example_ids": examples})))
    return sorted(regions, key=lambda region: (region.p_value, region.number))


def _divided(
    features: npt.NDArray[np.float32], images_per_region: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Region of each image, and its distance from the region's centre."""
    from sklearn.cluster import KMeans

    values = features.astype(np.float64)
    n_distinct = len(np.unique(values.round(6), axis=0))
    n_regions = min(max(round(len(values) / images_per_region), 1), n_distinct, _MOST)
    means = KMeans(n_regions, n_init=3, random_state=seed).fit(values)
    found = means.labels_.astype(np.int64)
    order = np.argsort(-np.bincount(found, minlength=n_regions), kind="stable")
    number_of = np.empty(n_regions, dtype=np.int64)
    number_of[order] = np.arange(n_regions)
    distances = np.linalg.norm(values - means.cluster_centers_[found], axis=1)
    return number_of[found], distances.round(6)


def _chances(
    is_val: Truths, label_of: npt.NDArray[np.int64], region_of: npt.NDArray[np.int64]
) -> list[float]:
    """Two-sided probability of as few, or as many, validation images in each region."""
    counts = np.zeros((region_of.max() + 1, label_of.max() + 1), dtype=np.int64)
    np.add.at(counts, (region_of, label_of), 1)
    n_val_here = np.bincount(region_of[is_val], minlength=len(counts))
    of_label = counts.sum(axis=0)
    val_of_label = np.bincount(label_of[is_val], minlength=len(of_label))
    chances = []
    for here, n_val in zip(counts, n_val_here, strict=True):
        distribution = np.ones(1)
        for label in np.flatnonzero(here):
            n_drawn = np.arange(here[label] + 1)
            one = hypergeom.pmf(n_drawn, of_label[label], val_of_label[label], here[label])
            distribution = np.convolve(distribution, one)
        below, above = distribution[: n_val + 1].sum(), distribution[n_val:].sum()
        chances.append(float(min(2 * min(below, above), 1.0)))
    return chances


def _holm(chances: Sequence[float]) -> list[float]:
    """Correct probabilities for their number.

    >>> _holm([0.03, 0.01, 0.5])
    [0.06, 0.03, 0.5]
    """
    order = np.argsort(chances, kind="stable")
    corrected = np.empty(len(chances))
    steps = np.asarray(chances)[order] * np.arange(len(chances), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]


def _region(
    number: int,
    p_value: float,
    here: npt.NDArray[np.int64],
    is_val: Truths,
    labels: npt.NDArray[np.object_],
) -> Region:
    share = pd.Series(is_val, dtype=float).groupby(labels).mean()
    counts = pd.Series(labels[here]).value_counts().sort_index()
    return Region(
        number=number,
        n_train=int((~is_val[here]).sum()),
        n_val=int(is_val[here].sum()),
        expected_val=float((counts * share[counts.index]).sum()),
        label=str(counts.idxmax()),
        p_value=p_value,
        example_ids=(),
    )
