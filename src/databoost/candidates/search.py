"""Nearest neighbours by cosine similarity: Annoy (approximate) and exact, behind one function.

Whatever finds the candidates, a similarity is one number, and equal similarities are ordered by id;
so both methods give the same answer, to the last bit, wherever Annoy finds all true neighbours.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from annoy import AnnoyIndex
from tqdm import tqdm

from databoost.candidates.exact import Embeddings, nearest, similarity
from databoost.data.files import write_bytes
from databoost.errors import DatasetError
from databoost.sections import SearchParams

#: Neighbours asked of Annoy beyond those wanted: it ranks by rounded distances, so the last ones
#: are settled here.
_SPARE = 16
#: Vectors handed to Annoy at a time.
_BLOCK = 256


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

    It is built in its file, mapped into memory, since it may be larger than memory: it holds all
    vectors in float32. With ``method: exact`` there is nothing to build: the file is empty.

    Raises
    ------
    DatasetError
        If the disk is too full for it.
    """
    if params.method == "exact":
        write_bytes(path, b"")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    # A disk that fills up under a mapped file ends the process without a word.
    needed = _index_bytes(len(embeddings), embeddings.shape[1], params.trees)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DatasetError(
            f"{path} will take about {needed / 1e9:.1f} GB, its disk has {free / 1e9:.1f} GB free; "
            "make room, or `databoost set search.method=exact`, which needs no index"
        )
    index = AnnoyIndex(embeddings.shape[1], "angular")
    index.set_seed(params.seed)
    index.on_disk_build(str(part))
    with tqdm(total=len(embeddings), desc="index", unit="candidate", mininterval=1.0) as bar:
        for start in range(0, len(embeddings), _BLOCK):
            block = torch.from_numpy(np.array(embeddings[start : start + _BLOCK]))
            # Annoy reads lists faster than arrays, and PyTorch float16 faster than numpy.
            for number, vector in enumerate(block.float().tolist(), start):
                index.add_item(number, vector)
            bar.update(len(block))
    index.build(params.trees, n_jobs=1)
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
    among: npt.NDArray[np.int64] | None = None,
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
    among
        (n,) ascending ids of those that count; None: all. Annoy cannot leave any out, so with it
        the neighbours are of all candidates.

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
        return Neighbours(*nearest(queries, k, embeddings, among))
    found = _annoy_ids(queries, min(k + _SPARE, len(embeddings)), len(embeddings), index, params)
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    similarities = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for row, (query, candidates) in enumerate(zip(queries, found, strict=True)):
        scores = similarity(query, embeddings, candidates)
        order = np.lexsort((candidates, -scores))[:k]
        ids[row, : len(order)] = candidates[order]
        similarities[row, : len(order)] = scores[order]
    return Neighbours(ids, similarities)


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


def _index_bytes(n_items: int, dimension: int, trees: int) -> int:
    """Estimate the size of an index, rather too high: a node an item, and those of the trees.

    A leaf holds at most dimension + 2 items, and after even splits more than half of that: two
    to four nodes for so many.
    """
    return (12 + 4 * dimension) * (n_items + trees * (4 * n_items // (dimension + 2) + 2))


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
