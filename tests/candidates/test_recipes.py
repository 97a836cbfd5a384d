"""Candidate ids to seeds, and seeds to drawn numbers."""

import hashlib
import re
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from databoost.candidates.recipes import (
    draw,
    hash_numbers,
    make_recipes,
    policy_version,
    recipe_names,
    recipe_seeds,
)
from databoost.data.tables import RECIPES
from databoost.errors import DatasetError, ParamsError
from databoost.sections import CandidatesParams

CLASSES = ["iv", "v", "vi"]
PARENTS = pd.DataFrame({"image_id": ["c", "a", "b"], "label": ["vi", "iv", "v"]})
POLICY = CandidatesParams(
    count=10,
    seed=3,
    rotation=(-15, 20),
    translation=(-0.1, 0.2),
    scale=(0.5, 2.0),
    shear=(-5, 10),
    perspective=(-0.2, 0.1),
    thickness=(-1, 2),
    elastic=(0.05, 0.1),
    noise=(0, 12),
    erasing=(0.1, 0.3),
    erasing_probability=0.25,
    mirror={},
    mirror_probability=0.5,
    engine="local",
)


def changed(**values) -> CandidatesParams:
    return CandidatesParams.model_validate({**POLICY.model_dump(), **values})


def random_seeds(n: int) -> np.ndarray:
    return hash_numbers(np.array([99], dtype=np.uint64), np.arange(n, dtype=np.uint64))


def test_the_hash_is_splitmix64() -> None:
    # First outputs of the generator from the states 0 and 1234567, as its authors publish them.
    zero = hash_numbers(np.array([0], dtype=np.uint64), np.arange(3, dtype=np.uint64))
    assert zero.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    other = hash_numbers(np.array([1234567], dtype=np.uint64), np.arange(2, dtype=np.uint64))
    assert other.tolist() == [6457827717110365317, 3203168211198807973]


def test_parents_take_turns_in_the_order_of_their_ids() -> None:
    recipes = make_recipes(0, 7, PARENTS, POLICY, CLASSES)
    assert list(recipes.columns) == list(RECIPES.columns)
    assert recipes["candidate_id"].tolist() == list(range(7))
    assert recipes["parent_id"].tolist() == ["a", "b", "c", "a", "b", "c", "a"]
    assert recipes["label"].tolist() == ["iv", "v", "vi", "iv", "v", "vi", "iv"]
    assert set(recipes["policy"]) == {policy_version(POLICY)}


def test_a_candidate_is_the_same_in_every_range_total_and_order_of_parents() -> None:
    whole = make_recipes(0, 50, PARENTS, POLICY, CLASSES)
    parts = [
        make_recipes(start, start + 7, PARENTS[::-1], changed(count=9999), CLASSES)
        for start in range(0, 49, 7)
    ]
    assert pd.concat(parts, ignore_index=True).equals(whole[:49])
    assert make_recipes(5, 5, PARENTS, POLICY, CLASSES).empty


def test_the_rows_are_what_they_were() -> None:
    recipes = make_recipes(0, 300, PARENTS, changed(mirror={"iv": "vi"}, elastic=(0, 0)), CLASSES)
    text = recipes.to_csv(index=False).encode()
    assert hashlib.sha256(text).hexdigest()[:16] == "fd343bba2f8d3f08"


def test_seeds_differ_and_depend_on_the_seed_of_the_params() -> None:
    seeds = recipe_seeds(make_recipes(0, 20_000, PARENTS, POLICY, CLASSES))
    assert len(set(seeds.tolist())) == 20_000
    assert not (seeds & np.uint64(1)).any()
    others = recipe_seeds(make_recipes(0, 20_000, PARENTS, changed(seed=4), CLASSES))
    assert not np.isin(others, seeds).any()


def test_mirrored_candidates_take_the_label_of_the_table() -> None:
    params = changed(mirror={"iv": "vi", "vi": "iv"}, mirror_probability=0.25)
    recipes = make_recipes(0, 6000, PARENTS, params, CLASSES)
    given = np.array(["iv", "v", "vi"])[np.arange(6000) % 3]
    mirrored = draw(recipe_seeds(recipes), params).mirrored
    swapped = np.array(["vi", "v", "iv"])[np.arange(6000) % 3]
    assert recipes["label"].tolist() == np.where(mirrored, swapped, given).tolist()
    assert not mirrored[1::3].any()
    assert mirrored[0::3].mean() == pytest.approx(0.25, abs=0.03)
    assert mirrored[2::3].mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, {"iv"}), (1.0, {"vi"})])
