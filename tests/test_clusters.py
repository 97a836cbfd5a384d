"""Failures in groups: two clouds that anyone would tell apart, and too few images."""

import numpy as np

from databoost.boosting import Addition
from databoost.clusters import error_clusters, share_out


def unit(*angles: float) -> np.ndarray:
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def listed(groups: list[np.ndarray]) -> list[list[int]]:
    return [members.tolist() for members in groups]


def test_groups_have_their_middle_and_their_failures_the_nearest_to_it_first():
    middles, groups = error_clusters(unit(80, 2, 0, 90, 85, 4, 3), 2, seed=0)
    assert listed(groups) == [[1, 6, 5, 2], [4, 0, 3]]  # of equally near ones the first
    assert groups[0].dtype == np.int64
    assert middles.dtype == np.float32
    np.testing.assert_allclose(middles, unit(2.25, 85), atol=1e-4)


def test_never_more_groups_than_different_images():
    middles, groups = error_clusters(unit(90, 0, 0), 5, seed=0)
    assert listed(groups) == [[0], [1, 2]]
    assert middles.shape == (2, 2)
    assert listed(error_clusters(unit(30), 5, seed=0)[1]) == [[0]]


def test_failures_that_cancel_out_are_stood_for_by_the_first():
    middles, groups = error_clusters(unit(30, 210), 1, seed=0)
    assert listed(groups) == [[0, 1]]
    np.testing.assert_array_equal(middles, unit(30))
    middles, groups = error_clusters(np.zeros((3, 2), dtype=np.float32), 2, seed=0)
    assert listed(groups) == [[0, 1, 2]]
    assert middles.tolist() == [[0, 0]]


def test_what_a_group_was_given_goes_to_its_failures_in_turns_the_most_similar_first():
    failures = unit(0, 90, 40)
    candidates = unit(80, 10, 5, 89, 85).astype(np.float16)
    groups = [np.array([2]), np.array([0, 1])]
    given = [(4, 1), (0, 1), (3, 0), (2, 1), (1, 1), (2, 0)]  # candidate, group
    chosen = [Addition(c, g, 0.5, rank) for rank, (c, g) in enumerate(given, 1)]
    handed = share_out(chosen, groups, failures, candidates)
    # Of the group of 0 and 90 degrees, 90 has the first; 80 degrees is left to the other.
    assert [(a.candidate, a.query, a.rank) for a in handed] == [
        (4, 1, 1), (0, 0, 1), (3, 2, 1), (2, 0, 2), (1, 1, 2), (2, 2, 2),
    ]  # fmt: skip
    assert {addition.similarity for addition in handed} == {0.5}
    assert share_out([], groups, failures, candidates) == []


def test_of_equally_similar_failures_the_one_nearest_to_the_middle_is_given_first():
    failures, candidates = unit(10, 10, 10), unit(10, 10, 10).astype(np.float16)
    chosen = [Addition(candidate, 0, 1.0, candidate + 1) for candidate in range(3)]
    handed = share_out(chosen, [np.array([1, 0, 2])], failures, candidates)
    assert [addition.query for addition in handed] == [1, 0, 2]
