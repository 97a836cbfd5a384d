"""Which validation images ask for additions, how many there may be, and what becomes of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from handmade_rounds import declared

from databoost.additions import (
    addition_rows,
    boost_summary,
    candidate_pool,
    find_queries,
    grown_manifest,
    needs_queries,
    needs_vectors,
    parent_names,
    snapshot_room,
    wanted_additions,
)
from databoost.boosting import Addition
from databoost.candidates.recipes import recipe_names
from databoost.data.halves import in_mining_half
from databoost.data.tables import ADDITIONS, MANIFEST, RECIPES, SHEET
from databoost.sections import BoostParams


def settings(**changes: Any) -> BoostParams:
    values = {
        "strategy": "nearest", "neighbors": 3, "labels": "any", "mine_on": "val",
        "suspects": "ask", "max_margin": 0.0, "pool": 10, "additions": 0, "max_per_parent": 0,
        "max_additions": 0, "size_limit": 0, "seed": 0, "distinct_parents": False, "clusters": 0,
        "random_share": 0.0, "drop_unlike": 0.0,
    }  # fmt: skip
    return BoostParams.model_validate(values | changes)


def sheet(*rows: tuple[str, str, float]) -> Any:
    """Rows of (id, split, margin); below 0 is misclassified."""
    ids, splits, margins = zip(*rows, strict=True)
    values: dict[str, Any] = {column: [0.5] * len(rows) for column in SHEET.columns}
    texts = ("path", "label", "predicted_label", "origin", "round_added")
    values |= {column: ["x"] * len(rows) for column in texts}
    values |= {"image_id": ids, "split": splits, "margin": margins}
    return SHEET.frame(values | {"is_misclassified": [margin < 0 for margin in margins]})


ROWS = sheet(
    ("d", "val", -0.5), ("a", "val", -0.1), ("c", "val", 0.1), ("b", "val", 0.9),
    ("e", "test", -0.9), ("f", "label_book", -0.9), ("g", "train", -0.9),
)  # fmt: skip


def asking(in_doubt: tuple[str, ...] = (), **changes: Any) -> list[str]:
    return find_queries(ROWS, settings(**changes), in_doubt)["image_id"].tolist()


def test_misclassified_validation_images_ask_and_no_others() -> None:
    assert asking() == ["a", "d"]


def test_a_margin_lets_those_ask_that_are_barely_right() -> None:
    assert asking(max_margin=0.2) == ["a", "c", "d"]
    assert asking(max_margin=1.0) == ["a", "b", "c", "d"]


def test_suspects_ask_unless_they_are_skipped() -> None:
    assert asking(("a", "z")) == ["a", "d"]
    assert asking(("a", "z"), suspects="skip") == ["d"]


def test_of_two_halves_one_asks() -> None:
    names = [f"{number:02d}" for number in range(20)]
    wrong = sheet(*((name, "val", -0.5) for name in names))
    mined = [name for name, is_in in zip(names, in_mining_half(names), strict=True) if is_in]
    assert 0 < len(mined) < 20
    asked = find_queries(wrong, settings(mine_on="half"), ())
    assert asked["image_id"].tolist() == mined


@pytest.mark.parametrize("strategy", ["random", "balanced", "hardest", "diverse"])
def test_what_is_chosen_without_failures_needs_some_only_for_its_size(strategy: str) -> None:
    assert needs_queries(settings(strategy=strategy))
    assert not needs_queries(settings(strategy=strategy, additions=5))


@pytest.mark.parametrize("additions", [0, 5])
def test_what_always_needs_failures_and_what_never_does(additions: int) -> None:
    asked = ("nearest", "failing", "none")
    needs = [needs_queries(settings(strategy=name, additions=additions)) for name in asked]
    assert needs == [True, True, False]


@pytest.mark.parametrize(
    ("boost", "expected"),
    [
        ({"strategy": "none"}, False),
        ({"strategy": "nearest", "additions": 5}, True),
        ({"strategy": "diverse", "additions": 5}, True),
        ({"strategy": "random", "additions": 5}, False),
        ({"strategy": "hardest", "additions": 5}, False),
        ({"strategy": "random", "additions": 0}, True),
        ({"strategy": "failing", "additions": 5, "drop_unlike": 0.1}, True),
    ],
)
def test_vectors_are_needed_to_say_what_is_near(boost: dict[str, Any], expected: bool) -> None:
    assert needs_vectors(settings(**boost)) is expected


@pytest.mark.parametrize(
    ("additions", "most", "room", "wanted"),
    [(0, 0, 7, 7), (5, 0, None, 5), (5, 3, 7, 3), (5, 9, 4, 4), (5, 0, 0, 0), (0, 0, None, 2**62)],
)
def test_wanted_additions(additions: int, most: int, room: int | None, wanted: int) -> None:
    assert wanted_additions(settings(additions=additions, max_additions=most), room) == wanted


def manifest_rows(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Raw images as (id, split, label)."""
    ids, splits, labels = zip(*rows, strict=True)
    values: dict[str, Any] = {column: [""] * len(rows) for column in MANIFEST.columns}
    values |= {"image_id": ids, "split": splits, "label": labels}
    values["path"] = [f"{split}/{label}/{name}.png" for name, split, label in rows]
    values |= {"origin": ["raw"] * len(rows), "round_added": ["r00"] * len(rows)}
    return MANIFEST.frame(values | {"similarity": [np.nan] * len(rows)})


