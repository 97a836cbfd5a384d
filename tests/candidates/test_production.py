"""Embedding all candidates: the right rows, any number of workers, and after a kill the rest."""

import threading
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from projects import REPOSITORY

from databoost.candidates import production
from databoost.candidates import shards as module
from databoost.candidates.augmentation import Parents, render_taps
from databoost.candidates.embedder import Embedder, Vectors
from databoost.candidates.production import (
    Engine,
    Finished,
    embed_candidates,
    local_engine,
    work_key,
    write_embeddings,
)
from databoost.candidates.recipes import make_recipes
from databoost.candidates.shards import Shard, Shards
from databoost.data.files import write_text
from databoost.data.images import ImageFiles, write_png
from databoost.data.resizing import blend_taps
from databoost.errors import DataboostError
from databoost.params import read_params

POLICY = read_params(REPOSITORY / "params.yaml").candidates
N, SIZE, BATCH = 700, 64, 8  # 11 parents, a shard each


class MeanAndCorner(Embedder):
    """Two numbers an image, exact whatever the batch; breaks off when told to."""

    image_size, dimension = 4, 2

    def __init__(self, break_after: int = 10**9) -> None:
        self.n_seen, self.break_after = 0, break_after
        self.lock = threading.Lock()

    def features(self, images: torch.Tensor) -> Vectors:
        with self.lock:
            self.n_seen += len(images)
        if self.n_seen > self.break_after:
            raise OSError("the power is off")
        assert torch.get_num_threads() == 1
        features = torch.stack([images[:, 0, 0, 0] + 1, images.double().mean(dim=(1, 2, 3)) + 1], 1)
        return features.float().numpy()


@pytest.fixture(scope="module")
def recipes() -> pd.DataFrame:
    rows = pd.DataFrame({"image_id": list("abcdefghijk"), "label": list("yyyyyxxxxxx")})
    return make_recipes(0, N, rows, POLICY, ["x", "y"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parents")
    random = np.random.default_rng(0)
    files = {name: folder / f"{name}.png" for name in "dbcafgeijkh"}
    for width, path in enumerate(files.values(), 8):
        write_png(path, random.integers(0, 256, (9, width, 1), np.uint8))
    return files


@pytest.fixture
def shards(recipes, files, monkeypatch) -> Shards:
    monkeypatch.setattr(module, "SHARD_SIZE", SIZE)
    return Shards(recipes, files)


@pytest.fixture(scope="module")
def expected(recipes, files) -> np.ndarray:
    torch.set_num_threads(1)
    rows = pd.DataFrame({"image_id": list(files)})
    parents = Parents(rows, ImageFiles(list(files.values())), POLICY)
    images = blend_taps(*render_taps(parents, recipes, 4))
    return MeanAndCorner().embed(images).astype(np.float16)


def threads(embedder: Embedder, n_workers: int) -> Engine:
    return local_engine(POLICY, embedder, BATCH, n_workers)


def written(path: Path, shards: Shards, state: Path) -> np.ndarray:
    write_embeddings(path, shards, 2, state)
    return np.load(path)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_each_row_is_its_candidate(tmp_path, shards, expected, n_workers):
    torch.set_num_threads(2)
    state = tmp_path / "state"
    assert embed_candidates(shards, 2, threads(MeanAndCorner(), n_workers), state) == 11
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    found = written(tmp_path / "embeddings.npy", shards, state)
    assert (found.dtype, found.shape) == (np.float16, (N, 2))
    np.testing.assert_array_equal(found, expected)


def test_what_is_done_is_not_done_again(tmp_path, shards, expected):
    state = tmp_path / "state"
    with pytest.raises(OSError, match="power"):
        embed_candidates(shards, 2, threads(MeanAndCorner(300), 1), state)
    assert sorted(path.name for path in state.iterdir()) == [f"{n:05d}.npy" for n in range(4)]
    again = MeanAndCorner()
    assert embed_candidates(shards, 2, threads(again, 2), state) == 7
    assert again.n_seen == N - 4 * SIZE
    np.testing.assert_array_equal(written(tmp_path / "all.npy", shards, state), expected)
    finished = MeanAndCorner()
    assert embed_candidates(shards, 2, threads(finished, 2), state) == 0
    assert finished.n_seen == 0


def cut_short(state: Path) -> None:
    (state / "00003.npy").write_bytes((state / "00003.npy").read_bytes()[:150])


def of_another_shape(state: Path) -> None:
    np.save(state / "00003.npy", np.zeros((SIZE, 3), dtype=np.float16))


def of_another_type(state: Path) -> None:
    np.save(state / "00003.npy", np.zeros((SIZE, 2), dtype=np.float32))


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        of_another_shape,
        of_another_type,
        lambda state: write_text(state / "00003.npy", ""),
        lambda state: (state / "00003.npy").unlink(),
        lambda state: (state / "00003.npy").rename(state / "00003.part"),
    ],
)
def test_a_damaged_shard_is_done_again_and_no_other(tmp_path, shards, expected, damage):
    state = tmp_path / "state"
    embed_candidates(shards, 2, threads(MeanAndCorner(), 1), state)
    damage(state)
    again = MeanAndCorner()
    assert embed_candidates(shards, 2, threads(again, 1), state) == 1
    assert again.n_seen == SIZE
    np.testing.assert_array_equal(written(tmp_path / "all.npy", shards, state), expected)


