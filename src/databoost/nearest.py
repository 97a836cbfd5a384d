"""The strategy ``nearest`` on a project's files: the candidates nearest to what asks for them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.boosting import Addition, Ids, Pool, Rules, Stock, choose_deepening, most_wanted
from databoost.candidates.embedder import Vectors
from databoost.candidates.exact import Queries
from databoost.candidates.reranking import MOST_RANKED, Reranking
from databoost.candidates.search import Neighbours, find_neighbours, recall
from databoost.clusters import Places, error_clusters, share_out
from databoost.data.files import read_json
from databoost.vectors import RoundVectors

#: Queries, at most, by which an approximate search is compared with the exact one in every round.
_MEASURED = 32


@dataclass(frozen=True)
class Nearest:
    """Chooses neighbours of queries.

    Attributes
    ----------
    queries
        Rows of an image sheet: what asks for neighbours.
    classes
        Labels, in the order that a pool counts them.
    vectors
        Of the queries and the candidates.
    """

    queries: pd.DataFrame
    classes: list[str]
    vectors: RoundVectors

    def choose(self, pool: Pool, wanted: int) -> tuple[list[Addition], float]:
        """Choose the nearest that may be added, at most `wanted`, fairly shared among the queries.

        Returns
        -------
        tuple
            Additions in the order in which they are handed out; and the recall of the search among
            the stored vectors, 0 to 1.
        """
        asking = self._asking(wanted)
        search = self._settled(self._search(asking, pool), asking, pool)
        additions = choose_deepening(search, asking.labels, pool, asking.rules)
        if asking.groups:
            additions = share_out(
                additions, asking.groups, self._query_vectors, self.vectors.stored
            )
        return additions, self._recall(asking.vectors)

    def choose_roughly(self, pool: Pool, wanted: int) -> list[Addition]:
        """Choose as many as :meth:`choose`, and by the stored vectors alone other ones."""
        asking = self._asking(wanted)
        search = self._search(asking, pool)
        return choose_deepening(search, asking.labels, pool, asking.rules)

    def _asking(self, wanted: int) -> "_Asking":
        settings = self.vectors.params.boost
        vectors, groups = self._query_vectors, list[Places]()
        positions = [self.classes.index(label) for label in self.queries["label"]]
        labels = np.array(positions, dtype=np.int64)
        if settings.clusters:
            vectors, groups = error_clusters(vectors, settings.clusters, settings.seed)
            labels = labels[[members[0] for members in groups]]
        rules = Rules(
            wanted if settings.additions else settings.neighbors,
            wanted,
            settings.labels == "same",
            settings.max_per_parent,
            settings.distinct_parents,
            np.array([len(members) for members in groups]) if groups else None,
        )
        return _Asking(vectors, labels, groups, rules)

    def _search(self, asking: "_Asking", pool: Pool) -> Callable[[int], Neighbours]:
        """Give the search; an exact one looks at what each query may have alone."""
        vectors, labels, rules = asking.vectors, asking.labels, asking.rules
        stored, index, params = (
            self.vectors.stored,
            self.vectors.layout.index,
            self.vectors.params.search,
        )
        if params.method != "exact":
            return lambda k: find_neighbours(vectors, k, stored, index, params)
        is_free = Stock(pool, rules.max_per_parent).holds()
        offers = [(np.arange(len(vectors)), np.flatnonzero(is_free))]
        if rules.same_label:
            offers = [
                (np.flatnonzero(labels == label), np.flatnonzero(is_free & (pool.labels == label)))
                for label in np.unique(labels)
            ]

        def search(k: int) -> Neighbours:
            ids = np.full((len(vectors), k), -1, dtype=np.int64)
            similarities = np.full(ids.shape, -np.inf, dtype=np.float32)
            for rows, among in offers:
                found = find_neighbours(vectors[rows], k, stored, index, params, among)
                ids[rows], similarities[rows] = found.ids, found.similarities
            return Neighbours(ids, similarities)

        return search

    def _settled(
        self, search: Callable[[int], Neighbours], asking: "_Asking", pool: Pool
    ) -> Callable[[int], Neighbours]:
        """Give the search whose first neighbours are those of float32 vectors."""
        if read_json(self.vectors.layout.embedder)["precision"] == "float32":
            return search
        labels, rules = asking.labels, asking.rules
        # As deep as the first search goes (see choose_deepening), within reason; what a parent
        # that has served the query takes up is not known yet.
        depth = MOST_RANKED if rules.distinct_parents else 8 * most_wanted(rules, len(labels))
        depth = min(depth, MOST_RANKED)
        is_free = Stock(pool, rules.max_per_parent).holds()

        def can_be_had(ids: Ids) -> npt.NDArray[np.bool_]:
            is_right = pool.labels[ids] == labels[:, None] if rules.same_label else True
            return is_free[ids] & is_right

        reranking = Reranking(asking.vectors, self.vectors.of_candidates, depth, can_be_had)
        return lambda k: reranking.rank(search(k))

    def _recall(self, vectors: Queries) -> float:
        """Measure the search's recall among the stored vectors, by some of the queries."""
        if self.vectors.params.search.method == "exact":
            return 1.0
        step = -(-len(vectors) // _MEASURED)
        exact = self.vectors.params.search.model_copy(update={"method": "exact"})
        found, truth = (
            find_neighbours(
                vectors[::step],
                self.vectors.params.boost.neighbors,
                self.vectors.stored,
                self.vectors.layout.index,
                params,
            )
            for params in (self.vectors.params.search, exact)
        )
        return recall(found, truth)

    @cached_property
    def _query_vectors(self) -> Vectors:
        return self.vectors.of_images(self.queries)


@dataclass(frozen=True)
class _Asking:
    """What asks, each or in groups: vectors, labels, the places of a group's members, and rules."""

    vectors: Vectors
    labels: Ids
    groups: list[Places]
    rules: Rules
