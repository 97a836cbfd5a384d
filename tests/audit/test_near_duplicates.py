"""Near-duplicates: planted copies are found, different pictures and blank ones are not."""

import weakref
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from projects import REPOSITORY

from databoost.audit import near_duplicates
from databoost.audit.near_duplicates import (
    Fingerprints,
    find_pairs,
    fingerprint,
    group_pairs,
    pairs_to_list,
)
from databoost.data.images import Pixels
from databoost.params import read_params

RULES = read_params(REPOSITORY / "params.yaml").audit


def strokes(seed: int) -> Pixels:
    random = np.random.default_rng(seed)
    page = np.full((120, 120, 1), 255, dtype=np.uint8)
    for _ in range(6):
        top, left = random.integers(10, 80, 2)
        height, width = random.permutation([6, int(random.integers(15, 35))])
        page[top : top + height, left : left + width] = 0
    return page


def pairs_of(images: list[Pixels]) -> list[tuple[int, int]]:
    pairs = find_pairs(fingerprint(images), RULES)
    return list(zip(pairs["first"], pairs["second"], strict=True))


@pytest.mark.parametrize("at_once", [7, 256])
def test_planted_copies_are_found_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(near_duplicates, "_AT_ONCE", at_once)
    originals = [strokes(seed) for seed in range(20)]
    noise = np.random.default_rng(0).integers(0, 3, (120, 120, 1), dtype=np.uint8)
    copies = [(np.maximum(page, 3) - noise).astype(np.uint8) for page in originals]
    assert pairs_of(originals + copies) == [(number, number + 20) for number in range(20)]


def test_shifted_copies_are_found() -> None:
    originals = [strokes(seed) for seed in range(10)]
    shifted = [np.roll(page, (3, -4), axis=(0, 1)) for page in originals]
    found = pairs_of(originals + shifted)
    assert set(found) <= {(number, number + 10) for number in range(10)}
    assert len(found) >= 9


@pytest.mark.parametrize(("n_bits", "n_pairs"), [(RULES.max_bits, 1), (RULES.max_bits + 1, 0)])
def test_hashes_may_differ_by_so_many_bits_and_no_more(n_bits: int, n_pairs: int) -> None:
    hashes = np.array([2**64 - 1, 2 ** (64 - n_bits) - 1], dtype=np.uint64)
    pairs = find_pairs(Fingerprints(hashes, np.ones((2, 1), dtype=np.float32)), RULES)
    assert pairs["bits"].tolist() == [n_bits] * n_pairs


