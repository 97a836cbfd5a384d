"""What a round's additions are chosen from, and how they become files.

The counterpart, on a project's files, of :mod:`databoost.boosting` and :mod:`databoost.strategies`
on arrays: it embeds the queries, searches, lets a strategy choose, and draws what was chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.additions import (
    candidate_pool,
    wanted_additions,
)
from databoost.boosting import Addition, Ids, Pool, Rules, choose_deepening
from databoost.candidates.augmentation import Parents, render
from databoost.candidates.embedding import Embedder, load_embedder
from databoost.candidates.exact import Embeddings, Queries
from databoost.candidates.judging import judge_candidates
from databoost.candidates.reranking import DEEPEST, Reranking, embed_some
from databoost.candidates.search import Neighbours, find_neighbours, load_embeddings, recall
from databoost.data.datasets import read_classes
from databoost.data.files import read_json
from databoost.data.images import ImageFiles, encode_png, image_id
from databoost.data.resizing import TapStore
from databoost.layout import Layout, RoundLayout
from databoost.model.checkpoints import load_checkpoint
from databoost.model.evaluation import Probabilities, pick_device
from databoost.params import Params, round_number
from databoost.sections import SearchParams
from databoost.strategies import (
    choose_balanced,
    choose_diverse,
    choose_hardest,
    choose_random,
    free_candidates,
)


class Contents(dict[str, bytes]):
    """The bytes of image files by id: of those that are drawn, and of those that were read.

    What was read is kept as long as there is room, so that it need not be read again; of larger
    collections the rest is.
    """

    room = 2**30

    def keep(self, path: Path, content: bytes) -> None:
        """Keep what a file of a snapshot, whose name is its id, was found to hold."""
        if len(content) <= self.room:
            self.room -= len(content)
            self[path.stem] = content


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
        is_filled = settings.strategy != "nearest" and settings.additions > 0
        if wanted == 0 or settings.strategy == "none" or (self.queries.empty and not is_filled):
            return [], None
        classes = read_classes(self.layout.classes)
        pool = candidate_pool(self.recipes, self.manifest, classes)
        found, measured = ([], None) if is_filled else self._nearest(pool, classes, wanted)
        if settings.strategy == "nearest":
            return found, measured
        # At equal size: as many as asked for, or as the neighbours would have been.
        return self._control(pool, classes, wanted if is_filled else len(found)), None

    def _nearest(
        self, pool: Pool, classes: list[str], wanted: int
    ) -> tuple[list[Addition], float | None]:
        """Choose neighbours; the recall is that of the search among the stored vectors."""
        settings = self.params.boost
        vectors = _embed(self.layout, self.params, self.before, self.queries, self.contents)
        embeddings = load_embeddings(self.layout.embeddings)

        def search(k: int, params: SearchParams = self.params.search) -> Neighbours:
            return find_neighbours(vectors, k, embeddings, self.layout.index, params)

        labels = np.array([classes.index(label) for label in self.queries["label"]], dtype=np.int64)
        n_each = wanted if settings.additions else settings.neighbors
        rules = Rules(n_each, wanted, settings.labels == "same", settings.max_per_parent)
        if settings.strategy != "nearest":  # only their number counts
            return choose_deepening(search, labels, pool, rules), None
        additions = choose_deepening(
            self._settled(search, vectors, labels, pool, rules), labels, pool, rules
        )
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
        # As deep as the first search goes (see choose_deepening), within reason.
        share = min(rules.n_each, -(-rules.room // len(self.queries)))
        depth = min(8 * share, DEEPEST)
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
        cap = settings.max_per_parent
        seed = settings.seed * 1_000_003 + round_number(self.before.name)
        if settings.strategy == "random":
            return choose_random(n, pool, seed, cap)
        rows = self.manifest[self.manifest["split"] == "train"]
        if settings.strategy == "balanced":
            counts = np.array([(rows["label"] == label).sum() for label in classes])
            return choose_balanced(n, pool, counts, seed, cap)
        offered = free_candidates(pool, settings.pool, seed)
        if settings.strategy == "hardest":
            return choose_hardest(n, offered, self._judge(offered), pool, cap)
        raw = rows[rows["origin"] == "raw"]
        embeddings = load_embeddings(self.layout.embeddings)
        there = _embed(self.layout, self.params, self.before, raw, self.contents)
        added = embeddings[np.flatnonzero(pool.used)].astype(np.float32)
        vectors = embeddings[offered].astype(np.float32)
        return choose_diverse(n, offered, vectors, np.concatenate([there, added]), pool, cap)

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
    settings = params.embedding.model_copy(update={"precision": "float32"})
    return load_embedder(settings, layout.root, pick_device(params.train))


def _embed(
    layout: Layout, params: Params, of: RoundLayout, rows: pd.DataFrame, contents: Contents
) -> npt.NDArray[np.float32]:
    """Embed images of a snapshot."""
    embedder = _embedder(layout, params)
    images = TapStore(_files(of, rows, contents), embedder.image_size)
    size = params.embedding.batch_size
    starts = range(0, len(images), size)
    return np.concatenate(
        [embedder.embed(images.batch(slice(start, start + size))) for start in starts]
    )


def draw_additions(
    layout: Layout,
    params: Params,
    recipes: pd.DataFrame,
    additions: list[Addition],
    manifest: pd.DataFrame,
    contents: Contents,
) -> list[tuple[str, Addition]]:
    """Draw the chosen candidates at their native size, each parent decoded once.

    Returns
    -------
    list
        Image id and addition, in the order given; one that equals an image of the snapshot
        (``MANIFEST``), or an earlier one, is left out. The files' bytes are put among `contents`.

    Raises
    ------
    ParamsError
        If a recipe was drawn under another policy.
    ImageError
        If a parent is no readable image.
    """
    picked = recipes.iloc[[addition.candidate for addition in additions]].reset_index(drop=True)
    of_parent = picked.groupby("parent_id").groups
    rows = manifest.set_index("image_id", drop=False).loc[list(of_parent)]
    drawn: dict[int, bytes] = {}
    images = _files(layout.round("r00"), rows, contents)
    for (parent_id, places), image in zip(of_parent.items(), images, strict=True):
        parents = Parents(rows.loc[[parent_id]], [image], params.candidates)
        for place in places:
            drawn[place] = encode_png(render(parents, picked.loc[[place]]))
    present = set(manifest["image_id"])
    chosen: list[tuple[str, Addition]] = []
    for place, addition in enumerate(additions):
        name = image_id(drawn[place])
        if name not in present:
            present.add(name)
            contents[name] = drawn[place]
            chosen.append((name, addition))
    return chosen


def _files(of: RoundLayout, rows: pd.DataFrame, contents: Contents) -> ImageFiles:
    """Give images of a snapshot; what is read is put among `contents`."""
    files = [
        contents.get(image) or of.dataset / path
        for image, path in zip(rows["image_id"], rows["path"], strict=True)
    ]
    return ImageFiles(files, seen=contents.keep)
