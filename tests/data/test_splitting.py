"""Splitting again: by class, by group, by looks, around what a person has moved."""

import hashlib
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from databoost.data import splitting
from databoost.data.splitting import apply_sides, choose_sides, pool_of, with_offspring
from databoost.sections import SplitParams


def split(val_fraction: float = 0.25, seed: int = 0) -> SplitParams:
    return SplitParams(strategy="stratified", val_fraction=val_fraction, seed=seed)


def pool(*labels: str, in_val: tuple[int, ...] = ()) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"{row:04d}" for row in range(len(labels))],
            "split": ["val" if row in in_val else "train" for row in range(len(labels))],
            "label": list(labels),
        }
    )


def alone(n: int) -> np.ndarray:
    return np.arange(n)


def on_a_circle(n: int) -> np.ndarray:
    angles = np.arange(n) * 2 * np.pi / n
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_pool_is_train_and_val_by_id() -> None:
    images = pd.DataFrame(
        {"image_id": ["d", "b", "a", "c"], "split": ["val", "test", "train", "label_book"]}
    )
    assert pool_of(images)["image_id"].tolist() == ["a", "d"]
    assert pool_of(images).index.tolist() == [0, 1]


def test_sides_are_written_by_id_and_held_out_images_stay() -> None:
    images = pd.DataFrame(
        {"image_id": ["d", "b", "a", "c"], "split": ["val", "test", "train", "val"]}
    )
    again = apply_sides(images, pool_of(images), np.array([True, False, False]))
    assert again["image_id"].tolist() == ["d", "b", "a", "c"]
    assert again["split"].tolist() == ["train", "test", "val", "train"]
    assert images["split"].tolist() == ["val", "test", "train", "val"]


@pytest.mark.parametrize("features", [None, on_a_circle(60)])
def test_every_class_gets_its_share_exactly(features: np.ndarray | None) -> None:
    images = pool(*["i"] * 40, *["v"] * 17, *["x"] * 2, "z")
    for seed in range(5):
        chosen = choose_sides(images, split(0.25, seed), alone(60), features)
        assert chosen.dtype == bool
        counts = pd.Series(chosen).groupby(images["label"]).sum()
        assert counts.to_dict() == {"i": 10, "v": 4, "x": 1, "z": 0}


def test_a_draw_is_repeated_by_its_seed_alone() -> None:
    images = pool(*["i"] * 40)
    first = choose_sides(images, split(seed=3), alone(40))
    assert np.array_equal(first, choose_sides(images, split(seed=3), alone(40)))
    assert not np.array_equal(first, choose_sides(images, split(seed=4), alone(40)))


def test_the_order_of_the_rows_is_nothing() -> None:
    images = pool(*["i", "v"] * 20)
    shuffled = images.sample(frac=1, random_state=0)
    here, there = (
        apply_sides(rows, pool_of(rows), choose_sides(pool_of(rows), split(), alone(40)))
        for rows in (images, shuffled)
    )
    assert here.set_index("image_id")["split"].to_dict() == (
        there.set_index("image_id")["split"].to_dict()
    )


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_draw_is_the_order_of_the_sha_256_of_seed_and_id() -> None:
    images = pool(*["i", "v"] * 20)
    keys = images["image_id"].map(lambda image_id: sha256(f"3 {image_id}"))
    ranks = keys.groupby(images["label"]).rank()
    assert np.array_equal(choose_sides(images, split(0.25, 3), alone(40)), ranks <= 5)


def test_a_group_has_the_place_of_its_least_id_whatever_the_order_of_the_rows() -> None:
    images = pool(*["i"] * 40).iloc[::-1]
    keys = pd.Series([sha256(f"0 {row:04d}") for row in range(0, 40, 2)])
    chosen = choose_sides(images, split(0.25), np.repeat(np.arange(20), 2))
    assert np.array_equal(chosen[::-1], np.repeat((keys.rank() <= 5).to_numpy(), 2))


