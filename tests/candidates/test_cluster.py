"""The Ray engine: the local engine's bytes, on two nodes, one of which is killed on the way."""

import contextlib
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from projects import REPOSITORY

from databoost.candidates import cluster as engine_module
from databoost.candidates import shards as module
from databoost.candidates.cluster import ray_engine
from databoost.candidates.embedding import load_embedder, pick_precision
from databoost.candidates.production import (
    Engine,
    Finished,
    embed_candidates,
    local_engine,
    write_embeddings,
)
from databoost.candidates.recipes import make_recipes
from databoost.candidates.shards import Shard, Shards
from databoost.data.images import write_png
from databoost.errors import ImageError, ParamsError, WeightsError
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, save_checkpoint
from databoost.params import read_params
from databoost.sections import EmbeddingParams

PARAMS = read_params(REPOSITORY / "params.yaml")
POLICY, CPU = PARAMS.candidates, torch.device("cpu")
N, SIZE, N_PARENTS = 1_200, 64, 19
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


def images_in(folder: Path) -> Shards:
    """Write the parents into a folder, and draw candidates of them."""
    random = np.random.default_rng(0)
    files = {f"{number}": folder / f"{number}.png" for number in range(N_PARENTS)}
    for path in files.values():
        write_png(path, random.integers(0, 256, (40, 50, 1), np.uint8))
    rows = pd.DataFrame({"image_id": list(files), "label": ["x"] * N_PARENTS})
    return Shards(make_recipes(0, N, rows, POLICY, ["x"]), files)


def model_in(folder: Path) -> EmbeddingParams:
    """Write an embedder into a folder."""
    weights = build_model("fixed", 1, seed=0).state_dict()
    save_checkpoint(folder / "model.ckpt", Checkpoint("fixed", 96, ["x"], 0, weights))
    given = PARAMS.embedding.model_copy(update={"weights": "model.ckpt", "batch_size": 24})
    return pick_precision(given, CPU)


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shards:
    monkeypatch.setattr(module, "SHARD_SIZE", SIZE)
    return images_in(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> EmbeddingParams:
    return model_in(tmp_path)


def test_a_node_computes_in_float32_as_this_machine_does(
    tmp_path: Path, settings: EmbeddingParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (tmp_path / "model.ckpt").read_bytes()
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda weights: content))
    told: list[object] = []
    monkeypatch.setattr(engine_module, "use_cpu", told.append)
    monkeypatch.setattr(engine_module, "use_float32", lambda: told.append("float32"))
    embedder = engine_module._embedder.__wrapped__(settings, CPU, None)
    assert embedder.dimension == 256
    assert told == [1, "float32"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the local engine writes."""
    folder = tmp_path_factory.mktemp("local")
    settings = model_in(folder)
    engine = local_engine(POLICY, load_embedder(settings, folder, CPU), settings.batch_size, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_SIZE", SIZE)
        return written(folder, "local", images_in(folder), engine)


def written(folder: Path, name: str, shards: Shards, engine: Engine) -> bytes:
    embed_candidates(shards, 256, engine, folder / f"{name}-state")
    write_embeddings(folder / f"{name}.npy", shards, 256, folder / f"{name}-state")
    return (folder / f"{name}.npy").read_bytes()


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """Start a cluster of two nodes, one worker each, and join it on the first."""
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        options.pop("include_dashboard")
        second = cluster.add_node(**options)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def warm_up() -> None:
    """Let every node have its worker, which has imported what it needs."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=1)
    def load() -> None:
        import databoost.candidates.cluster  # noqa: F401

    places = [NodeAffinitySchedulingStrategy(node["NodeID"], False) for node in ray.nodes()]
    ray.get([load.options(scheduling_strategy=place).remote() for place in places])


def is_working(node: Any) -> bool:
    """Say whether one of a node's workers has a shard in hand; Ray names the process so."""
    raylet = node.all_processes["raylet"][0].process.pid
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"PPid:\t{raylet}\n" in status.read_text():
                title = (status.parent / "cmdline").read_bytes()
                if title.startswith(b"ray::Map"):
                    return True
    return False


@pytest.mark.slow
def test_a_node_is_killed_and_nothing_is_lost_or_double(tmp_path, shards, settings, expected):
    import ray

    given: list[int] = []
    n_left = 0
    with two_nodes() as (cluster, second):
        warm_up()
        engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)

        def watched(wanted: Iterable[Shard]) -> Generator[Finished, None, None]:
            nonlocal n_left
            for finished in engine(wanted):
                given.append(finished[0])
                if not n_left and len(given) > 2 and is_working(second):
                    n_left = len(shards) - len(given)
                    cluster.remove_node(second, allow_graceful=False)
                yield finished

        assert written(tmp_path, "ray", shards, watched) == expected
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    assert n_left > 0, "the second node had no shard in hand"
    assert sorted(given) == list(range(len(shards))) == list(range(19))


