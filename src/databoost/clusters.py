"""Failures that look alike, grouped: then a group asks for neighbours, not each of its images."""

import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from databoost.boosting import Addition
from databoost.candidates.embedder import Vectors
from databoost.candidates.exact import Embeddings, cosines, unit_vectors

Places = npt.NDArray[np.int64]

_STARTS = 10
#: A mean of unit vectors that is shorter than this is what rounding left of vectors that cancel.
_SHORTEST = 1e-6


def error_clusters(vectors: Vectors, n_clusters: int, seed: int) -> tuple[Vectors, list[Places]]:
    """Group failures by k-means on their unit vectors.

    Parameters
    ----------
    vectors
        (n, D) float32 unit vectors.
    n_clusters
        Groups at most; fewer come back if there are not so many different vectors.
    seed
        Of the first centres.

    Returns
    -------
    tuple
        Of m groups: (m, D) float32 unit vectors, their middles, and the failures of each, the
        nearest to the middle first. Groups are ordered by their first failures. Where failures
        cancel out, so that there is no middle, the first one's vector takes its place.
    """
    # scikit-learn takes long to load, and most boosts do without.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    wide = vectors.astype(np.float64)
    means = KMeans(min(n_clusters, len(vectors)), n_init=_STARTS, random_state=seed)
    # Several threads add up in the order in which they end.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Fewer different vectors than clusters: the empty ones are left out below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        group_of = means.fit(wide).labels_
    groups = []
    for group in np.unique(group_of):
        rows = np.flatnonzero(group_of == group)
        middle = wide[rows].mean(axis=0)
        length = np.linalg.norm(middle)
        middle = middle / length if length >= _SHORTEST else wide[rows[0]]
        similar = cosines(middle[None], unit_vectors(vectors[rows]))[0]
        groups.append((middle.astype(np.float32), rows[np.argsort(-similar, kind="stable")]))
    groups.sort(key=lambda group: int(group[1][0]))
    middles, members = zip(*groups, strict=True)
    return np.stack(middles), list(members)


def share_out(
    chosen: list[Addition], groups: list[Places], vectors: Vectors, embeddings: Embeddings
) -> list[Addition]:
    """Hand what groups were given on to their failures, in the same order.

    Every failure of a group gets as many, and none a second before each has its first. An addition
    goes to the most similar of those whose turn it is; of equally similar ones (to 6 decimals) to
    the one nearest to the middle.

    Parameters
    ----------
    chosen
        Additions whose ``query`` is the number of a group.
    groups
        The failures of each, as :func:`error_clusters` gives them.
    vectors
        (n, D) float32 unit vectors of the failures.
    embeddings
        (N, D) float16 unit vectors of the candidates.

    Returns
    -------
    list of Addition
        The same candidates and similarities, with the failure as ``query``, and its ``rank``.
    """
    handed = list(chosen)
    for number, members in enumerate(groups):
        places = [place for place, addition in enumerate(chosen) if addition.query == number]
        candidates = [chosen[place].candidate for place in places]
        similar = cosines(unit_vectors(vectors[members]), unit_vectors(embeddings[candidates]))
        n_given = np.zeros(len(members), dtype=np.int64)
        for column, place in enumerate(places):
            waiting = np.flatnonzero(n_given == n_given.min())
            member = waiting[similar[waiting, column].argmax()]
            n_given[member] += 1
            query, rank = int(members[member]), int(n_given[member])
            handed[place] = replace(chosen[place], query=query, rank=rank)
    return handed
