"""Shards: every candidate in one of them, and vectors that nothing beside it changes."""

import pickle
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from projects import REPOSITORY

from databoost.candidates import shards as module
from databoost.candidates.augmentation import Parents, render_taps
from databoost.candidates.embedder import Embedder, Vectors
from databoost.candidates.recipes import make_recipes
from databoost.candidates.shards import Shard, Shards, embed_shard
from databoost.data.images import ImageFiles, write_png
from databoost.data.resizing import blend_taps
from databoost.errors import DatasetError
from databoost.params import read_params

POLICY = read_params(REPOSITORY / "params.yaml").candidates
N, SIZE = 50, 26


class Sums(Embedder):
    """Two numbers an image, exact whatever the batch; notes the batches."""

    image_size, dimension = 4, 2

    def __init__(self) -> None:
        self.batches: list[int] = []

    def features(self, images: torch.Tensor) -> Vectors:
        self.batches.append(len(images))
        features = torch.stack([images[:, 0, 0, 0] + 1, images.double().mean(dim=(1, 2, 3)) + 1], 1)
        return features.float().numpy()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parents")
    random = np.random.default_rng(0)
    files = {name: folder / f"{name}.png" for name in "dbca"}
    for width, path in enumerate(files.values(), 8):
        channels = 3 if width == 9 else 1
        write_png(path, random.integers(0, 256, (9, width, channels), np.uint8))
    return files


@pytest.fixture(scope="module")
def recipes() -> pd.DataFrame:
    rows = pd.DataFrame({"image_id": list("abcd"), "label": list("yyxx")})
    return make_recipes(0, N, rows, POLICY, ["x", "y"])


@pytest.fixture
def shards(recipes, files, monkeypatch) -> Shards:
    monkeypatch.setattr(module, "SHARD_SIZE", SIZE)
    return Shards(recipes, files)


def test_every_candidate_is_in_one_shard_and_so_is_every_parent(shards, recipes):
    # a has candidates 0, 4, ..., 48: 13 of them, as b has; c and d have 12.
    assert [len(shards.rows(number)) for number in range(len(shards))] == [26, 24]
    order = np.concatenate([shards.rows(number) for number in range(2)])
    assert order.tolist() == [row for first in range(4) for row in range(first, N, 4)]
    pd.testing.assert_frame_equal(shards[1].recipes, recipes.iloc[order[26:]])
    assert [list(shard.files) for shard in shards] == [["a", "b"], ["c", "d"]]
    assert [shard.number for shard in shards[1:]] == [1]
    assert shards[-1].number == 1
    with pytest.raises(IndexError):
        shards[2]


@pytest.mark.parametrize(
    ("counts", "cuts"),
    [
        ([13, 13, 12, 12], [0, 26, 50]),
        ([27, 1, 26, 25], [0, 27, 28, 54, 79]),  # one that has more than a shard
        ([1] * 27, [0, 26, 27]),
        ([3], [0, 3]),
    ],
)
def test_shards_hold_as_many_whole_parents_as_fit(counts, cuts, monkeypatch):
    monkeypatch.setattr(module, "SHARD_SIZE", SIZE)
    assert module._cuts(counts) == cuts


def test_a_shard_becomes_the_vectors_of_its_candidates(shards, recipes, files):
    parents = Parents(
        pd.DataFrame({"image_id": list(files)}), ImageFiles(list(files.values())), POLICY
    )
    expected = Sums().embed(blend_taps(*render_taps(parents, recipes, 4))).astype(np.float16)
    for shard in shards:
        embedder = Sums()
        batches = list(embed_shard(shard, POLICY, embedder, 10))
        assert embedder.batches == [10, 10, len(shard.recipes) - 20]
        vectors = np.concatenate(batches)
        assert vectors.dtype == np.float16
        np.testing.assert_array_equal(vectors, expected[shards.rows(shard.number)])


@pytest.mark.parametrize(
    ("memory", "batches"),
    [(1, [13, 13]), (9 * 11, [13, 13]), (9 * 11 + 1, [24, 2])],  # b, of 9 x 9 x 3, comes second
)
def test_large_parents_are_read_once_and_make_small_batches(shards, monkeypatch, memory, batches):
    read = []

    def spy(files: list[Path], **named: object) -> ImageFiles:
        read.append(files[0].stem)
        return ImageFiles(files)

    monkeypatch.setattr(module, "ImageFiles", spy)
    monkeypatch.setattr(module, "MEMORY", memory)
    embedder = Sums()
    found = list(embed_shard(shards[0], POLICY, embedder, 24))
    assert embedder.batches == batches
    assert read == ["a", "b"]
    whole = np.concatenate(list(embed_shard(shards[0], POLICY, Sums(), 100)))
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_no_batch_is_made_smaller_by_the_parents_of_the_one_before(recipes, files, monkeypatch):
    (shard,) = Shards(recipes, files)
    monkeypatch.setattr(module, "MEMORY", 9 * 11 + 1)  # a is smaller; with b it is enough
    alive: dict[str, weakref.ref] = {}
    held = []

    def spy(files: list[Path], **named: object) -> list[np.ndarray]:
        held.append({name for name, image in alive.items() if image() is not None})
        image = ImageFiles(files)[0]
        alive[files[0].stem] = weakref.ref(image)
        return [image]

    monkeypatch.setattr(module, "ImageFiles", spy)
    embedder = Sums()
    found = list(embed_shard(shard, POLICY, embedder, N))
    assert embedder.batches == [26, 24]
    assert held == [set(), {"a"}, set(), {"c"}]
    monkeypatch.undo()
    (whole,) = embed_shard(shard, POLICY, Sums(), N)
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_a_parent_without_a_file_is_refused(recipes, files):
    some = {name: files[name] for name in "ad"}
    message = r"2 parent\(s\) of the recipes, b first, are not among the 2 images given; run the"
    with pytest.raises(DatasetError, match=message):
        Shards(recipes, some)


def test_a_packed_shard_needs_no_files(shards, files, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(files["a"].read_bytes())
    recipes = shards[0].recipes.iloc[:13]
    shard = Shard(0, recipes, {"a": path})
    there = pickle.loads(pickle.dumps(shard.packed()))
    path.unlink()
    (here,) = embed_shard(Shard(0, recipes, {"a": files["a"]}), POLICY, Sums(), 13)
    (found,) = embed_shard(there, POLICY, Sums(), 13)
    np.testing.assert_array_equal(found, here)
    assert there.packed().files == there.files
