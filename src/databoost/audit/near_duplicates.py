"""Find images that show the same picture: a perceptual hash proposes, stroke directions confirm."""

from collections.abc import Sequence

import imagehash
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from databoost.audit.gradients import gradient_descriptors
from databoost.data.images import Pixels

_AT_ONCE = 256  # images in memory, and rows compared at once


def near_duplicate_pairs(
    images: Sequence[Pixels], image_ids: Sequence[str], max_bits: int, min_similarity: float
) -> pd.DataFrame:
    """List the pairs of near-duplicates; each image is decoded once.

    An image of one colour is near to nothing but an exact copy, since it has no strokes.

    Parameters
    ----------
    images
        n images of any size, 1 or 3 channels.
    image_ids
        Their n ids; equal ids are exact copies and always a pair.
    max_bits
        Bits of 64 by which the perceptual hashes may differ.
    min_similarity
        Least cosine similarity of the stroke directions, 0 to 1.

    Returns
    -------
    pandas.DataFrame
        ``first`` and ``second`` (int64 positions, first < second), ``bits`` (int64) and
        ``similarity`` (float64), by first, then second.

    Raises
    ------
    ValueError
        If there are not as many ids as images.
    """
    if len(images) != len(image_ids):
        raise ValueError(f"{len(image_ids)} ids for {len(images)} images; each needs one")
    hashes, vectors = _described(images)
    names = np.unique(np.asarray(image_ids, dtype=str), return_inverse=True)[1]
    found = []
    for start in range(0, len(hashes), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        bits = np.bitwise_count(hashes[part, None] ^ hashes[None, :]).astype(np.int64)
        is_copy = names[part, None] == names[None, :]
        first, second = np.nonzero((bits <= max_bits) | is_copy)
        is_later = second > first + start
        first, second = first[is_later], second[is_later]
        similarity = np.einsum("ij,ij->i", vectors[first + start], vectors[second])
        is_same = is_copy[first, second]
        similarity = np.where(is_same, 1.0, similarity.astype(np.float64))
        is_pair = is_same | (similarity >= min_similarity)
        found.append(
            pd.DataFrame(
                {
                    "first": (first + start)[is_pair],
                    "second": second[is_pair],
                    "bits": bits[first, second][is_pair],
                    "similarity": similarity[is_pair],
                }
            )
        )
    nothing = pd.DataFrame({"first": [], "second": [], "bits": [], "similarity": []})
    pairs = pd.concat(found, ignore_index=True) if found else nothing
    return pairs.astype({"first": "int64", "second": "int64", "bits": "int64"})


def near_duplicate_groups(
    images: Sequence[Pixels], image_ids: Sequence[str], max_bits: int, min_similarity: float
) -> npt.NDArray[np.int64]:
    """Give each image the number of its group, in the order of their first images.

    Parameters are those of `near_duplicate_pairs`; the pairs of pairs belong together.

    Returns
    -------
    numpy.ndarray
        (n,) int64 from 0; an image without near-duplicates has a number of its own.
    """
    pairs = near_duplicate_pairs(images, image_ids, max_bits, min_similarity)
    n = len(images)
    if not n:
        return np.zeros(0, dtype=np.int64)
    links = coo_array((np.ones(len(pairs)), (pairs["first"], pairs["second"])), shape=(n, n))
    numbers = connected_components(links, directed=False)[1]
    first = np.unique(numbers, return_index=True)[1]
    groups: npt.NDArray[np.int64] = np.argsort(np.argsort(first))[numbers].astype(np.int64)
    return groups


def _described(
    images: Sequence[Pixels],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    """Hash and describe: (n,) uint64 of 64 bits, (n, 1764) float32."""
    hashes, vectors = [np.zeros(0, dtype=np.uint64)], [np.zeros((0, 1764), dtype=np.float32)]
    for start in range(0, len(images), _AT_ONCE):
        part = [images[at] for at in range(start, min(start + _AT_ONCE, len(images)))]
        hashes.append(np.array([_hash(pixels) for pixels in part], dtype=np.uint64))
        vectors.append(gradient_descriptors(part))
    return np.concatenate(hashes), np.concatenate(vectors)


def _hash(pixels: Pixels) -> int:
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return int(str(imagehash.phash(picture)), 16)
