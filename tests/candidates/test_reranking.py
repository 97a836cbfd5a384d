"""Settling neighbours in float32: the order of the better vectors, each embedded once."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from projects import REPOSITORY

from databoost.candidates import shards as module
from databoost.candidates.embedder import Embedder, Vectors
from databoost.candidates.exact import nearest
from databoost.candidates.recipes import make_recipes
from databoost.candidates.reranking import Reranking, embed_some
from databoost.candidates.search import Neighbours
from databoost.candidates.shards import Shards, embed_shard
from databoost.data.images import write_png
from databoost.params import read_params

POLICY = read_params(REPOSITORY / "params.yaml").candidates
#: Unit vectors at 0, 10, 20 and 30 degrees, and one query at 0.
ANGLES = np.radians([0, 10, 20, 30])
BETTER = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float16)
QUERY = np.array([[1, 0]], dtype=np.float32)


class Spy:
    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        self.asked.append(ids.tolist())
        return BETTER[ids]


def found(ids: list[int], similarities: list[float]) -> Neighbours:
    return Neighbours(np.array([ids]), np.array([similarities], dtype=np.float32))


def test_the_first_few_are_ranked_by_the_better_vectors():
    spy = Spy()
    ranked = Reranking(QUERY, spy, depth=3).rank(found([2, 0, 1, 3], [0.99, 0.98, 0.97, 0.5]))
    assert spy.asked == [[0, 1, 2]]
    assert ranked.ids.tolist() == [[0, 1, 2, 3]]
    np.testing.assert_allclose(ranked.similarities[0, :3], np.cos(ANGLES[:3]), atol=1e-3)
    assert ranked.similarities[0, 3] == 0.5  # as it was found


def test_one_beyond_the_depth_that_is_nearer_than_a_settled_one_comes_first():
    ranked = Reranking(QUERY, Spy(), depth=1).rank(found([2, 1], [0.999, 0.998]))
    assert ranked.ids.tolist() == [[1, 2]]


def test_a_deeper_search_embeds_only_what_is_new():
    spy = Spy()
    reranking = Reranking(QUERY, spy, depth=4)
    reranking.rank(found([2, 0], [0.9, 0.8]))
    ranked = reranking.rank(found([2, 0, 3, 1], [0.9, 0.8, 0.7, 0.6]))
    reranking.rank(found([2, 0, 3, 1], [0.9, 0.8, 0.7, 0.6]))
    assert spy.asked == [[0, 2], [1, 3]]
    assert ranked.ids.tolist() == [[0, 1, 2, 3]]


def test_candidates_that_cannot_be_had_do_not_count():
    """The nearest two are taken: the next two are settled instead."""
    spy = Spy()

    def can_be_had(ids: np.ndarray) -> np.ndarray:
        return np.isin(ids, [1, 2])

    reranking = Reranking(QUERY, spy, 2, can_be_had)
    ranked = reranking.rank(found([0, 3, 2, 1, -1], [0.999, 0.99, 0.5, 0.4, -np.inf]))
    assert spy.asked == [[1, 2]]
    assert ranked.ids.tolist() == [[0, 3, 1, 2, -1]]


def test_missing_neighbours_stay_last():
    ranked = Reranking(QUERY, Spy(), depth=8).rank(found([3, 1, -1], [0.9, 0.8, -np.inf]))
    assert ranked.ids.tolist() == [[1, 3, -1]]
    assert ranked.similarities[0, 2] == -np.inf


def test_no_queries_need_no_vectors():
    spy = Spy()
    none = Neighbours(np.empty((0, 5), np.int64), np.empty((0, 5), np.float32))
    ranked = Reranking(np.empty((0, 2), np.float32), spy, depth=3).rank(none)
    assert ranked.ids.shape == (0, 5)
    assert spy.asked == []


def test_rough_neighbours_become_those_of_the_better_vectors():
    """As bfloat16 does it: rough vectors that find the right ones among the first few."""
    random = np.random.default_rng(0)
    better = random.normal(size=(2_000, 16)).astype(np.float32)
    better /= np.linalg.norm(better, axis=1, keepdims=True)
    stored = better.astype(np.float16)
    rough = torch.from_numpy(better).to(torch.bfloat16).float().numpy().astype(np.float16)
    queries = better[:50] + 0.05 * random.normal(size=(50, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    truth, similarities = nearest(queries, 3, stored)
    first = Neighbours(*nearest(queries, 24, rough))
    assert (first.ids[:, :3] != truth).any()
    ranked = Reranking(queries, lambda ids: stored[ids], depth=24).rank(first)
    np.testing.assert_array_equal(ranked.ids[:, :3], truth)
    np.testing.assert_array_equal(ranked.similarities[:, :3], similarities)


class Mean(Embedder):
    """Two numbers an image, exact whatever the batch."""

    image_size, dimension = 4, 2

    def features(self, images: torch.Tensor) -> Vectors:
        features = torch.stack([images[:, 0, 0, 0] + 1, images.double().mean(dim=(1, 2, 3)) + 1], 1)
        return features.float().numpy()


def test_a_few_candidates_are_embedded_as_they_were_among_all(tmp_path: Path, monkeypatch):
    random = np.random.default_rng(0)
    files: dict[str, Path] = {name: tmp_path / f"{name}.png" for name in "abc"}
    for path in files.values():
        write_png(path, random.integers(0, 256, (9, 8, 1), np.uint8))
    rows = pd.DataFrame({"image_id": list("abc"), "label": list("xxy")})
    recipes = make_recipes(0, 30, rows, POLICY, ["x", "y"])
    every = Shards(recipes, files)
    expected = np.empty((30, 2), np.float16)
    for shard in every:
        vectors = np.concatenate(list(embed_shard(shard, POLICY, Mean(), 7)))
        expected[every.rows(shard.number)] = vectors
    monkeypatch.setattr(module, "SHARD_SIZE", 4)
    some, read = [17, 3, 29, 4, 5], []
    given = embed_some(
        recipes.iloc[some], files, POLICY, Mean(), 2, lambda path, content: read.append(path.stem)
    )
    assert given.dtype == np.float16
    np.testing.assert_array_equal(given, expected[some])
    assert sorted(read) == ["a", "b", "c"]


def test_no_candidates_give_no_vectors():
    recipes = make_recipes(0, 1, pd.DataFrame({"image_id": ["a"], "label": ["x"]}), POLICY, ["x"])
    assert embed_some(recipes.iloc[:0], {}, POLICY, Mean(), 2).shape == (0, 2)
