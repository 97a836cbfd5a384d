"""Failures that look alike, grouped: then a group asks for neighbours, not each of its images."""

import warnings

import numpy as np
import numpy.typing as npt

from databoost.candidates.embedding import Vectors

_STARTS = 10
_DECIMALS = 6


def error_clusters(
    vectors: Vectors, n_clusters: int, seed: int
) -> tuple[npt.NDArray[np.int64], Vectors]:
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
        (m,) the failure nearest to the middle of each group, ascending, and (m, D) float32 unit
        vectors: the middles.
    """
    # scikit-learn takes long to load, and most boosts do without.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    n_clusters = min(n_clusters, len(vectors))
    with warnings.catch_warnings():
        # Fewer different vectors than clusters: the empty ones are left out below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = KMeans(n_clusters, n_init=_STARTS, random_state=seed).fit(vectors)
    members, middles = [], []
    for group in np.unique(means.labels_):
        rows = np.flatnonzero(means.labels_ == group)
        middle = vectors[rows].astype(np.float64).mean(axis=0)
        middle /= np.linalg.norm(middle)
        members.append(rows[(vectors[rows] @ middle).round(_DECIMALS).argmax()])
        middles.append(middle.astype(np.float32))
    order = np.argsort(members)
    return np.array(members, dtype=np.int64)[order], np.stack(middles)[order]
