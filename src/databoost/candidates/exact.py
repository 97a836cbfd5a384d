"""Exact nearest neighbours by cosine: one pass over the vectors, block by block.

A similarity is a number of its own, whatever computes it: the cosine rounded to a multiple of
2**-24, the step of float32 between 0.5 and 1. The last digits of a sum depend on the order of its
terms, so on the block, the threads and the processor; but its error has a bound (Higham, *Accuracy
and Stability of Numerical Algorithms*, 2nd edition, section 3.1), and a cosine that lies nearer
than that to the middle between two multiples is summed again without any error.

The same bound makes the search fast. A block is first compared in float32; what lies below a
query's k-th best so far by more than float32's error is no neighbour of it, and the few candidates
that are left are compared in float64.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

Embeddings = npt.NDArray[np.float16]
Queries = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

#: Numbers of a block of candidates, and queries compared with it at a time: what fits the caches.
_NUMBERS = 2**19
_QUERIES = 1_024
#: Share of a block's pairs from which on float64 is faster for all of them than one by one.
_DENSE = 1 / 64
#: Steps of similarity from 0 to 1.
_STEPS = 2.0**24
_SHORTEST = 1e-12
#: Decimals of cosines that are compared with each other: copies agree in them on every machine.
DECIMALS = 6
_LOW_BITS = 0xFFFFFFFF


def similarity(query: Queries, embeddings: Embeddings, ids: Ids) -> npt.NDArray[np.float32]:
    """Cosine similarities, (n,) float32, of one (D,) unit query and the candidates `ids`.

    Each is the multiple of 2**-24 nearest to the cosine. Float16 rounds the stored vectors, so
    their lengths are taken into account; a vector of zeros is similar to nothing, 0.

    >>> stored = np.array([[2, 0], [3, 4], [0, 0]], dtype=np.float16)
    >>> similarity(np.array([1, 0], dtype=np.float32), stored, np.array([2, 0, 1])).tolist()
    [0.0, 1.0, 0.6000000238418579]
    """
    stored = embeddings[ids]
    wide = torch.from_numpy(query.astype(np.float64))
    values = (_unit(torch.from_numpy(stored), torch.float64) @ wide).numpy()
    errors = np.broadcast_to(_errors(query[None], torch.float64), values.shape)
    steps = _settle(values, errors, lambda pair: _cosine(query, stored[pair]))
    return (steps / _STEPS).astype(np.float32)


def unit_vectors(vectors: Embeddings | Queries) -> Floats:
    """Scale (n, D) vectors to length 1, in float64; one of zeros stays as it is."""
    units: Floats = _unit(torch.from_numpy(np.array(vectors)), torch.float64).numpy()
    return units


def cosines(first: Floats, second: Floats) -> Floats:
    """Cosine similarities of each of (n, D) with each of (m, D) :func:`unit_vectors`.

    Returns
    -------
    numpy.ndarray
        (n, m) float64, -1 to 1, rounded to `DECIMALS`; no zero is negative.
    """
    products: Floats = torch.mm(torch.from_numpy(first), torch.from_numpy(second).T).numpy()
    return products.round(DECIMALS) + 0.0


def paired_cosines(first: Floats, second: Floats) -> Floats:
    """Cosine similarities, (n,), of the :func:`unit_vectors` in the same places, as `cosines`."""
    products: Floats = np.einsum("nd,nd->n", first, second)
    return products.round(DECIMALS) + 0.0


def nearest(
    queries: Queries, k: int, embeddings: Embeddings, among: Ids | None = None
) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Find the k most similar candidates of each query; equal ones by id.

    Memory holds a block and 2 k candidates a query, whatever the number of candidates.

    Parameters
    ----------
    queries
        (n_queries, D) float32 unit vectors.
    k
        Neighbours wanted.
    embeddings
        (N, D) float16 unit vectors, in memory or memory-mapped; N is at most 2**32.
    among
        (n,) ascending ids of those that count; None: all.

    Returns
    -------
    tuple of numpy.ndarray
        (n_queries, k) int64 ids, the most similar first, and their float32 similarities as
        :func:`similarity` gives them; -1 and -inf where there are fewer than k.
    """
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    similarities = np.full((len(queries), k), -np.inf, dtype=np.float32)
    if not ids.size:
        return ids, similarities
    starts = range(0, len(queries), _QUERIES)
    scans = [_Scan(queries[start : start + _QUERIES], k) for start in starts]
    n_rows = max(1, _NUMBERS // embeddings.shape[1])
    for start in range(0, len(embeddings) if among is None else len(among), n_rows):
        piece = slice(start, start + n_rows)
        if among is None:
            stored = np.array(embeddings[piece])
            block = _Block(np.arange(start, start + len(stored)), stored)
        else:
            block = _Block(among[piece], embeddings[among[piece]])
        for scan in scans:
            scan.compare(block)
    row = 0
    for scan in scans:
        for found, steps in scan.best():
            ids[row, : len(found)] = found
            similarities[row, : len(found)] = steps / _STEPS
            row += 1
    return ids, similarities


class _Block:
    """Some candidates, by ascending ids, in the precisions in which they are asked for."""

    def __init__(self, ids: Ids, stored: Embeddings) -> None:
        self.ids = ids
        self.stored = torch.from_numpy(stored)
        self._units: dict[torch.dtype, torch.Tensor] = {}

    def units(self, dtype: torch.dtype) -> torch.Tensor:
        """Give the vectors, (n, D), made unit vectors."""
        if dtype not in self._units:
            self._units[dtype] = _unit(self.stored, dtype)
        return self._units[dtype]


class _Scan:
    """Some queries with the best candidates of those that they were compared with.

    A candidate is kept as a key: its steps of similarity in the high bits, less its id. So all keys
    differ, and the largest are the best.
    """

    def __init__(self, queries: Queries, k: int) -> None:
        self.queries, self.k = queries, k
        self.narrow = torch.tensor(queries)
        self.wide = self.narrow.double()
        self.coarse, self.fine = (_errors(queries, one) for one in (torch.float32, torch.float64))
        self.worst = np.full(len(queries), -np.inf)  # steps that a new one must exceed
        self.keys: list[list[Ids]] = [[] for _ in queries]
        self.is_dense = True

    def compare(self, block: _Block) -> None:
        """Compare with a block whose ids are greater than all before."""
        rows, columns, values = self._near(block)
        vectors = block.stored.numpy()
        steps = _settle(
            values,
            self.fine[rows],
            lambda pair: _cosine(self.queries[rows[pair]], vectors[columns[pair]]),
        )
        better = steps > self.worst[rows]
        rows = rows[better]
        keys = (steps[better].astype(np.int64) << 32) - block.ids[columns[better]]
        bounds = np.flatnonzero(np.diff(rows, prepend=-1, append=-1)).tolist()
        for first, end in pairwise(bounds):
            self._keep(int(rows[first]), keys[first:end])

    def best(self) -> list[tuple[Ids, Floats]]:
        """Give ids and steps of each query's k best, the best first."""
        found = []
        for pieces in self.keys:
            keys = np.sort(-np.concatenate([np.empty(0, dtype=np.int64), *pieces]))[: self.k]
            found.append((keys & _LOW_BITS, (-(keys >> 32)).astype(np.float64)))
        return found

    def _near(self, block: _Block) -> tuple[Ids, Ids, Floats]:
        """Give the pairs that may be among the best: rows (sorted), columns, float64 cosines."""
        n_pairs = len(self.queries) * len(block.stored)
        if not self.is_dense:
            scores = torch.mm(self.narrow, block.units(torch.float32).T).numpy()
            pairs = self._reaching(scores, self.coarse)
            self.is_dense = len(pairs) > _DENSE * n_pairs
        if not self.is_dense:
            rows, columns = np.divmod(pairs, len(block.stored))
            return rows, columns, self._one_by_one(block, rows, columns)
        scores = torch.mm(self.wide, block.units(torch.float64).T).numpy()
        pairs = self._reaching(scores, self.fine)
        self.is_dense = len(pairs) > _DENSE * n_pairs
        return *np.divmod(pairs, len(block.stored)), scores.ravel()[pairs]

    def _reaching(self, scores: npt.NDArray[np.floating], errors: Floats) -> Ids:
        floors = ((self.worst + 0.5) / _STEPS - errors).astype(scores.dtype)
        floors = np.nextafter(floors, -np.inf, dtype=scores.dtype)
        return np.flatnonzero(scores >= floors[:, None])

    def _one_by_one(self, block: _Block, rows: Ids, columns: Ids) -> Floats:
        values = np.empty(len(rows))
        size = max(1, _NUMBERS // block.stored.shape[1])
        for start in range(0, len(rows), size):
            piece = slice(start, start + size)
            vectors = _unit(block.stored[torch.from_numpy(columns[piece])], torch.float64)
            products = vectors.mul_(self.wide[torch.from_numpy(rows[piece])])
            values[piece] = products.sum(dim=1).numpy()
        return values

    def _keep(self, row: int, keys: Ids) -> None:
        pieces = self.keys[row]
        pieces.append(keys)
        n_kept = sum(map(len, pieces))
        if n_kept >= (2 * self.k if np.isfinite(self.worst[row]) else self.k):
            cut = n_kept - self.k
            kept = np.partition(np.concatenate(pieces), cut)[cut:]
            self.keys[row] = [kept]
            self.worst[row] = -(-int(kept[0]) >> 32)


def _unit(vectors: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    vectors = vectors.to(dtype)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors.div_(lengths.clamp_(min=_SHORTEST))


def _errors(queries: Queries, dtype: torch.dtype) -> Floats:
    """Bound the error of a query's cosines, (n,): 1.5 D roundings of products, sums and length."""
    gamma: float = (1.5 * queries.shape[1] + 16) * torch.finfo(dtype).eps / 2
    lengths: Floats = np.sqrt((queries.astype(np.float64) ** 2).sum(axis=1))
    return lengths * gamma / (1 - gamma)


def _settle(values: Floats, errors: Floats, cosine: Callable[[int], float]) -> Floats:
    """Round cosines to whole steps; what the errors leave open is asked of `cosine`."""
    scaled = values * _STEPS
    steps: Floats = np.rint(scaled)
    is_open = np.abs(scaled - np.floor(scaled) - 0.5) <= errors * _STEPS
    for pair in np.flatnonzero(is_open).tolist():
        steps[pair] = np.rint(cosine(pair) * _STEPS)
    steps += 0.0  # makes negative zeros positive
    return steps


def _cosine(query: Queries, vector: Embeddings) -> float:
    """Compute a cosine from sums without rounding: the products are exact in float64."""
    wide = vector.astype(np.float64)
    length = math.sqrt(math.fsum(wide * wide))
    return math.fsum(wide * query.astype(np.float64)) / max(length, _SHORTEST)