@pytest.mark.parametrize("strategy", ["stratified", "matched"])
@pytest.mark.parametrize("is_grouped", [False, True])
@pytest.mark.parametrize("correction", ["relabel", "delete"])
def test_a_correction_redraws_its_class_alone_and_little_of_it(
    strategy: str, is_grouped: bool, correction: str
) -> None:
    ids = [sha256(str(number))[:16] for number in range(400)]
    images = pd.DataFrame({"image_id": sorted(ids), "label": ["i", "v", "x", "l"] * 100})
    images["split"] = "train"
    looks = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    groups = alone(400)
    if is_grouped:  # ten groups of three in each class; the corrected image is in none
        groups[4:124] = groups[4:124].reshape(10, 3, 4)[:, :1].repeat(3, axis=1).ravel()
    corrected = images.copy()
    corrected.loc[0, "label"] = "v"
    rows = alone(400) if correction == "relabel" else alone(400)[1:]

    def validation(pool: pd.DataFrame, rows: np.ndarray, seed: int) -> pd.Series:
        features = looks[rows] if strategy == "matched" else None
        pool = pool.iloc[rows].reset_index(drop=True)
        chosen = choose_sides(pool, split(0.2, seed), groups[rows], features)
        return pool[chosen].groupby("label")["image_id"].agg(set)

    for seed in range(5):
        before, after = validation(images, alone(400), seed), validation(corrected, rows, seed)
        n_lost = {label: len(before[label] - after[label]) for label in "ivxl"}
        assert before.map(len).to_dict() == dict.fromkeys("ivxl", 20)
        assert (after[["x", "l"]] == before[["x", "l"]]).all()
        assert correction == "relabel" or after["v"] == before["v"]
        assert max(n_lost.values()) <= (10 if strategy == "matched" else 1), n_lost


def test_an_empty_pool_is_split_into_nothing() -> None:
    assert choose_sides(pool(), split(), alone(0)).shape == (0,)


@pytest.mark.parametrize("is_matched", [False, True])
def test_groups_stay_on_one_side_and_the_share_is_exact(is_matched: bool) -> None:
    images = pool(*["i"] * 60, *["v"] * 40)
    # Three groups of 7, one of 3 across both labels, the rest alone.
    groups = np.concatenate([np.repeat([900, 901, 902], 7), np.arange(79)])
    groups[58:61] = 903
    features = on_a_circle(100) if is_matched else None
    for seed in range(10):
        chosen = choose_sides(images, split(0.25, seed), groups, features)
        sides = pd.Series(chosen).groupby(groups).nunique()
        assert (sides == 1).all()
        # The group across both labels counts with i, which two of its three images have.
        assert chosen[:61].sum() == 15
        assert chosen[61:].sum() == 10


def test_every_image_and_group_has_the_same_chance() -> None:
    images = pool(*["i"] * 20)
    groups = np.concatenate([np.repeat([90, 91], 3), np.arange(14)])
    features = on_a_circle(20)
    features[6:12] = features[6]  # a crowd: six images in one place
    for looks in (None, features):
        draws = [choose_sides(images, split(0.25, seed), groups, looks) for seed in range(400)]
        # Four standard errors of a share of 0.25 over 400 draws.
        assert np.abs(np.mean(draws, axis=0) - 0.25).max() < 0.087


def test_two_groups_that_fill_a_class_lie_on_two_sides() -> None:
    images = pool(*["i"] * 10)
    groups = np.repeat([0, 1], 5)
    for seed in range(5):
        assert choose_sides(images, split(0.1, seed), groups).sum() == 5
        assert choose_sides(images, split(0.9, seed), groups).sum() == 5


@pytest.mark.parametrize("features", [None, on_a_circle(106)])
def test_a_group_too_large_for_validation_is_left_in_train(features: np.ndarray | None) -> None:
    # 90 of the 100 images of i are one group, and so are all six of v.
    images = pool(*["i"] * 100, *["v"] * 6)
    groups = np.concatenate([np.repeat(900, 90), np.arange(10), np.repeat(901, 6)])
    for seed in range(40):
        chosen = choose_sides(images, split(0.25, seed), groups, features)
        assert np.flatnonzero(chosen).tolist() == list(range(90, 100))


def test_of_two_groups_too_large_for_validation_the_smaller_one_is_taken() -> None:
    groups = np.repeat([0, 1], [60, 40])
    for seed in range(10):
        chosen = choose_sides(pool(*["i"] * 100), split(0.2, seed), groups)
        assert np.flatnonzero(chosen).tolist() == list(range(60, 100))