@pytest.mark.slow
def test_without_a_cluster_one_is_started_and_stopped(tmp_path, shards, settings, expected, capfd):
    import ray

    engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)
    assert written(tmp_path, "ray", shards, engine) == expected
    assert not ray.is_initialized()
    assert {line.split(":")[0] for line in capfd.readouterr().err.split("\r")} == {"", "embed"}
    assert embed_candidates(shards, 256, engine, tmp_path / "ray-state") == 0


@pytest.fixture(scope="module")
def one_node() -> Iterator[None]:
    """Start a cluster of one node with one worker and no GPU."""
    import ray

    options = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    ray.init(address="local", include_dashboard=False, log_to_driver=False, **options)
    yield
    ray.shutdown()


def held_by_ray() -> set[str]:
    """Name what the driver has references to."""
    from ray._private.worker import global_worker

    return set(global_worker.core_worker.get_all_reference_counts())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("_SHARDS_A_WORKER", 7), ("_PART_OF_STORE", 0.0002)])
def test_few_shards_are_sent_at_a_time(
    one_node, tmp_path, shards, settings, expected, monkeypatch, name, value
):
    monkeypatch.setattr(engine_module, name, value)
    sizes = [engine_module._pack(shard).nbytes for shard in shards]
    n_bytes, n_sent = np.cumsum(sizes), 7
    if name == "_PART_OF_STORE":
        n_sent = int(np.searchsorted(n_bytes, 0.0002 * 80 * 2**20)) + 1
        assert 1 < n_sent < 12
    taken: list[set[str]] = []

    def wanted() -> Iterator[Shard]:
        for shard in shards:
            taken.append(held_by_ray())
            yield shard

    engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)
    finished = engine(wanted())
    found = dict([next(finished)])
    assert len(taken) == n_sent
    sent = held_by_ray() - taken[0]
    found |= dict(finished)
    assert len(sent) >= n_sent
    assert not taken[n_sent] & sent, "Ray still holds what was sent first"
    assert sorted(found) == list(range(len(shards)))
    given = ((number, vectors) for number, vectors in found.items())
    assert written(tmp_path, "ray", shards, lambda _: given) == expected


def test_a_shard_may_be_larger_than_an_arrow_array_of_bytes(shards):
    table = engine_module._pack(shards[0])
    assert str(table.schema) == "shard: large_binary"
    assert table.num_rows == 1


@pytest.mark.slow
def test_a_nodes_error_is_that_of_the_local_engine(one_node, tmp_path, shards, settings):
    (tmp_path / "3.png").write_bytes(b"no image")
    ray = ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)
    embedder = load_embedder(settings, tmp_path, CPU)
    local = local_engine(POLICY, embedder, settings.batch_size, 1)
    messages = []
    for engine in (ray, local):
        with pytest.raises(ImageError) as caught:
            list(engine(shards))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"{tmp_path / '3.png'}: not an image: allowed are PNG")


