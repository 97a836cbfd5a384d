"""Recipes to embeddings: rendered and embedded side by side, resumed after a kill.

The work is cut into shards (see :mod:`databoost.candidates.shards`). An *engine* turns shards into
vectors, in any order: threads here, processes where there is a GPU
(:mod:`databoost.candidates.workers`), or a Ray cluster's nodes
(:mod:`databoost.candidates.cluster`). A finished shard is a file in a folder of this work alone, so
that a kill costs the shards in hand, and no other is worked on twice.
"""

import hashlib
import io
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from databoost.candidates.embedder import Embedder
from databoost.candidates.exact import Embeddings
from databoost.candidates.shards import SHARD_SIZE, Shard, Shards, embed_shard
from databoost.code import code_digest
from databoost.data.files import write_bytes
from databoost.errors import DataboostError
from databoost.sections import CandidatesParams

#: A shard's number, and its (n, D) float16 vectors.
Finished = tuple[int, Embeddings]
#: Turns shards into vectors, each once, in any order. It may take them from an iterator.
Engine = Callable[[Iterable[Shard]], Generator[Finished, None, None]]


def embed_candidates(shards: Shards, dimension: int, engine: Engine, state: Path) -> int:
    """Render and embed all shards; those that `state` holds already are left alone.

    Parameters
    ----------
    dimension
        Length of the vectors.
    state
        Folder of this work alone (see :func:`work_key`). The caller removes it once the result is
        safe.

    Returns
    -------
    int
        Shards that were worked on now.

    Raises
    ------
    DataboostError
        If the engine loses a shard, or gives one twice.
    """
    state.mkdir(parents=True, exist_ok=True)
    left = {
        number
        for number in range(len(shards))
        if not _is_finished(state, number, (len(shards.rows(number)), dimension))
    }
    n_left, n_candidates = len(left), len(shards.recipes)
    n_done = n_candidates - sum(len(shards.rows(number)) for number in left)
    wanted = (shards[number] for number in sorted(left))
    with (
        tqdm(
            total=n_candidates, initial=n_done, desc="embed", unit="candidate", mininterval=1.0
        ) as bar,
        closing(engine(wanted)) as finished,
    ):
        for number, vectors in finished:
            if number not in left:
                raise DataboostError(f"shard {number} came twice; run the stage again")
            _write(state, number, vectors)
            left.remove(number)
            bar.update(len(vectors))
    if left:
        raise DataboostError(
            f"{len(left)} of {len(shards)} shards are missing, {min(left)} first; run the stage "
            "again, which goes on with them"
        )
    return n_left


def write_embeddings(path: Path, shards: Shards, dimension: int, state: Path) -> None:
    """Write the finished shards as one array, in the order of the candidates' ids.

    Parameters
    ----------
    path
        The new ``.npy`` file: (N, D) float16 unit vectors.
    dimension, state
        As in :func:`embed_candidates`, which is done.

    Raises
    ------
    OSError
        If the disk has no room for it.
    """
    shape = (len(shards.recipes), dimension)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    with path.open("r+b") as stream:
        # Else a disk that is full ends the process by a signal, in the middle of the array.
        os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    for number in range(len(shards)):
        # Opened anew each time: pages that were written count as ours until then.
        embeddings = np.lib.format.open_memmap(path, mode="r+")
        embeddings[shards.rows(number)] = np.load(_file(state, number))


def work_key(recipes: pd.DataFrame, weights: Path, *settings: object) -> str:
    """Name the work by all that its result depends on, 16 hex digits.

    These are recipes, shards, the embedder's file, settings, our own code, and the libraries that
    run it.
    """
    import onnxruntime

    code = code_digest("candidates", "model", "data")
    versions = code, torch.__version__, onnxruntime.__version__
    digest = hashlib.sha256(repr((SHARD_SIZE, *versions, *settings)).encode())
    for column in ("parent_id", "seed", "policy"):
        digest.update("\n".join(map(str, recipes[column])).encode())
    with weights.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def local_engine(
    policy: CandidatesParams, embedder: Embedder, batch_size: int, n_workers: int
) -> Engine:
    """Make the engine of this machine: threads, each with one thread of PyTorch's.

    While one renders another embeds, and no more than `n_workers` + 1 shards are held. The vectors
    do not depend on how many workers there are.
    """

    def run(shards: Iterable[Shard]) -> Generator[Finished, None, None]:
        is_over = threading.Event()

        def work(shard: Shard) -> Finished:
            batches = []
            for batch in embed_shard(shard, policy, embedder, batch_size):
                if is_over.is_set():
                    raise CancelledError
                batches.append(batch)
            return shard.number, np.concatenate(batches)

        with _one_thread_each(), ThreadPoolExecutor(n_workers, "candidates") as pool:
            try:
                yield from as_finished(shards, lambda shard: pool.submit(work, shard), n_workers)
            finally:
                is_over.set()

    return run


def as_finished(
    shards: Iterable[Shard], submit: Callable[[Shard], Future[Finished]], most: int
) -> Generator[Finished, None, None]:
    """Hand shards out, no more than `most` ahead of what is done, and give results as they come.

    Those that are still waiting when the caller turns away are cancelled.
    """
    waiting: set[Future[Finished]] = set()
    try:
        for shard in shards:
            waiting.add(submit(shard))
            if len(waiting) > most:
                yield from _next(waiting)
        while waiting:
            yield from _next(waiting)
    finally:
        for future in waiting:
            future.cancel()


def _next(waiting: set[Future[Finished]]) -> Iterator[Finished]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        waiting.remove(future)
        yield future.result()


def _file(state: Path, number: int) -> Path:
    return state / f"{number:05d}.npy"


def _is_finished(state: Path, number: int, shape: tuple[int, int]) -> bool:
    try:
        found = np.load(_file(state, number), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return bool(found.shape == shape and found.dtype == np.float16)


def _write(state: Path, number: int, vectors: Embeddings) -> None:
    stream = io.BytesIO()
    np.save(stream, vectors)
    write_bytes(_file(state, number), stream.getvalue())


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
