"""What a round's additions are chosen from, on 8 x 8 pixels and an embedder of two numbers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from handmade_rounds import declared
from test_additions import manifest_rows, sheet
from test_drawing import STILL

from databoost import boosting, nearest, vectors
from databoost.boosting import stop_reason
from databoost.candidates.embedder import Embedder, Vectors
from databoost.candidates.embedding import embedder_identity
from databoost.candidates.recipes import make_recipes, recipe_names
from databoost.candidates.search import Neighbours, build_index, find_neighbours
from databoost.data.files import read_json, write_bytes, write_json
from databoost.data.images import encode_png, image_id
from databoost.data.tablefiles import write_table
from databoost.data.tables import CLASSES
from databoost.drawing import Contents, draw_candidates
from databoost.errors import DatasetError
from databoost.layout import Layout
from databoost.mining import Mine

N = 40


class Mean(Embedder):
    """The first pixel and the mean, both and 1."""

    image_size, dimension = 8, 2

    def features(self, images: torch.Tensor) -> Vectors:
        features = torch.stack([images[:, 0, 0, 0] + 1, images.double().mean(dim=(1, 2, 3)) + 1], 1)
        return features.float().numpy()


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mine]:
    """Make r00 with four training images and two failures, and 40 candidates."""
    monkeypatch.setattr(vectors, "load_exact_embedder", lambda settings, root, device: Mean())
    layout, random = Layout(tmp_path), np.random.default_rng(0)
    rows = []
    for number, split in enumerate(("train", "train", "train", "train", "val", "val")):
        content = encode_png(random.integers(0, 256, (8, 8, 1), np.uint8))
        rows.append((image_id(content), split, "iv"[number % 2]))
        path = f"{split}/{'iv'[number % 2]}/{rows[-1][0]}.png"
        write_bytes(layout.round("r00").dataset / path, content)
    manifest = manifest_rows(*rows)
    write_table(layout.classes, CLASSES.frame({"label": ["i", "v"]}), CLASSES)

    def make(policy: dict[str, Any] = STILL, **boost: Any) -> Mine:
        params = declared(candidates=policy, boost={"size_limit": 0, "max_per_parent": 0} | boost)
        train = manifest[manifest["split"] == "train"]
        recipes = make_recipes(0, N, train, params.candidates, ["i", "v"])
        weights = layout.root / params.embedding.weights
        write_bytes(weights, b"weights")
        identity = embedder_identity(params.embedding, Mean(), layout.root)
        write_json(layout.embedder, {"precision": "float32", **identity})
        stored = random.normal(size=(N, 2))
        np.save(layout.embeddings, (stored / np.linalg.norm(stored, axis=1)[:, None]).astype("f2"))
        queries = sheet(*((name, "val", -0.5) for name, split, _ in rows if split == "val"))
        queries = queries.assign(label=["i", "v"], path=manifest["path"].tail(2).to_numpy())
        before = layout.round("r00")
        return Mine(layout, params, before, manifest, queries, recipes, Contents(layout.state))

    return make


def drawn(mine: Mine, recipes: pd.DataFrame) -> list[bytes]:
    contents = Contents(mine.layout.state)
    files = dict(draw_candidates(mine.before, mine.params, recipes, mine.manifest, contents))
    return [files[place] for place in range(len(recipes))]


def distinct(mine: Mine) -> list[int]:
    """Candidates, in the order of their ids, that equal no image and no candidate before them."""
    names = [image_id(content) for content in drawn(mine, mine.recipes)]
    return [
        candidate
        for candidate, name in enumerate(names)
        if name not in set(mine.manifest["image_id"]) and name not in names[:candidate]
    ]


def added(chosen: list[tuple[str, Any]]) -> list[int]:
    return [addition.candidate for _, addition in chosen]


def places(chosen: list[tuple[str, Any]]) -> list[tuple[str, int, int]]:
    """Names, candidates and queries: a similarity that nobody asked for differs from itself."""
    return [(name, addition.candidate, addition.query) for name, addition in chosen]


@pytest.mark.parametrize("strategy", ["nearest", "random", "balanced", "failing", "diverse"])
def test_what_would_be_a_copy_gives_way_to_another(
    mine: Callable[..., Mine], strategy: str
) -> None:
    here = mine(strategy=strategy, additions=8)
    others = distinct(here)
    assert 8 < len(others) < N - 8
    chosen, _ = here.fill(None)
    assert len(chosen) == 8
    names = [name for name, _ in chosen]
    assert len(set(names)) == 8
    assert set(names).isdisjoint(here.manifest["image_id"])
    assert all(image_id(here.contents[name]) == name for name in names)
    again, _ = here.fill(None)
    assert places(again) == places(chosen)
    every, _ = mine(strategy=strategy, additions=N).fill(None)
    assert len(every) == len(others)


def test_without_room_in_memory_the_same_is_drawn(mine: Callable[..., Mine]) -> None:
    roomy, tight = (mine(strategy="random", additions=6) for _ in range(2))
    tight.contents.room = 0
    found = [
        [(name, addition.candidate, here.contents[name]) for name, addition in here.fill(None)[0]]
        for here in (roomy, tight)
    ]
    assert found[0] == found[1]
    assert len(list(tight.layout.state.iterdir())) >= 6


def test_a_draw_goes_on_past_copies(mine: Callable[..., Mine]) -> None:
    here = mine(strategy="random", additions=6)
    order = np.random.default_rng(here._seed).permutation(N).tolist()
    files = drawn(here, here.recipes.iloc[order])
    expected: dict[str, int] = {}
    for candidate, content in zip(order, files, strict=True):
        if image_id(content) not in set(here.manifest["image_id"]):
            expected.setdefault(image_id(content), candidate)
    assert added(here.fill(None)[0]) == list(expected.values())[:6]


def test_copies_alone_are_nothing_new(mine: Callable[..., Mine]) -> None:
    here = mine(STILL | {"erasing_probability": 0.0}, neighbors=3)
    assert here.fill(None) == ([], 1.0)
    assert stop_reason(2, 0, None, needs_queries=True) == "nothing_new"


def test_nothing_is_looked_for_where_nothing_may_be_added(mine: Callable[..., Mine]) -> None:
    assert mine().fill(0) == ([], None)
    assert mine(strategy="none").fill(None) == ([], None)
    idle = mine()
    assert replace(idle, queries=idle.queries[:0]).fill(None) == ([], None)
    drawn = mine(strategy="random", additions=3)
    assert len(replace(drawn, queries=drawn.queries[:0]).fill(None)[0]) == 3


def test_a_share_of_chance_is_rounded_to_whole_additions(mine: Callable[..., Mine]) -> None:
    here = mine(STILL | {"noise": [1, 9]}, additions=10, random_share=0.3)
    chosen, recall = here.fill(None)
    assert [addition.query >= 0 for _, addition in chosen] == [True] * 7 + [False] * 3
    assert recall == 1.0


def test_groups_hand_what_they_are_given_to_their_failures(mine: Callable[..., Mine]) -> None:
    noisy = STILL | {"noise": [1, 9]}
    grouped = [addition for _, addition in mine(noisy, clusters=1, neighbors=3).fill(None)[0]]
    assert sorted((addition.query, addition.rank) for addition in grouped) == [
        (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3),
    ]  # fmt: skip
    similarities = [addition.similarity for addition in grouped]
    assert similarities == sorted(similarities, reverse=True)  # to the middle


def grown(mine: Mine, candidates: list[int]) -> Mine:
    """The same with these candidates added in a round before."""
    recipes = mine.recipes.iloc[candidates]
    rows = manifest_rows(*((f"added {name}", "train", "i") for name in candidates))
    rows = rows.assign(
        origin="boost", parent_id=recipes["parent_id"].array, recipe=recipe_names(recipes)
    )
    return replace(mine, manifest=pd.concat([mine.manifest, rows], ignore_index=True))


@pytest.mark.parametrize(
    ("boost", "n_added"),
    [({}, 34), ({"labels": "same"}, 16), ({"max_per_parent": 10}, 30)],
)
def test_what_a_failure_may_not_have_hides_nothing_behind_it(
    mine: Callable[..., Mine], monkeypatch: pytest.MonkeyPatch, boost: dict[str, Any], n_added: int
) -> None:
    # Candidate i is of parent i modulo 4: a round before took all of three of them, or nearly.
    before = sorted(range(N), key=lambda candidate: candidate % 4)[:n_added]
    here = grown(mine(STILL | {"noise": [1, 9]}, neighbors=2, **boost), before)
    every = here.fill(None)
    assert len(every[0]) == 4
    monkeypatch.setattr(boosting, "DEEPEST", 4)
    assert here.fill(None) == every


def test_a_draw_to_choose_from_holds_what_may_be_added_and_enough_of_it(
    mine: Callable[..., Mine],
) -> None:
    policy = STILL | {"noise": [1, 9]}
    assert len(mine(policy, strategy="diverse", additions=8, pool=2).fill(None)[0]) == 8
    capped = mine(policy, strategy="diverse", additions=2, pool=2, max_per_parent=2)
    # Candidate i is of parent i modulo 4: three of them have all that they may.
    chosen = added(grown(capped, [0, 4, 1, 5, 2, 6]).fill(None)[0])
    assert [candidate % 4 for candidate in chosen] == [3, 3]


def test_recall_is_measured_by_some_of_the_queries(
    mine: Callable[..., Mine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "_MEASURED", 1)
    here = mine(STILL | {"noise": [1, 9]}, neighbors=3)
    search = here.params.search.model_copy(update={"method": "annoy"})
    here = replace(here, params=here.params.model_copy(update={"search": search}))
    build_index(np.load(here.layout.embeddings), here.layout.index, search)
    asked: list[tuple[str, int]] = []

    def note(queries: Vectors, k: int, *rest: Any) -> Neighbours:
        asked.append((rest[2].method, len(queries)))
        return find_neighbours(queries, k, *rest)

    monkeypatch.setattr(nearest, "find_neighbours", note)
    chosen, recall = here.fill(None)
    assert (len(chosen), recall) == (6, 1.0)
    assert asked == [("annoy", 2), ("annoy", 1), ("exact", 1)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])  # whose neighbours are settled
def test_images_are_read_from_the_snapshot_that_grows(
    mine: Callable[..., Mine], precision: str
) -> None:
    here = mine(neighbors=2)
    write_json(here.layout.embedder, read_json(here.layout.embedder) | {"precision": precision})
    expected = here.fill(None)
    assert len(expected[0]) == 4
    later, contents = here.layout.round("r01"), Contents(here.layout.state)
    later.dataset.parent.mkdir(parents=True)
    here.before.dataset.rename(later.dataset)
    assert replace(here, before=later, contents=contents).fill(None) == expected


def test_a_parent_that_is_no_training_image_any_more_is_refused(
    mine: Callable[..., Mine],
) -> None:
    here = mine(strategy="random", additions=3)
    gone = here.manifest["image_id"].iat[0]
    without = here.manifest[1:].reset_index(drop=True)
    message = rf"parquet draws candidates from 1 image\(s\), {gone} first, .*`databoost candidates`"
    with pytest.raises(DatasetError, match=message):
        replace(here, manifest=without).fill(None)
    moved = here.manifest.assign(split=["val", *here.manifest["split"][1:]])
    with pytest.raises(DatasetError, match=message):
        replace(here, manifest=moved).fill(None)


@pytest.mark.parametrize("boost", [{}, {"drop_unlike": 0.5}, {"strategy": "diverse"}])
def test_candidates_of_another_embedder_are_refused(
    mine: Callable[..., Mine], boost: dict[str, Any]
) -> None:
    here = mine(**boost)
    write_bytes(here.layout.root / here.params.embedding.weights, b"trained anew")
    message = r"embeddings.npy is by another embedder .*\(weights: \w{64}, now \w{64}\): run `data"
    with pytest.raises(DatasetError, match=message):
        here.fill(None)
    here = mine(**boost)
    np.save(here.layout.embeddings, np.ones((N, 3), np.float16))
    with pytest.raises(DatasetError, match=r"\(dimension: 3, now 2\): run `databoost candidates`"):
        here.fill(None)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("pixels", "unit", r"\(pixels: bytes, now unit\)"),
        (
            "architecture",
            "resnet18",
            r"\(architecture: onnx, now resnet18; pixels: bytes, now None\)",
        ),
    ],
)
def test_candidates_of_other_settings_of_the_embedder_are_refused(
    mine: Callable[..., Mine], setting: str, value: str, message: str
) -> None:
    here = mine(additions=2)
    embedding = here.params.embedding.model_copy(update={"architecture": "onnx", "pixels": "bytes"})
    here = replace(here, params=here.params.model_copy(update={"embedding": embedding}))
    identity = embedder_identity(embedding, Mean(), here.layout.root)
    write_json(here.layout.embedder, {"precision": "float32", **identity})
    assert len(here.fill(None)[0]) == 2
    other = here.params.model_copy(
        update={"embedding": embedding.model_copy(update={setting: value})}
    )
    with pytest.raises(DatasetError, match=message):
        replace(here, params=other).fill(None)


def test_candidates_at_another_input_size_are_refused(
    mine: Callable[..., Mine], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = mine()
    monkeypatch.setattr(Mean, "image_size", 16)
    with pytest.raises(DatasetError, match=r"\(image_size: 8, now 16\)"):
        here.fill(None)
