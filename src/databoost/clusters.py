"""Failures that look alike, grouped: then a group asks for neighbours, not each of its images."""

import warnings

import numpy as np
import numpy.typing as npt

from databoost.candidates.embedding import Vectors

Places = npt.NDArray[np.int64]

_STARTS = 10
_DECIMALS = 6


def error_clusters(vectors: Vectors, n_clusters: int, seed: int) -> tuple[Places, Vectors, Places]:
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
        Of m groups: (m,) the failure nearest to the middle of each, ascending; (m, D) float32 unit
        vectors, the middles; and (m,) how many failures each holds.
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
        middle /= np.linalg.norm(middle)
        nearest = (wide[rows] @ middle).round(_DECIMALS).argmax()
        groups.append((int(rows[nearest]), middle.astype(np.float32), len(rows)))
    members, middles, sizes = zip(*sorted(groups, key=lambda group: group[0]), strict=True)
    return np.array(members), np.stack(middles), np.array(sizes)
