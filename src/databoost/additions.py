"""Additions as tables: candidates become a pool, choices become rows, a snapshot grows.

The pure counterpart, on tables, of :mod:`databoost.boosting` on arrays.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from databoost.boosting import Addition, Pool, Stop
from databoost.candidates.recipes import recipe_names
from databoost.data.datasets import padded_size, room_left, sort_manifest
from databoost.data.halves import in_mining_half
from databoost.data.tables import ADDITIONS, MANIFEST
from databoost.params import Params
from databoost.sections import BoostParams

_DECIMALS = 6
_NO_LIMIT = 2**62


def find_queries(
    sheet: pd.DataFrame, settings: BoostParams, suspects: Collection[str]
) -> pd.DataFrame:
    """Take the queries from an image sheet: validation images that ask for additions.

    Parameters
    ----------
    sheet
        ``SHEET`` of the round before; other splits than ``val`` are not looked at.
    settings
        ``max_margin`` says which images ask, ``mine_on`` and ``suspects`` which of those may.
    suspects
        Ids of images whose label is in doubt.

    Returns
    -------
    pandas.DataFrame
        Rows of the sheet, ordered by id.
    """
    val = sheet[sheet["split"] == "val"]
    asks = val["is_misclassified"] | (val["margin"] < settings.max_margin)
    if settings.mine_on == "half":
        asks &= in_mining_half(val["image_id"])
    if settings.suspects == "skip":
        asks &= ~val["image_id"].isin(list(suspects))
    return val[asks].sort_values("image_id").reset_index(drop=True)


def needs_queries(settings: BoostParams) -> bool:
    """Tell whether a round adds nothing unless an image asks.

    The neighbours of failures and a draw by the failures' classes need failures; any other strategy
    does where it is to add as many as the neighbours would have been (``boost.additions: 0``).
    """
    if settings.strategy == "none":  # asked or not, it adds nothing
        return False
    return settings.strategy in ("nearest", "failing") or settings.additions == 0


def needs_vectors(settings: BoostParams) -> bool:
    """Tell whether candidates must have been embedded for a round to choose among them.

    A draw needs their recipes alone, and so does a look at what the model says of them; unless
    those unlike their parents are dropped first, or it is to add as many as the neighbours would
    have been (``boost.additions: 0``).
    """
    if settings.strategy == "none":
        return False
    is_near = settings.strategy in ("nearest", "diverse")
    return is_near or settings.drop_unlike > 0 or settings.additions == 0


def wanted_additions(settings: BoostParams, room: int | None) -> int:
    """Count the additions that a round may bring at most; `room` None: no limit of size.

    Returns
    -------
    int
        The least of ``boost.additions``, ``boost.max_additions`` and the room; a number beyond all
        bounds if none of them is set.
    """
    caps = [settings.additions or _NO_LIMIT, settings.max_additions or _NO_LIMIT]
    return min(*caps, _NO_LIMIT if room is None else room)


def parent_names(recipes: pd.DataFrame) -> list[str]:
    """List the parents of candidates (``RECIPES``) by id, each once."""
    return sorted(set(recipes["parent_id"]))


def candidate_pool(
    recipes: pd.DataFrame,
    manifest: pd.DataFrame,
    classes: list[str],
    copies: Collection[int] = (),
) -> Pool:
    """Code the candidates by label and parent, and mark those that the snapshot has already.

    Parameters
    ----------
    recipes
        ``RECIPES`` rows of all candidates, in the order of their ids.
    manifest
        ``MANIFEST`` of the snapshot that is to grow.
    classes
        Labels; their positions are the codes. Those of parents are their places among
        :func:`parent_names`.
    copies
        Ids of candidates that were drawn and equal an image that is there.
    """
    is_copy = np.zeros(len(recipes), dtype=np.bool_)
    is_copy[list(copies)] = True
    parents = pd.Index(parent_names(recipes))
    added = manifest[manifest["origin"] != "raw"]
    counts: Counter[int] = Counter(parents.get_indexer(pd.Index(added["parent_id"])).tolist())
    return Pool(
        pd.Index(classes).get_indexer(pd.Index(recipes["label"])).astype(np.int64),
        parents.get_indexer(pd.Index(recipes["parent_id"])).astype(np.int64),
        pd.Index(recipe_names(recipes)).isin(added["recipe"]),
        counts,
        is_copy,
    )


def addition_rows(
    chosen: list[tuple[str, Addition]], recipes: pd.DataFrame, queries: pd.DataFrame, strategy: str
) -> pd.DataFrame:
    """Write the log of a round's additions, one row each, in the order they were handed out.

    Parameters
    ----------
    chosen
        Image id of the drawn candidate, and why it was chosen.
    queries
        The failures, in the order that ``Addition.query`` counts.

    Returns
    -------
    pandas.DataFrame
        ``ADDITIONS``.
    """
    asked = [addition.query for _, addition in chosen]

    def of_query(column: str) -> list[str]:
        return [str(queries.at[query, column]) if query >= 0 else "" for query in asked]

    picked = recipes.iloc[[addition.candidate for _, addition in chosen]]
    columns: dict[str, Any] = {
        "image_id": [name for name, _ in chosen],
        "candidate_id": picked["candidate_id"].to_numpy(),
        "label": picked["label"].to_numpy(),
        "parent_id": picked["parent_id"].to_numpy(),
        "recipe": recipe_names(picked),
        # Beside the neighbours of failures, `nearest` may add some at random.
        "strategy": [
            "random" if strategy == "nearest" and query < 0 else strategy for query in asked
        ],
        "query_id": of_query("image_id"),
        "query_label": of_query("label"),
        "query_predicted_label": of_query("predicted_label"),
        "similarity": np.array([addition.similarity for _, addition in chosen]).round(_DECIMALS),
        "rank": [addition.rank for _, addition in chosen],
    }
    return ADDITIONS.frame(columns)


def grown_manifest(manifest: pd.DataFrame, added: pd.DataFrame, name: str) -> pd.DataFrame:
    """Append a round's additions (``ADDITIONS``) to the manifest as training images."""
    if added.empty:
        return sort_manifest(manifest)
    new = MANIFEST.frame(
        {
            "image_id": added["image_id"].to_numpy(),
            "path": ("train/" + added["label"] + "/" + added["image_id"] + ".png").to_numpy(),
            "split": ["train"] * len(added),
            "label": added["label"].to_numpy(),
            "origin": added["strategy"].to_numpy(),
            "parent_id": added["parent_id"].to_numpy(),
            "recipe": added["recipe"].to_numpy(),
            "round_added": [name] * len(added),
            "query_id": added["query_id"].to_numpy(),
            "similarity": added["similarity"].to_numpy(),
        }
    )
    return sort_manifest(pd.concat([manifest, new], ignore_index=True))


