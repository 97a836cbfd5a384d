"""Who gets which candidate: by hand, and against a brute-force account of the rules."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from databoost import boosting
from databoost.boosting import (
    Addition,
    Choice,
    Pool,
    Rules,
    Stock,
    choose_deepening,
    choose_nearest,
    most_wanted,
    part_of,
    stop_reason,
)
from databoost.candidates.search import Neighbours

PLENTY = 1_000


def make_neighbours(*lists: list[tuple[int, float]]) -> Neighbours:
    """Lists of (candidate, similarity), filled up to one length with -1 as a search does."""
    depth = max((len(entries) for entries in lists), default=0)
    ids = np.full((len(lists), depth), -1, dtype=np.int64)
    similarities = np.full((len(lists), depth), -np.inf, dtype=np.float32)
    for row, entries in enumerate(lists):
        for column, (candidate, value) in enumerate(entries):
            ids[row, column], similarities[row, column] = candidate, value
    return Neighbours(ids, similarities)


def make_pool(
    n: int,
    labels: list[int] | None = None,
    parents: list[int] | None = None,
    used: tuple[int, ...] = (),
    parent_counts: dict[int, int] | None = None,
    copies: tuple[int, ...] = (),
) -> Pool:
    return Pool(
        np.array(labels or [0] * n, dtype=np.int64),
        np.array(parents or range(n), dtype=np.int64),
        np.isin(np.arange(n), used),
        Counter(parent_counts or {}),
        np.isin(np.arange(n), copies),
    )


def given(choice: Choice | list[Addition]) -> list[tuple[int, int, int]]:
    """(query, candidate, rank) in the order in which they were handed out."""
    additions = choice.additions if isinstance(choice, Choice) else choice
    return [(addition.query, addition.candidate, addition.rank) for addition in additions]


def zeros(n: int) -> np.ndarray:
    return np.zeros(n, dtype=np.int64)


def test_turn_by_turn_the_nearest_first():
    neighbours = make_neighbours(
        [(0, 0.5), (1, 0.375), (2, 0.25)], [(3, 0.875), (4, 0.75), (5, 0.625)]
    )
    choice = choose_nearest(neighbours, zeros(2), make_pool(6), Rules(n_each=2, room=PLENTY))
    assert choice.additions == [
        Addition(3, 1, 0.875, 1),
        Addition(0, 0, 0.5, 1),
        Addition(4, 1, 0.75, 2),
        Addition(1, 0, 0.375, 2),
    ]
    assert choice.is_complete


def test_of_two_that_want_the_same_the_more_similar_has_it():
    neighbours = make_neighbours([(7, 0.5), (2, 0.25)], [(7, 0.75), (3, 0.5)])
    choice = choose_nearest(neighbours, zeros(2), make_pool(8), Rules(n_each=1, room=PLENTY))
    assert given(choice) == [(1, 7, 1), (0, 2, 1)]


def test_equal_similarities_go_to_the_first_query():
    neighbours = make_neighbours([(1, 0.5), (2, 0.5)], [(1, 0.5), (2, 0.5)], [(1, 0.5), (2, 0.5)])
    choice = choose_nearest(neighbours, zeros(3), make_pool(3), Rules(n_each=1, room=PLENTY))
    assert given(choice) == [(0, 1, 1), (1, 2, 1)]
    assert not choice.is_complete


def test_loser_of_a_conflict_waits_for_its_place_in_the_turn():
    """Query 0 loses 9 to query 1, and query 2 stands before query 0's second choice."""
    neighbours = make_neighbours([(9, 0.875), (1, 0.125)], [(9, 1.0), (2, 0.5)], [(3, 0.25)])
    choice = choose_nearest(neighbours, zeros(3), make_pool(10), Rules(n_each=1, room=2))
    assert given(choice) == [(1, 9, 1), (2, 3, 1)]
    assert choice.is_complete


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (0, []),
        (1, [(1, 3, 1)]),
        (2, [(1, 3, 1), (0, 0, 1)]),
        (3, [(1, 3, 1), (0, 0, 1), (1, 4, 2)]),
        (4, [(1, 3, 1), (0, 0, 1), (1, 4, 2), (0, 1, 2)]),
        (5, [(1, 3, 1), (0, 0, 1), (1, 4, 2), (0, 1, 2)]),
    ],
)
def test_short_room_is_shared_fairly_and_the_last_turn_goes_to_the_nearest(room, expected):
    neighbours = make_neighbours([(0, 0.5), (1, 0.375)], [(3, 0.875), (4, 0.75)])
    choice = choose_nearest(neighbours, zeros(2), make_pool(5), Rules(n_each=2, room=room))
    assert given(choice) == expected
    assert choice.is_complete


