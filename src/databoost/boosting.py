"""The heart: failures and their neighbours, under limits, become additions.

Pure functions on arrays. A *query* is a misclassified validation image, a *candidate* an image
that could be added. Additions are handed out in turns: in turn t every query that still wants
gets its nearest free candidate; if two want the same one, the more similar query has it and the
other goes on to its next. So when the room does not suffice, it is shared out fairly, and within
the last turn the nearest come first.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # it loads PyTorch, which the rules of a round need not
    from databoost.candidates.search import Neighbours

Stop = Literal["no_queries", "limit", "nothing_new"]
Ids = npt.NDArray[np.int64]
#: Neighbours looked at for one query at most.
DEEPEST = 16_384


@dataclass(frozen=True)
class Addition:
    """One candidate that is added.

    Attributes
    ----------
    candidate
        Candidate id.
    query
        Position of the query that asked for it; -1 if none did.
    similarity
        Cosine similarity of both, -1 to 1 (of a group of failures, that to its middle); nan if no
        query asked.
    rank
        1 for the query's first addition, 2 for its second, ...; 0 if no query asked.
    """

    candidate: int
    query: int
    similarity: float
    rank: int


@dataclass(frozen=True)
class Pool:
    """The candidates: all there is to know of them besides their pixels.

    Attributes
    ----------
    labels, parents
        (N,) int64 codes of label and parent image.
    used
        (N,) bool, True for candidates of earlier rounds.
    parent_counts
        Additions per parent code in earlier rounds.
    copies
        (N,) bool, True for candidates that were drawn and equal an image that is there. They keep
        their places in what a seed draws, and are passed over.
    """

    labels: Ids
    parents: Ids
    used: npt.NDArray[np.bool_]
    parent_counts: Counter[int]
    copies: npt.NDArray[np.bool_]


class Stock:
    """The candidates that are still to be had while additions are handed out.

    Parameters
    ----------
    max_per_parent
        Additions from one parent, those of earlier rounds counted; 0: no cap.
    """

    def __init__(self, pool: Pool, max_per_parent: int) -> None:
        self._parents, self._cap = pool.parents, max_per_parent
        self._is_gone = pool.used | pool.copies
        self._counts = Counter(pool.parent_counts)

    def has(self, candidate: int) -> bool:
        """Whether nobody has the candidate, and there may be one more of its parent."""
        parent = int(self._parents[candidate])
        return not self._is_gone[candidate] and (not self._cap or self._counts[parent] < self._cap)

    def take(self, candidate: int) -> None:
        """Hand the candidate out."""
        self._is_gone[candidate] = True
        self._counts[int(self._parents[candidate])] += 1

    def holds(self) -> npt.NDArray[np.bool_]:
        """Tell of all candidates at once what :meth:`has` tells of one: (N,) bool."""
        full = [parent for parent, n in self._counts.items() if self._cap and n >= self._cap]
        return ~self._is_gone & ~np.isin(self._parents, full)


@dataclass(frozen=True)
class Rules:
    """What a round may add.

    Attributes
    ----------
    n_each
        Candidates that each query wants, for each failure that it stands for.
    room
        Additions that there is room for.
    same_label
        Whether a candidate must have the query's label.
    max_per_parent
        Additions from one parent, those of earlier rounds counted; 0: no cap.
    distinct_parents
        Whether a query's additions of this round must all come from different parents.
    weights
        (n_queries,) how many failures each query stands for, so how many candidates it gets in one
        turn; None: one each.
    """

    n_each: int
    room: int
    same_label: bool = False
    max_per_parent: int = 0
    distinct_parents: bool = False
    weights: Ids | None = None

    def weights_of(self, n_queries: int) -> list[int]:
        """Candidates that each of the queries gets in one turn."""
        return [1] * n_queries if self.weights is None else self.weights.tolist()


@dataclass(frozen=True)
class Choice:
    """Additions in the order in which they were handed out.

    ``is_complete`` is False if a query ran out of neighbours before it had its share, so that a
    deeper search could find more, or share the room out more fairly.
    """

    additions: list[Addition]
    is_complete: bool


def choose_nearest(neighbours: "Neighbours", query_labels: Ids, pool: Pool, rules: Rules) -> Choice:
    """Hand each query its nearest unused candidates, in turns, as long as there is room.

    Parameters
    ----------
    neighbours
        For each query its candidates, nearest first, as deep as they were searched.
    query_labels
        (n_queries,) int64 codes of the given labels.
    """
    lists = _Lists(neighbours, query_labels, pool, rules)
    additions: list[Addition] = []
    turn = [
        query
        for query, weight in enumerate(rules.weights_of(len(query_labels)))
        for _ in range(weight)
    ]
    ranks: Counter[int] = Counter()
    is_complete = True
    for _ in range(rules.n_each):
        waiting = [offer for query in turn if (offer := lists.offer(query))]
        is_complete &= len(waiting) == len(turn)
        if not waiting:
            break
        heapq.heapify(waiting)
        while waiting and len(additions) < rules.room:
            distance, query, candidate = heapq.heappop(waiting)
            if lists.is_free(query, candidate):
                lists.take(query, candidate)
                ranks[query] += 1
                additions.append(Addition(candidate, query, -distance, ranks[query]))
            elif offer := lists.offer(query):
                heapq.heappush(waiting, offer)
            else:
                is_complete = False
        if len(additions) >= rules.room:
            break
    return Choice(additions, is_complete)


def choose_deepening(
    search: Callable[[int], "Neighbours"],
    query_labels: Ids,
    pool: Pool,
    rules: Rules,
) -> list[Addition]:
    """Choose as :func:`choose_nearest`, searching deeper until every query has its share.

    Parameters
    ----------
    search
        Gives each query its k nearest candidates, of those that it may have or, where a search
        cannot tell them apart, of all. It is called with k at most `DEEPEST`: a query that may
        have none of so many goes without.
    """
    depth = 8 * max(1, most_wanted(rules, len(query_labels)))
    while True:
        depth = min(depth, DEEPEST, len(pool.used))
        choice = choose_nearest(search(depth), query_labels, pool, rules)
        if choice.is_complete or depth == min(DEEPEST, len(pool.used)):
            return choice.additions
        depth *= 8


def part_of(share: float, n: int) -> int:
    """Count the whole ones in a share (0 to 1) of n.

    >>> part_of(0.29, 100), part_of(0.299, 100)  # 0.29 * 100 is 28.999999999999996
    (29, 29)
    """
    return int(round(share * n, 6))


def most_wanted(rules: Rules, n_queries: int) -> int:
    """Count the candidates that one query may get at most, if all have their share of the room."""
    weights = rules.weights_of(n_queries)
    n_turns = min(rules.n_each, -(-rules.room // max(1, sum(weights))))
    return n_turns * max(weights, default=0)


def stop_reason(
    n_queries: int, n_additions: int, room_before: int | None, needs_queries: bool
) -> Stop | None:
    """Say why no further round can come, or None if one can.

    Parameters
    ----------
    n_queries, n_additions
        Images of the round before that asked, and what was added, for them or for none.
    room_before
        Additions that there was room for; None if there is no limit.
    needs_queries
        Whether nothing is added unless an image asks.

    Returns
    -------
    str or None
        ``no_queries``: none asked; ``limit``: there is no room left; ``nothing_new``: the strategy
        took none of the candidates that there are.

    >>> [stop_reason(n, 0, None, needs_queries=True) for n in (0, 150)]
    ['no_queries', 'nothing_new']
    >>> [stop_reason(150, 450, room, needs_queries=True) for room in (450, None)]
    ['limit', None]
    """
    if needs_queries and n_queries == 0:
        return "no_queries"
    if room_before is not None and n_additions >= room_before:
        return "limit"
    if n_additions == 0:
        return "nothing_new"
    return None


class _Lists:
    """The neighbour lists of all queries, each with a finger at the next candidate to offer."""

    def __init__(
        self, neighbours: "Neighbours", query_labels: Ids, pool: Pool, rules: Rules
    ) -> None:
        self.neighbours, self.query_labels, self.pool = neighbours, query_labels, pool
        self.rules, self.stock = rules, Stock(pool, rules.max_per_parent)
        self.fingers = [0] * len(query_labels)
        self.served: list[set[int]] = [set() for _ in query_labels]

    def is_free(self, query: int, candidate: int) -> bool:
        """Whether nobody has the candidate, and the query may have one of its parent."""
        parent = int(self.pool.parents[candidate])
        is_served = self.rules.distinct_parents and parent in self.served[query]
        return self.stock.has(candidate) and not is_served

    def take(self, query: int, candidate: int) -> None:
        """Give the candidate to the query."""
        self.stock.take(candidate)
        self.served[query].add(int(self.pool.parents[candidate]))

    def offer(self, query: int) -> tuple[float, int, int] | None:
        """Next free candidate of a query as (-similarity, query, candidate), None at the end."""
        ids = self.neighbours.ids[query]
        while self.fingers[query] < len(ids):
            position = self.fingers[query]
            self.fingers[query] += 1
            candidate = int(ids[position])
            if candidate < 0:
                break
            if self.rules.same_label and self.pool.labels[candidate] != self.query_labels[query]:
                continue
            if self.is_free(query, candidate):
                return -float(self.neighbours.similarities[query, position]), query, candidate
        return None
