"""What a round's additions are chosen from: the work on a project's files.

The counterpart of :mod:`databoost.boosting` and :mod:`databoost.strategies` on arrays: it embeds
the queries, searches, and lets a strategy choose.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.additions import candidate_pool, needs_queries, parent_names, wanted_additions
from databoost.boosting import (
    Addition,
    Ids,
    Pool,
    Rules,
    Stock,
    choose_deepening,
    most_wanted,
    part_of,
)
from databoost.candidates.embedder import Embedder, Vectors
from databoost.candidates.embedding import embed_files, embedder_identity, load_exact_embedder
from databoost.candidates.exact import Embeddings, Queries
from databoost.candidates.judging import judge_candidates
from databoost.candidates.reranking import MOST_RANKED, Reranking, embed_some
from databoost.candidates.search import Neighbours, find_neighbours, load_embeddings, recall
from databoost.clusters import Places, error_clusters, share_out
from databoost.data.datasets import read_classes
from databoost.data.files import read_json
from databoost.drawing import Contents, draw_additions, draw_candidates, files_of
from databoost.errors import DatasetError
from databoost.fidelity import least_like, parent_similarities
from databoost.layout import Layout, RoundLayout
from databoost.model.checkpoints import load_checkpoint
from databoost.model.evaluation import Probabilities
from databoost.model.processor import pick_device
from databoost.params import Params, round_number
from databoost.strategies import (
    choose_balanced,
    choose_diverse,
    choose_failing,
    choose_hardest,
    choose_random,
    free_candidates,
)

#: Queries, at most, by which an approximate search is compared with the exact one in every round.
_MEASURED = 32


@dataclass(frozen=True)
class Mine:
    """What a round's additions are chosen from.

    Attributes
    ----------
    before
        The round whose failures ask.
    manifest
        ``MANIFEST`` of its snapshot, which is to grow.
    queries
        Rows of its image sheet: what asks for neighbours.
    recipes
        ``RECIPES`` of all candidates, in the order of their ids; none for strategy ``none``.
    contents
        Takes the bytes of what is read.
    """

    layout: Layout
    params: Params
    before: RoundLayout
    manifest: pd.DataFrame
    queries: pd.DataFrame
    recipes: pd.DataFrame
    contents: Contents

    def fill(self, room: int | None) -> tuple[list[tuple[str, Addition]], float | None]:
        """Choose additions that the snapshot has not, and draw them.

        Parameters
        ----------
        room
            Additions that there is room for; None if there is no limit.

        Returns
        -------
        tuple
            Image id and addition of each, whose bytes are then among `contents`, in the order in
            which they were handed out; and the measured recall of the search, 0 to 1, None if there
            was none.

        Raises
        ------
        DatasetError
            If the candidates were drawn from other images, or embedded by another embedder, than
            there are now.
        ParamsError
            If they were drawn under another policy.
        """
        recalls: list[float | None] = []

        def choose(copies: set[int]) -> list[Addition]:
            additions, measured = self._choose(room, copies)
            recalls.append(measured)
            return additions

        def draw(candidates: list[int]) -> Iterator[tuple[int, bytes]]:
            picked = self.recipes.iloc[candidates]
            for place, content in draw_candidates(
                self.before, self.params, picked, self.manifest, self.contents
            ):
                yield candidates[place], content

        present = self.manifest["image_id"].tolist()
        return draw_additions(choose, draw, present, self.contents), recalls[-1]

    def _choose(
        self, room: int | None, copies: Collection[int]
    ) -> tuple[list[Addition], float | None]:
        """Choose additions but copies; give them with the measured recall of the search."""
        settings = self.params.boost
        wanted = wanted_additions(settings, room)
        is_idle = self.queries.empty and needs_queries(settings)
        if wanted == 0 or settings.strategy == "none" or is_idle:
            return [], None
        classes = read_classes(self.layout.classes)
        self._check_parents()
        pool = self._pool(classes, copies)
        if settings.strategy == "nearest":
            return self._mixed(pool, classes, wanted)
        # At equal size: as many as asked for, or as the neighbours would have been.
        n = wanted if settings.additions else len(self._mixed(pool, classes, wanted)[0])
        return self._control(pool, classes, n), None

    def _check_parents(self) -> None:
        train = self.manifest[self.manifest["split"] == "train"]["image_id"]
        lost = sorted(set(self.recipes["parent_id"]) - set(train))
        if lost:
            raise DatasetError(
                f"{self.layout.recipes} draws candidates from {len(lost)} image(s), {lost[0]} "
                f"first, that are no training images of {self.before.name}; run `databoost "
                "candidates`, which draws from those that are"
            )

    def _pool(self, classes: list[str], copies: Collection[int]) -> Pool:
        """Give the candidates; what the gate drops counts as used."""
        pool = candidate_pool(self.recipes, self.manifest, classes, copies)
        if not self.params.boost.drop_unlike:
            return pool
        similarities = parent_similarities(self._embeddings, pool.parents, self._parent_vectors)
        is_dropped = least_like(similarities, self.params.boost.drop_unlike)
        return replace(pool, used=pool.used | is_dropped)

    def _mixed(
        self, pool: Pool, classes: list[str], wanted: int
    ) -> tuple[list[Addition], float | None]:
        """Choose neighbours, and leave a share of the additions to chance."""
        share = self.params.boost.random_share
        n_nearest = wanted - part_of(share, wanted)
        found, measured = self._nearest(pool, classes, n_nearest)
        n_random = wanted - n_nearest
        if not self.params.boost.additions:
            # A share of what the neighbours are, not of the room that there is.
            n_random = min(n_random, round(len(found) * share / (1 - share)))
        if n_random == 0:
            return found, measured
        used = pool.used.copy()
        used[[addition.candidate for addition in found]] = True
        counts = pool.parent_counts.copy()
        counts.update(int(pool.parents[addition.candidate]) for addition in found)
        rest = replace(pool, used=used, parent_counts=counts)
        cap = self.params.boost.max_per_parent
        return found + choose_random(n_random, rest, self._seed, cap), measured

    def _nearest(
        self, pool: Pool, classes: list[str], wanted: int
    ) -> tuple[list[Addition], float | None]:
        """Choose neighbours; the recall is that of the search among the stored vectors."""
        settings = self.params.boost
        vectors, groups = self._query_vectors, list[Places]()
        labels = np.array([classes.index(label) for label in self.queries["label"]], dtype=np.int64)
        if settings.clusters:
            vectors, groups = error_clusters(vectors, settings.clusters, settings.seed)
            labels = labels[[members[0] for members in groups]]

        n_each = wanted if settings.additions else settings.neighbors
        rules = Rules(
            n_each,
            wanted,
            settings.labels == "same",
            settings.max_per_parent,
            settings.distinct_parents,
            np.array([len(members) for members in groups]) if groups else None,
        )
        search = self._search(vectors, labels, pool, rules)
        if settings.strategy != "nearest":  # only their number counts
            return choose_deepening(search, labels, pool, rules), None
        settled = self._settled(search, vectors, labels, pool, rules)
        additions = choose_deepening(settled, labels, pool, rules)
        if groups:
            additions = share_out(additions, groups, self._query_vectors, self._embeddings)
        return additions, self._recall(vectors)

    def _search(
        self, vectors: Queries, labels: Ids, pool: Pool, rules: Rules
    ) -> Callable[[int], Neighbours]:
        """Give the search; an exact one looks at what each query may have alone."""
        index, params = self.layout.index, self.params.search
        if params.method != "exact":
            return lambda k: find_neighbours(vectors, k, self._embeddings, index, params)
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
                found = find_neighbours(vectors[rows], k, self._embeddings, index, params, among)
                ids[rows], similarities[rows] = found.ids, found.similarities
            return Neighbours(ids, similarities)

        return search

    def _recall(self, vectors: Queries) -> float:
        """Measure the search's recall among the stored vectors, by some of the queries."""
        if self.params.search.method == "exact":
            return 1.0
        step = -(-len(vectors) // _MEASURED)
        exact = self.params.search.model_copy(update={"method": "exact"})
        found, truth = (
            find_neighbours(
                vectors[::step],
                self.params.boost.neighbors,
                self._embeddings,
                self.layout.index,
                params,
            )
            for params in (self.params.search, exact)
        )
        return recall(found, truth)

    def _settled(
        self,
        search: Callable[[int], Neighbours],
        vectors: Queries,
        labels: Ids,
        pool: Pool,
        rules: Rules,
    ) -> Callable[[int], Neighbours]:
        """Give the search whose first neighbours are those of float32 vectors."""
        if read_json(self.layout.embedder)["precision"] == "float32":
            return search
        # As deep as the first search goes (see choose_deepening), within reason; what a parent
        # that has served the query takes up is not known yet.
        depth = MOST_RANKED if rules.distinct_parents else 8 * most_wanted(rules, len(labels))
        depth = min(depth, MOST_RANKED)
        is_free = Stock(pool, rules.max_per_parent).holds()

        def can_be_had(ids: Ids) -> npt.NDArray[np.bool_]:
            is_right = pool.labels[ids] == labels[:, None] if rules.same_label else True
            return is_free[ids] & is_right

        reranking = Reranking(vectors, self._embed_candidates, depth, can_be_had)
        return lambda k: reranking.rank(search(k))

    def _control(self, pool: Pool, classes: list[str], n: int) -> list[Addition]:
        settings = self.params.boost
        cap, seed = settings.max_per_parent, self._seed
        if settings.strategy == "random":
            return choose_random(n, pool, seed, cap)
        rows = self.manifest[self.manifest["split"] == "train"]
        if settings.strategy == "failing":
            asking = np.array([(self.queries["label"] == label).sum() for label in classes])
            return choose_failing(n, pool, asking, seed, cap)
        if settings.strategy == "balanced":
            counts = np.array([(rows["label"] == label).sum() for label in classes])
            return choose_balanced(n, pool, counts, seed, cap)
        # Of those that may be added, copies among them, so that finding one changes no other draw.
        without = replace(pool, copies=np.zeros_like(pool.copies))
        open_pool = replace(pool, used=~Stock(without, cap).holds())
        offered = free_candidates(open_pool, max(settings.pool, n), seed)
        if settings.strategy == "hardest":
            return choose_hardest(n, offered, self._judge(offered), pool, cap)
        raw = rows[rows["origin"] == "raw"]
        there = self._embed(raw)
        # Not `pool.used`: what the gate drops is not there.
        is_there = candidate_pool(self.recipes, self.manifest, classes).used
        added = self._embeddings[np.flatnonzero(is_there)].astype(np.float32)
        vectors = self._embeddings[offered].astype(np.float32)
        return choose_diverse(n, offered, vectors, np.concatenate([there, added]), pool, cap)

    @property
    def _seed(self) -> int:
        """Of what this round draws at random."""
        return self.params.boost.seed * 1_000_003 + round_number(self.before.name)

    def _judge(self, candidates: Ids) -> Probabilities:
        recipes = self.recipes.iloc[candidates]
        checkpoint = load_checkpoint(self.before.checkpoint)
        device = pick_device(self.params.train)
        return judge_candidates(
            recipes,
            self._parents(recipes),
            self.params.candidates,
            checkpoint,
            device,
            self.contents.keep,
        )

    @cached_property
    def _query_vectors(self) -> Vectors:
        return self._embed(self.queries)

    @cached_property
    def _parent_vectors(self) -> Vectors:
        rows = self.manifest.set_index("image_id", drop=False)
        return self._embed(rows.loc[parent_names(self.recipes)])

    @cached_property
    def _embeddings(self) -> Embeddings:
        return load_embeddings(self.layout.embeddings)

    @cached_property
    def _embedder(self) -> Embedder:
        """Load the embedder; what is compared to the last digit is embedded in float32."""
        settings, root = self.params.embedding, self.layout.root
        embedder = load_exact_embedder(settings, root, pick_device(self.params.train))
        made = read_json(self.layout.embedder) | {"dimension": self._embeddings.shape[1]}
        now = embedder_identity(settings, embedder, root)
        other = [key for key in now if made.get(key) != now[key]]
        if other:
            differences = "; ".join(f"{key}: {made.get(key)}, now {now[key]}" for key in other)
            raise DatasetError(
                f"{self.layout.embeddings} is by another embedder than params.yaml names now "
                f"({differences}): run `databoost candidates`, or restore the embedder"
            )
        return embedder

    def _embed(self, rows: pd.DataFrame) -> Vectors:
        """Embed images of the snapshot."""
        files = files_of(self.before, rows, self.contents)
        return embed_files(self._embedder, files, self.params.embedding.batch_size)

    def _embed_candidates(self, candidates: Ids) -> Embeddings:
        recipes = self.recipes.iloc[candidates]
        return embed_some(
            recipes,
            self._parents(recipes),
            self.params.candidates,
            self._embedder,
            self.params.embedding.batch_size,
            self.contents.keep,
        )

    def _parents(self, recipes: pd.DataFrame) -> dict[str, Path | bytes]:
        rows = self.manifest[self.manifest["image_id"].isin(recipes["parent_id"])]
        return {
            name: self.contents.get(name) or self.before.dataset / path
            for name, path in zip(rows["image_id"], rows["path"], strict=True)
        }