def test_cap_per_parent_counts_earlier_rounds():
    neighbours = make_neighbours([(0, 0.875), (1, 0.75), (2, 0.625), (3, 0.5), (4, 0.375)])
    parents = [5, 5, 6, 6, 7]
    pool = make_pool(5, parents=parents, parent_counts={5: 1})
    assert given(
        choose_nearest(neighbours, zeros(1), pool, Rules(3, PLENTY, max_per_parent=2))
    ) == [
        (0, 0, 1),
        (0, 2, 2),
        (0, 3, 3),
    ]
    assert given(
        choose_nearest(neighbours, zeros(1), pool, Rules(3, PLENTY, max_per_parent=1))
    ) == [
        (0, 2, 1),
        (0, 4, 2),
    ]
    assert [
        given(choose_nearest(neighbours, zeros(1), pool, Rules(3, PLENTY)))[i][1] for i in range(3)
    ] == [
        0,
        1,
        2,
    ]
    assert pool.parent_counts == {5: 1}


def test_cap_can_close_an_offer_that_was_open_when_the_turn_began():
    neighbours = make_neighbours([(0, 0.75), (2, 0.25)], [(1, 0.5), (3, 0.125)])
    pool = make_pool(4, parents=[8, 8, 9, 9])
    choice = choose_nearest(neighbours, zeros(2), pool, Rules(1, PLENTY, max_per_parent=1))
    assert given(choice) == [(0, 0, 1), (1, 3, 1)]


def test_label_filter():
    neighbours = make_neighbours(
        [(0, 0.875), (1, 0.75), (2, 0.5)], [(0, 0.625), (1, 0.5), (3, 0.25)]
    )
    pool = make_pool(4, labels=[1, 0, 0, 1])
    labels = np.array([0, 1])
    choice = choose_nearest(neighbours, labels, pool, Rules(1, PLENTY, same_label=True))
    assert given(choice) == [(0, 1, 1), (1, 0, 1)]
    assert given(choose_nearest(neighbours, labels, pool, Rules(1, PLENTY))) == [
        (0, 0, 1),
        (1, 1, 1),
    ]


def test_used_candidates_are_passed_over():
    neighbours = make_neighbours([(0, 0.75), (1, 0.5), (2, 0.25)])
    pool = make_pool(3, used=(0, 2))
    choice = choose_nearest(neighbours, zeros(1), pool, Rules(2, PLENTY))
    assert given(choice) == [(0, 1, 1)]
    assert not choice.is_complete


def test_no_queries_and_no_neighbours():
    assert choose_nearest(make_neighbours(), zeros(0), make_pool(3), Rules(2, PLENTY)) == Choice(
        [], True
    )
    empty = make_neighbours([], [])
    assert choose_nearest(empty, zeros(2), make_pool(3), Rules(2, PLENTY)) == Choice([], False)


class Searching:
    """A search over whole lists that notes how deep it was asked to go."""

    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours
        self.depths: list[int] = []

    def __call__(self, k: int) -> Neighbours:
        self.depths.append(k)
        return Neighbours(self.neighbours.ids[:, :k], self.neighbours.similarities[:, :k])


def line(n: int) -> list[tuple[int, float]]:
    return [(candidate, 1 - candidate / 1024) for candidate in range(n)]


def test_search_stays_shallow_while_every_query_gets_its_share():
    search = Searching(make_neighbours(line(500), line(500)))
    additions = choose_deepening(search, zeros(2), make_pool(500), Rules(3, PLENTY))
    assert given(additions) == [(0, 0, 1), (1, 1, 1), (0, 2, 2), (1, 3, 2), (0, 4, 3), (1, 5, 3)]
    assert search.depths == [24]


