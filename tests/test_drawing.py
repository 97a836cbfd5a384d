"""Additions that are drawn: each candidate once, and none that equals an image that is there."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handmade_rounds import declared
from test_additions import manifest_rows

from databoost.boosting import Addition
from databoost.candidates.recipes import make_recipes
from databoost.data.images import decode, encode_png, image_id
from databoost.drawing import Contents, draw_additions, draw_candidates, files_of
from databoost.errors import ParamsError
from databoost.layout import Layout

#: Nothing moves: a candidate is its parent, or its parent with a square erased.
STILL = {
    **{key: [0, 0] for key in ("rotation", "translation", "shear", "perspective", "noise")},
    **{"thickness": [0, 0], "scale": [1, 1], "erasing": [0.5, 0.5], "erasing_probability": 0.5},
}


class Drawer:
    """Draws what each candidate's letter says, and notes what it was asked for."""

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self.asked: list[list[int]] = []

    def __call__(self, candidates: list[int]) -> list[tuple[int, bytes]]:
        self.asked.append(candidates)
        return [(candidate, self.letters[candidate].encode()) for candidate in candidates[::-1]]


def in_order(n: int, room: int, copies: set[int]) -> list[Addition]:
    """Choose the first candidates of n that are no copies."""
    free = [candidate for candidate in range(n) if candidate not in copies]
    return [Addition(candidate, -1, float("nan"), 0) for candidate in free[:room]]


def drawn(letters: str, room: int, present: str = "") -> tuple[list[int], Drawer, Contents]:
    drawer, contents = Drawer(letters), Contents(Path("none"))
    ids = [image_id(letter.encode()) for letter in present]
    chosen = draw_additions(
        lambda copies: in_order(len(letters), room, copies), drawer, ids, contents
    )
    assert [contents[name] for name, _ in chosen] == [
        letters[addition.candidate].encode() for _, addition in chosen
    ]
    assert all(name == image_id(contents[name]) for name, _ in chosen)
    return [addition.candidate for _, addition in chosen], drawer, contents


def test_without_copies_all_that_is_chosen_is_drawn_at_once() -> None:
    chosen, drawer, contents = drawn("abcd", 3)
    assert chosen == [0, 1, 2]
    assert drawer.asked == [[0, 1, 2]]
    assert sorted(contents.values()) == [b"a", b"b", b"c"]


def test_copies_give_way_to_others_and_nothing_is_drawn_twice() -> None:
    chosen, drawer, _ = drawn("axbbyc", 3, present="xy")
    assert chosen == [0, 2, 5]
    assert drawer.asked == [[0, 1, 2], [3], [4], [5]]


def test_copies_alone_add_nothing() -> None:
    assert drawn("xyx", 2, present="xy")[0] == []
    assert drawn("", 2)[0] == []


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def lay_images(layout: Layout, *names: str) -> None:
    for number, name in enumerate(names):
        path = layout.round("r00").dataset / f"train/i/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (9, 8 + number, 1), np.uint8)
        path.write_bytes(encode_png(pixels))


def test_candidates_are_drawn_at_their_parents_size_each_parent_read_once(layout: Layout) -> None:
    lay_images(layout, "a", "b")
    manifest = manifest_rows(("a", "train", "i"), ("b", "train", "i"))
    params = declared(candidates=STILL)
    recipes = make_recipes(0, 12, manifest, params.candidates, ["i"]).iloc[[7, 1, 2, 6, 0]]
    contents = Contents(layout.state)

    def draw(recipes: pd.DataFrame) -> list[bytes]:
        files = dict(draw_candidates(layout.round("r00"), params, recipes, manifest, contents))
        assert sorted(files) == list(range(len(recipes)))
        return [files[place] for place in sorted(files)]

    files = draw(recipes)
    parents = {name: contents[name] for name in "ab"}
    sizes = [decode(content).shape[:2] for content in files]
    assert sizes == [decode(parents[name]).shape[:2] for name in recipes["parent_id"]]
    copies = [
        content == parents[name] for content, name in zip(files, recipes["parent_id"], strict=True)
    ]
    assert copies == [False, True, False, True, False]  # the others have a square erased
    for path in layout.round("r00").dataset.rglob("*.png"):
        path.unlink()
    assert draw(recipes) == files
    assert draw(recipes[:0]) == []


def test_what_is_drawn_beyond_the_room_lies_in_files(tmp_path: Path) -> None:
    contents = Contents(tmp_path / "scratch")
    contents.room = 5
    contents["a"], contents["b"], contents["c"] = b"123", b"456", b"78"
    contents.keep(Path("train/i/d.png"), b"9")
    assert dict(contents) == {"a": b"123", "b": b"456", "c": b"78"}
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["b"]
    del contents["a"], contents["b"]
    assert list((tmp_path / "scratch").iterdir()) == []
    contents.keep(Path("train/i/d.png"), b"9")
    assert dict(contents) == {"c": b"78", "d": b"9"}


def test_candidates_of_another_policy_are_refused(layout: Layout) -> None:
    lay_images(layout, "a")
    manifest = manifest_rows(("a", "train", "i"))
    recipes = make_recipes(0, 1, manifest, declared(candidates=STILL).candidates, ["i"])
    before = layout.round("r00")
    with pytest.raises(ParamsError, match="recipes were drawn under policy"):
        list(draw_candidates(before, declared(), recipes, manifest, Contents(layout.state)))


def test_files_are_read_where_their_bytes_are_not_at_hand(layout: Layout) -> None:
    lay_images(layout, "a", "b")
    manifest = manifest_rows(("b", "train", "i"), ("a", "train", "i"))
    contents = Contents(layout.state)
    contents["b"] = encode_png(np.zeros((2, 2, 1), np.uint8))
    images = files_of(layout.round("r00"), manifest, contents)
    assert [image.shape for image in images] == [(2, 2, 1), (9, 8, 1)]
    assert list(contents) == ["b", "a"]
