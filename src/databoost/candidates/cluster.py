"""The Ray engine: shards are rendered and embedded by the nodes of a Ray cluster.

Each node needs databoost with its extra ``ray``, in the same versions, and the same kind of
processor if the bytes are to be those of the local engine. Nothing else is shared: a shard brings
the files of its parents, and the embedder's weights are sent once. Of the shards no more are sent
at a time than keep all workers busy and fit into Ray's memory. What a lost node was working on, or
held of what was done, Ray does again elsewhere.
"""

import gc
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
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import torch

from databoost.candidates.embedder import Embedder
from databoost.candidates.embedding import load_embedder
from databoost.candidates.production import Engine, Finished
from databoost.candidates.shards import Shard, embed_shard
from databoost.data.images import ImageFiles
from databoost.errors import DataboostError, ImageError, ParamsError
from databoost.model.processor import use_cpu, use_float32
from databoost.sections import CandidatesParams, EmbeddingParams

#: Workers that share a GPU: what a CPU has to do for a batch takes each longer than its own share.
_WORKERS_A_GPU = 8
#: Shards that are sent at a time for each worker: before the next are sent the last is waited for,
#: which costs half a shard's time.
_SHARDS_A_WORKER = 16
#: Part of the smallest node's object store that they may fill: what it cannot hold goes to disk.
_PART_OF_STORE = 0.5
#: Shards that were sent, by number, each with Ray's reference to what was.
_Sent = dict[int, tuple[Shard, Any]]
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
        If Ray is not installed; while it runs, if no cluster answers at ``RAY_ADDRESS``, or the
        cluster has no worker for `device`.
    ImageError
        While it runs, if the file of a parent is missing or no readable image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray.data
    except ImportError as error:
        raise ParamsError(
            "candidates.engine is 'ray', and Ray is not installed; `make setup` installs it, or "
            "set candidates.engine to 'local'"
        ) from error

    def run(shards: Iterable[Shard]) -> Generator[Finished, None, None]:
        with _connection(n_workers):
            _quieten()
            _check_resources(device)
            # Of its GPUs a node lends a worker one, which has no number there.
            place = torch.device(device.type)
            plan = _Plan(policy, settings, place, ray.put(weights.read_bytes()))
            left = iter(shards)
            while sent := _send(left, device):
                yield from _results(sent, plan)
                # Their bytes have to go before the next ones come, and Ray Data's spent plan, which
                # refers to them, refers to itself too.
                sent.clear()
                gc.collect()

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
    alone = {"address": "local", "num_cpus": n_workers, "include_dashboard": False}
    address = os.environ.get("RAY_ADDRESS", "")
    if address == "local":
        ray.init(**alone, **quiet)
    elif address:
        _check_address(address)
        try:
            ray.init(address=address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise _no_answer(address, error) from error
    else:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:
            ray.init(**alone, **quiet)
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
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> ParamsError:
    return ParamsError(
        f"RAY_ADDRESS is {address!r}, where no Ray cluster answers ({error}); start one with "
        "`ray start --head`, or unset it"
    )


def _quieten() -> None:
    """Leave the terminal to our own progress bar."""
    from ray.data import DataContext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own old settings are among those that it makes
        context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _n_workers(device: torch.device) -> int:
    """Count the workers that the cluster has room for, as it is now."""
    import ray

    resources = ray.cluster_resources()
    n_workers = resources.get("CPU", 0)
    if device.type == "cuda":
        n_workers = min(n_workers, resources.get("GPU", 0) * _WORKERS_A_GPU)
    return int(n_workers)


def _check_resources(device: torch.device) -> None:
    """See that somebody can do the work: Ray itself waits for ever."""
    import ray

    if not _n_workers(device):
        found = ray.cluster_resources()
        raise ParamsError(
            f"the embedder is to run on {device.type!r}, and the Ray cluster has "
            f"{found.get('CPU', 0):g} CPUs and {found.get('GPU', 0):g} GPUs; give it a node that "
            "has both, or set train.accelerator to 'cpu'"
        )


def _send(shards: Iterator[Shard], device: torch.device) -> _Sent:
    """Put the next shards into Ray's object store: as many as it may hold, at least one."""
    import ray

    stores = [node["Resources"]["object_store_memory"] for node in ray.nodes() if node["Alive"]]
    most_bytes = _PART_OF_STORE * min(stores)
    most_shards = _SHARDS_A_WORKER * max(_n_workers(device), 1)
    sent: _Sent = {}
    n_bytes = 0
    for shard in shards:
        table = _pack(shard)
        sent[shard.number] = shard, ray.put(table)
        n_bytes += table.nbytes
        if n_bytes >= most_bytes or len(sent) >= most_shards:
            break
    return sent


def _results(sent: _Sent, plan: _Plan) -> Iterator[Finished]:
    """Give the vectors of shards as they are finished."""
    import ray.data

    data = ray.data.from_arrow_refs([reference for _, reference in sent.values()]).map(
        _work,
        fn_kwargs={"plan": plan},
        num_cpus=1,
        num_gpus=1 / _WORKERS_A_GPU if plan.device.type == "cuda" else 0,
    )
    for batch in data.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            if row["error"]:
                _fail(sent[row["number"]][0], pickle.loads(row["error"]))  # noqa: S301 (our own)
            flat = np.frombuffer(row["vectors"], dtype=np.float16)
            yield row["number"], flat.reshape(row["n"], -1)


def _fail(shard: Shard, error: DataboostError) -> NoReturn:
    """Raise what a node has reported; it knows no paths, so that a bad image is looked for here."""
    if isinstance(error, ImageError):
        for _ in ImageFiles([*shard.files.values()]):
            pass
    raise error


def _pack(shard: Shard) -> pa.Table:
    """Make a table of one cell, which may be larger than the 2 GB of Arrow's usual type."""
    try:
        content = pickle.dumps(shard.packed())
    except OSError as error:
        raise ImageError(f"{error.filename}: {error.strerror}") from error
    return pa.table({"shard": pa.array([content], pa.large_binary())})


def _work(row: dict[str, bytes], plan: _Plan) -> dict[str, Any]:
    """Turn a shard into its vectors, or the error that it ends with: runs on a node."""
    shard: Shard = pickle.loads(row["shard"])  # noqa: S301 (this program's own)
    try:
        embedder = _embedder(plan.settings, plan.device, plan.weights)
        batches = embed_shard(shard, plan.policy, embedder, plan.settings.batch_size)
        vectors = np.concatenate(list(batches))
    except DataboostError as error:  # Ray would wrap it into errors of its own
        return {"number": shard.number, "n": 0, "vectors": b"", "error": pickle.dumps(error)}
    return {"number": shard.number, "n": len(vectors), "vectors": vectors.tobytes(), "error": b""}


@lru_cache(maxsize=1)
def _embedder(settings: EmbeddingParams, device: torch.device, weights: Any) -> Embedder:
    """Load the embedder, once a process."""
    import ray

    use_cpu(1)
    use_float32()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weights").write_bytes(ray.get(weights))
        named = settings.model_copy(update={"weights": "weights"})
        return load_embedder(named, Path(folder), device)
