"""Near-duplicates: planted copies are found, different pictures and blank ones are not."""

import numpy as np
import pytest

from databoost.audit.near_duplicates import near_duplicate_groups, near_duplicate_pairs
from databoost.data.images import Pixels

BITS, SIMILARITY = 8, 0.9


def strokes(seed: int) -> Pixels:
    random = np.random.default_rng(seed)
    page = np.full((120, 120, 1), 255, dtype=np.uint8)
    for _ in range(6):
        top, left = random.integers(10, 80, 2)
        height, width = random.permutation([6, int(random.integers(15, 35))])
        page[top : top + height, left : left + width] = 0
    return page


def test_planted_copies_are_found_and_nothing_else() -> None:
    originals = [strokes(seed) for seed in range(20)]
    noise = np.random.default_rng(0).integers(0, 6, (120, 120, 1), dtype=np.uint8)
    copies = [(np.maximum(page, 6) - noise).astype(np.uint8) for page in originals]
    ids = [str(number) for number in range(40)]
    pairs = near_duplicate_pairs(originals + copies, ids, BITS, SIMILARITY)
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [
        (number, number + 20) for number in range(20)
    ]
    groups = near_duplicate_groups(originals + copies, ids, BITS, SIMILARITY)
    assert groups.tolist() == [*range(20), *range(20)]


def test_blank_images_are_near_to_exact_copies_only() -> None:
    blank = np.full((10, 20, 3), 255, dtype=np.uint8)
    grey = np.full((10, 20, 1), 128, dtype=np.uint8)
    images = [blank, grey, blank]
    assert near_duplicate_groups(images, ["a", "b", "a"], BITS, SIMILARITY).tolist() == [0, 1, 0]
    pairs = near_duplicate_pairs(images, ["a", "b", "a"], BITS, SIMILARITY)
    assert pairs.to_dict("records") == [{"first": 0, "second": 2, "bits": 0, "similarity": 1.0}]


def test_colour_and_grey_of_one_picture_are_near() -> None:
    grey = strokes(1)
    images = [grey, np.repeat(grey, 3, axis=2)]
    assert near_duplicate_groups(images, ["a", "b"], BITS, SIMILARITY).tolist() == [0, 0]


def test_no_images() -> None:
    assert near_duplicate_groups([], [], BITS, SIMILARITY).shape == (0,)
    assert len(near_duplicate_pairs([], [], BITS, SIMILARITY)) == 0


def test_each_image_needs_an_id() -> None:
    with pytest.raises(ValueError, match="1 ids for 0 images"):
        near_duplicate_pairs([], ["a"], BITS, SIMILARITY)
