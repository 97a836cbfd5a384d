"""``boost``: the failures of a round and the candidates -> the next snapshot."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.boosting import (
    Addition,
    Pool,
    choose_deepening,
    choose_random,
    stop_reason,
)
from databoost.candidates.augmentation import Parents, render
from databoost.candidates.embedding import load_embedder
from databoost.candidates.recipes import recipe_names
from databoost.candidates.search import Embeddings, Neighbours, find_neighbours, recall
from databoost.data.datasets import (
    padded_size,
    read_classes,
    read_manifest,
    room_left,
    sort_manifest,
    write_dataset,
)
from databoost.data.files import write_json
from databoost.data.images import encode_png, image_id, read_image
from databoost.data.resizing import TapStore
from databoost.data.tables import (
    ADDITIONS,
    MANIFEST,
    SHEET,
    read_recipes,
    read_table,
    write_table,
)
from databoost.layout import Layout, RoundLayout
from databoost.model.evaluation import pick_device
from databoost.params import Params, round_number

_NO_LIMIT = 2**62


@dataclass(frozen=True)
class _Mined:
    """What the search for one round found, and how well it searched."""

    additions: list[Addition]
    recall: float | None


def boost(layout: Layout, params: Params, name: str) -> None:
    """Run the stage for the round `name`.

    Raises
    ------
    ParamsError
        If `name` is not declared in ``boosts``.
    """
    before = layout.round(params.boosts[name].previous)
    manifest = read_manifest(before.manifest, before.dataset)
    sheet = read_table(before.sheet, SHEET)
    queries = sheet[(sheet["split"] == "val") & sheet["is_misclassified"]]
    queries = queries.sort_values("image_id").reset_index(drop=True)
    recipes = read_recipes(layout.recipes)
    room = _room(manifest, params)
    mined = _mine(layout, params, before, queries, recipes, manifest, room)
    chosen, contents = _render(layout, params, recipes, mined.additions, manifest)
    added = _rows(chosen, recipes, queries, params.boost.strategy)
    write_snapshot(layout.round(name), before, manifest, added, contents)
    summary = _summary(name, params, manifest, queries, added, mined, room)
    write_json(layout.round(name).boost, summary)
    stop = f"; stop: {summary['stop']}" if summary["stop"] else ""
    print(
        f"{name}: {len(queries)} failures in {before.name}, {len(added)} additions "
        f"({params.boost.strategy}){stop}"
    )


def write_snapshot(
    here: RoundLayout,
    before: RoundLayout,
    manifest: pd.DataFrame,
    added: pd.DataFrame,
    contents: dict[str, bytes],
) -> None:
    """Write the snapshot of the round before with the additions, and the log of additions.

    Parameters
    ----------
    here, before
        The round to write and the round that it is made from.
    manifest
        ``MANIFEST`` of `before`.
    added
        ``ADDITIONS`` rows.
    contents
        PNG file by image id, for each addition.
    """
    new = MANIFEST.frame(
        {
            "image_id": added["image_id"].to_numpy(),
            "path": ("train/" + added["label"] + "/" + added["image_id"] + ".png").to_numpy(),
            "split": ["train"] * len(added),
            "label": added["label"].to_numpy(),
            "origin": added["strategy"].to_numpy(),
            "parent_id": added["parent_id"].to_numpy(),
            "recipe": added["recipe"].to_numpy(),
            "round_added": [here.name] * len(added),
            "query_id": added["query_id"].to_numpy(),
            "similarity": added["similarity"].to_numpy(),
        }
    )
    snapshot = sort_manifest(
        pd.concat([manifest, new], ignore_index=True) if len(new) else manifest
    )
    paths = dict(zip(manifest["image_id"], manifest["path"], strict=True))
    write_dataset(
        snapshot,
        here.dataset,
        lambda image: contents[image] if image in contents
        else (before.dataset / paths[image]).read_bytes(),
    )  # fmt: skip
    write_table(here.manifest, snapshot, MANIFEST)
    write_table(here.additions, added, ADDITIONS)


def _room(manifest: pd.DataFrame, params: Params) -> int | None:
    n_train, n_val = ((manifest["split"] == split).sum() for split in ("train", "val"))
    return room_left(int(n_train), int(n_val), params.train.batch_size, params.boost.size_limit)


def _mine(
    layout: Layout,
    params: Params,
    before: RoundLayout,
    queries: pd.DataFrame,
    recipes: pd.DataFrame,
    manifest: pd.DataFrame,
    room: int | None,
) -> _Mined:
    if queries.empty or room == 0:
        return _Mined([], None)
    rules = params.boost
    classes = read_classes(layout.classes)
    pool = _pool(recipes, manifest, classes)
    vectors = _embed_queries(layout, params, before, queries)
    embeddings: Embeddings = np.load(layout.embeddings, mmap_mode="r")

    def search(k: int) -> Neighbours:
        return find_neighbours(vectors, k, embeddings, layout.index, params.search)

    cap = rules.max_additions or _NO_LIMIT
    additions = choose_deepening(
        search,
        np.array([classes.index(label) for label in queries["label"]], dtype=np.int64),
        pool,
        rules.neighbors,
        min(cap, _NO_LIMIT if room is None else room),
        rules.labels == "same",
        rules.max_per_parent,
    )
    if rules.strategy == "random":
        seed = rules.seed * 1_000_003 + round_number(before.name)
        return _Mined(choose_random(len(additions), pool, seed, rules.max_per_parent), None)
    exact = params.search.model_copy(update={"method": "exact"})
    truth = find_neighbours(vectors, rules.neighbors, embeddings, layout.index, exact)
    return _Mined(additions, recall(search(rules.neighbors), truth))


def _pool(recipes: pd.DataFrame, manifest: pd.DataFrame, classes: list[str]) -> Pool:
    parents = pd.Index(sorted(set(recipes["parent_id"])))
    added = manifest[manifest["origin"] != "raw"]
    counts: Counter[int] = Counter(parents.get_indexer(pd.Index(added["parent_id"])).tolist())
    return Pool(
        pd.Index(classes).get_indexer(pd.Index(recipes["label"])).astype(np.int64),
        parents.get_indexer(pd.Index(recipes["parent_id"])).astype(np.int64),
        np.isin(recipe_names(recipes), added["recipe"].to_numpy()),
        counts,
    )


def _embed_queries(
    layout: Layout, params: Params, before: RoundLayout, queries: pd.DataFrame
) -> npt.NDArray[np.float32]:
    device = pick_device(params.train.accelerator)
    embedder = load_embedder(params.embedding, layout.root, device)
    images = TapStore(
        [read_image(before.dataset / path) for path in queries["path"]], embedder.image_size
    )
    size = params.embedding.batch_size
    return np.concatenate(
        [
            embedder.embed(images.batch(slice(start, start + size)))
            for start in range(0, len(images), size)
        ]
    )


def _render(
    layout: Layout,
    params: Params,
    recipes: pd.DataFrame,
    additions: list[Addition],
    manifest: pd.DataFrame,
) -> tuple[list[tuple[str, Addition]], dict[str, bytes]]:
    """Draw the chosen candidates; one that equals an image of the snapshot is left out."""
    r00 = layout.round("r00")
    rows = manifest.set_index("image_id")
    present = set(manifest["image_id"])
    chosen: list[tuple[str, Addition]] = []
    contents: dict[str, bytes] = {}
    for addition in additions:
        recipe = recipes.iloc[[addition.candidate]]
        parent = rows.loc[recipe["parent_id"]].reset_index()
        image = read_image(r00.dataset / parent["path"].iat[0])
        content = encode_png(render(Parents(parent, [image], params.candidates), recipe))
        name = image_id(content)
        if name not in present:
            present.add(name)
            contents[name] = content
            chosen.append((name, addition))
    return chosen, contents


def _rows(
    chosen: list[tuple[str, Addition]], recipes: pd.DataFrame, queries: pd.DataFrame, strategy: str
) -> pd.DataFrame:
    candidates = [addition.candidate for _, addition in chosen]
    asked = [addition.query for _, addition in chosen]

    def of_query(column: str) -> list[str]:
        return [str(queries.at[query, column]) if query >= 0 else "" for query in asked]

    picked = recipes.iloc[candidates]
    columns: dict[str, Any] = {
        "image_id": [name for name, _ in chosen],
        "candidate_id": picked["candidate_id"].to_numpy(),
        "label": picked["label"].to_numpy(),
        "parent_id": picked["parent_id"].to_numpy(),
        "recipe": recipe_names(picked),
        "strategy": [strategy] * len(chosen),
        "query_id": of_query("image_id"),
        "query_label": of_query("label"),
        "query_predicted_label": of_query("predicted_label"),
        "similarity": np.array([addition.similarity for _, addition in chosen]).round(6),
        "rank": [addition.rank for _, addition in chosen],
    }
    return ADDITIONS.frame(columns)


def _summary(
    name: str,
    params: Params,
    manifest: pd.DataFrame,
    queries: pd.DataFrame,
    added: pd.DataFrame,
    mined: _Mined,
    room: int | None,
) -> dict[str, Any]:
    n_train = int((manifest["split"] == "train").sum()) + len(added)
    n_val = int((manifest["split"] == "val").sum())
    has_similarity = len(added) > 0 and params.boost.strategy != "random"
    return {
        "round": name,
        "previous": params.boosts[name].previous,
        "strategy": params.boost.strategy,
        "n_queries": len(queries),
        "n_additions": len(added),
        "n_train": n_train,
        "n_val": n_val,
        "padded": padded_size(n_train, n_val, params.train.batch_size),
        "limit": params.boost.size_limit,
        "mean_similarity": round(float(added["similarity"].mean()), 6) if has_similarity else None,
        "recall": None if mined.recall is None else round(mined.recall, 6),
        "search": params.search.method,
        "stop": stop_reason(len(queries), len(added), room),
    }