def test_search_deepens_past_used_candidates():
    search = Searching(make_neighbours(line(500)))
    pool = make_pool(500, used=tuple(range(100)))
    assert given(choose_deepening(search, zeros(1), pool, Rules(1, PLENTY))) == [(0, 100, 1)]
    assert search.depths == [8, 64, 500]


def test_search_ends_at_the_last_candidate_at_the_deepest_and_when_the_room_is_full(monkeypatch):
    search = Searching(make_neighbours(line(20)))
    assert (
        given(choose_deepening(search, zeros(1), make_pool(20, used=tuple(range(20))), Rules(1, 9)))
        == []
    )
    assert search.depths == [8, 20]
    monkeypatch.setattr(boosting, "DEEPEST", 100)
    search = Searching(make_neighbours(line(500)))
    pool = make_pool(500, used=tuple(range(99)))
    assert given(choose_deepening(search, zeros(1), pool, Rules(2, PLENTY))) == [(0, 99, 1)]
    assert search.depths == [16, 100]
    search = Searching(make_neighbours(line(500), line(500)))
    pool = make_pool(500, used=tuple(range(7)))
    assert given(choose_deepening(search, zeros(2), pool, Rules(1, room=1))) == [(0, 7, 1)]
    assert search.depths == [8]


def test_a_full_room_is_shared_with_those_that_have_to_look_deeper():
    near = [(candidate, 1 - candidate / 1024) for candidate in range(100)]
    search = Searching(make_neighbours(line(100), near))
    pool = make_pool(100, labels=[0] * 90 + [1] * 10)
    labels = np.array([0, 1], dtype=np.int64)
    rules = Rules(n_each=4, room=4, same_label=True)
    # Among the 16 first neighbours none has the second query's label.
    assert given(choose_deepening(search, labels, pool, rules)) == [
        (0, 0, 1), (1, 90, 1), (0, 1, 2), (1, 91, 2),
    ]  # fmt: skip
    assert search.depths == [16, 100]


def test_queries_that_want_all_there_is_fill_the_room():
    search = Searching(make_neighbours(line(400), line(400), line(400)))
    rules = Rules(n_each=400, room=100)
    chosen = choose_deepening(search, zeros(3), make_pool(400), rules)
    assert [addition.candidate for addition in chosen] == list(range(100))
    assert Counter(addition.query for addition in chosen) == {0: 34, 1: 33, 2: 33}
    few = Rules(n_each=400, room=400)
    assert len(choose_deepening(search, zeros(3), make_pool(400, used=(5,)), few)) == 399


@pytest.mark.parametrize(
    ("n_queries", "n_additions", "room", "needs_queries", "reason"),
    [
        (0, 0, None, True, "no_queries"),
        (0, 0, 0, True, "no_queries"),
        (0, 0, None, False, "nothing_new"),
        (0, 0, 0, False, "limit"),
        (0, 4, 9, False, None),
        (0, 4, 4, False, "limit"),
        (0, 4, None, False, None),
        (5, 0, 0, True, "limit"),
        (5, 15, 15, True, "limit"),
        (5, 14, 15, True, None),
        (5, 15, None, True, None),
        (5, 0, 15, True, "nothing_new"),
        (5, 0, None, True, "nothing_new"),
        (5, 0, None, False, "nothing_new"),
    ],
)
def test_stop_reason(n_queries, n_additions, room, needs_queries, reason):
    assert stop_reason(n_queries, n_additions, room, needs_queries) == reason


def draw_case(random: np.random.Generator) -> tuple[Neighbours, np.ndarray, Pool, dict[str, Any]]:
    """A small round with few distinct similarities (many ties), labels, parents and limits."""
    n, n_queries, depth = (int(random.integers(1, high)) for high in (25, 7, 15))
    depth = min(depth, n)
    lists = []
    for _ in range(n_queries):
        found = random.permutation(n)[: random.integers(0, depth + 1)]
        values = random.integers(0, 9, len(found)) / 8
        lists.append(
            sorted(zip(found.tolist(), values, strict=True), key=lambda pair: (-pair[1], pair[0]))
        )
    pool = make_pool(
        n,
        labels=random.integers(0, 2, n).tolist(),
        parents=random.integers(0, 6, n).tolist(),
        used=tuple(np.flatnonzero(random.random(n) < 0.2)),
        parent_counts={0: 1, 1: 2},
        copies=tuple(np.flatnonzero(random.random(n) < 0.1)),
    )
    limits = {
        "n_each": int(random.integers(1, 5)),
        "room": int(random.choice([0, 1, 3, 6, 10, PLENTY])),
        "same_label": bool(random.integers(0, 2)),
        "max_per_parent": int(random.integers(0, 4)),
        "distinct_parents": bool(random.integers(0, 2)),
        "weights": random.integers(1, 4, n_queries) if random.integers(0, 2) else None,
    }
    return make_neighbours(*lists), random.integers(0, 2, n_queries), pool, limits