def test_mirror_probability_at_its_ends(probability: float, expected: set[str]) -> None:
    params = changed(mirror={"iv": "vi"}, mirror_probability=probability)
    recipes = make_recipes(0, 30, PARENTS[1:2], params, CLASSES)
    assert set(recipes["label"]) == expected


def test_the_mirror_bit_changes_no_other_number() -> None:
    seeds = random_seeds(20) & ~np.uint64(1)
    plain, flipped = draw(seeds, POLICY), draw(seeds | np.uint64(1), POLICY)
    assert not plain.mirrored.any()
    assert flipped.mirrored.all()
    for field in fields(plain):
        if field.name != "mirrored":
            assert (getattr(plain, field.name) == getattr(flipped, field.name)).all()


@pytest.mark.parametrize(
    ("drawn", "key"),
    [
        ("rotation", "rotation"),
        ("shift_x", "translation"),
        ("shift_y", "translation"),
        ("shear", "shear"),
        ("perspective_x", "perspective"),
        ("perspective_y", "perspective"),
        ("thickness", "thickness"),
        ("elastic", "elastic"),
        ("noise", "noise"),
    ],
)
def test_numbers_are_uniform_in_their_range(drawn: str, key: str) -> None:
    low, high = getattr(POLICY, key)
    values = (getattr(draw(random_seeds(20_000), POLICY), drawn) - low) / (high - low)
    assert values.min() >= 0
    assert values.max() < 1
    deciles = np.histogram(values, bins=10, range=(0, 1))[0] / 20_000
    assert deciles == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_scale_is_uniform_in_its_logarithm() -> None:
    values = draw(random_seeds(20_000), POLICY).scale
    assert values.min() >= 0.5
    assert values.max() <= 2.0
    assert np.median(values) == pytest.approx(1.0, abs=0.03)
    assert (values < np.sqrt(0.5)).mean() == pytest.approx(0.25, abs=0.01)


def test_numbers_are_drawn_apart() -> None:
    draws = draw(random_seeds(20_000), POLICY)
    names = [field.name for field in fields(draws) if field.name not in ("mirrored", "erasing")]
    correlations = np.corrcoef([getattr(draws, name) for name in names])
    assert np.abs(correlations - np.eye(len(names))).max() < 0.03


def test_a_square_is_erased_with_its_probability() -> None:
    sides = draw(random_seeds(20_000), POLICY).erasing
    assert (sides > 0).mean() == pytest.approx(0.25, abs=0.01)
    assert sides[sides > 0].min() >= 0.1
    assert sides.max() < 0.3


def test_a_range_of_one_value_gives_exactly_that_value() -> None:
    params = changed(rotation=(7.7, 7.7), scale=(1.3, 1.3), noise=(0.1, 0.1))
    draws = draw(random_seeds(5), params)
    assert draws.rotation.tolist() == [7.7] * 5
    assert draws.scale.tolist() == [1.3] * 5
    assert draws.noise.tolist() == [0.1] * 5


def test_policy_version_names_what_pixels_and_labels_depend_on() -> None:
    assert re.fullmatch(r"v1-[0-9a-f]{8}", policy_version(POLICY))
    assert policy_version(changed(count=11, seed=4, engine="ray")) == policy_version(POLICY)
    others = [
        {"rotation": (-15, 21)},
        {"noise": (0.5, 12)},
        {"elastic": (0.05, 0.2)},
        {"elastic": (0, 0)},
        {"erasing_probability": 0.26},
        {"mirror": {"iv": "vi"}},
        {"mirror_probability": 0.4},
    ]
    assert len({policy_version(changed(**values)) for values in [{}, *others]}) == 8


def test_recipe_names_are_distinct_words() -> None:
    recipes = make_recipes(0, 100, PARENTS, POLICY, CLASSES)
    names = recipe_names(recipes)
    assert len(set(names)) == 100
    seed = int(recipe_seeds(recipes)[1])
    assert names[1] == f"{policy_version(POLICY)}:b:{seed:016x}"


def test_no_parent_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"0 training images.*check data\.source"):
        make_recipes(0, 5, PARENTS[:0], POLICY, CLASSES)


def test_one_id_for_two_parents_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"1 image id\(s\) stand for more than one.*a first"):
        make_recipes(0, 5, pd.concat([PARENTS, PARENTS[1:2]]), POLICY, CLASSES)


def test_all_unknown_classes_of_the_mirror_table_are_listed() -> None:
    params = changed(mirror={"iv": "vi", "v": "xx", "yy": "v"})
    with pytest.raises(ParamsError, match="allowed are iv, v, vi") as caught:
        make_recipes(0, 5, PARENTS, params, CLASSES)
    assert str(caught.value).endswith("\n  - v: xx (xx)\n  - yy: v (yy)")
