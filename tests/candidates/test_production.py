"""Embedding all candidates: the right rows, any number of workers, and after a kill the rest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from projects import REPOSITORY

from databoost.candidates.augmentation import Parents, render_taps
from databoost.candidates.embedding import Embedder, Vectors
from databoost.candidates.production import embed_candidates, work_key
from databoost.candidates.recipes import make_recipes
from databoost.data.files import write_text
from databoost.data.resizing import blend_taps
from databoost.params import read_params

POLICY = read_params(REPOSITORY / "params.yaml").candidates
N, BATCH = 700, 8


class MeanAndCorner(Embedder):
    """Two numbers an image, exact whatever the batch; breaks off when told to."""

    image_size, dimension = 4, 2

    def __init__(self, break_after: int = 10**9) -> None:
        self.n_seen, self.break_after = 0, break_after

    def features(self, images: torch.Tensor) -> Vectors:
        self.n_seen += len(images)
        if self.n_seen > self.break_after:
            raise OSError("the power is off")
        assert torch.get_num_threads() == 1
        features = torch.stack([images[:, 0, 0, 0] + 1, images.double().mean(dim=(1, 2, 3)) + 1], 1)
        return features.float().numpy()


@pytest.fixture(scope="module")
def parents() -> Parents:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"image_id": list("dbca"), "label": list("xyxy")})
    return Parents(
        rows, [random.integers(0, 256, (9, n, 1), np.uint8) for n in range(8, 12)], POLICY
    )


@pytest.fixture(scope="module")
def recipes() -> pd.DataFrame:
    rows = pd.DataFrame({"image_id": list("abcd"), "label": list("yyxx")})
    return make_recipes(0, N, rows, POLICY, ["x", "y"])


@pytest.fixture(scope="module")
def expected(parents, recipes) -> np.ndarray:
    torch.set_num_threads(1)
    images = blend_taps(*render_taps(parents, recipes, 4))
    return MeanAndCorner().embed(images).astype(np.float16)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_each_row_is_its_candidate(tmp_path, parents, recipes, expected, n_workers):
    torch.set_num_threads(2)
    found = embed_candidates(
        recipes, parents, MeanAndCorner(), BATCH, n_workers, tmp_path / "state"
    )
    assert (found.dtype, found.shape) == (np.float16, (N, 2))
    np.testing.assert_array_equal(found, expected)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_what_is_done_is_not_done_again(tmp_path, parents, recipes, expected):
    state = tmp_path / "state"
    with pytest.raises(OSError, match="power"):
        embed_candidates(recipes, parents, MeanAndCorner(300), BATCH, 1, state)
    again = MeanAndCorner()
    np.testing.assert_array_equal(
        embed_candidates(recipes, parents, again, BATCH, 2, state), expected
    )
    assert again.n_seen == N - 2 * 16 * BATCH  # notes are made every 16 batches
    finished = MeanAndCorner()
    np.testing.assert_array_equal(
        embed_candidates(recipes, parents, finished, BATCH, 2, state), expected
    )
    assert finished.n_seen == 0


def cut_short(state: Path) -> None:
    (state / "embeddings.npy").write_bytes((state / "embeddings.npy").read_bytes()[:500])


def of_another_shape(state: Path) -> None:
    np.save(state / "embeddings.npy", np.zeros((N, 3), dtype=np.float16))


@pytest.mark.parametrize(
    "damage",
    [
        cut_short,
        of_another_shape,
        lambda state: write_text(state / "done.json", "{"),
        lambda state: write_text(state / "done.json", '{"n_done": -1}'),
        lambda state: write_text(state / "done.json", "[]"),
        lambda state: (state / "done.json").unlink(),
        lambda state: (state / "embeddings.npy").unlink(),
    ],
)
def test_a_damaged_state_is_begun_anew(tmp_path, parents, recipes, expected, damage):
    state = tmp_path / "state"
    embed_candidates(recipes, parents, MeanAndCorner(), BATCH, 1, state)
    damage(state)
    again = MeanAndCorner()
    np.testing.assert_array_equal(
        embed_candidates(recipes, parents, again, BATCH, 1, state), expected
    )
    assert again.n_seen == N


def test_the_key_names_everything_that_the_vectors_depend_on(tmp_path, recipes):
    weights, others = tmp_path / "a.ckpt", tmp_path / "b.ckpt"
    write_text(weights, "weights")
    write_text(others, "other weights")
    key = work_key(recipes, weights, "settings", 8)
    assert key == work_key(recipes.copy(), weights, "settings", 8)
    assert len(key) == 16
    seeds = recipes.assign(seed=recipes["seed"] + 2)
    keys = {
        key,
        work_key(recipes[:-1], weights, "settings", 8),
        work_key(seeds, weights, "settings", 8),
        work_key(recipes, others, "settings", 8),
        work_key(recipes, weights, "settings", 9),
    }
    assert len(keys) == 5