@pytest.mark.slow
def test_an_error_that_is_about_no_image_comes_as_it_is(one_node, tmp_path, shards, settings):
    (tmp_path / "model.ckpt").write_bytes(b"no weights")
    engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)
    with pytest.raises(WeightsError, match=r"^\S+weights is no PyTorch file of weights"):
        list(engine(shards))


@pytest.mark.slow
def test_a_missing_file_is_an_error_with_its_name(one_node, tmp_path, shards, settings):
    (tmp_path / "3.png").unlink()
    engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)
    with pytest.raises(ImageError, match=rf"^{tmp_path / '3.png'}: No such file or directory$"):
        list(engine(shards))


@pytest.mark.slow
def test_a_cluster_without_gpus_does_no_work_for_one(one_node, tmp_path, shards, settings):
    engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", torch.device("cuda"), 1)
    expected = r"to run on 'cuda', and the Ray cluster has 1 CPUs and 0 GPUs; give it a node"
    with pytest.raises(ParamsError, match=expected):
        next(engine(shards))


@pytest.mark.parametrize(
    ("resources", "device", "n_workers"),
    [
        ({"CPU": 4.0}, "cpu", 4),
        ({"CPU": 4.0, "GPU": 2.0}, "cpu", 4),
        ({"CPU": 12.0, "GPU": 1.0}, "cuda", 8),
        ({"CPU": 12.0, "GPU": 2.0}, "cuda", 12),
        ({"GPU": 1.0}, "cuda", 0),
        ({"CPU": 4.0}, "cuda", 0),
    ],
)
def test_workers_need_a_cpu_and_an_eighth_of_a_gpu(resources, device, n_workers, monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: resources)
    assert engine_module._n_workers(torch.device(device)) == n_workers


@pytest.mark.parametrize("address", ["127.0.0.1:9", "127.0.0.1:70000", "[::1]:9", "nonsense"])
def test_an_address_where_no_cluster_answers_is_an_error(
    tmp_path, shards, settings, monkeypatch, address
):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)
    with pytest.raises(ParamsError, match=r"^RAY_ADDRESS is '.*', where no Ray cluster") as caught:
        next(engine(shards))
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "tried"), [(None, ["auto", "local"]), ("", ["auto", "local"]), ("local", ["local"])]
)
def test_one_is_started_only_if_none_was_named(monkeypatch, given, tried):
    asked: list[tuple[str, int | None]] = []

    def init(address: str, num_cpus: int | None = None, **_: object) -> None:
        asked.append((address, num_cpus))
        if address == "auto":
            raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_ADDRESS", given)
    with engine_module._connection(3):
        pass
    assert asked == [(address, 3 if address == "local" else None) for address in tried]
    asked.clear()
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    expected = r"'auto', where no Ray cluster answers \(Could not find any running Ray instance"
    with pytest.raises(ParamsError, match=expected), engine_module._connection(3):
        pass
    assert asked == [("auto", None)]


def test_a_node_takes_the_gpu_that_it_is_lent(tmp_path, shards, settings, monkeypatch):
    for name in ("_quieten", "_check_resources"):
        monkeypatch.setattr(engine_module, name, lambda *_: None)
    monkeypatch.setattr(engine_module, "_connection", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(engine_module, "_send", lambda left, _: {s.number: (s, None) for s in left})
    monkeypatch.setattr(engine_module, "_results", lambda sent, plan: iter([plan.device]))
    monkeypatch.setattr("ray.put", lambda content: None)
    device = torch.device("cuda", 1)
    engine = ray_engine(POLICY, settings, tmp_path / "model.ckpt", device, 1)
    assert list(engine(shards)) == [torch.device("cuda")]


def test_without_ray_the_error_says_what_to_install(tmp_path, settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    match = r"'ray', and Ray is not installed; `make setup` installs it, or set .* to 'local'$"
    with pytest.raises(ParamsError, match=match):
        ray_engine(POLICY, settings, tmp_path / "model.ckpt", CPU, 1)