class Account:
    """The rules word for word: who could have what, asked anew before each addition."""

    def __init__(
        self, neighbours: Neighbours, labels: np.ndarray, pool: Pool, limits: dict[str, Any]
    ) -> None:
        self.neighbours, self.labels, self.pool, self.limits = neighbours, labels, pool, limits
        self.taken: dict[int, int] = {}  # who has each candidate

    def is_free(self, query: int, candidate: int) -> bool:
        parent = self.pool.parents[candidate]
        siblings = sum(self.pool.parents[other] == parent for other in self.taken)
        own = [self.pool.parents[other] for other, owner in self.taken.items() if owner == query]
        cap = self.limits["max_per_parent"]
        return (
            not self.pool.used[candidate]
            and not self.pool.copies[candidate]
            and candidate not in self.taken
            and not (self.limits["distinct_parents"] and parent in own)
            and (not cap or siblings + self.pool.parent_counts[int(parent)] < cap)
            and (not self.limits["same_label"] or self.pool.labels[candidate] == self.labels[query])
        )

    def nearest(self, query: int) -> tuple[float, int, int] | None:
        """(-similarity, query, candidate) of the nearest candidate that is free for the query."""
        row = zip(self.neighbours.ids[query], self.neighbours.similarities[query], strict=True)
        free = [(-float(s), query, int(c)) for c, s in row if c >= 0 and self.is_free(query, c)]
        return min(free, key=lambda offer: offer[0], default=None)

    def choose(self) -> list[tuple[int, int, int]]:
        found: list[tuple[int, int, int]] = []
        ranks: Counter[int] = Counter()
        for _ in range(self.limits["n_each"]):
            waiting = Counter(dict(enumerate(weights_of(self.labels, self.limits))))
            while len(found) < self.limits["room"]:
                asking = [query for query, n in waiting.items() if n]
                offers = [offer for query in asking if (offer := self.nearest(query))]
                if not offers:
                    break
                _, query, candidate = min(offers)
                self.taken[candidate] = query
                waiting[query] -= 1
                ranks[query] += 1
                found.append((query, candidate, ranks[query]))
        return found


