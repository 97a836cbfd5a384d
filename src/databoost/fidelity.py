"""How like its parent a candidate still is: the gate against augmentations that went too far.

A numeral that lost its ink, or that its distortion made another one, has moved away from the image
it was drawn from; so the gate needs no rule about ink, and holds for pictures of any kind.
"""

import numpy as np
import numpy.typing as npt

from databoost.boosting import part_of
from databoost.candidates.embedder import Vectors
from databoost.candidates.exact import Embeddings, paired_cosines, unit_vectors

_BLOCK = 4096


def parent_similarities(
    embeddings: Embeddings, parents: npt.NDArray[np.int64], vectors: Vectors
) -> npt.NDArray[np.float64]:
    """Compare every candidate with its parent, block by block.

    Parameters
    ----------
    embeddings
        (N, D) float16 unit vectors of the candidates; float16 rounds their lengths, which are
        taken into account.
    parents
        (N,) rows of `vectors`.
    vectors
        (p, D) float32 unit vectors of the parents.

    Returns
    -------
    numpy.ndarray
        (N,) float64 cosine similarities, -1 to 1, rounded to 6 decimals.
    """
    units, found = unit_vectors(vectors), np.empty(len(embeddings))
    for start in range(0, len(embeddings), _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = paired_cosines(unit_vectors(embeddings[part]), units[parents[part]])
    return found


def least_like(similarities: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """Mark the share of candidates (rounded down) that are least like their parents.

    Of equally similar ones those with the higher id are marked.

    >>> least_like(np.array([0.9, 0.2, 0.2, 0.8]), 0.25).tolist()
    [False, False, True, False]
    """
    order = np.lexsort((-np.arange(len(similarities)), similarities))
    is_dropped = np.zeros(len(similarities), dtype=np.bool_)
    is_dropped[order[: part_of(share, len(similarities))]] = True
    return is_dropped
