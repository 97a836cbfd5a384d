"""A new split and its figures."""

import numpy as np
import pandas as pd
import pytest

from databoost.audit.resplitting import distance_to_validation, resplit
from databoost.sections import SplitParams


def split(strategy: str, seed: int = 0) -> SplitParams:
    return SplitParams(strategy=strategy, val_fraction=0.25, seed=seed)  # type: ignore[arg-type]


@pytest.fixture
def shifted() -> tuple[pd.DataFrame, np.ndarray]:
    """Two hundred images, of which validation is the part that leans to one side."""
    looks = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    images = pd.DataFrame(
        {
            "image_id": [f"{row:03d}" for row in range(200)],
            "split": np.where(looks[:, 0] > 0.25, "val", "train"),
            "label": ["i", "v"] * 100,
        }
    )
    return images, looks


@pytest.mark.parametrize("strategy", ["stratified", "matched"])
def test_a_new_split_mends_a_shift(shifted: tuple[pd.DataFrame, np.ndarray], strategy: str) -> None:
    images, looks = shifted
    found = resplit(images, split(strategy), looks, np.arange(200))
    assert found.before is not None
    assert found.after is not None
    assert found.before.low > 0.9
    assert found.after.low < 0.5
    assert found.distance_after is not None
    assert found.distance_before is not None
    assert found.distance_after < found.distance_before
    assert found.images["split"].value_counts().to_dict() == {"train": 150, "val": 50}
    summary = found.summary(strategy)
    assert list(summary) == [
        "strategy", "n_pinned", "n_grouped", "before", "after", "distance_before", "distance_after",
    ]  # fmt: skip
    assert summary["after"]["auc"] == round(found.after.auc, 4)


def test_the_order_of_the_rows_is_nothing(shifted: tuple[pd.DataFrame, np.ndarray]) -> None:
    images, looks = shifted
    again, shuffled = (
        resplit(rows, split("matched"), looks, np.arange(200))
        for rows in (images, images.sample(frac=1, random_state=1))
    )
    assert again.summary("matched") == shuffled.summary("matched")
    assert again.images["split"].equals(shuffled.images["split"].sort_index())


def test_moved_images_groups_and_offspring(shifted: tuple[pd.DataFrame, np.ndarray]) -> None:
    images, looks = shifted
    parents = [""] * 200
    parents[10], parents[30] = "008", "not here"
    groups = np.arange(200)
    groups[[20, 22, 24]] = 500
    moved = list(images.loc[[0, 1, 2, 3], "image_id"])
    found = resplit(images.assign(parent_id=parents), split("stratified"), looks, groups, moved)
    assert found.images["split"][:4].equals(images["split"][:4])
    assert found.images.loc[[8, 10], "split"].nunique() == 1
    assert found.images.loc[[20, 22, 24], "split"].nunique() == 1
    assert (found.n_pinned, found.n_grouped) == (4, 5)


def test_figures_that_cannot_be_measured_are_left_out() -> None:
    images = pd.DataFrame(
        {"image_id": ["a", "b", "c"], "split": ["train"] * 3, "label": ["i", "i", "v"]}
    )
    looks = np.eye(3, dtype=np.float32)
    found = resplit(images, split("matched"), looks, np.arange(3))
    assert (found.before, found.distance_before) == (None, None)
    assert found.distance_after == 1.0
    assert "before" not in found.summary("matched")
    alone = resplit(images[1:], split("matched"), looks[1:], np.arange(2))
    assert alone.summary("matched") == {"strategy": "matched", "n_pinned": 0, "n_grouped": 0}


def test_distance_to_the_nearest_validation_image_of_the_label() -> None:
    looks = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0], [0, 1]], dtype=np.float32)
    labels = np.array(["i", "i", "i", "i", "v"])
    is_val = np.array([True, True, False, False, False])
    # 1 - 0.8 for the third, 1 - 0 for the fourth; the last has no validation image of its label.
    assert distance_to_validation(looks, is_val, labels) == pytest.approx(0.6)
    assert distance_to_validation(looks, ~is_val, np.array(list("ivxyz"))) is None
