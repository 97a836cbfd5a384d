"""Find images that show the same picture: a perceptual hash proposes, stroke directions confirm."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from databoost.audit.gradients import content_square, describe_squares
from databoost.data.images import Pixels
from databoost.sections import AuditParams

_AT_ONCE = 256  # rows compared at once
_PAIRS_AT_ONCE = 4096  # pairs whose strokes are compared at once
_SMALL = 5  # images of a group whose pairs are all listed: at most two an image


@dataclass(frozen=True)
class Fingerprints:
    """What images are compared by.

    Attributes
    ----------
    hashes
        (n,) uint64: pHash, 64 bits that change little when a picture is scaled or shifted.
    strokes
        (n, D) float32 unit vectors of :func:`~databoost.audit.gradients.gradient_descriptors`.
    """

    hashes: npt.NDArray[np.uint64]
    strokes: npt.NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence["Fingerprints"]) -> "Fingerprints":
        """Put the fingerprints of one or more parts together, in their order."""
        return cls(
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.strokes for part in parts]),
        )


def fingerprint(images: Iterable[Pixels]) -> Fingerprints:
    """Take the fingerprints of images, each of which is asked for once and not kept."""
    hashes, squares = [], []
    for image in images:
        hashes.append(_hash(image))
        squares.append(content_square(image))
    return Fingerprints(np.array(hashes, dtype=np.uint64), describe_squares(squares))


def find_pairs(prints: Fingerprints, rules: AuditParams) -> pd.DataFrame:
    """List the pairs of near-duplicates.

    An image of one colour is near to none, since it has no strokes.

    Parameters
    ----------
    prints
        Of n images, no two of which are exact copies.
    rules
        ``max_bits`` by which the hashes may differ, and the least ``min_similarity`` of strokes.
        The defaults were chosen by looking at the real Roman numerals: all nine pairs that they
        find are one drawing, shifted or cut, and no pair of 0.87 to 0.95 is.

    Returns
    -------
    pandas.DataFrame
        ``first`` and ``second`` (int64 positions, first < second), ``bits`` (int64) and
        ``similarity`` (float64), by first, then second.
    """
    hashes, strokes = prints.hashes, prints.strokes
    found = [pd.DataFrame({"first": [], "second": [], "bits": [], "similarity": []})]
    for start in range(0, len(hashes), _AT_ONCE):
        later = hashes[start:]
        bits = np.bitwise_count(later[:_AT_ONCE, None] ^ later[None, :])  # uint8
        first, second = np.nonzero(np.triu(bits <= rules.max_bits, k=1))
        similarity = _similarity(strokes[start:], first, second)
        is_pair = similarity >= rules.min_similarity
        found.append(
            pd.DataFrame(
                {
                    "first": (first + start)[is_pair],
                    "second": (second + start)[is_pair],
                    "bits": bits[first, second][is_pair],
                    "similarity": similarity[is_pair].astype(np.float64),
                }
            )
        )
    pairs = pd.concat(found[1:] or found, ignore_index=True)
    return pairs.astype({"first": "int64", "second": "int64", "bits": "int64"})


def group_pairs(pairs: pd.DataFrame, n_images: int) -> npt.NDArray[np.int64]:
    """Give each image the number of its group, in the order of their first images.

    Returns
    -------
    numpy.ndarray
        (n_images,) int64 from 0: one number for images that are joined by a chain of pairs; an
        image without near-duplicates has a number of its own.
    """
    shape = (n_images, n_images)
    links = coo_array((np.ones(len(pairs)), (pairs["first"], pairs["second"])), shape=shape)
    if not n_images:
        return np.zeros(0, dtype=np.int64)
    numbers = connected_components(links, directed=False)[1]
    first = np.unique(numbers, return_index=True)[1]
    groups: npt.NDArray[np.int64] = np.argsort(np.argsort(first))[numbers].astype(np.int64)
    return groups


def pairs_to_list(
    pairs: pd.DataFrame, groups: npt.NDArray[np.int64], splits: npt.NDArray[np.object_]
) -> pd.DataFrame:
    """Choose the pairs that a person is told of: at most two for each image.

    Of a group of up to five images they are all its pairs. Of a larger one, whose pairs grow with
    the square of its images, they are the most similar partner of each image and its most similar
    one in another split; of equally similar pairs the first.

    Parameters
    ----------
    pairs
        Of :func:`find_pairs`: positions and ``similarity``.
    groups
        (n,) int64 of :func:`group_pairs`.
    splits
        (n,) split of each image.

    Returns
    -------
    pandas.DataFrame
        Rows of `pairs`, in their order.
    """
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    is_listed = np.bincount(groups)[groups[first]] <= _SMALL
    order = np.argsort(-pairs["similarity"].to_numpy(), kind="stable")
    for ours in (order, order[splits[first[order]] != splits[second[order]]]):
        place = np.full(len(groups), len(ours))  # of each image's best pair among ours
        for end in (first, second):
            np.minimum.at(place, end[ours], np.arange(len(ours)))
        is_listed[ours[place[place < len(ours)]]] = True
    listed: pd.DataFrame = pairs[is_listed]
    return listed


def _similarity(
    strokes: npt.NDArray[np.float32], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    # Nearly all images of one scene are candidates; the strokes of all pairs would not fit.
    found = np.empty(len(first), dtype=np.float32)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        found[part] = np.einsum("ij,ij->i", strokes[first[part]], strokes[second[part]])
    return found


def _hash(pixels: Pixels) -> int:
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return int(str(imagehash.phash(picture)), 16)
