"""Recipes to embeddings: rendered and embedded side by side, resumed after a kill.

Candidates are worked on parent by parent, so that a parent is decoded once. Batches go to worker
threads, each with one thread of PyTorch's: rendering and embedding overlap, and the vectors do not
depend on how many workers there are.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from databoost.candidates.augmentation import Parents, render_taps
from databoost.candidates.embedding import Embedder, Vectors
from databoost.candidates.search import Embeddings
from databoost.data.files import read_json, write_json
from databoost.data.resizing import blend_taps
from databoost.errors import DataboostError

Work = tuple[npt.NDArray[np.int64], Vectors]
#: Batches between two notes of how far the work has come.
_BATCHES_A_NOTE = 16


def embed_candidates(
    recipes: pd.DataFrame,
    parents: Parents,
    embedder: Embedder,
    batch_size: int,
    n_workers: int,
    state: Path,
) -> Embeddings:
    """Render and embed all candidates; go on with what `state` holds of the same work.

    Parameters
    ----------
    recipes
        ``RECIPES`` in the order of their ids, whose parents are among `parents`.
    batch_size
        Candidates rendered and embedded at a time.
    n_workers
        Batches worked on side by side.
    state
        Folder of this work alone: of these recipes, this embedder and this batch size. The caller
        removes it once the result is safe.

    Returns
    -------
    numpy.ndarray
        (N, D) float16 unit vectors, a file of `state` mapped into memory.
    """
    order = np.argsort([parents.positions[name] for name in recipes["parent_id"]], kind="stable")
    embeddings, n_done = _open(state, (len(recipes), embedder.dimension))

    def work(start: int) -> Work:
        which = order[start : start + batch_size]
        with torch.inference_mode():
            images = blend_taps(*render_taps(parents, recipes.iloc[which], embedder.image_size))
        return which, embedder.embed(images)

    starts = range(n_done, len(recipes), batch_size)
    with tqdm(
        total=len(recipes), initial=n_done, desc="embed", unit="candidate", mininterval=1.0
    ) as bar:
        for number, (which, vectors) in enumerate(_in_order(work, starts, n_workers), 1):
            embeddings[which] = vectors
            n_done += len(which)
            bar.update(len(which))
            if number % _BATCHES_A_NOTE == 0 or n_done == len(recipes):
                _flush(embeddings)
                write_json(state / "done.json", {"n_done": n_done})
    return embeddings


def work_key(recipes: pd.DataFrame, weights: Path, *settings: object) -> str:
    """Name the work by its input, 16 hex digits: recipes, the embedder's file, settings."""
    digest = hashlib.sha256(repr(settings).encode())
    for column in ("parent_id", "seed", "policy"):
        digest.update("\n".join(map(str, recipes[column])).encode())
    with weights.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def _open(state: Path, shape: tuple[int, int]) -> tuple[Embeddings, int]:
    """Open the unfinished array, or a new one; gives how many candidates are done."""
    path = state / "embeddings.npy"
    try:
        n_done = int(read_json(state / "done.json")["n_done"])
        found = np.lib.format.open_memmap(path, mode="r")  # "r+" would lengthen a short file
        if found.shape == shape and found.dtype == np.float16 and 0 <= n_done <= len(found):
            return np.lib.format.open_memmap(path, mode="r+"), n_done
    except (OSError, DataboostError, ValueError, KeyError, TypeError):
        pass  # nothing there, or broken off before the first note
    state.mkdir(parents=True, exist_ok=True)
    (state / "done.json").unlink(missing_ok=True)
    part = path.with_name("embeddings.part.npy")
    np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape).flush()
    os.replace(part, path)
    return np.lib.format.open_memmap(path, mode="r+"), 0


def _flush(embeddings: Embeddings) -> None:
    assert isinstance(embeddings, np.memmap)
    embeddings.flush()


def _in_order(work: Callable[[int], Work], starts: range, n_workers: int) -> Iterator[Work]:
    """Run the work in threads; give the results in order, and hold no more than a few."""
    waiting: deque[Future[Work]] = deque()
    with _one_thread_each(), ThreadPoolExecutor(n_workers, "candidates") as pool:
        try:
            for start in starts:
                waiting.append(pool.submit(work, start))
                if len(waiting) > 2 * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
