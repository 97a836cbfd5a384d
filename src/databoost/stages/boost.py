"""``boost``: the failures of a round and the candidates -> the next snapshot."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.additions import (
    addition_rows,
    boost_summary,
    candidate_pool,
    grown_manifest,
    misclassified,
    snapshot_room,
)
from databoost.boosting import Addition, Rules, choose_deepening, choose_random, stop_reason
from databoost.candidates.augmentation import Parents, render
from databoost.candidates.embedding import load_embedder
from databoost.candidates.search import Neighbours, find_neighbours, load_embeddings, recall
from databoost.data.datasets import read_classes, read_manifest, write_dataset
from databoost.data.files import write_json
from databoost.data.images import ImageFiles, encode_png, image_id, read_image
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_recipes, read_table, write_table
from databoost.data.tables import ADDITIONS, MANIFEST, SHEET
from databoost.layout import Layout, RoundLayout
from databoost.model.evaluation import pick_device
from databoost.params import Params, round_number

_NO_LIMIT = 2**62


def boost(layout: Layout, params: Params, name: str) -> None:
    """Run the stage for the round `name`.

    Raises
    ------
    ParamsError
        If the candidates were drawn under another policy than params.yaml holds now.
    """
    here, before = layout.round(name), layout.round(params.boosts[name].previous)
    manifest = read_manifest(before.manifest, before.dataset)
    queries = misclassified(read_table(before.sheet, SHEET))
    recipes = read_recipes(layout.recipes)
    room = snapshot_room(manifest, params)
    additions, measured = _mine(layout, params, before, queries, recipes, manifest, room)
    chosen, contents = _draw(layout, params, recipes, additions, manifest)
    added = addition_rows(chosen, recipes, queries, params.boost.strategy)
    grown = grown_manifest(manifest, added, name)
    paths = dict(zip(manifest["image_id"], manifest["path"], strict=True))

    def content(image: str) -> bytes:
        return contents.get(image) or (before.dataset / paths[image]).read_bytes()

    write_dataset(grown, here.dataset, content)
    write_table(here.manifest, grown, MANIFEST)
    write_table(here.additions, added, ADDITIONS)
    stop = stop_reason(len(queries), len(added), room)
    write_json(here.boost, boost_summary(name, params, grown, len(queries), added, measured, stop))
    print(
        f"{name}: {len(queries)} failures in {before.name}, {len(added)} additions "
        f"({params.boost.strategy}){f'; stop: {stop}' if stop else ''}"
    )


def _mine(
    layout: Layout,
    params: Params,
    before: RoundLayout,
    queries: pd.DataFrame,
    recipes: pd.DataFrame,
    manifest: pd.DataFrame,
    room: int | None,
) -> tuple[list[Addition], float | None]:
    """Choose the additions; give them with the measured recall of the search."""
    if queries.empty or room == 0:
        return [], None
    settings = params.boost
    classes = read_classes(layout.classes)
    pool = candidate_pool(recipes, manifest, classes)
    vectors = _embed_queries(layout, params, before, queries)
    embeddings = load_embeddings(layout.embeddings)

    def search(k: int) -> Neighbours:
        return find_neighbours(vectors, k, embeddings, layout.index, params.search)

    additions = choose_deepening(
        search,
        np.array([classes.index(label) for label in queries["label"]], dtype=np.int64),
        pool,
        Rules(
            settings.neighbors,
            min(settings.max_additions or _NO_LIMIT, _NO_LIMIT if room is None else room),
            settings.labels == "same",
            settings.max_per_parent,
        ),
    )
    if settings.strategy == "random":
        # The control: as many as the neighbours would have been.
        seed = settings.seed * 1_000_003 + round_number(before.name)
        return choose_random(len(additions), pool, seed, settings.max_per_parent), None
    exact = params.search.model_copy(update={"method": "exact"})
    truth = find_neighbours(vectors, settings.neighbors, embeddings, layout.index, exact)
    return additions, recall(search(settings.neighbors), truth)


def _embed_queries(
    layout: Layout, params: Params, before: RoundLayout, queries: pd.DataFrame
) -> npt.NDArray[np.float32]:
    device = pick_device(params.train)
    embedder = load_embedder(params.embedding, layout.root, device)
    files = ImageFiles([before.dataset / path for path in queries["path"]])
    images = TapStore(files, embedder.image_size)
    size = params.embedding.batch_size
    starts = range(0, len(images), size)
    return np.concatenate(
        [embedder.embed(images.batch(slice(start, start + size))) for start in starts]
    )


def _draw(
    layout: Layout,
    params: Params,
    recipes: pd.DataFrame,
    additions: list[Addition],
    manifest: pd.DataFrame,
) -> tuple[list[tuple[str, Addition]], dict[str, bytes]]:
    """Draw the chosen candidates; one that equals an image of the snapshot is left out."""
    r00 = layout.round("r00")
    rows = manifest.set_index("image_id", drop=False)
    present = set(manifest["image_id"])
    chosen: list[tuple[str, Addition]] = []
    contents: dict[str, bytes] = {}
    for addition in additions:
        recipe = recipes.iloc[[addition.candidate]]
        parent = rows.loc[[recipe["parent_id"].iat[0]]]
        image = read_image(r00.dataset / str(parent["path"].iat[0]))
        content = encode_png(render(Parents(parent, [image], params.candidates), recipe))
        name = image_id(content)
        if name not in present:
            present.add(name)
            contents[name] = content
            chosen.append((name, addition))
    return chosen, contents
