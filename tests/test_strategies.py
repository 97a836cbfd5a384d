"""Additions that no failure asks for: exact small cases, and what a seed and a cap do."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from test_boosting import given, make_pool

from databoost.strategies import (
    choose_balanced,
    choose_diverse,
    choose_failing,
    choose_hardest,
    choose_random,
    free_candidates,
    take_in_order,
)

NONE = np.zeros((0, 2), dtype=np.float32)


def ids(additions):
    """Candidates in the order in which they were taken."""
    return [addition.candidate for addition in additions]


def test_an_order_is_taken_from_its_start_past_used_ones_and_full_parents():
    pool = make_pool(6, parents=[0, 0, 0, 1, 1, 2], used=(5,), parent_counts={1: 1})
    assert ids(take_in_order([5, 2, 4, 0, 3, 1], 9, pool, 2)) == [2, 4, 0]
    assert ids(take_in_order([5, 2, 4, 0, 3, 1], 2, pool, 0)) == [2, 4]
    assert take_in_order([1], 0, pool, 0) == []
    assert pool.parent_counts == {1: 1}


def test_free_candidates_are_drawn_without_those_in_use():
    pool = make_pool(10, used=(0, 1, 2, 3, 4))
    assert sorted(free_candidates(pool, 10, 0)) == [5, 6, 7, 8, 9]
    assert free_candidates(pool, 3, 0).tolist() == free_candidates(pool, 10, 0)[:3].tolist()
    assert free_candidates(pool, 5, 0).tolist() != free_candidates(pool, 5, 1).tolist()


def test_random_control_is_seeded_and_takes_as_many_as_asked():
    pool = make_pool(100, used=tuple(range(0, 100, 2)))
    chosen = choose_random(20, pool, seed=3)
    candidates = [addition.candidate for addition in chosen]
    assert len(set(candidates)) == 20
    assert all(candidate % 2 for candidate in candidates)
    assert {(addition.query, addition.rank) for addition in chosen} == {(-1, 0)}
    assert all(np.isnan(addition.similarity) for addition in chosen)
    assert given(choose_random(20, pool, seed=3)) == given(chosen)
    assert given(choose_random(20, pool, seed=4)) != given(chosen)
    assert given(choose_random(10, pool, seed=3)) == given(chosen)[:10]
    assert len(choose_random(99, pool, seed=3)) == 50
    assert choose_random(0, pool, seed=3) == []


def test_random_control_keeps_the_cap_and_draws_evenly():
    pool = make_pool(40, parents=[number % 4 for number in range(40)], parent_counts={0: 2, 1: 5})
    chosen = [addition.candidate % 4 for addition in choose_random(40, pool, 0, max_per_parent=3)]
    assert Counter(chosen) == {0: 1, 2: 3, 3: 3}
    assert pool.parent_counts == {0: 2, 1: 5}
    firsts = Counter(choose_random(1, make_pool(4), seed)[0].candidate for seed in range(400))
    assert all(60 < firsts[candidate] < 140 for candidate in range(4))


def test_balanced_serves_the_class_that_has_fewest():
    pool = make_pool(30, labels=[0] * 10 + [1] * 10 + [2] * 10)
    counts = np.array([5, 2, 3])
    chosen = choose_balanced(5, pool, counts, seed=0)
    assert [pool.labels[candidate] for candidate in ids(chosen)] == [1, 1, 2, 1, 2]
    assert len(set(ids(chosen))) == 5
    assert {(addition.query, addition.rank) for addition in chosen} == {(-1, 0)}
    assert counts.tolist() == [5, 2, 3]
    assert given(choose_balanced(5, pool, counts, seed=0)) == given(chosen)
    assert given(choose_balanced(5, pool, counts, seed=1)) != given(chosen)


def test_balanced_goes_on_without_a_class_that_is_used_up_and_keeps_the_cap():
    pool = make_pool(6, labels=[0, 0, 1, 1, 1, 1], used=(1,))
    chosen = choose_balanced(9, pool, np.array([0, 0]), seed=0)
    assert [pool.labels[candidate] for candidate in ids(chosen)] == [0, 1, 1, 1, 1]
    pool = make_pool(6, labels=[0] * 6, parents=[0, 0, 0, 1, 1, 1], parent_counts={1: 1})
    chosen = choose_balanced(9, pool, np.array([0]), seed=0, max_per_parent=2)
    assert Counter(pool.parents[ids(chosen)].tolist()) == {0: 2, 1: 1}


def test_hardest_takes_what_is_wrong_by_loss_and_nothing_else():
    # Columns: log-probabilities of the classes 0 and 1; all candidates have label 0.
    judged = np.array([4, 5, 7, 2, 0])
    shares = np.array([[0.9, 0.1], [0.25, 0.75], [0.125, 0.875], [0.25, 0.75], [0.01, 0.99]])
    pool = make_pool(8, used=(0,))
    assert ids(choose_hardest(9, judged, np.log(shares), pool)) == [7, 2, 5]
    assert ids(choose_hardest(1, judged, np.log(shares), pool)) == [7]
    pool = make_pool(8, parents=[0, 1, 2, 3, 4, 2, 6, 2])
    assert ids(choose_hardest(9, judged, np.log(shares), pool, max_per_parent=1)) == [0, 7]


def test_diverse_takes_the_farthest_from_what_is_there_again_and_again():
    angles = np.radians([0, 5, 90, 100, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    offered = np.array([11, 13, 10, 14, 12])
    pool = make_pool(15)
    there = vectors[:1]
    # 180 degrees is farthest from 0; then 90, between both; then 100, then 5.
    assert ids(choose_diverse(4, offered, vectors, there, pool)) == [12, 10, 14, 13]
    assert ids(choose_diverse(9, offered, vectors, NONE, pool))[:3] == [11, 12, 10]
    assert len(choose_diverse(9, offered, vectors, there, pool)) == 5
    assert choose_diverse(3, offered[:0], NONE, there, pool) == []


def test_diverse_keeps_the_cap():
    vectors = np.eye(3, dtype=np.float32)
    pool = make_pool(3, parents=[0, 0, 1])
    chosen = choose_diverse(3, np.arange(3), vectors, vectors[:0], pool, max_per_parent=1)
    assert ids(chosen) == [0, 2]


def test_failing_classes_are_served_in_proportion_to_their_failures():
    pool = make_pool(60, labels=[number % 3 for number in range(60)])
    chosen = choose_failing(12, pool, np.array([6, 0, 3]), seed=0)
    assert [addition.candidate % 3 for addition in chosen] == [0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 2]
    assert given(choose_failing(12, pool, np.array([6, 0, 3]), seed=0)) == given(chosen)
    assert given(choose_failing(12, pool, np.array([6, 0, 3]), seed=1)) != given(chosen)
    assert choose_failing(12, pool, np.array([0, 0, 0]), seed=0) == []


def test_a_failing_class_without_candidates_leaves_its_share():
    pool = make_pool(6, labels=[0, 0, 0, 0, 1, 1], parents=[0, 0, 0, 1, 2, 3])
    chosen = choose_failing(9, pool, np.array([1, 8, 5]), seed=0, max_per_parent=2)
    assert sorted(pool.labels[ids(chosen)].tolist()) == [0, 0, 0, 1, 1]
    assert Counter(pool.parents[ids(chosen)].tolist()) == {0: 2, 1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("seed", range(5))
def test_of_copies_the_first_offered_is_the_farthest(seed):
    random = np.random.default_rng(seed)
    vectors = random.random((40, 200)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    copies = random.choice(40, 7, replace=False)
    vectors[copies] = -vectors[0]  # farther than all others from what is there
    vectors = vectors.astype(np.float16).astype(np.float32)
    present = np.abs(random.random((300, 200))).astype(np.float32)
    offered = random.permutation(100)[:40]
    first = offered[copies.min()]
    assert ids(choose_diverse(1, offered, vectors, present, make_pool(100))) == [first]
    # Then the copies are as near as can be to the first of them, and come last, in their order.
    rest = [offered[place] for place in sorted(copies)][1:]
    assert ids(choose_diverse(40, offered, vectors, present, make_pool(100)))[-6:] == rest


def test_copies_of_what_is_there_are_passed_over_and_change_no_draw():
    pool = make_pool(12, labels=[number % 2 for number in range(12)])
    counts = np.array([1, 1])
    shares = np.log(np.full((12, 2), 0.5))
    shares[np.arange(12), pool.labels] -= np.arange(12) / 8  # the last is the hardest
    vectors = np.eye(12, dtype=np.float32)
    choices = {
        "in order": lambda pool, n: take_in_order(range(12), n, pool, 0),
        "random": lambda pool, n: choose_random(n, pool, 3),
        "balanced": lambda pool, n: choose_balanced(n, pool, counts, 3),
        "failing": lambda pool, n: choose_failing(n, pool, counts, 3),
        "hardest": lambda pool, n: choose_hardest(n, np.arange(1, 12), shares[1:], pool),
        "diverse": lambda pool, n: choose_diverse(n, np.arange(12), vectors, vectors[:0], pool),
    }
    for name, choose in choices.items():
        first = ids(choose(pool, 4))
        others = replace(pool, copies=np.isin(np.arange(12), first[1]))
        again = ids(choose(others, 4))
        assert again[0] == first[0], name
        assert first[1] not in again, name
        assert len(again) == 4, name
        if name not in ("balanced", "failing"):  # there another one of the class takes its place
            assert again[:3] == [first[0], *first[2:]], name