def test_candidates_are_compared_slice_by_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strokes of no more pairs than said are held at once, however many hashes are alike."""
    monkeypatch.setattr(near_duplicates, "_AT_ONCE", 4)
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 3)
    monkeypatch.setattr(near_duplicates, "_DENSE", 1.0)
    held, einsum = [], np.einsum

    def note(rule: str, first: Any, second: Any) -> Any:
        held.append(len(first))
        return einsum(rule, first, second)

    monkeypatch.setattr(np, "einsum", note)
    hashes = [0, 1, 3, 2**64 - 1, 0, 2, 3]  # all but the fourth are near to each other
    vectors = [[1, 0], [2, 1], [0, 3], [5, 5], [1, 2], [4, 0], [1, 1]]
    prints = Fingerprints(np.array(hashes, dtype=np.uint64), np.array(vectors, dtype=np.float32))
    pairs = find_pairs(prints, RULES.model_copy(update={"max_bits": 2, "min_similarity": 2.0}))
    near = [pair for pair in combinations(range(7), 2) if 3 not in pair]
    expected = [
        [
            one,
            other,
            (hashes[one] ^ hashes[other]).bit_count(),
            np.dot(vectors[one], vectors[other]),
        ]
        for one, other in near
    ]
    assert pairs.to_numpy().tolist() == [row for row in expected if row[3] >= 2]
    assert held == [3, 3, 3, 3, 3]  # twelve of the first four images, three of the others


def alike(n_images: int, n_others: int) -> Fingerprints:
    """Frames of one scene among images that are near to none of them."""
    random = np.random.default_rng(0)
    scene = random.normal(size=1764) + 0.2 * random.normal(size=(n_images, 1764))
    vectors = np.concatenate([scene, random.normal(size=(n_others, 1764))]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hashes = np.array([7] * n_images + [2**64 - 1] * n_others, dtype=np.uint64)
    order = random.permutation(n_images + n_others)
    return Fingerprints(hashes[order], vectors[order])


@pytest.mark.parametrize("dense", [0.0, 0.1, 0.6, 1.0])
def test_pairs_are_the_same_to_the_last_digit_however_they_are_compared(
    monkeypatch: pytest.MonkeyPatch, dense: float
) -> None:
    monkeypatch.setattr(near_duplicates, "_AT_ONCE", 16)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 7)
    monkeypatch.setattr(near_duplicates, "_DENSE", dense)
    prints = alike(40, 20)
    first, second = np.nonzero(np.triu(prints.hashes[:, None] == prints.hashes, k=1))
    expected = np.einsum("ij,ij->i", prints.strokes[first], prints.strokes[second])
    least = np.sort(expected)[len(expected) // 2]  # a digit less, and this pair is none
    pairs = find_pairs(prints, RULES.model_copy(update={"min_similarity": float(least)}))
    is_pair = expected >= least
    assert pairs["first"].tolist() == first[is_pair].tolist()
    assert pairs["second"].tolist() == second[is_pair].tolist()
    assert pairs["similarity"].tolist() == expected[is_pair].tolist()


def test_strokes_of_many_frames_are_not_gathered_for_each_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gathered, einsum = [], np.einsum

    def note(rule: str, first: Any, second: Any) -> Any:
        if rule == "ij,ij->i":
            gathered.append(len(first))
        return einsum(rule, first, second)

    monkeypatch.setattr(np, "einsum", note)
    hashes, vectors = np.zeros(300, dtype=np.uint64), np.ones((300, 1), dtype=np.float32)
    pairs = find_pairs(Fingerprints(hashes, vectors), RULES)
    assert len(pairs) == 300 * 299 // 2
    # Images 0 to 25 are near to so many of the 256 first rows, 256 to 260 of the 44 others.
    assert gathered == [25 * 26 // 2, 4 * 5 // 2]


def test_a_pair_takes_few_bytes() -> None:
    prints = alike(40, 0)
    pairs = find_pairs(prints, RULES)
    assert len(pairs) == 780
    assert pairs.memory_usage(index=False).sum() == 780 * (4 + 4 + 1 + 4)
    listed = pairs_to_list(pairs, group_pairs(pairs, 40), np.array(["train"] * 40, dtype=object))
    assert listed["similarity"].dtype == np.float64  # prints as it always did
    assert listed["similarity"].tolist() == pairs["similarity"][listed.index].tolist()


def test_blank_images_are_near_to_none() -> None:
    blank = np.full((10, 20, 3), 255, dtype=np.uint8)
    assert pairs_of([blank, blank.copy(), np.full((9, 9, 1), 128, dtype=np.uint8)]) == []


def test_colour_and_grey_of_one_picture_are_near() -> None:
    grey = strokes(1)
    prints = fingerprint([grey, np.repeat(grey, 3, axis=2)])
    (pair,) = find_pairs(prints, RULES).to_dict("records")
    assert (pair["first"], pair["second"], pair["bits"]) == (0, 1, 0)
    assert abs(pair["similarity"] - 1.0) < 1e-6


def test_pairs_of_pairs_are_one_group() -> None:
    pairs = pd.DataFrame({"first": [1, 2, 0], "second": [4, 4, 5]})
    assert group_pairs(pairs, 7).tolist() == [0, 1, 1, 2, 1, 0, 3]


@pytest.mark.parametrize("at_once", [1, 4, 2**18])
def test_groups_are_the_same_however_many_pairs_are_joined_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(near_duplicates, "_LINKS_AT_ONCE", at_once)
    ends = np.random.default_rng(0).integers(0, 60, (40, 2))
    groups = [{number} for number in range(60)]
    for one, other in ends:
        joined = groups[one] | groups[other]
        for number in joined:
            groups[number] = joined
    firsts = sorted({min(group) for group in groups})
    pairs = pd.DataFrame(ends, columns=["first", "second"])
    expected = [firsts.index(min(group)) for group in groups]
    assert group_pairs(pairs, 60).tolist() == expected
    assert len(firsts) == 22


def all_pairs(*groups: list[int]) -> pd.DataFrame:
    """Every pair within the groups, of a random similarity that several pairs share."""
    ends = [pair for group in groups for pair in combinations(group, 2)]
    similarity = np.random.default_rng(0).integers(950, 1000, len(ends)) / 1000
    pairs = pd.DataFrame(ends, columns=["first", "second"]).assign(similarity=similarity)
    return pairs.sort_values(["first", "second"], ignore_index=True)


def test_of_many_frames_each_ones_nearest_are_listed() -> None:
    pairs = all_pairs(list(range(0, 80, 2)), [1, 3, 5, 7, 9])
    groups = group_pairs(pairs, 80)
    splits = np.array(["train", "train", "val", "test"], dtype=object)[np.arange(80) // 3 % 4]
    listed = pairs_to_list(pairs, groups, splits)
    expected = set(pairs.index[pairs["first"] % 2 == 1])  # of the five images every pair
    for image in range(0, 80, 2):
        own = pairs[(pairs["first"] == image) | (pairs["second"] == image)]
        for rows in (own, own[splits[own["first"]] != splits[own["second"]]]):
            expected.add(rows.index[rows["similarity"].argmax()])
    assert listed.equals(pairs.loc[sorted(expected)])
    assert len(listed) <= 2 * 45


def test_pairs_without_an_other_split_and_no_pairs_at_all() -> None:
    pairs = all_pairs(list(range(7)))
    train = np.array(["train"] * 7, dtype=object)
    assert 0 < len(pairs_to_list(pairs, np.zeros(7, dtype=np.int64), train)) <= 7
    assert len(pairs_to_list(pairs[:0], np.arange(7), train)) == 0


def test_images_are_looked_at_one_by_one() -> None:
    """What was given out before can be freed by then."""
    alive: list[weakref.ref[Pixels]] = []

    def stream() -> Iterator[Pixels]:
        for seed in range(3):
            assert [ref() for ref in alive[:-1]] == [None] * len(alive[:-1])
            page = strokes(seed)
            alive.append(weakref.ref(page))
            yield page

    assert len(fingerprint(stream()).strokes) == 3
    assert len(alive) == 3


def test_no_images() -> None:
    prints = fingerprint([])
    assert (prints.hashes.shape, len(prints.strokes)) == ((0,), 0)
    pairs = find_pairs(prints, RULES)
    assert pairs.columns.tolist() == ["first", "second", "bits", "similarity"]
    assert len(pairs) == 0
    assert group_pairs(pairs, 0).shape == (0,)