def plain_pivotal(chance: np.ndarray, keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Draw as ``matched`` does, comparing with a copy of all that are open in every step."""

    def uniform(*names: str) -> float:
        return int(sha256(" ".join(names))[:12], 16) / 2**48

    is_open = (chance > 1e-9) & (chance < 1 - 1e-9)
    for one in np.argsort(keys):
        while is_open[one]:
            is_open[one] = False
            others = np.flatnonzero(is_open)
            if len(others) == 0:
                chance[one] = float(uniform(keys[one]) < chance[one])
                break
            near = vectors[others]
            other = others[((near**2).sum(axis=1) - 2 * near @ vectors[one]).argmin()]
            up, down = min(1 - chance[one], chance[other]), min(chance[one], 1 - chance[other])
            step = up if uniform(keys[one], keys[other]) * (up + down) < down else -down
            chance[one] += step
            chance[other] -= step
            for unit in (one, other):
                is_open[unit] = 1e-9 < chance[unit] < 1 - 1e-9
    return chance > 0.5


def test_matched_draws_what_comparing_with_all_that_are_open_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    looks = random.normal(size=(300, 20)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    images = pool(*["i"] * 200, *["v"] * 100)
    groups = random.integers(0, 220, 300)  # of up to six images
    drawn = [choose_sides(images, split(0.25, seed), groups, looks) for seed in range(10)]
    monkeypatch.setattr(splitting, "_pivotal", plain_pivotal)
    for seed, chosen in enumerate(drawn):
        assert np.array_equal(chosen, choose_sides(images, split(0.25, seed), groups, looks))


def test_matched_copies_no_vectors_in_its_steps() -> None:
    looks = np.random.default_rng(0).normal(size=(200, 500))
    keys = np.array([f"{row:03d}" for row in range(200)])
    tracemalloc.start()
    splitting._pivotal(np.full(200, 0.25), keys, looks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * looks.nbytes  # their squares, once


def test_matched_takes_one_of_each_pair_of_lookalikes() -> None:
    angles = np.repeat(np.arange(20) * 2 * np.pi / 20, 2)
    looks = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    for seed in range(5):
        chosen = choose_sides(pool(*["i"] * 40), split(0.5, seed), alone(40), looks)
        assert chosen.reshape(20, 2).sum(axis=1).tolist() == [1] * 20


def test_matched_covers_better_than_a_random_draw() -> None:
    looks = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    images = pool(*["i"] * 300)

    def distance(features: np.ndarray | None, seed: int) -> float:
        chosen = choose_sides(images, split(0.2, seed), alone(300), features)
        return float((1 - (looks[~chosen] @ looks[chosen].T).max(axis=1)).mean())

    matched = [distance(looks, seed) for seed in range(10)]
    stratified = [distance(None, seed) for seed in range(10)]
    assert max(matched) < min(stratified)


@pytest.mark.parametrize("features", [None, on_a_circle(40)])
def test_pinned_images_stay_with_their_groups_and_count(features: np.ndarray | None) -> None:
    images = pool(*["i"] * 40, in_val=(0, 10))
    groups = alone(40)
    groups[[0, 1]] = 100
    groups[[5, 6]] = 101
    for seed in range(5):
        chosen = choose_sides(images, split(0.25, seed), groups, features, {"0000", "0005"})
        assert chosen[[0, 1]].all()
        assert not chosen[[5, 6]].any()
        assert chosen.sum() == 10


def test_more_pins_than_the_share_all_stay() -> None:
    images = pool(*["i"] * 8, in_val=(0, 1, 2, 3, 4))
    pinned = ["0000", "0001", "0002", "0003", "0004"]
    assert (
        choose_sides(images, split(), alone(8), None, pinned).tolist() == [True] * 5 + [False] * 3
    )


def test_contradicting_pins_of_a_group_stay_and_the_rest_goes_to_train() -> None:
    images = pool(*["i"] * 8, in_val=(0,))
    groups = np.array([0, 0, 0, 3, 4, 5, 6, 7])
    for seed in range(5):
        chosen = choose_sides(images, split(0.25, seed), groups, None, ["0000", "0001"])
        assert chosen[:3].tolist() == [True, False, False]


def test_a_class_of_pins_alone_is_left_as_it_is() -> None:
    images = pool("i", "i")
    assert choose_sides(images, split(), alone(2), None, ["0000", "0001"]).tolist() == [False] * 2


def test_offspring_joins_the_group_of_its_parent() -> None:
    ids, parents = ["a", "b", "c", "d", "e"], ["", "a", "b", "", "gone"]
    assert with_offspring(alone(5), ids, parents).tolist() == [0, 0, 0, 1, 2]
    # d is a near-duplicate of c, and so of the family.
    assert with_offspring(np.array([7, 8, 9, 9, 1]), ids, parents).tolist() == [0, 0, 0, 0, 1]
    assert with_offspring(alone(0), [], []).tolist() == []
