"""Nearest neighbours by cosine similarity: Annoy (approximate) and exact, behind one function.

Whatever finds the candidates, their similarities are computed in one way from the stored vectors,
and equal similarities are ordered by id; so both methods give the same answer, to the last bit,
wherever Annoy finds all true neighbours.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from annoy import AnnoyIndex
from tqdm import tqdm

from databoost.data.files import write_bytes
from databoost.errors import DatasetError
from databoost.sections import SearchParams

Embeddings = npt.NDArray[np.float16]
_BLOCK = 4_096
#: Neighbours asked of Annoy beyond those wanted: it ranks by rounded distances, so the last ones
#: are settled here.
_SPARE = 16


@dataclass(frozen=True)
class Neighbours:
    """For each query its nearest candidates, the nearest first.

    Attributes
    ----------
    ids
        (n_queries, k) int64 candidate ids, -1 where a search found fewer than k.
    similarities
        (n_queries, k) float32 cosine similarities, -1 to 1; -inf where the id is -1.
    """

    ids: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32]


def build_index(embeddings: Embeddings, path: Path, params: SearchParams) -> None:
    """Build the Annoy index over (N, D) unit vectors; the same input gives the same file.

    With ``method: exact`` there is nothing to build: the file is empty.
    """
    if params.method == "exact":
        write_bytes(path, b"")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    index = AnnoyIndex(embeddings.shape[1], "angular")
    index.set_seed(params.seed)
    for number in tqdm(range(len(embeddings)), desc="index", unit="candidate", mininterval=1.0):
        index.add_item(number, embeddings[number].astype(np.float32))
    index.build(params.trees, n_jobs=1)
    index.save(str(part))
    index.unload()
    os.replace(part, path)


def load_embeddings(path: Path) -> Embeddings:
    """Map the candidates' vectors, (N, D) float16, into memory.

    Raises
    ------
    DatasetError
        If the file is missing or is no such array.
    """
    try:
        embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path} is no readable array of embeddings ({error}); the candidates stage writes it"
        ) from error
    if embeddings.dtype != np.float16 or embeddings.ndim != 2:
        raise DatasetError(
            f"{path} holds {embeddings.dtype} of shape {embeddings.shape}, not (N, D) float16; "
            "the candidates stage writes it"
        )
    vectors: Embeddings = embeddings
    return vectors


def find_neighbours(
    queries: npt.NDArray[np.float32],
    k: int,
    embeddings: Embeddings,
    index: Path,
    params: SearchParams,
) -> Neighbours:
    """Find the k nearest candidates of each query.

    Parameters
    ----------
    queries
        (n_queries, D) float32 unit vectors.
    k
        Neighbours wanted; at most N are there.
    embeddings
        (N, D) float16 unit vectors of the candidates, in memory or memory-mapped.
    index
        File that :func:`build_index` wrote with the same `params`.

    Raises
    ------
    DatasetError
        If queries, embeddings and index do not belong together.
    """
    if queries.shape[1] != embeddings.shape[1]:
        raise DatasetError(
            f"the queries have {queries.shape[1]} dimensions, the candidates "
            f"{embeddings.shape[1]}; both must come from one embedder: run `databoost candidates`"
        )
    k = min(k, len(embeddings))
    if params.method == "exact":
        found = list(_exact_ids(queries, k, embeddings))
    else:
        found = _annoy_ids(
            queries, min(k + _SPARE, len(embeddings)), len(embeddings), index, params
        )
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    similarities = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for row, (query, candidates) in enumerate(zip(queries, found, strict=True)):
        scores = similarity(query, embeddings, candidates)
        order = np.lexsort((candidates, -scores))[:k]
        ids[row, : len(order)] = candidates[order]
        similarities[row, : len(order)] = scores[order]
    return Neighbours(ids, similarities)


def similarity(
    query: npt.NDArray[np.float32], embeddings: Embeddings, ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Cosine similarities, (n,) float32, of one (D,) query and the candidates `ids`.

    Float16 rounds the stored vectors, so their lengths are taken into account.
    """
    vectors = embeddings[ids].astype(np.float64)
    lengths = np.sqrt((vectors * vectors).sum(axis=1))
    products = (vectors * query.astype(np.float64)).sum(axis=1)
    cosines: npt.NDArray[np.float32] = (products / np.maximum(lengths, 1e-12)).astype(np.float32)
    return cosines


def recall(found: Neighbours, truth: Neighbours) -> float:
    """Share of the true neighbours that were found, 0 to 1; 1 if there are none.

    >>> ids = np.array([[0, 1]]); more = np.array([[0, 2]]); ones = np.ones((1, 2), np.float32)
    >>> recall(Neighbours(ids, ones), Neighbours(more, ones))
    0.5
    """
    hits = [
        np.isin(true_ids, found_ids).mean()
        for true_ids, found_ids in zip(truth.ids, found.ids, strict=True)
        if len(true_ids)
    ]
    return float(np.mean(hits)) if hits else 1.0


def _exact_ids(
    queries: npt.NDArray[np.float32], k: int, embeddings: Embeddings
) -> npt.NDArray[np.int64]:
    # One pass over the candidates in blocks. A key holds similarity (high bits) and id (low bits),
    # so that all keys differ and a partition has one answer. Products are summed in float64 and
    # rounded to float32 as `similarity` does: equal vectors tie wherever they stand in a block.
    best = np.empty((len(queries), 0), dtype=np.int64)
    wide = queries.astype(np.float64)
    for start in range(0, len(embeddings), _BLOCK):
        block = embeddings[start : start + _BLOCK].astype(np.float64)
        lengths = np.sqrt((block * block).sum(axis=1))
        cosines = (wide @ block.T / np.maximum(lengths, 1e-12)).astype(np.float32)
        scaled = np.round(cosines.astype(np.float64) * 2**30).astype(np.int64)
        ids = np.arange(start, start + len(block), dtype=np.int64)
        keys = np.concatenate([best, (scaled << 32) - ids], axis=1)
        if keys.shape[1] > k:
            keys = np.partition(keys, keys.shape[1] - k, axis=1)[:, keys.shape[1] - k :]
        best = keys
    return (-best) & 0xFFFFFFFF


def _annoy_ids(
    queries: npt.NDArray[np.float32], k: int, n_items: int, path: Path, params: SearchParams
) -> list[npt.NDArray[np.int64]]:
    index = AnnoyIndex(queries.shape[1], "angular")
    try:
        index.load(str(path))
    except OSError as error:
        raise DatasetError(
            f"{path} is no index that can be read ({error}); run `databoost candidates`"
        ) from error
    if index.get_n_items() != n_items:
        raise DatasetError(
            f"{path} holds {index.get_n_items()} candidates, the embeddings {n_items}; run "
            "`databoost candidates`"
        )
    search_k = max(params.search_k, k * params.trees)
    found = [
        np.array(index.get_nns_by_vector(query, k, search_k), dtype=np.int64) for query in queries
    ]
    index.unload()
    return found