def weights_of(labels: np.ndarray, limits: dict[str, Any]) -> list[int]:
    weights = limits["weights"]
    return [1] * len(labels) if weights is None else weights.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_small_cases_obey_the_rules(seed):
    random = np.random.default_rng(seed)
    for _ in range(75):
        neighbours, labels, pool, limits = draw_case(random)
        choice = choose_nearest(neighbours, labels, pool, Rules(**limits))
        n_each, room, cap = (limits[name] for name in ("n_each", "room", "max_per_parent"))
        assert given(choice) == Account(neighbours, labels, pool, limits).choose()

        candidates = [addition.candidate for addition in choice.additions]
        assert len(set(candidates)) == len(candidates) <= room
        assert not pool.used[candidates].any()
        n_by_parent = Counter(pool.parents[candidates].tolist())
        if cap:
            assert all(n + pool.parent_counts[p] <= cap for p, n in n_by_parent.items())

        account = Account(neighbours, labels, pool, limits)
        for addition in choice.additions:  # nobody was passed by a nearer free candidate
            offer = account.nearest(addition.query)
            assert offer == (-addition.similarity, addition.query, addition.candidate)
            account.taken[addition.candidate] = addition.query

        shares = Counter(addition.query for addition in choice.additions)
        ranks = Counter((addition.query, addition.rank) for addition in choice.additions)
        assert set(ranks.values()) <= {1}
        weights = weights_of(labels, limits)
        ended = [shares[query] // weight for query, weight in enumerate(weights)]  # turns
        begun = [-(-shares[query] // weight) for query, weight in enumerate(weights)]
        could_go_on = [query for query in range(len(labels)) if account.nearest(query)]
        least = min((ended[query] for query in could_go_on), default=n_each)
        assert max(begun) <= min(n_each, least + 1)
        if len(choice.additions) < room:
            assert all(ended[query] == n_each for query in could_go_on)
        everyone_served = min(ended) == n_each
        if everyone_served or len(choice.additions) < room:
            assert choice.is_complete == everyone_served
        elif min(ended) < max(begun) - 1:
            assert not choice.is_complete  # one ran out, while others filled the room
        elif len(could_go_on) == len(labels) == sum(weights):
            assert choice.is_complete


def test_what_a_query_gets_may_have_to_come_from_different_parents():
    # Candidates 0 to 2 are of one parent, 3 and 4 of another.
    pool = make_pool(5, parents=[0, 0, 0, 1, 1])
    neighbours = make_neighbours(
        [(0, 0.875), (1, 0.75), (3, 0.5), (4, 0.25)], [(0, 0.8125), (2, 0.625), (4, 0.375)]
    )
    rules = Rules(n_each=3, room=PLENTY, distinct_parents=True)
    choice = choose_nearest(neighbours, zeros(2), pool, rules)
    assert given(choice) == [(0, 0, 1), (1, 2, 1), (0, 3, 2), (1, 4, 2)]
    assert not choice.is_complete
    assert given(choose_nearest(neighbours, zeros(2), pool, Rules(2, PLENTY))) == [
        *((0, 0, 1), (1, 2, 1)),
        *((0, 1, 2), (1, 4, 2)),
    ]


def test_a_query_that_stands_for_several_gets_as_many_in_a_turn():
    neighbours = make_neighbours(
        [(0, 0.875), (1, 0.75), (2, 0.625), (3, 0.5)], [(4, 0.8125), (5, 0.6875), (6, 0.25)]
    )
    rules = Rules(n_each=2, room=PLENTY, weights=np.array([2, 1]))
    choice = choose_nearest(neighbours, zeros(2), make_pool(7), rules)
    first, second = [(0, 0, 1), (1, 4, 1), (0, 1, 2)], [(1, 5, 2), (0, 2, 3), (0, 3, 4)]
    assert given(choice) == first + second
    assert choice.is_complete
    short = Rules(n_each=9, room=4, weights=np.array([2, 1]))
    assert given(choose_nearest(neighbours, zeros(2), make_pool(7), short)) == [*first, second[0]]


def test_the_most_that_one_query_can_get():
    assert most_wanted(Rules(n_each=3, room=PLENTY), 5) == 3
    assert most_wanted(Rules(n_each=PLENTY, room=11), 5) == 3
    assert most_wanted(Rules(n_each=2, room=PLENTY, weights=np.array([4, 1])), 2) == 8
    assert most_wanted(Rules(n_each=PLENTY, room=11, weights=np.array([4, 1])), 2) == 12
    assert most_wanted(Rules(n_each=3, room=PLENTY), 0) == 0


def test_a_stock_tells_of_all_candidates_what_it_tells_of_each():
    pool = make_pool(
        8, parents=[0, 0, 1, 1, 2, 2, 3, 3], used=(4,), parent_counts={2: 1}, copies=(6,)
    )
    for cap in (0, 1, 2):
        stock = Stock(pool, cap)
        stock.take(0)
        assert stock.holds().tolist() == [stock.has(candidate) for candidate in range(8)]
    assert np.flatnonzero(Stock(pool, 0).holds()).tolist() == [0, 1, 2, 3, 5, 7]
    assert np.flatnonzero(Stock(pool, 1).holds()).tolist() == [0, 1, 2, 3, 7]
    assert pool.parent_counts == {2: 1}
    assert not pool.used[0]


def test_a_share_loses_nothing_to_the_rounding_of_floats():
    assert [part_of(k / 100, 100) for k in range(101)] == list(range(101))
    assert part_of(0.999, 100) == 99
    assert part_of(0.5, 0) == 0
