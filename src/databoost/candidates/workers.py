"""The engine of a machine with a GPU: worker processes, which render and embed side by side.

A GPU embeds as fast as many cores render. Threads could not keep up with it: nearly half of the
rendering is Python's own, of which a process does one thing at a time.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import connection
from pathlib import Path

import numpy as np
import torch

from databoost.candidates.embedder import Embedder
from databoost.candidates.embedding import load_embedder
from databoost.candidates.production import Engine, Finished, as_finished
from databoost.candidates.shards import Shard, embed_shard
from databoost.errors import DataboostError
from databoost.model.processor import use_cpu, use_float32
from databoost.sections import CandidatesParams, EmbeddingParams
from databoost.sharing import shared_gpu

#: Shards that are handed out for each worker: the next one is there when it has done one.
_SHARDS_A_WORKER = 2


def process_engine(
    policy: CandidatesParams,
    settings: EmbeddingParams,
    root: Path,
    device: torch.device,
    n_workers: int,
) -> Engine:
    """Make the engine of this machine's processes, each with one thread of PyTorch's.

    The vectors are those of :func:`~databoost.candidates.production.local_engine` on the same
    device. The workers end with this process, however it ends.

    Parameters
    ----------
    settings
        Of the embedder, which every worker loads; ``weights`` is relative to `root`.
    device
        Where all of them embed.

    Raises
    ------
    DataboostError
        While it runs, if a worker dies; what is finished is safe.
    ImageError
        While it runs, if the file of a parent is missing or no readable image.
    """
    plan = policy, settings, root.resolve(), device

    def run(shards: Iterable[Shard]) -> Generator[Finished, None, None]:
        # Forked, a process could not use the GPU, which this one has begun to use.
        context = multiprocessing.get_context("spawn")
        with (
            shared_gpu(device) as sharing,
            ProcessPoolExecutor(n_workers, context, _begin, (dict(sharing.environment),)) as pool,
        ):

            def submit(shard: Shard) -> Future[Finished]:
                with _deaf():  # the first one starts the workers
                    return pool.submit(_work, shard, *plan)

            try:
                yield from as_finished(shards, submit, _SHARDS_A_WORKER * n_workers)
            except BrokenProcessPool as error:
                raise DataboostError(
                    f"one of {n_workers} worker processes ended, killed where the memory ends "
                    "perhaps; run the stage again, which keeps what is finished"
                ) from error

    return run


@contextmanager
def _deaf() -> Iterator[None]:
    """Have processes that are started within ignore Ctrl-C, which the main one answers for all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(environment: Mapping[str, str]) -> None:
    """Set a worker up, which ends with the process that started it."""
    os.environ.update(environment)  # before anything here uses the GPU
    use_cpu(1)
    use_float32()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(
    shard: Shard,
    policy: CandidatesParams,
    settings: EmbeddingParams,
    root: Path,
    device: torch.device,
) -> Finished:
    embedder = _embedder(settings, root, device)
    batches = embed_shard(shard, policy, embedder, settings.batch_size)
    return shard.number, np.concatenate(list(batches))


@lru_cache(maxsize=1)
def _embedder(settings: EmbeddingParams, root: Path, device: torch.device) -> Embedder:
    """Load the embedder, once a process."""
    return load_embedder(settings, root, device)
