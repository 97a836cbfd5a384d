"""The gate against augmentations that went too far, on vectors written by hand."""

import numpy as np

from databoost import fidelity
from databoost.fidelity import least_like, parent_similarities


def test_each_candidate_is_compared_with_its_own_parent(monkeypatch):
    monkeypatch.setattr(fidelity, "_BLOCK", 2)
    embeddings = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float16)
    vectors = np.array([[1, 0], [0.8, 0.6]], dtype=np.float32)
    found = parent_similarities(embeddings, np.array([0, 0, 1]), vectors)
    assert found.dtype == np.float64
    assert found.round(3).tolist() == [1.0, 0.0, 0.96]


def test_lengths_that_float16_rounded_count_for_nothing():
    embeddings = np.array([[0.0999, 0.1], [0.6, 0.8]], dtype=np.float16)
    vectors = embeddings.astype(np.float32)
    assert parent_similarities(embeddings, np.arange(2), vectors).tolist() == [1.0, 1.0]


def test_the_least_like_are_dropped_the_higher_id_first():
    similarities = np.array([0.5, 0.25, 0.75, 0.25, 1.0])
    assert np.flatnonzero(least_like(similarities, 0.2)).tolist() == [3]
    assert np.flatnonzero(least_like(similarities, 0.59)).tolist() == [1, 3]
    assert not least_like(similarities, 0.19).any()
    assert least_like(np.arange(100.0), 0.29).sum() == 29  # 0.29 * 100 is 28.999...
    assert least_like(np.empty(0), 0.9).tolist() == []
