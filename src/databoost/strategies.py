"""The other strategies: additions that no failure asks for. Pure functions on arrays.

They are what the neighbours of failures are to be compared with, at equal size: drawn at random,
at random by class or by the failures' classes, by what the model gets wrong, or as far as possible
from what is there. All of them skip candidates of earlier rounds and keep to the cap per parent.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from databoost.boosting import Addition, Pool, Stock
from databoost.candidates.exact import cosines, unit_vectors

Order = npt.NDArray[np.int64]

_BLOCK = 1024


def take_in_order(order: Iterable[int], n: int, pool: Pool, max_per_parent: int) -> list[Addition]:
    """Take the first candidates of an order that are free.

    Parameters
    ----------
    order
        Candidate ids, each once, the wanted ones first.
    n
        Additions wanted; fewer come back if the order or the cap does not allow more.
    max_per_parent
        Additions from one parent, those of earlier rounds counted; 0: no cap.
    """
    stock = Stock(pool, max_per_parent)
    additions: list[Addition] = []
    for candidate in order:
        if len(additions) >= n:
            break
        if stock.has(candidate):
            additions.append(_take(candidate, stock))
    return additions


def free_candidates(pool: Pool, n: int, seed: int) -> Order:
    """Draw unused candidates: (at most `n`,) ids in random order, the same for the same seed.

    Copies are among them, so that finding one out changes no other draw.
    """
    free = np.flatnonzero(~pool.used)
    return np.random.default_rng(seed).permutation(free)[:n]


def choose_random(n: int, pool: Pool, seed: int, max_per_parent: int = 0) -> list[Addition]:
    """Draw unused candidates at random, the control to any other strategy.

    Parameters
    ----------
    n, max_per_parent
        As in :func:`take_in_order`.
    seed
        Of the draw; the same seed gives the same candidates.
    """
    order = free_candidates(pool, len(pool.used), seed)
    return take_in_order(order, n, pool, max_per_parent)


def choose_balanced(
    n: int, pool: Pool, class_counts: npt.NDArray[np.int64], seed: int, max_per_parent: int = 0
) -> list[Addition]:
    """Draw at random for the class that has the fewest training images, again and again.

    Parameters
    ----------
    n, max_per_parent
        As in :func:`take_in_order`.
    class_counts
        (n_classes,) training images of each class so far. Of equal classes the first is served; a
        class that has no candidate left stays as it is.
    seed
        Of the draw.
    """
    counts = class_counts.astype(np.int64)
    return _draw_by_class(n, pool, lambda label, taken: counts[label] + taken, seed, max_per_parent)


def choose_failing(
    n: int, pool: Pool, class_queries: npt.NDArray[np.int64], seed: int, max_per_parent: int = 0
) -> list[Addition]:
    """Draw at random, each class in proportion to its queries.

    What the neighbours of failures bring beyond the choice of classes shows against this.

    Parameters
    ----------
    n, max_per_parent
        As in :func:`take_in_order`.
    class_queries
        (n_classes,) images of each class that ask for additions. Shares are handed out by highest
        averages (d'Hondt); a class without any has none, one without candidates leaves its share
        to the others.
    seed
        Of the draw.
    """

    def rank(label: int, taken: int) -> float:
        return (taken + 1) / class_queries[label] if class_queries[label] else np.inf

    return _draw_by_class(n, pool, rank, seed, max_per_parent)


def _draw_by_class(
    n: int, pool: Pool, rank: Callable[[int, int], float], seed: int, max_per_parent: int
) -> list[Addition]:
    """Draw for the class of the least rank, given its number and what it has; inf: never."""
    order = free_candidates(pool, len(pool.used), seed)
    # One class's candidates do not hinder another's: the cap is on parents, and a mirrored
    # candidate, whose parent has another class, at most uses up a place of its parent.
    labels = np.unique(pool.labels[order]).tolist()
    waiting = {label: iter(order[pool.labels[order] == label].tolist()) for label in labels}
    taken, stock = Counter[int](), Stock(pool, max_per_parent)
    additions: list[Addition] = []
    while waiting and len(additions) < n:
        label = min(waiting, key=lambda other: (rank(other, taken[other]), other))
        if np.isinf(rank(label, taken[label])):
            break
        for candidate in waiting[label]:
            if stock.has(candidate):
                taken[label] += 1
                additions.append(_take(candidate, stock))
                break
        else:
            del waiting[label]
    return additions


def choose_hardest(
    n: int,
    judged: Order,
    log_probabilities: npt.NDArray[np.float64],
    pool: Pool,
    max_per_parent: int = 0,
) -> list[Addition]:
    """Take the candidates that the model gets wrong, the highest loss first.

    Parameters
    ----------
    n, max_per_parent
        As in :func:`take_in_order`. Candidates that the model gets right are never taken.
    judged
        (m,) candidate ids.
    log_probabilities
        (m, n_classes) of the same candidates, natural logarithm. Of equal losses the smaller id
        comes first.
    """
    labels = pool.labels[judged]
    losses = -log_probabilities[np.arange(len(judged)), labels]
    is_wrong = log_probabilities.argmax(axis=1) != labels
    order = np.lexsort((judged, -losses))
    return take_in_order(judged[order[is_wrong[order]]], n, pool, max_per_parent)


def choose_diverse(
    n: int,
    offered: Order,
    vectors: npt.NDArray[np.float32],
    present: npt.NDArray[np.float32],
    pool: Pool,
    max_per_parent: int = 0,
) -> list[Addition]:
    """Take, again and again, the candidate that is farthest from all that is there.

    Farthest-point (greedy k-center) selection: Gonzalez, "Clustering to minimize the maximum
    intercluster distance", Theoretical Computer Science 38 (1985); Sener and Savarese, "Active
    learning for convolutional neural networks: a core-set approach", ICLR 2018.

    Parameters
    ----------
    n, max_per_parent
        As in :func:`take_in_order`.
    offered
        (m,) ids of unused candidates. Of equally far ones (to 6 decimals of their cosines) the
        first is taken.
    vectors
        (m, D) unit vectors of the same candidates.
    present
        (p, D) unit vectors of the training images; with none, the first offered one is taken
        first.
    """
    units, nearest = unit_vectors(vectors), np.full(len(offered), -np.inf)
    for start in range(0, len(present), _BLOCK):
        similar = cosines(units, unit_vectors(present[start : start + _BLOCK]))
        nearest = np.maximum(nearest, similar.max(axis=1))
    stock = Stock(pool, max_per_parent)
    additions: list[Addition] = []
    is_out = np.zeros(len(offered), dtype=np.bool_)
    while len(additions) < n and not is_out.all():
        place = int(np.where(is_out, np.inf, nearest).argmin())
        is_out[place] = True
        candidate = int(offered[place])
        if stock.has(candidate):
            additions.append(_take(candidate, stock))
            nearest = np.maximum(nearest, cosines(units, units[place : place + 1])[:, 0])
    return additions


def _take(candidate: int, stock: Stock) -> Addition:
    stock.take(candidate)
    return Addition(int(candidate), -1, float("nan"), 0)
