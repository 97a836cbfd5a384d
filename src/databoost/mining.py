"""What a round's additions are chosen from: the work on a project's files.

The counterpart of :mod:`databoost.boosting` and :mod:`databoost.strategies` on arrays: it embeds
the queries, searches, and lets a strategy choose.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    choose_deepening,
    most_wanted,
    part_of,
)
from databoost.candidates.embedding import (
    Embedder,
    Vectors,
    embed_files,
    load_exact_embedder,
)
from databoost.candidates.exact import Embeddings, Queries
from databoost.candidates.judging import judge_candidates
from databoost.candidates.reranking import DEEPEST, Reranking, embed_some
from databoost.candidates.search import Neighbours, find_neighbours, load_embeddings, recall
from databoost.clusters import error_clusters
from databoost.data.datasets import read_classes
from databoost.data.files import read_json
from databoost.drawing import Contents, files_of
from databoost.fidelity import least_like, parent_similarities
from databoost.layout import Layout, RoundLayout
from databoost.model.checkpoints import load_checkpoint
from databoost.model.evaluation import Probabilities, pick_device
from databoost.params import Params, round_number
from databoost.sections import SearchParams
from databoost.strategies import (
    choose_balanced,
    choose_diverse,
    choose_failing,
    choose_hardest,
    choose_random,
    free_candidates,
)


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

    def choose(self, room: int | None) -> tuple[list[Addition], float | None]:
        """Choose the additions; give them with the measured recall of the search."""
        settings = self.params.boost
        wanted = wanted_additions(settings, room)
        is_idle = self.queries.empty and needs_queries(settings)
        if wanted == 0 or settings.strategy == "none" or is_idle:
            return [], None
        classes = read_classes(self.layout.classes)
        pool = self._pool(classes)
        if settings.strategy == "nearest":
            return self._mixed(pool, classes, wanted)
        # At equal size: as many as asked for, or as the neighbours would have been.
        n = wanted if settings.additions else len(self._mixed(pool, classes, wanted)[0])
        return self._control(pool, classes, n), None

    def _pool(self, classes: list[str]) -> Pool:
        """Give the candidates; what the gate drops counts as used."""
        pool = candidate_pool(self.recipes, self.manifest, classes)
        if not self.params.boost.drop_unlike:
            return pool
        rows = self.manifest.set_index("image_id", drop=False).loc[parent_names(self.recipes)]
        parents = self._embed(rows)
        embeddings = load_embeddings(self.layout.embeddings)
        similarities = parent_similarities(embeddings, pool.parents, parents)
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
        if (
            not self.params.boost.additions
        ):  # a share of what the neighbours are, not of the room that there is
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
        vectors = self._embed(self.queries)
        embeddings = load_embeddings(self.layout.embeddings)

        def search(k: int, params: SearchParams = self.params.search) -> Neighbours:
            return find_neighbours(vectors, k, embeddings, self.layout.index, params)

        labels = np.array([classes.index(label) for label in self.queries["label"]], dtype=np.int64)
        n_each = wanted if settings.additions else settings.neighbors
        asking, weights = np.arange(len(labels)), None
        if settings.clusters:
            asking, vectors, weights = error_clusters(vectors, settings.clusters, settings.seed)
            labels = labels[asking]
        rules = Rules(
            n_each,
            wanted,
            settings.labels == "same",
            settings.max_per_parent,
            settings.distinct_parents,
            weights,
        )
        if settings.strategy != "nearest":  # only their number counts
            return choose_deepening(search, labels, pool, rules), None
        chosen = choose_deepening(
            self._settled(search, vectors, labels, pool, rules), labels, pool, rules
        )
        additions = [replace(addition, query=int(asking[addition.query])) for addition in chosen]
        if self.params.search.method == "exact":
            return additions, 1.0
        exact = self.params.search.model_copy(update={"method": "exact"})
        return additions, recall(search(settings.neighbors), search(settings.neighbors, exact))

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
        depth = DEEPEST if rules.distinct_parents else 8 * most_wanted(rules, len(labels))
        depth = min(depth, DEEPEST)
        counts, cap = pool.parent_counts, rules.max_per_parent
        capped = [parent for parent, n_added in counts.items() if cap and n_added >= cap]
        is_free = ~pool.used & ~np.isin(pool.parents, capped)

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
        offered = free_candidates(pool, settings.pool, seed)
        if settings.strategy == "hardest":
            return choose_hardest(n, offered, self._judge(offered), pool, cap)
        raw = rows[rows["origin"] == "raw"]
        embeddings = load_embeddings(self.layout.embeddings)
        there = self._embed(raw)
        # Not `pool.used`: what the gate drops is not there.
        is_there = candidate_pool(self.recipes, self.manifest, classes).used
        added = embeddings[np.flatnonzero(is_there)].astype(np.float32)
        vectors = embeddings[offered].astype(np.float32)
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

    def _embed(self, rows: pd.DataFrame) -> Vectors:
        """Embed images of the snapshot."""
        files = files_of(self.before, rows, self.contents)
        embedder = _embedder(self.layout, self.params)
        return embed_files(embedder, files, self.params.embedding.batch_size)

    def _embed_candidates(self, candidates: Ids) -> Embeddings:
        recipes = self.recipes.iloc[candidates]
        return embed_some(
            recipes,
            self._parents(recipes),
            self.params.candidates,
            _embedder(self.layout, self.params),
            self.params.embedding.batch_size,
            self.contents.keep,
        )

    def _parents(self, recipes: pd.DataFrame) -> dict[str, Path | bytes]:
        r00 = self.layout.round("r00")
        rows = self.manifest[self.manifest["image_id"].isin(recipes["parent_id"])]
        return {
            name: self.contents.get(name) or r00.dataset / path
            for name, path in zip(rows["image_id"], rows["path"], strict=True)
        }


def _embedder(layout: Layout, params: Params) -> Embedder:
    # What is compared to the last digit is embedded in float32, whatever the candidates were.
    return load_exact_embedder(params.embedding, layout.root, pick_device(params.train))
