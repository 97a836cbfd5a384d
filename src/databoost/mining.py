"""What a round's additions are chosen from: the work on a project's files.

The counterpart of :mod:`databoost.boosting` and :mod:`databoost.strategies` on arrays: it gathers
what may be added, and lets a strategy choose.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from databoost.additions import candidate_pool, needs_queries, parent_names, wanted_additions
from databoost.boosting import Addition, Ids, Pool, Stock, part_of
from databoost.candidates.embedder import Vectors
from databoost.candidates.judging import judge_candidates
from databoost.data.datasets import read_classes
from databoost.drawing import Contents, draw_additions, draw_candidates
from databoost.errors import DatasetError
from databoost.fidelity import least_like, parent_similarities
from databoost.layout import Layout, RoundLayout
from databoost.model.checkpoints import load_checkpoint
from databoost.model.evaluation import Probabilities
from databoost.model.processor import pick_device
from databoost.nearest import Nearest
from databoost.params import Params, round_number
from databoost.strategies import (
    choose_balanced,
    choose_diverse,
    choose_failing,
    choose_hardest,
    choose_random,
    free_candidates,
)
from databoost.vectors import RoundVectors


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
        self._check_parents()
        pool = self._pool(copies)
        n_random = part_of(settings.random_share, wanted)
        n_nearest = wanted - n_random
        if settings.strategy == "nearest":
            found, measured = self._nearest.choose(pool, n_nearest)
            return self._mixed(found, pool, n_random), measured
        n = wanted
        if not settings.additions:  # at equal size: as many as nearest would add
            n = len(self._mixed(self._nearest.choose_roughly(pool, n_nearest), pool, n_random))
        return self._control(pool, n), None

    def _check_parents(self) -> None:
        train = self.manifest[self.manifest["split"] == "train"]["image_id"]
        lost = sorted(set(self.recipes["parent_id"]) - set(train))
        if lost:
            raise DatasetError(
                f"{self.layout.recipes} draws candidates from {len(lost)} image(s), {lost[0]} "
                f"first, that are no training images of {self.before.name}; run `databoost "
                "candidates`, which draws from those that are"
            )

    def _pool(self, copies: Collection[int]) -> Pool:
        """Give the candidates; what the gate drops counts as used."""
        pool = candidate_pool(self.recipes, self.manifest, self._classes, copies)
        if not self.params.boost.drop_unlike:
            return pool
        similarities = parent_similarities(self._vectors.stored, pool.parents, self._of_parents)
        is_dropped = least_like(similarities, self.params.boost.drop_unlike)
        return replace(pool, used=pool.used | is_dropped)

    def _mixed(self, found: list[Addition], pool: Pool, n_random: int) -> list[Addition]:
        """Join to neighbours those that are left to chance."""
        settings = self.params.boost
        if not settings.additions:
            # A share of what the neighbours are, not of the room that there is.
            share = settings.random_share
            n_random = min(n_random, round(len(found) * share / (1 - share)))
        if n_random == 0:
            return found
        used = pool.used.copy()
        used[[addition.candidate for addition in found]] = True
        counts = pool.parent_counts.copy()
        counts.update(int(pool.parents[addition.candidate]) for addition in found)
        rest = replace(pool, used=used, parent_counts=counts)
        return found + choose_random(n_random, rest, self._seed, settings.max_per_parent)

    def _control(self, pool: Pool, n: int) -> list[Addition]:
        settings = self.params.boost
        cap, seed = settings.max_per_parent, self._seed
        if settings.strategy == "random":
            return choose_random(n, pool, seed, cap)
        rows = self.manifest[self.manifest["split"] == "train"]
        if settings.strategy == "failing":
            asking = np.array([(self.queries["label"] == label).sum() for label in self._classes])
            return choose_failing(n, pool, asking, seed, cap)
        if settings.strategy == "balanced":
            counts = np.array([(rows["label"] == label).sum() for label in self._classes])
            return choose_balanced(n, pool, counts, seed, cap)
        # Of those that may be added, copies among them, so that finding one changes no other draw.
        without = replace(pool, copies=np.zeros_like(pool.copies))
        open_pool = replace(pool, used=~Stock(without, cap).holds())
        offered = free_candidates(open_pool, max(settings.pool, n), seed)
        if settings.strategy == "hardest":
            return choose_hardest(n, offered, self._judge(offered), pool, cap)
        raw = rows[rows["origin"] == "raw"]
        there = self._vectors.of_images(raw)
        # Not `pool.used`: what the gate drops is not there.
        is_there = candidate_pool(self.recipes, self.manifest, self._classes).used
        added = self._vectors.stored[np.flatnonzero(is_there)].astype(np.float32)
        vectors = self._vectors.stored[offered].astype(np.float32)
        return choose_diverse(n, offered, vectors, np.concatenate([there, added]), pool, cap)

    @property
    def _seed(self) -> int:
        """Of what this round draws at random."""
        return self.params.boost.seed * 1_000_003 + round_number(self.before.name)

    def _judge(self, candidates: Ids) -> Probabilities:
        recipes = self.recipes.iloc[candidates]
        return judge_candidates(
            recipes,
            self._vectors.parent_files(recipes),
            self.params.candidates,
            load_checkpoint(self.before.checkpoint),
            pick_device(self.params.train),
            self.contents.keep,
        )

    @cached_property
    def _classes(self) -> list[str]:
        return read_classes(self.layout.classes)

    @cached_property
    def _vectors(self) -> RoundVectors:
        return RoundVectors(
            self.layout, self.params, self.before, self.manifest, self.recipes, self.contents
        )

    @cached_property
    def _of_parents(self) -> Vectors:
        rows = self.manifest.set_index("image_id", drop=False)
        return self._vectors.of_images(rows.loc[parent_names(self.recipes)])

    @cached_property
    def _nearest(self) -> Nearest:
        return Nearest(self.queries, self._classes, self._vectors)
