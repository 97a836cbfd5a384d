"""What the keys of ``boost`` do to a round's additions, on a small project that is made once."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from projects import make_project

from databoost import mining
from databoost.candidates.embedding import load_embedder
from databoost.candidates.search import load_embeddings
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_recipes, read_table
from databoost.data.tables import ADDITIONS, MANIFEST, SHEET
from databoost.layout import Layout
from databoost.model.processor import pick_device
from databoost.params import parse_params, read_params
from databoost.stages.boost import boost

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A project up to r00's evaluation and its candidates."""
    project = make_project(tmp_path_factory.mktemp("boosts") / "project")
    project.run_stages("ingest", "prepare", "train r00", "evaluate r00", "candidates")
    return Layout(project.folder)


def boosted(layout: Layout, **changes: object) -> pd.DataFrame:
    """Make r01 with other values in section ``boost``; gives its additions."""
    values = read_params(layout.params).model_dump(mode="json")
    values["boost"] |= {"max_per_parent": 0} | changes
    boost(layout, parse_params(values), "r01")
    return read_table(layout.round("r01").additions, ADDITIONS)


def failures(layout: Layout) -> pd.DataFrame:
    sheet = read_table(layout.round("r00").sheet, SHEET)
    return sheet[(sheet["split"] == "val") & sheet["is_misclassified"]]


def test_a_share_of_the_additions_is_left_to_chance(layout: Layout) -> None:
    mixed = boosted(layout, additions=20, random_share=0.5)
    nearest = boosted(layout, additions=10)
    assert mixed["candidate_id"].head(10).tolist() == nearest["candidate_id"].tolist()
    drawn = mixed.tail(10)
    assert (drawn["query_id"] == "").all()
    assert drawn["similarity"].isna().all()
    assert mixed["candidate_id"].is_unique
    again = boosted(layout, additions=20, random_share=0.5)
    pd.testing.assert_frame_equal(mixed, again)
    other = boosted(layout, additions=20, random_share=0.5, seed=1)
    assert other["candidate_id"].tail(10).tolist() != drawn["candidate_id"].tolist()


def test_a_share_of_as_many_as_the_neighbours_are(layout: Layout) -> None:
    n_nearest = len(boosted(layout, neighbors=2))
    mixed = boosted(layout, neighbors=2, random_share=0.25)
    assert n_nearest == 2 * len(failures(layout))
    assert (mixed["query_id"] != "").sum() == n_nearest
    assert (mixed["query_id"] == "").sum() == round(n_nearest / 3)
    assert (mixed["strategy"] == "random").tolist() == (mixed["query_id"] == "").tolist()
    control = boosted(layout, neighbors=2, random_share=0.25, strategy="random")
    assert len(control) == len(mixed)


def test_the_candidates_least_like_their_parents_are_never_added(layout: Layout) -> None:
    recipes = read_recipes(layout.recipes)
    manifest = read_table(layout.round("r00").manifest, MANIFEST)
    params = read_params(layout.params)
    settings = params.embedding.model_copy(update={"precision": "float32"})
    embedder = load_embedder(settings, layout.root, pick_device(params.train))
    files = ImageFiles([layout.round("r00").dataset / path for path in manifest["path"]])
    vectors = dict(
        zip(
            manifest["image_id"],
            embedder.embed(TapStore(files, embedder.image_size).batch(slice(None))),
            strict=True,
        )
    )
    # Cosines, since float16 changes a vector's length by more than what tells two candidates apart.
    stored = load_embeddings(layout.embeddings).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    parents = np.stack([vectors[name] for name in recipes["parent_id"]]).astype(np.float64)
    parents /= np.linalg.norm(parents, axis=1, keepdims=True)
    similarities = np.einsum("nd,nd->n", stored, parents).round(6)
    kept = set(np.argsort(-similarities, kind="stable")[: len(recipes) // 2].tolist())
    every = boosted(layout, additions=200, strategy="random")
    assert not set(every["candidate_id"]) <= kept
    for strategy in ("random", "nearest", "diverse"):
        gated = boosted(layout, additions=200, strategy=strategy, drop_unlike=0.5, pool=300)
        assert len(gated) > 100
        assert set(gated["candidate_id"]) <= kept


def test_groups_of_failures_ask_for_as_much_as_their_failures(layout: Layout) -> None:
    wrong = failures(layout)
    chosen = boosted(layout, neighbors=2, clusters=3)
    shares = Counter(chosen["query_id"])
    assert shares == dict.fromkeys(wrong["image_id"], 2)
    assert chosen["candidate_id"].is_unique
    labels = dict(zip(wrong["image_id"], wrong["label"], strict=True))
    assert chosen["query_label"].tolist() == [labels[name] for name in chosen["query_id"]]
    for name, rows in chosen.groupby("query_id"):
        assert rows["rank"].tolist() == [1, 2], name


def test_the_gate_does_not_count_as_there_what_it_drops(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[int] = []

    def choose(
        n: int, offered: object, vectors: object, present: np.ndarray, pool: object, cap: int
    ) -> list[object]:
        there.append(len(present))
        return []

    monkeypatch.setattr(mining, "choose_diverse", choose)
    boosted(layout, strategy="diverse", additions=5, drop_unlike=0.5)
    manifest = read_table(layout.round("r00").manifest, MANIFEST)
    assert there == [(manifest["split"] == "train").sum()]


def test_a_failure_is_served_from_different_parents(layout: Layout) -> None:
    def repeats(additions: pd.DataFrame) -> int:
        return int(additions.duplicated(["query_id", "parent_id"]).sum())

    assert repeats(boosted(layout, neighbors=5)) > 0
    assert repeats(boosted(layout, neighbors=5, distinct_parents=True)) == 0


def test_failing_takes_the_classes_of_the_failures(layout: Layout) -> None:
    wrong = Counter(failures(layout)["label"])
    chosen = boosted(layout, strategy="failing", additions=sum(wrong.values()))
    assert Counter(chosen["label"]) == wrong
    assert (chosen["query_id"] == "").all()
