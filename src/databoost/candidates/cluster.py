"""The Ray engine: shards are rendered and embedded by the nodes of a Ray cluster.

Each node needs databoost with its extra ``ray``, in the same versions, and the same kind of
processor if the bytes are to be those of the local engine. Nothing else is shared: a shard brings
the files of its parents, and the embedder's weights are sent once. What a lost node was working on,
or held of what was done, Ray does again elsewhere.
"""

import logging
import os
import pickle
import socket
import tempfile
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from databoost.candidates.embedding import Embedder, load_embedder
from databoost.candidates.production import Engine, Finished
from databoost.candidates.shards import Shard, embed_shard
from databoost.errors import ParamsError
from databoost.model.processor import use_cpu
from databoost.sections import CandidatesParams, EmbeddingParams

#: Workers that share a GPU: rendering, on a CPU, takes each of them longer than embedding.
_WORKERS_A_GPU = 8
#: Seconds that a cluster may take to accept a connection.
_PATIENCE = 10


@dataclass(frozen=True)
class _Plan:
    """What a worker is to do; `weights` is Ray's reference to the bytes of the file."""

    policy: CandidatesParams
    settings: EmbeddingParams
    device: torch.device
    weights: Any


def ray_engine(
    policy: CandidatesParams,
    settings: EmbeddingParams,
    weights: Path,
    device: torch.device,
    n_workers: int,
) -> Engine:
    """Make the engine of a Ray cluster.

    It is the cluster of ``RAY_ADDRESS``, or the one that ``ray start`` has started on this machine;
    if there is none, a cluster of this machine alone, with `n_workers` workers, for as long as the
    work takes.

    Parameters
    ----------
    settings
        Whose ``precision`` is not ``auto``, which would be settled by each node for itself.
    weights
        The embedder's file.
    device
        Where each worker embeds.

    Raises
    ------
    ParamsError
        If Ray is not installed; while it runs, if no cluster answers at ``RAY_ADDRESS``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray.data
    except ImportError as error:
        raise ParamsError(
            "candidates.engine is 'ray', and Ray is not installed; run "
            "`pip install 'databoost[ray]'`, or set candidates.engine to 'local'"
        ) from error

    def run(shards: Iterable[Shard]) -> Generator[Finished, None, None]:
        with _connection(n_workers):
            _quieten()
            plan = _Plan(policy, settings, device, ray.put(weights.read_bytes()))
            tables = [ray.put(_pack(shard)) for shard in shards]
            data = ray.data.from_arrow_refs(tables).map(
                _work,
                fn_kwargs={"plan": plan},
                num_cpus=1,
                num_gpus=1 / _WORKERS_A_GPU if device.type == "cuda" else 0,
            )
            for batch in data.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in batch.to_pylist():
                    flat = np.frombuffer(row["vectors"], dtype=np.float16)
                    yield row["number"], flat.reshape(row["n"], -1)

    return run


@contextmanager
def _connection(n_workers: int) -> Iterator[None]:
    """Join a cluster, or start one; the one that was started is stopped afterwards."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS", "")
    _check_address(address)
    try:
        ray.init(address=address or "auto", **quiet)
    except ConnectionError:
        ray.init(num_cpus=n_workers, include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """See that somebody listens there: Ray itself tries for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise ParamsError(
            f"RAY_ADDRESS is {address!r}, where no Ray cluster answers ({error}); start one with "
            "`ray start --head`, or unset it"
        ) from error


def _quieten() -> None:
    """Leave the terminal to our own progress bar."""
    from ray.data import DataContext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own old settings are among those that it makes
        context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _pack(shard: Shard) -> pa.Table:
    return pa.table({"shard": [pickle.dumps(shard.packed())]})


def _work(row: dict[str, bytes], plan: _Plan) -> dict[str, Any]:
    """Turn a shard into its vectors: runs on a node."""
    shard: Shard = pickle.loads(row["shard"])  # noqa: S301 (this program's own)
    embedder = _embedder(plan.settings, plan.device, plan.weights)
    batches = embed_shard(shard, plan.policy, embedder, plan.settings.batch_size)
    vectors = np.concatenate(list(batches))
    return {"number": shard.number, "n": len(vectors), "vectors": vectors.tobytes()}


@lru_cache(maxsize=1)
def _embedder(settings: EmbeddingParams, device: torch.device, weights: Any) -> Embedder:
    """Load the embedder, once a process."""
    import ray

    use_cpu(1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weights").write_bytes(ray.get(weights))
        named = settings.model_copy(update={"weights": "weights"})
        return load_embedder(named, Path(folder), device)
