"""Neighbours of axis vectors written out, against brute force, and from files."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annoy import AnnoyIndex

from databoost.candidates import exact, search
from databoost.candidates.exact import similarity
from databoost.candidates.search import (
    Neighbours,
    build_index,
    find_neighbours,
    load_embeddings,
    recall,
)
from databoost.errors import DatasetError
from databoost.sections import SearchParams

AXES = np.eye(4, dtype=np.float16)
usage = namedtuple("usage", "total used free")


def make_params(method: str = "exact", **changes: Any) -> SearchParams:
    return SearchParams(**({"method": method, "trees": 10, "search_k": 1000, "seed": 0} | changes))


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_units(n: int, dimension: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute_force(queries: np.ndarray, k: int, embeddings: np.ndarray) -> Neighbours:
    every = np.arange(len(embeddings))
    scores = np.stack([similarity(query, embeddings, every) for query in queries])
    ids = np.stack([sorted(every, key=lambda i: (-row[i], i))[:k] for row in scores])
    return Neighbours(ids, np.take_along_axis(scores, ids, axis=1))


def assert_same(found: Neighbours, expected: Neighbours) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.similarities, expected.similarities)


@pytest.mark.parametrize("method", ["exact", "annoy"])
def test_axis_vectors_have_the_neighbours_written_here(tmp_path, method):
    params = make_params(method)
    index = tmp_path / "deep" / "index.ann"
    build_index(AXES, index, params)
    queries = unit([4, 3, 2, 1], [0, 0, 0, 1], [-1, 0, 0, 0])
    found = find_neighbours(queries, 4, AXES, index, params)
    assert found.ids.tolist() == [[0, 1, 2, 3], [3, 0, 1, 2], [1, 2, 3, 0]]
    expected = np.array([[4, 3, 2, 1], [1, 0, 0, 0], [0, 0, 0, -1]]) / [[30**0.5], [1], [1]]
    np.testing.assert_allclose(found.similarities, expected, atol=1e-7)
    assert (found.ids.dtype, found.similarities.dtype) == (np.int64, np.float32)
    assert [path.name for path in index.parent.iterdir()] == ["index.ann"]
    assert find_neighbours(queries, 99, AXES, index, params).ids.shape == (3, 4)
    none = find_neighbours(np.zeros((0, 4), np.float32), 2, AXES, index, params)
    assert none.ids.shape == none.similarities.shape == (0, 2)


@pytest.mark.parametrize("block", [7, 64, 4096])
def test_exact_equals_brute_force_over_several_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(exact, "_NUMBERS", 16 * block)
    embeddings = random_units(200, 16, seed=0).astype(np.float16)
    queries = random_units(9, 16, seed=1)
    for k in (1, 5, 200):
        found = find_neighbours(queries, k, embeddings, tmp_path / "none", make_params())
        assert_same(found, brute_force(queries, k, embeddings))


@pytest.mark.parametrize("method", ["exact", "annoy"])
def test_ties_go_to_the_lower_id_wherever_the_vectors_stand(tmp_path, monkeypatch, method):
    monkeypatch.setattr(exact, "_NUMBERS", 48 * 37)
    monkeypatch.setattr(search, "_BLOCK", 37)
    embeddings = np.tile(random_units(41, 48, seed=2).astype(np.float16), (5, 1))
    queries = random_units(12, 48, seed=3)
    params = make_params(method, search_k=100_000)
    build_index(embeddings, tmp_path / "index.ann", params)
    for k in (1, 2, 7, 13):
        found = find_neighbours(queries, k, embeddings, tmp_path / "index.ann", params)
        assert_same(found, brute_force(queries, k, embeddings))
        assert (np.diff(found.ids[:, :5] % 41, axis=1) == 0).all()


def test_annoy_equals_exact_to_the_last_bit_when_it_looks_far_enough(tmp_path):
    embeddings = random_units(1500, 32, seed=4).astype(np.float16)
    queries = random_units(40, 32, seed=5)
    params = make_params("annoy", search_k=1_000_000)
    build_index(embeddings, tmp_path / "index.ann", params)
    found = find_neighbours(queries, 24, embeddings, tmp_path / "index.ann", params)
    truth = find_neighbours(queries, 24, embeddings, tmp_path / "index.ann", make_params())
    assert_same(found, truth)
    assert recall(found, truth) == 1.0


def test_annoy_that_looks_at_little_finds_less_and_recall_says_so(tmp_path):
    embeddings = random_units(3000, 64, seed=6).astype(np.float16)
    queries = random_units(30, 64, seed=7)
    params = make_params("annoy", trees=1, search_k=1)
    build_index(embeddings, tmp_path / "index.ann", params)
    found = find_neighbours(queries, 5, embeddings, tmp_path / "index.ann", params)
    truth = find_neighbours(queries, 5, embeddings, tmp_path / "index.ann", make_params())
    assert 0.0 < recall(found, truth) < 0.9
    for query, ids, scores in zip(queries, found.ids, found.similarities, strict=True):
        there = ids[ids >= 0]
        np.testing.assert_array_equal(scores[: len(there)], similarity(query, embeddings, there))
        assert (np.diff(scores) <= 0).all()


def test_annoy_that_finds_too_few_leaves_the_rest_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "_annoy_ids", lambda *_: [np.array([2]), np.array([], np.int64)])
    found = find_neighbours(AXES[:2].astype(np.float32), 2, AXES, tmp_path, make_params("annoy"))
    assert found.ids.tolist() == [[2, -1], [-1, -1]]
    assert found.similarities.tolist() == [[0.0, -np.inf], [-np.inf, -np.inf]]


BUILD = """
import sys
from pathlib import Path
import numpy as np
from databoost.candidates.search import build_index
from databoost.sections import SearchParams
params = SearchParams(method="annoy", trees=5, search_k=10, seed=3)
build_index(np.load(sys.argv[1]), Path(sys.argv[2]), params)
"""


def test_same_index_file_twice_and_in_another_process(tmp_path):
    embeddings = random_units(500, 16, seed=8).astype(np.float16)
    np.save(tmp_path / "embeddings.npy", embeddings)
    paths = [tmp_path / "a" / "index.ann", tmp_path / "b.ann", tmp_path / "c.ann"]
    params = make_params("annoy", trees=5, seed=3)
    build_index(embeddings, paths[0], params)
    build_index(np.load(tmp_path / "embeddings.npy", mmap_mode="r"), paths[1], params)
    command = [sys.executable, "-c", BUILD, str(tmp_path / "embeddings.npy"), str(paths[2])]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] == contents[2]
    build_index(embeddings, paths[1], make_params("annoy", trees=5, seed=4))
    assert paths[1].read_bytes() != contents[0]


def test_index_built_in_its_file_equals_one_built_in_memory(tmp_path):
    embeddings = random_units(700, 12, seed=9).astype(np.float16)
    params = make_params("annoy", trees=7, seed=5)
    part = tmp_path / "index.ann.part"
    part.write_bytes(b"left by a kill")
    build_index(embeddings, tmp_path / "index.ann", params)
    assert not part.exists()
    index = AnnoyIndex(12, "angular")
    index.set_seed(5)
    for number, vector in enumerate(embeddings.astype(np.float32)):
        index.add_item(number, vector)
    index.build(7, n_jobs=1)
    index.save(str(tmp_path / "memory.ann"))
    assert (tmp_path / "index.ann").read_bytes() == (tmp_path / "memory.ann").read_bytes()


# Of 300 vectors of 64 numbers the leaves are little more than half full.
@pytest.mark.parametrize(("n", "dimension", "trees"), [(700, 12, 7), (300, 64, 50)])
def test_index_takes_no_more_room_than_was_asked_for(tmp_path, n, dimension, trees):
    index = tmp_path / "index.ann"
    embeddings = random_units(n, dimension, seed=9).astype(np.float16)
    build_index(embeddings, index, make_params("annoy", trees=trees))
    assert 1 <= search._index_bytes(n, dimension, trees) / index.stat().st_size < 2


def test_index_that_the_disk_cannot_hold_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(search.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(DatasetError, match=r"index\.ann will take about .* GB free; make room, or"):
        build_index(AXES, tmp_path / "index.ann", make_params("annoy"))
    assert list(tmp_path.iterdir()) == []


def test_exact_search_needs_no_index(tmp_path):
    build_index(AXES, tmp_path / "index.ann", make_params("exact"))
    assert (tmp_path / "index.ann").read_bytes() == b""


@pytest.mark.parametrize(
    ("found", "truth", "share"),
    [
        ([[0, 1], [5, 4]], [[1, 0], [4, 5]], 1.0),
        ([[0, 1], [5, -1]], [[0, 2], [4, 5]], 0.5),
        ([[0, 1]], [[2, 3]], 0.0),
        (np.zeros((0, 2)), np.zeros((0, 2)), 1.0),
        (np.zeros((2, 0)), np.zeros((2, 0)), 1.0),
    ],
)
def test_recall_is_the_share_of_true_neighbours_found(found, truth, share):
    sides = [np.array(ids, dtype=np.int64) for ids in (found, truth)]
    assert recall(*(Neighbours(ids, np.zeros(ids.shape, np.float32)) for ids in sides)) == share


def test_queries_of_another_embedder_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"queries have 3 dimensions, the candidates 4; .*run"):
        find_neighbours(np.eye(3, dtype=np.float32), 1, AXES, tmp_path, make_params())


def test_index_that_does_not_belong_to_the_embeddings_is_refused(tmp_path):
    params = make_params("annoy")
    queries = AXES.astype(np.float32)
    index = tmp_path / "index.ann"
    with pytest.raises(DatasetError, match=r"index\.ann is no index .*run `databoost candidates`"):
        find_neighbours(queries, 1, AXES, index, params)
    build_index(AXES, index, make_params("exact"))
    with pytest.raises(DatasetError, match="is no index that can be read"):
        find_neighbours(queries, 1, AXES, index, params)
    index.write_bytes(b"not an index")
    with pytest.raises(DatasetError, match="is no index that can be read"):
        find_neighbours(queries, 1, AXES, index, params)
    build_index(AXES[:3], index, params)
    with pytest.raises(DatasetError, match="holds 3 candidates, the embeddings 4; run"):
        find_neighbours(queries, 1, AXES, index, params)


def test_stored_embeddings_are_mapped(tmp_path: Path) -> None:
    stored = np.eye(3, dtype=np.float16)
    np.save(tmp_path / "embeddings.npy", stored)
    found = load_embeddings(tmp_path / "embeddings.npy")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, stored)


def test_embeddings_that_are_missing_or_foreign_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npy"
    with pytest.raises(DatasetError, match=r"no readable array.*the candidates stage writes it"):
        load_embeddings(path)
    path.write_bytes(b"text")
    with pytest.raises(DatasetError, match="no readable array"):
        load_embeddings(path)
    np.save(path, np.eye(3))
    with pytest.raises(DatasetError, match=r"holds float64 of shape \(3, 3\), not \(N, D\)"):
        load_embeddings(path)
