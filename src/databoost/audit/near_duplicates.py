"""Find images that show the same picture: a perceptual hash proposes, stroke directions confirm."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

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
_COLUMNS = 64  # images compared with all rows at once: their strokes fit the processor's cache
_DENSE = 0.1  # share of the rows, near to an image, from which on all take less time than those
_LINKS_AT_ONCE = 2**18  # pairs that are joined to groups at once
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
        ``first`` and ``second`` (int32 positions, first < second), ``bits`` (uint8) and
        ``similarity`` (float32), by first, then second: of n frames of one scene there are
        n (n - 1) / 2, which is why they are small.
    """
    hashes, strokes = prints.hashes, prints.strokes
    found: dict[str, list[npt.NDArray[Any]]] = {
        "first": [np.zeros(0, dtype=np.int32)],
        "second": [np.zeros(0, dtype=np.int32)],
        "bits": [np.zeros(0, dtype=np.uint8)],
        "similarity": [np.zeros(0, dtype=np.float32)],
    }
    for start in range(0, len(hashes), _AT_ONCE):
        later = hashes[start:]
        bits = np.bitwise_count(later[:_AT_ONCE, None] ^ later[None, :])  # uint8
        first, second = np.nonzero(np.triu(bits <= rules.max_bits, k=1))
        similarity = _similarity(strokes[start:], len(bits), first, second)
        is_pair = similarity >= rules.min_similarity
        found["first"].append((first[is_pair] + start).astype(np.int32))
        found["second"].append((second[is_pair] + start).astype(np.int32))
        found["bits"].append(bits[first, second][is_pair])
        found["similarity"].append(similarity[is_pair])
    # One column after the other, so that no second copy of all stands beside them.
    columns = {name: np.concatenate(found.pop(name)) for name in list(found)}
    return pd.DataFrame(columns, copy=False)


def group_pairs(pairs: pd.DataFrame, n_images: int) -> npt.NDArray[np.int64]:
    """Give each image the number of its group, in the order of their first images.

    Returns
    -------
    numpy.ndarray
        (n_images,) int64 from 0: one number for images that are joined by a chain of pairs; an
        image without near-duplicates has a number of its own.
    """
    ends = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    numbers = np.arange(n_images)
    for start in range(0, len(pairs), _LINKS_AT_ONCE):
        one, other = (numbers[end[start : start + _LINKS_AT_ONCE]] for end in ends)
        is_new = one != other
        links = np.ones(is_new.sum()), (one[is_new], other[is_new])
        graph = coo_array(links, shape=(n_images, n_images))
        numbers = connected_components(graph, directed=False)[1][numbers]
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
        Rows of `pairs`, in their order; ``similarity`` is float64.
    """
    ends = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    similarity = pairs["similarity"].to_numpy()
    is_listed = (np.bincount(groups) <= _SMALL)[groups][ends[0]]
    names = pd.factorize(splits)[0].astype(np.int32)
    for is_ours in (np.ones(len(pairs), dtype=bool), names[ends[0]] != names[ends[1]]):
        most = np.full(len(groups), -np.inf, dtype=similarity.dtype)
        for end in ends:
            np.maximum.at(most, end[is_ours], similarity[is_ours])
        place = np.full(len(groups), len(pairs))  # of each image's best pair among ours
        for end in ends:
            best = np.flatnonzero(is_ours & (similarity == most[end]))
            np.minimum.at(place, end[best], best)
        is_listed[place[place < len(pairs)]] = True
    listed: pd.DataFrame = pairs[is_listed].astype({"similarity": "float64"})
    return listed


def _similarity(
    strokes: npt.NDArray[np.float32],
    n_rows: int,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Compare pairs whose first images are among the `n_rows` first ones.

    An image that is near to many of those is compared with all of them, which takes less time
    than to gather the strokes of every pair. Both sums of einsum have one order, so they have the
    same last digit; those of BLAS depend on the block, the threads and the processor.
    """
    is_dense = np.bincount(second, minlength=len(strokes)) > _DENSE * n_rows
    dense = np.flatnonzero(is_dense)
    products = np.empty((n_rows, len(dense)), dtype=np.float32)
    for start in range(0, len(dense), _COLUMNS):
        part = slice(start, start + _COLUMNS)
        products[:, part] = np.einsum("ij,kj->ik", strokes[:n_rows], strokes[dense[part]])
    found = np.empty(len(first), dtype=np.float32)
    is_found = is_dense[second]
    places = np.cumsum(is_dense) - 1
    found[is_found] = products[first[is_found], places[second[is_found]]]
    left = np.flatnonzero(~is_found)
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        some = left[start : start + _PAIRS_AT_ONCE]
        found[some] = np.einsum("ij,ij->i", strokes[first[some]], strokes[second[some]])
    return found


def _hash(pixels: Pixels) -> int:
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return int(str(imagehash.phash(picture)), 16)
