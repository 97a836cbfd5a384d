"""The two-sample test: exact where train and val cannot, or must, be told apart; calibrated."""

import numpy as np
import pytest

from databoost.audit.shift import ShiftResult, two_sample_test
from databoost.errors import DatasetError


def images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, a random split and labels that the features tell perfectly."""
    generator = np.random.default_rng(seed)
    labels = np.array([["i", "ii", "v"][row % 3] for row in range(n)], dtype=object)
    features = generator.normal(size=(n, 12)).astype(np.float32)
    features[np.arange(n), np.arange(n) % 3] += 5
    return features, generator.random(n) < 0.25, labels


def test_sides_that_a_line_divides_have_an_auc_of_one() -> None:
    features, is_val, labels = images(300, seed=0)
    features[:, 5] = is_val * 20.0
    found = two_sample_test(features, is_val, labels, seed=0)
    assert (found.auc, found.high) == (1.0, 1.0)
    assert found.low > 0.95
    assert found.p_value == pytest.approx(1 / 201)
    assert (found.n_train, found.n_val) == (int((~is_val).sum()), int(is_val.sum()))


def test_random_splits_are_told_apart_as_often_as_the_interval_says() -> None:
    found = [two_sample_test(*images(150, seed), seed=seed) for seed in range(100)]
    holds = sum(one.low <= 0.5 <= one.high for one in found)
    assert 88 <= holds <= 100  # of 95; three standard errors
    assert sum(one.p_value <= 0.05 for one in found) <= 12
    # Three standard errors of the mean of 100.
    assert np.mean([one.auc for one in found]) == pytest.approx(0.5, abs=0.025)


def test_class_proportions_are_no_difference() -> None:
    features, _, labels = images(600, seed=1)
    is_rare = np.random.default_rng(2).random(600)
    is_val = is_rare < np.where(labels == "v", 0.6, 0.1)
    found = two_sample_test(features, is_val, labels, seed=0)
    assert found.low < 0.5 < found.high


def test_a_shift_in_looks_is_found() -> None:
    features, is_val, labels = images(600, seed=3)
    features[is_val, 7] += 0.8
    found = two_sample_test(features, is_val, labels, seed=0)
    # Two normals 0.8 apart have an AUC of 0.714; over many draws 0.694 (standard deviation 0.027)
    # comes out, since the direction is learnt from few images.
    assert found.low > 0.55
    assert found.auc == pytest.approx(0.694, abs=0.06)
    assert found.p_value == pytest.approx(1 / 201)


def test_the_same_seed_gives_the_same_figures() -> None:
    features, is_val, labels = images(90, seed=4)
    first = two_sample_test(features, is_val, labels, seed=1)
    assert first == two_sample_test(features, is_val, labels, seed=1)
    assert first != two_sample_test(features, is_val, labels, seed=2)


def test_a_label_of_one_side_is_not_compared() -> None:
    features, is_val, labels = images(90, seed=5)
    labels[:10] = "train only"
    is_val[:10] = False
    found = two_sample_test(features, is_val, labels, seed=0)
    assert found.n_train + found.n_val == 80


def test_of_a_group_one_image_a_side_counts() -> None:
    features, is_val, labels = images(90, seed=6)
    labels[:], is_val[:20], is_val[20:] = "i", True, False
    groups = np.arange(90)
    groups[:5], groups[15:25] = 100, 101
    found = two_sample_test(features, is_val, labels, 0, groups)
    assert (found.n_val, found.n_train) == (20 - 4 - 4, 70 - 4)


def test_three_images_are_compared_too() -> None:
    features = np.eye(3, dtype=np.float32)
    found = two_sample_test(features, np.array([True, False, False]), np.array(["i"] * 3), 0)
    assert 0 <= found.low <= found.auc <= found.high <= 1


@pytest.mark.parametrize("is_val", [[True, True], [False, False], [True, False]])
def test_nothing_to_compare(is_val: list[bool]) -> None:
    features = np.eye(2, dtype=np.float32)
    with pytest.raises(DatasetError, match="no label has both training and validation images"):
        two_sample_test(features, np.array(is_val), np.array(["i", "v"]), 0)


def test_images_without_looks() -> None:
    with pytest.raises(DatasetError, match="the 4 images of train and val all look the same"):
        two_sample_test(
            np.ones((4, 2), dtype=np.float32), np.array([True, False] * 2), np.array(["i"] * 4), 0
        )


def test_figures_for_files_and_for_people() -> None:
    result = ShiftResult(0.123456, 0.1, 0.2, 1 / 3, 10, 5)
    assert result.metrics() == {
        "auc": 0.1235, "low": 0.1, "high": 0.2, "p_value": 0.3333, "n_train": 10, "n_val": 5,
    }  # fmt: skip
    assert str(result) == "0.123 (0.100 to 0.200)"