def snapshot_room(manifest: pd.DataFrame, params: Params) -> int | None:
    """Count the training images that the size limit still admits; None if there is no limit."""
    return room_left(*_counts(manifest), params.train.batch_size, params.boost.size_limit)


def boost_summary(
    name: str,
    params: Params,
    grown: pd.DataFrame,
    n_queries: int,
    added: pd.DataFrame,
    recall: float | None,
    stop: Stop | None,
) -> dict[str, Any]:
    """Sum a boost up for ``boost.json``.

    Parameters
    ----------
    grown
        ``MANIFEST`` with the additions.
    recall
        Share of the true neighbours that the search found; None if it did not search.
    """
    n_train, n_val = _counts(grown)
    similarity = added["similarity"].mean()
    return {
        "round": name,
        "previous": params.boosts[name].previous,
        "strategy": params.boost.strategy,
        "n_queries": n_queries,
        "n_additions": len(added),
        "n_train": n_train,
        "n_val": n_val,
        "padded": padded_size(n_train, n_val, params.train.batch_size),
        "limit": params.boost.size_limit,
        "mean_similarity": None if np.isnan(similarity) else round(float(similarity), _DECIMALS),
        "recall": None if recall is None else round(recall, _DECIMALS),
        "search": params.search.method,
        "stop": stop,
    }


def _counts(manifest: pd.DataFrame) -> tuple[int, int]:
    n_train = int((manifest["split"] == "train").sum())
    return n_train, int((manifest["split"] == "val").sum())