RAW = manifest_rows(("p", "train", "v"), ("o", "train", "i"), ("q", "val", "v"))
RECIPE_ROWS = RECIPES.frame(
    {
        "candidate_id": [0, 1, 2, 3],
        "parent_id": ["o", "p", "o", "p"],
        "label": ["i", "v", "v", "v"],  # the third is mirrored
        "seed": [10, 20, 31, 40],
        "policy": ["v1-0"] * 4,
    }
)
QUERIES = sheet(("q", "val", -0.5)).assign(label="v", predicted_label="i")


def logged(strategy: str = "nearest") -> pd.DataFrame:
    asked, drawn = Addition(2, 0, 0.12345678, 1), Addition(1, -1, float("nan"), 0)
    return addition_rows([("c2", asked), ("c1", drawn)], RECIPE_ROWS, QUERIES, strategy)


def test_candidates_become_codes_of_labels_and_parents() -> None:
    pool = candidate_pool(RECIPE_ROWS, RAW, ["v", "i"], copies={3})
    assert parent_names(RECIPE_ROWS) == ["o", "p"]
    assert pool.labels.tolist() == [1, 0, 0, 0]
    assert pool.parents.tolist() == [0, 1, 0, 1]
    assert pool.labels.dtype == pool.parents.dtype == np.int64
    assert pool.used.tolist() == [False] * 4
    assert pool.copies.tolist() == [False, False, False, True]
    assert pool.parent_counts == {}


def test_what_the_snapshot_has_already_counts_as_used() -> None:
    pool = candidate_pool(RECIPE_ROWS, grown_manifest(RAW, logged(), "r01"), ["i", "v"])
    assert pool.used.tolist() == [False, True, True, False]
    assert pool.parent_counts == {0: 1, 1: 1}
    assert not pool.copies.any()


def test_additions_are_logged_with_what_asked_for_them() -> None:
    recipes = recipe_names(RECIPE_ROWS)
    assert list(logged().columns) == list(ADDITIONS.columns)
    assert logged().iloc[0].tolist() == [
        "c2", 2, "v", "o", recipes[2], "nearest", "q", "v", "i", 0.123457, 1,
    ]  # fmt: skip
    drawn = logged().iloc[1].to_dict()
    assert np.isnan(drawn.pop("similarity"))
    assert list(drawn.values()) == ["c1", 1, "v", "p", recipes[1], "random", "", "", "", 0]
    assert logged("diverse")["strategy"].tolist() == ["diverse", "diverse"]
    empty = addition_rows([], RECIPE_ROWS, QUERIES, "nearest")
    assert empty.empty
    assert empty.dtypes.to_dict() == logged().dtypes.to_dict()


def test_a_manifest_grows_by_training_images() -> None:
    grown = grown_manifest(RAW, logged(), "r01")
    assert grown[["image_id", "path", "split", "origin"]].to_numpy().tolist() == [
        ["o", "train/i/o.png", "train", "raw"],
        ["c1", "train/v/c1.png", "train", "random"],
        ["c2", "train/v/c2.png", "train", "nearest"],
        ["p", "train/v/p.png", "train", "raw"],
        ["q", "val/v/q.png", "val", "raw"],
    ]
    row = grown.iloc[2]
    assert row["recipe"] == recipe_names(RECIPE_ROWS)[2]
    assert row[["parent_id", "round_added", "query_id", "similarity"]].tolist() == [
        "o", "r01", "q", 0.123457,
    ]  # fmt: skip
    same = grown_manifest(RAW, ADDITIONS.empty(), "r01")
    assert same["image_id"].tolist() == ["o", "p", "q"]


@pytest.mark.parametrize(("limit", "room"), [(0, None), (32, 22), (16, 6), (8, 0)])
def test_room_is_counted_in_padded_batches(limit: int, room: int | None) -> None:
    params = declared(boost={"size_limit": limit}, train={"batch_size": 8})
    assert snapshot_room(RAW, params) == room


def test_a_boost_is_summed_up() -> None:
    params = declared(boost={"size_limit": 40}, train={"batch_size": 8})
    added = logged()
    grown = grown_manifest(RAW, added, "r01")
    assert boost_summary("r01", params, grown, 7, added, 0.98765432, None) == {
        "round": "r01", "previous": "r00", "strategy": "nearest", "n_queries": 7, "n_additions": 2,
        "n_train": 4, "n_val": 1, "padded": 16, "limit": 40, "mean_similarity": 0.123457,
        "recall": 0.987654, "search": "exact", "stop": None,
    }  # fmt: skip
    empty = boost_summary("r01", params, RAW, 0, ADDITIONS.empty(), None, "no_queries")
    assert (empty["mean_similarity"], empty["recall"], empty["stop"]) == (None, None, "no_queries")
