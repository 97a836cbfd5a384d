"""Regions of the looks that only one side covers, and none where the split is random."""

from math import comb

import numpy as np
import pytest

from databoost.audit.regions import Region, uncovered_regions
from databoost.errors import DatasetError


def crowds(*sizes: int) -> np.ndarray:
    """Features of crowds of images far from each other."""
    rows = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(len(rows), len(sizes)))
    return (np.eye(len(sizes))[rows] + noise).astype(np.float32)


def names(n: int) -> list[str]:
    return [f"{row:03d}" for row in range(n)]


def test_a_region_without_validation_images_and_its_reverse() -> None:
    features = crowds(60, 40)
    is_val = np.array([False] * 60 + [True] * 20 + [False] * 20)
    labels = np.array((["i"] * 30 + ["v"] * 30) + ["i"] * 20 + ["v"] * 20, dtype=object)
    is_val[60:] = np.tile([True, False], 20)
    found = uncovered_regions(features, is_val, labels, names(100), 0, images_per_region=50)
    assert [(one.number, one.n_train, one.n_val, one.lacks) for one in found] == [
        (0, 60, 0, "val"),
        (1, 20, 20, "train"),
    ]
    assert [one.label for one in found] == ["i", "i"]  # the first of two as many
    assert found[0].expected_val == pytest.approx(12.0)
    assert found[1].expected_val == pytest.approx(8.0)
    assert all(len(one.example_ids) == 5 for one in found)
    assert all(int(one) < 60 for one in found[0].example_ids)
    assert all(int(one) >= 60 and int(one) % 2 == 0 for one in found[1].example_ids)


def test_the_most_typical_images_of_the_side_with_too_many_come_first() -> None:
    # After twenty images elsewhere a row of sixty, two by two nearer to its middle.
    offsets = np.repeat(np.arange(30, 0, -1), 2) * np.tile([1, -1], 30) / 1024
    features = np.zeros((80, 2), dtype=np.float32)
    features[:20, 0], features[20:, 1] = 1, offsets
    is_val = np.array([True] * 20 + [False] * 60)
    is_val[78] = True
    labels = np.array(["i"] * 80, dtype=object)
    found = uncovered_regions(features, is_val, labels, names(80), 0, images_per_region=40)
    assert [(one.n_train, one.n_val) for one in found] == [(59, 1), (0, 20)]
    assert found[0].example_ids == ("079", "076", "077", "074", "075")


def test_the_probability_is_exact() -> None:
    is_val = np.array([False] * 10 + [True] * 5 + [False] * 5)
    labels = np.array(["i"] * 20, dtype=object)
    found = uncovered_regions(crowds(10, 10), is_val, labels, names(20), 0, 10, level=1.0)
    # No validation image among the first ten: C(15, 10) of C(20, 10) draws; two sides, two regions.
    chance = 2 * 2 * comb(15, 10) / comb(20, 10)
    assert [one.p_value for one in found] == pytest.approx([chance, chance])
    assert uncovered_regions(crowds(10, 10), is_val, labels, names(20), 0, 10, 0.06) == []


def test_the_probability_is_that_of_a_random_split_within_each_label() -> None:
    # Six i and four v in one region, four and six in the other, which has all validation images.
    labels = np.array(["i"] * 6 + ["v"] * 4 + ["i"] * 4 + ["v"] * 6, dtype=object)
    is_val = np.zeros(20, dtype=bool)
    is_val[[10, 11, 12, 14, 15, 16]] = True  # three of ten i, three of ten v
    found = uncovered_regions(crowds(10, 10), is_val, labels, names(20), 0, 10, level=1.0)
    none_here = comb(7, 6) / comb(10, 6) * comb(7, 4) / comb(10, 4)
    assert [one.p_value for one in found] == pytest.approx([4 * none_here] * 2)


def test_many_images_make_larger_regions_and_no_more_than_200() -> None:
    features = np.random.default_rng(0).normal(size=(260, 2)).astype(np.float32)
    labels = np.array(["i"] * 260, dtype=object)
    found = uncovered_regions(features, np.arange(260) < 60, labels, names(260), 0, 1, 1.0)
    assert sorted(one.number for one in found) == list(range(200))


def test_class_proportions_make_no_region() -> None:
    # All validation images are of one class, which is a region of its own.
    is_val = np.array([False] * 50 + [True] * 25 + [False] * 25)
    labels = np.array(["i"] * 50 + ["v"] * 50, dtype=object)
    assert uncovered_regions(crowds(50, 50), is_val, labels, names(100), 0) == []


def test_random_splits_have_no_region_but_for_the_level() -> None:
    features = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    labels = np.array(["i", "v"] * 100, dtype=object)
    n_found = 0
    for seed in range(40):
        is_val = np.random.default_rng(seed).random(200) < 0.3
        n_found += bool(uncovered_regions(features, is_val, labels, names(200), 0, 25))
    assert n_found <= 6  # 2 expected at most; three standard errors more


def test_the_same_seed_gives_the_same_regions() -> None:
    features = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    is_val = features[:, 0] > 0.8
    labels = np.array(["i"] * 90, dtype=object)
    first, second = (
        uncovered_regions(features, is_val, labels, names(90), 1, 15, 1.0) for _ in range(2)
    )
    assert first == second
    assert first
    assert all(isinstance(one, Region) for one in first)


def test_images_that_all_look_the_same_are_one_region() -> None:
    features, labels = np.ones((60, 2), dtype=np.float32), np.array(["i"] * 60, dtype=object)
    found = uncovered_regions(features, np.arange(60) < 9, labels, names(60), 0, 10, 1.0)
    assert [(one.n_train, one.n_val, one.p_value) for one in found] == [(51, 9, 1.0)]


def test_no_images_have_no_regions() -> None:
    with pytest.raises(DatasetError, match="there is no image in train or val"):
        uncovered_regions(np.zeros((0, 2), np.float32), np.zeros(0, bool), np.array([]), [], 0)
