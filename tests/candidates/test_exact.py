"""Exact search against rational arithmetic and against brute force, whatever the blocks."""

import math
from operator import mul
from typing import Any

import numpy as np
import pytest
import torch

from databoost.candidates import exact
from databoost.candidates.exact import (
    cosines,
    nearest,
    paired_cosines,
    similarity,
    unit_vectors,
)

STEPS = 2**24


def random_units(n: int, dimension: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def defined(query: np.ndarray, vector: np.ndarray) -> float:
    """Round the cosine to whole steps, with integers only; no cosine here lies between two."""
    whole = [int(value) for value in query.astype(np.float64) * 2.0**149]
    other = [int(value) for value in vector.astype(np.float64) * 2.0**24]
    product, square = sum(map(mul, whole, other)), sum(map(mul, other, other))
    if not product:
        return 0.0
    # 2 * STEPS * |cosine|, rounded down: twice as many steps tell the half that it lies in.
    halves = math.isqrt(4 * STEPS**2 * product**2 // (square << 298))
    return math.copysign((halves + 1) // 2, product) / STEPS


def brute_force(queries: np.ndarray, k: int, embeddings: np.ndarray) -> tuple[Any, Any]:
    scores = np.array([[defined(query, vector) for vector in embeddings] for query in queries])
    ids = np.stack([np.lexsort((np.arange(len(row)), -row))[:k] for row in scores])
    return ids, np.take_along_axis(scores, ids, axis=1)


def assert_found(queries: np.ndarray, k: int, embeddings: np.ndarray) -> None:
    ids, similarities = nearest(queries, k, embeddings)
    true_ids, true_similarities = brute_force(queries, k, embeddings)
    n = true_ids.shape[1]
    np.testing.assert_array_equal(ids[:, :n], true_ids)
    np.testing.assert_array_equal(similarities[:, :n], true_similarities)
    assert (ids[:, n:] == -1).all()
    assert (similarities[:, n:] == -np.inf).all()
    assert (ids.dtype, similarities.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("dimension", [1, 2, 3, 17, 130])
@pytest.mark.parametrize(("n", "n_queries"), [(1, 1), (2, 3), (37, 5), (110, 3)])
def test_equals_brute_force_in_rational_numbers(monkeypatch, n, n_queries, dimension):
    monkeypatch.setattr(exact, "_NUMBERS", 10 * dimension)
    embeddings = random_units(n, dimension, seed=0).astype(np.float16)
    queries = random_units(n_queries, dimension, seed=1)
    for k in (1, 3, n, n + 5):
        assert_found(queries, k, embeddings)


def crowded(dimension: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Copies, zeros, long and short vectors, and many that float32 cannot tell apart."""
    random = np.random.default_rng(seed)
    centre = random_units(1, dimension, seed)[0]
    rows = centre + random.normal(size=(n, dimension)) * random.choice([1e-4, 1e-3, 0.3], (n, 1))
    rows *= random.choice([0.25, 1.0, 3.0], (n, 1))
    rows[random.integers(0, n, n // 4)] = rows[random.integers(0, n, n // 4)]
    rows[random.integers(0, n, n // 10)] = 0
    queries = np.stack([centre, rows[0] / max(np.linalg.norm(rows[0]), 1e-9), -centre, 0 * centre])
    return queries.astype(np.float32), rows.astype(np.float16)


@pytest.mark.parametrize("dimension", [5, 96])
@pytest.mark.parametrize("dense", [0.0, 1 / 64, 1.0])
def test_equals_brute_force_where_candidates_crowd(monkeypatch, dimension, dense):
    monkeypatch.setattr(exact, "_NUMBERS", 16 * dimension)
    monkeypatch.setattr(exact, "_DENSE", dense)
    queries, embeddings = crowded(dimension, 120, seed=dimension)
    for k in (1, 10, 130):
        assert_found(queries, k, embeddings)


def test_the_answer_depends_neither_on_blocks_nor_on_threads(monkeypatch):
    queries, embeddings = crowded(96, 400, seed=1)
    queries = np.concatenate([queries, random_units(9, 96, seed=2)])
    expected = {k: nearest(queries, k, embeddings) for k in (1, 24, 300)}
    before = torch.get_num_threads()
    try:
        for threads, n_rows, group in [(1, 11, 5), (2, 70, 13), (3, 501, 1), (1, 1, 9)]:
            torch.set_num_threads(threads)
            monkeypatch.setattr(exact, "_NUMBERS", 96 * n_rows)
            monkeypatch.setattr(exact, "_QUERIES", group)
            for k, answer in expected.items():
                for found, known in zip(nearest(queries, k, embeddings), answer, strict=True):
                    np.testing.assert_array_equal(found, known)
    finally:
        torch.set_num_threads(before)


def test_neighbours_that_float32_would_order_otherwise(monkeypatch):
    """Cosines a few steps apart, far below the error of a sum of 2,048 float32 products."""
    random = np.random.default_rng(3)
    base = np.full(2048, 1 / 64)
    embeddings = np.tile(base, (150, 1))
    for row in embeddings:
        where = random.integers(0, 2048, 2)
        row[where] *= [1 + 2.0**-9, 1 - 2.0**-9]
    embeddings = embeddings.astype(np.float16)
    query = random_units(1, 2048, seed=4) * 0.1 + base.astype(np.float32)
    query = (query / np.linalg.norm(query)).astype(np.float32)
    scores = np.array([defined(query[0], vector) for vector in embeddings])
    assert np.ptp(scores) < exact._errors(query, torch.float32)[0]
    assert len(set(scores)) > 10
    monkeypatch.setattr(exact, "_NUMBERS", 2048 * 32)
    for k in (1, 24):
        assert_found(query, k, embeddings)


def test_cosines_in_the_middle_of_two_steps_are_summed_without_error(monkeypatch):
    """0.5 (a + b + c + d) with odd last digits: every other sum ends in half a step."""
    random = np.random.default_rng(5)
    embeddings = random.choice([-0.5, 0.5], (64, 4)).astype(np.float16)
    queries = (random.integers(-(2**22), 2**22, (20, 4)) / 2**24).astype(np.float32)
    asked = []
    cosine = exact._cosine
    monkeypatch.setattr(exact, "_cosine", lambda *pair: asked.append(pair) or cosine(*pair))
    every = np.arange(64)
    for query in queries:
        sums = (embeddings.astype(np.float64) * query).sum(axis=1)  # exact, being so short
        expected = np.rint(sums * STEPS) / STEPS
        np.testing.assert_array_equal(similarity(query, embeddings, every), expected)
        ids, similarities = nearest(query[None], 64, embeddings)
        np.testing.assert_array_equal(similarities[0], expected[ids[0]])
    assert len(asked) > 100


@pytest.mark.parametrize("n", [0, 1, 60, 200])
def test_only_what_counts_is_found(monkeypatch, n):
    monkeypatch.setattr(exact, "_NUMBERS", 8 * 16)
    random = np.random.default_rng(n)
    embeddings = random.normal(size=(200, 8)).astype(np.float16)
    queries = random.normal(size=(5, 8)).astype(np.float32)
    among = np.sort(random.permutation(200)[:n])
    ids, similarities = nearest(queries, 20, embeddings, among)
    places, expected = nearest(queries, 20, embeddings[among])
    np.testing.assert_array_equal(ids, np.where(places < 0, -1, np.append(among, -1)[places]))
    np.testing.assert_array_equal(similarities, expected)


def test_many_equal_candidates_keep_the_lowest_ids(monkeypatch):
    monkeypatch.setattr(exact, "_NUMBERS", 8 * 50)
    embeddings = np.tile(random_units(1, 8, seed=6).astype(np.float16), (500, 1))
    queries = np.concatenate([random_units(2, 8, seed=7), np.zeros((1, 8), np.float32)])
    ids, similarities = nearest(queries, 30, embeddings)
    np.testing.assert_array_equal(ids, np.tile(np.arange(30), (3, 1)))
    assert (similarities[2] == 0).all()
    assert not np.signbit(similarities[2]).any()


def test_vectors_that_are_no_numbers_are_never_found(monkeypatch):
    monkeypatch.setattr(exact, "_NUMBERS", 3 * 4)
    embeddings = np.eye(4, 3, dtype=np.float16)
    embeddings[[1, 3]] = [[np.nan, 0, 0], [np.inf, 0, 0]]
    queries = np.array([[1, 0, 0], [np.nan, 0, 0]], dtype=np.float32)
    ids, similarities = nearest(queries, 3, embeddings)
    assert ids.tolist() == [[0, 2, -1], [-1, -1, -1]]
    assert similarities.tolist() == [[1.0, 0.0, -np.inf], [-np.inf] * 3]
    assert np.isnan(similarity(queries[0], embeddings, np.array([1, 3]))).all()


@pytest.mark.parametrize(("n", "n_queries", "k"), [(0, 2, 3), (4, 0, 3), (4, 2, 0)])
def test_nothing_to_find(n, n_queries, k):
    queries = np.ones((n_queries, 3), dtype=np.float32)
    ids, similarities = nearest(queries, k, np.ones((n, 3), dtype=np.float16))
    assert ids.shape == similarities.shape == (n_queries, k)
    assert (ids == -1).all()


def test_similarity_is_the_cosine_whatever_float16_made_of_the_length():
    embeddings = np.array([[0.5, 0], [0, 2], [3, 4], [0, 0]], dtype=np.float16)
    query = np.array([0.6, 0.8], dtype=np.float32)
    found = similarity(query, embeddings, np.array([2, 0, 3, 1]))
    np.testing.assert_allclose(found, [1.0, 0.6, 0.0, 0.8], atol=1e-7)
    assert similarity(query, embeddings, np.array([], dtype=np.int64)).shape == (0,)


def test_unit_vectors_are_of_length_one_whatever_float16_made_of_them():
    stored = np.array([[3, 4], [0, 0], [0.1, 0]], dtype=np.float16)
    units = unit_vectors(stored)
    assert units.dtype == np.float64
    np.testing.assert_allclose(units, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-15)
    assert stored.tolist() == np.array([[3, 4], [0, 0], [0.1, 0]], dtype=np.float16).tolist()


def test_cosines_of_all_pairs_and_of_those_in_the_same_places():
    first = unit_vectors(np.array([[1, 0], [3, 4], [0, 0]], dtype=np.float32))
    second = unit_vectors(np.array([[0, -2], [1, 1], [-1e-9, 1]], dtype=np.float32))
    expected = [[0, 0.707107, 0], [-0.8, 0.989949, 0.8], [0, 0, 0]]
    assert cosines(first, second).tolist() == expected
    assert paired_cosines(first, second).tolist() == [0, 0.989949, 0]
    assert not np.signbit(cosines(first, second)[[0, 2]]).any()  # no zero is negative


def test_a_cosine_is_that_of_the_search():
    queries, stored = random_units(3, 70, seed=5), random_units(40, 70, seed=6).astype(np.float16)
    every = cosines(unit_vectors(queries), unit_vectors(stored))
    for query, row in zip(queries, every, strict=True):
        np.testing.assert_allclose(row, similarity(query, stored, np.arange(40)), atol=6e-7)