def test_shards_may_be_finished_in_any_order(tmp_path, shards, expected):
    local = threads(MeanAndCorner(), 1)

    def backwards(wanted: Iterable[Shard]) -> Generator[Finished, None, None]:
        yield from local(list(wanted)[::-1])

    embed_candidates(shards, 2, backwards, tmp_path / "state")
    np.testing.assert_array_equal(
        written(tmp_path / "all.npy", shards, tmp_path / "state"), expected
    )


def test_the_disk_has_room_for_the_array_before_it_is_filled(tmp_path, shards):
    path = tmp_path / "embeddings.npy"
    with pytest.raises(FileNotFoundError, match=r"00000\.npy"):
        write_embeddings(path, shards, 100_000, tmp_path)
    size = path.stat().st_size
    assert size > N * 200_000
    assert path.stat().st_blocks * 512 >= size


def test_an_engine_that_loses_or_doubles_a_shard_is_noticed(tmp_path, shards):
    local = threads(MeanAndCorner(), 1)

    def forgetful(wanted: Iterable[Shard]) -> Generator[Finished, None, None]:
        yield from local(shard for shard in wanted if shard.number not in (2, 5))

    with pytest.raises(DataboostError, match=r"2 of 11 shards are missing, 2 first; run the stage"):
        embed_candidates(shards, 2, forgetful, tmp_path / "state")

    def stuttering(wanted: Iterable[Shard]) -> Generator[Finished, None, None]:
        for finished in local(wanted):
            yield finished
            yield finished

    with pytest.raises(DataboostError, match="shard 2 came twice"):
        embed_candidates(shards, 2, stuttering, tmp_path / "state")


def test_few_shards_are_held_at_a_time(shards):
    n_taken = 0

    def taken() -> Generator[Shard, None, None]:
        nonlocal n_taken
        for shard in shards:
            n_taken += 1
            yield shard

    finished = threads(MeanAndCorner(), 2)(taken())
    for n_given, _ in enumerate(finished, 1):
        assert n_taken <= n_given + 2
    assert n_taken == n_given == 11


class Held(MeanAndCorner):
    """Begins the second shard, and goes on with it when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.is_let_go = threading.Event(), threading.Event()

    def features(self, images: torch.Tensor) -> Vectors:
        found = super().features(images)
        if self.n_seen > SIZE:
            self.has_begun.set()
            self.is_let_go.wait()
        return found


def test_workers_stop_between_batches_when_the_work_breaks_off(shards, monkeypatch):
    embedder = Held()

    class Pool(ThreadPoolExecutor):
        """Lets the embedder go when it is left."""

        def __exit__(self, *arguments: object) -> None:
            embedder.is_let_go.set()
            super().__exit__(*arguments)

    monkeypatch.setattr(production, "ThreadPoolExecutor", Pool)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    finished = threads(embedder, 1)(shards)
    next(finished)
    embedder.has_begun.wait()
    finished.close()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert embedder.n_seen == SIZE + BATCH


def test_the_key_names_everything_that_the_vectors_depend_on(tmp_path, recipes, monkeypatch):
    weights, others = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    write_text(weights, "weights")
    write_text(others, "other weights")
    key = work_key(recipes, weights, "settings", 8)
    assert key == work_key(recipes.copy(), weights, "settings", 8)
    assert len(key) == 16
    seeds = recipes.assign(seed=recipes["seed"] + 2)
    keys = {
        key,
        work_key(recipes[:-1], weights, "settings", 8),
        work_key(seeds, weights, "settings", 8),
        work_key(recipes, others, "settings", 8),
        work_key(recipes, weights, "settings", 9),
    }
    for thing, name, value in (
        (production, "SHARD_SIZE", 99),
        (torch, "__version__", "9.9.9"),
        (onnxruntime, "__version__", "9.9.9"),
        (production, "code_digest", lambda *packages: " ".join(packages)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(thing, name, value)
            keys.add(work_key(recipes, weights, "settings", 8))
    assert len(keys) == 9
    assert key == work_key(recipes, weights, "settings", 8)
