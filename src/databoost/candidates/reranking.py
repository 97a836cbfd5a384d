"""Neighbours found in bfloat16, settled in float32.

Eight significant bits tell which candidates are near, and not which of two is nearer. So the first
few that each query may have are rendered again and embedded in float32, and ranked by that: what
an index of float32 vectors would give, at bfloat16's cost for the million that are far.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.candidates.embedder import Embedder
from databoost.candidates.exact import Embeddings, Ids, Queries, similarity
from databoost.candidates.search import Neighbours
from databoost.candidates.shards import render_some
from databoost.sections import CandidatesParams

#: Neighbours of a query that are ranked anew, at most; those behind keep their rough similarity.
MOST_RANKED = 128


class Reranking:
    """Ranks neighbours by vectors of a better precision, which it makes once for each candidate.

    Parameters
    ----------
    queries
        (n_queries, D) float32 unit vectors, of that precision.
    embed
        Gives (n, D) float16 unit vectors, of that precision, for (n,) candidate ids.
    depth
        Neighbours of each query that are ranked anew.
    can_be_had
        Tells of (n_queries, k) ids, of which some may be -1, which candidates each query may have;
        the others are not ranked anew, nor do they count. None: all.
    """

    def __init__(
        self,
        queries: Queries,
        embed: Callable[[Ids], Embeddings],
        depth: int,
        can_be_had: Callable[[Ids], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self._queries, self._embed, self._depth = queries, embed, depth
        self._can_be_had = can_be_had
        self._ids = np.empty(0, dtype=np.int64)
        self._vectors: Embeddings = np.empty((0, queries.shape[1]), dtype=np.float16)

    def rank(self, found: Neighbours) -> Neighbours:
        """Rank each query's neighbours again.

        Returns
        -------
        Neighbours
            The same ids, by their similarities (equal ones by id): for the first `depth` of each
            query those of the better vectors, for the others those that were found.
        """
        ids, similarities = found.ids.copy(), found.similarities.copy()
        counts = ids >= 0
        if self._can_be_had is not None:
            counts &= self._can_be_had(ids)
        is_first = counts & (counts.cumsum(axis=1) <= self._depth)
        self._learn(np.unique(ids[is_first]))
        for row, query in enumerate(self._queries):
            first = np.flatnonzero(is_first[row])
            places = np.searchsorted(self._ids, ids[row][first])
            similarities[row, first] = similarity(query, self._vectors, places)
            order = np.lexsort((ids[row], -similarities[row]))
            ids[row], similarities[row] = ids[row][order], similarities[row][order]
        return Neighbours(ids, similarities)

    def _learn(self, wanted: Ids) -> None:
        new = np.setdiff1d(wanted, self._ids)
        if len(new):
            ids = np.concatenate([self._ids, new])
            vectors = np.concatenate([self._vectors, self._embed(new)])
            order = np.argsort(ids)
            self._ids, self._vectors = ids[order], vectors[order]


def embed_some(
    recipes: pd.DataFrame,
    files: Mapping[str, Path | bytes],
    policy: CandidatesParams,
    embedder: Embedder,
    batch_size: int,
    seen: Callable[[Path, bytes], object] | None = None,
) -> Embeddings:
    """Render and embed a few candidates.

    Parameters
    ----------
    recipes
        n rows of ``RECIPES``.
    files
        Image file of each parent by its id: a path, or the file's bytes.
    seen
        Is told the path and the bytes of every file that is read.

    Returns
    -------
    numpy.ndarray
        (n, D) float16 unit vectors, in the order of `recipes`.

    Raises
    ------
    ParamsError
        If the recipes were drawn under another policy.
    ImageError
        If the file of a parent is no readable image.
    """
    found = np.empty((len(recipes), embedder.dimension), dtype=np.float16)
    size, device = embedder.image_size, embedder.device
    for rows, images in render_some(recipes, files, policy, size, batch_size, seen, device):
        found[rows] = embedder.embed(images)
    return found
