"""More than noise or not: exact cases, and simulated studies whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from databoost.data.tables import STUDY_ROUNDS
from databoost.study import verdicts as module
from databoost.study.verdicts import (
    arm_rows,
    crossed_interval,
    flip_test,
    resampled_interval,
    sign_test,
    verdict_rows,
)

IMAGES = [f"{number:04d}" for number in range(300)]


def right(values: np.ndarray) -> pd.Series:
    return pd.Series(values.astype(bool), index=IMAGES[: len(values)])


def rounds_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Give ``STUDY_ROUNDS`` with zeros where a row says nothing."""
    values: dict[str, object] = {column: [0] * len(rows) for column in STUDY_ROUNDS.columns}
    values["stop"] = [""] * len(rows)
    named = {column: [row[column] for row in rows] for column in rows[0]} if rows else {}
    return STUDY_ROUNDS.frame(values | named)


def compared(
    correct: dict[tuple[str, str], dict[int, pd.Series]], **n_train: list[int]
) -> pd.DataFrame:
    """Give the verdicts; arms have 10 training images but where sizes, by seed, are given."""
    rows = [
        {"arm": arm, "round": name, "seed": seed, "n_train": n_train.get(arm, [10] * 9)[number]}
        for (arm, name), of_seed in correct.items()
        for number, seed in enumerate(of_seed)
    ]
    return verdict_rows(rounds_of(rows), correct)


def test_the_interval_by_hand_where_only_images_differ() -> None:
    # Both seeds alike: MS_seeds = MS_rest = 0; image means 1, 0, 0, 1 have the variance 1/3, so
    # that MS_images = 2/3 and the variance of the mean is 2/3 / 8, with 3 degrees of freedom.
    found = crossed_interval(np.array([[1.0, 0, 0, 1], [1, 0, 0, 1]]))
    half = stats.t.ppf(0.975, 3) * math.sqrt(1 / 12)
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_the_interval_by_hand_where_only_seeds_differ() -> None:
    # Seed means 0 and 0.5: MS_seeds = 4 * 1/8, over 8 values, with one degree of freedom.
    found = crossed_interval(np.array([[0.0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]]))
    half = stats.t.ppf(0.975, 1) * math.sqrt(0.5 / 8)
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25 - half, 0.25 + half))


def test_one_seed_has_an_interval_over_images_and_one_value_has_none() -> None:
    found = crossed_interval(np.array([[1.0, 0, 0, 1]]))
    half = stats.t.ppf(0.975, 3) * math.sqrt(1 / 3 / 4)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))
    alone = crossed_interval(np.array([[1.0]]))
    assert alone.mean == 1
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)


def test_equal_values_have_no_interval_around_them() -> None:
    found = crossed_interval(np.zeros((3, 5)))
    assert (found.mean, found.low, found.high) == (0, 0, 0)
    assert resampled_interval(np.zeros((3, 5))) == (0, 0)


def test_resampling_is_seeded_and_draws_seeds_and_images() -> None:
    values = np.random.default_rng(0).normal(size=(4, 50))
    assert resampled_interval(values) == resampled_interval(values)
    assert resampled_interval(values) != resampled_interval(values, seed=1)
    low, high = resampled_interval(np.array([[0.0] * 9, [1.0] * 9]))
    assert (low, high) == (0, 1)  # one half of the draws holds one seed alone
    low, high = resampled_interval(np.tile([0.0, 1.0], (3, 2)))
    assert (low, high) == (0, 1)


def test_resampling_gives_the_numbers_that_it_always_gave() -> None:
    for _ in range(2):  # drawn, and drawn before: three shapes are more than are kept
        for seed, shape, expected in (
            (1, (2, 40), (4 / 40, 19 / 40)),
            (2, (3, 40), (-4 / 120, 35 / 120)),
            (3, (3, 7), (-6 / 21, 9 / 21)),
        ):
            values = np.random.default_rng(seed).choice([-1.0, 0, 1], shape, p=[0.1, 0.6, 0.3])
            assert resampled_interval(values) == expected


def test_all_pairs_share_their_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, made = np.random.default_rng, []
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made.append(seed) or generator(seed))
    module._draws.cache_clear()
    of_seed = {seed: right(np.arange(8) % (seed + 2) == 0) for seed in range(3)}
    arms = {f"arm {n}": {seed: of_seed[seed] for seed in range(2 + n % 2)} for n in range(5)}
    names = [(arm, name) for arm in arms for name in ("r01", "r02")]
    assert len(compared({(arm, name): arms[arm] for arm, name in names})) == 2 * 10
    assert made == [0, 0]  # for two seeds, and for the three that arms 1 and 3 have
    for drawn in module._draws(2, 8, 0):
        assert not drawn.flags.writeable


@pytest.mark.parametrize("n_images", [300, 1000])
@pytest.mark.parametrize("of_seeds", [0.0, 0.02, 0.04])
@pytest.mark.parametrize(
    ("n_seeds", "least", "most"),
    [(2, 0.93, 1.0), (3, 0.94, 1.0), (5, 0.915, 0.99), (10, 0.915, 0.985)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    n_seeds: int, least: float, most: float, of_seeds: float, n_images: int
) -> None:
    """Differences in {-1, 0, 1} with effects of seeds and images, as arms of a study have."""
    generator = np.random.default_rng(n_seeds)
    n, truth = 400, 0.02
    n_held = 0
    for _ in range(n):
        values = truth + generator.choice([-1, 0, 1], (n_seeds, n_images), p=[0.1, 0.8, 0.1])
        values = values + generator.normal(0, of_seeds, (n_seeds, 1))
        values = values + generator.normal(0, 0.15, (1, n_images))
        found = crossed_interval(values)
        n_held += found.low <= truth <= found.high
    assert least <= n_held / n <= most


def test_the_widest_interval_is_taken_and_not_that_of_the_largest_variance() -> None:
    # Images vary more than both seeds, but of two seeds' variance little is known.
    values = np.array([[0.1] * 20, [0.0] * 20]) + np.tile([0.3, -0.3], 10)
    of_seeds = stats.t.ppf(0.975, 1) * math.sqrt(20 * 0.005 / 40)
    of_images = stats.t.ppf(0.975, 19) * math.sqrt(2 * 0.09 * 20 / 19 / 40)
    found = crossed_interval(values)
    assert of_images < of_seeds
    assert found.high - found.mean == pytest.approx(of_seeds)


def test_arms_that_are_the_same_do_not_differ() -> None:
    generator = np.random.default_rng(0)
    of_seed = {seed: right(generator.random(200) < 0.8) for seed in range(5)}
    verdicts = compared({("a", "r01"): of_seed, ("b", "r01"): of_seed})
    (row,) = verdicts.to_dict("records")
    assert (row["arm"], row["other_arm"], row["round"]) == ("a", "b", "r01")
    assert (row["n_seeds"], row["n_images"]) == (5, 200)
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
    assert not row["is_more_than_noise"]


def test_arms_of_equal_skill_differ_by_no_more_than_noise_19_times_in_20_or_more() -> None:
    generator = np.random.default_rng(1)
    n_clear = 0
    for _ in range(400):
        shares = generator.beta(4, 1, 200)
        one, other = (generator.random((5, 200)) < shares for _ in range(2))
        found = crossed_interval(one * 1.0 - other * 1.0)
        n_clear += found.low > 0 or found.high < 0
    assert 1 <= n_clear <= 28


def test_the_sign_test_by_hand() -> None:
    assert sign_test(np.array([[1.0] * 5 + [0] * 9])) == pytest.approx(2 / 32)
    assert sign_test(np.array([[1.0] * 6 + [0] * 9])) == pytest.approx(2 / 64)
    assert sign_test(np.array([[-1.0] * 6])) == pytest.approx(2 / 64)
    assert sign_test(np.array([[1.0] * 4 + [-1]])) == pytest.approx(2 * 6 / 32)
    # What one seed gains and another loses tells nobody apart.
    assert sign_test(np.array([[1.0, 1, 0], [-1, 0, 0]])) == 1
    assert sign_test(np.zeros((2, 3))) == 1
    # Most images speak against the mean.
    assert sign_test(np.array([[1.0, -1, -1], [1, 0, 0], [1, 0, 0]])) == 1


def test_shares_are_tested_by_their_sizes() -> None:
    # Exact: of 2 ** 6 signs, two give a sum as large.
    assert flip_test(np.array([[0.5] * 6 + [0] * 9])) == pytest.approx(2 / 64)
    assert flip_test(np.array([[0.25] * 2, [0.5] * 2])) == pytest.approx(2 / 4)
    assert flip_test(np.array([[1.0, 0.1, -0.1]])) == pytest.approx(6 / 8)  # |0.8| is the least
    # One image alone, or what one seed gains and another loses, tells nobody apart.
    assert flip_test(np.array([[1.0, 0, 0]])) == 1
    assert flip_test(np.array([[0.1, 1], [0.2, 0], [-0.3, 0]])) == 1
    # Most images lose a little, and few gain much: the sum counts, for few and for many images.
    generator = np.random.default_rng(3)
    for n in (300, 1_500):
        values = generator.normal(-0.02, 0.05, (5, n))
        values[:, : n // 10] += 0.6
        assert flip_test(values) < 0.001
        assert sign_test(values) == 1
        assert flip_test(values - values.mean()) > 0.9


def shares(chances: np.ndarray, generator: np.random.Generator) -> pd.Series:
    return pd.Series(generator.binomial(20, chances) / 20, index=IMAGES[: len(chances)])


def test_late_epochs_of_equal_arms_differ_by_no_more_than_noise_19_times_in_20() -> None:
    generator = np.random.default_rng(4)
    n_clear = 0
    for _ in range(1_000):
        of_image = generator.beta(4, 1, 100)
        of_seed = generator.normal(0, 0.02, (2, 5, 1))  # of each arm's trainings
        chances = np.clip(of_image + of_seed, 0, 1)
        one, other = generator.binomial(20, chances) / 20
        found = crossed_interval(one - other)
        n_clear += found.low > 0 or found.high < 0
    assert 30 <= n_clear <= 70  # 50 are expected; the standard deviation is 7


def test_a_gain_of_some_images_is_found_in_late_epochs() -> None:
    generator = np.random.default_rng(5)
    of_image = generator.uniform(0.2, 0.8, 300)
    gain = np.where(np.arange(300) < 45, 0.2, -0.01)
    arms = {
        (arm, "r01"): {seed: shares(of_image + extra, generator) for seed in range(5)}
        for arm, extra in (("better", gain), ("worse", 0 * gain))
    }
    rows = [
        {"arm": arm, "round": "r01", "seed": seed, "n_train": 1}
        for arm, _ in arms
        for seed in range(5)
    ]
    (row,) = verdict_rows(rounds_of(rows), arms, "late").to_dict("records")
    assert row["measure"] == "late"
    assert row["difference"] == pytest.approx(gain.mean(), abs=0.01)
    assert row["is_more_than_noise"]
    same = {key: dict.fromkeys(range(5), pd.Series(0.05 * (key[0] == "better") + 0.1, IMAGES))
            for key in arms}  # fmt: skip
    (row,) = verdict_rows(rounds_of(rows), same, "late").to_dict("records")
    assert row["difference"] == 0.05
    assert not row["is_more_than_noise"]  # nothing varies, so that nothing is known of the noise


def judged(*rights: int, n: int = 300, n_seeds: int = 3) -> tuple[bool, float]:
    """Compare an arm, right on as many of the first images with each seed, with one never right."""
    values = [np.arange(n) < rights[seed % len(rights)] for seed in range(n_seeds)]
    better = {seed: right(value) for seed, value in enumerate(values)}
    worse = {seed: right(np.zeros(n)) for seed in range(n_seeds)}
    row = compared({("a", "r01"): better, ("b", "r01"): worse}).iloc[0]
    assert row["sign_test"] == pytest.approx(min(1, 2 / 2 ** max(rights)), abs=1e-6)
    return bool(row["is_more_than_noise"]), float(row["low"])


def test_a_verdict_does_not_rest_on_a_handful_of_images() -> None:
    is_clear, low = judged(5)
    assert low > 0  # as if 5 of 300 images were about normal
    assert not is_clear
    assert judged(6)[0]
    is_clear, low = judged(1, n=1)
    assert (is_clear, low) == (False, 1)
    is_clear, low = judged(40, n=40)  # nothing varies, so that nothing is known of the noise
    assert (is_clear, low) == (False, 1)


def test_the_sizes_of_both_arms_stand_beside_their_verdict() -> None:
    ones = {seed: right(np.ones(4)) for seed in (0, 1)}
    correct = {("a", "r01"): ones, ("b", "r01"): ones, ("c", "r01"): ones}
    rows = compared(correct, a=[10, 12], b=[12, 10], c=[10, 12]).to_dict("records")
    told = [(row["n_train"], row["other_n_train"], row["is_equal_size"]) for row in rows]
    assert told == [(11, 11, False), (11, 11, True), (11, 11, False)]


def test_a_large_difference_is_found_whichever_way_round() -> None:
    generator = np.random.default_rng(2)
    good = {seed: right(generator.random(300) < 0.9) for seed in range(3)}
    bad = {seed: right(generator.random(300) < 0.7) for seed in range(3)}
    up = compared({("good", "r01"): good, ("bad", "r01"): bad}).iloc[0]
    down = compared({("bad", "r01"): bad, ("good", "r01"): good}).iloc[0]
    assert up["is_more_than_noise"]
    assert down["is_more_than_noise"]
    assert up["low"] > 0.02
    assert (up["difference"], up["low"]) == pytest.approx((-down["difference"], -down["high"]))
    # One seed alone does not say what another would.
    one = compared({("good", "r01"): {0: good[0]}, ("bad", "r01"): {0: bad[0]}}).iloc[0]
    assert one["low"] > 0.05
    assert not one["is_more_than_noise"]


def test_pairs_are_compared_by_the_seeds_that_both_have() -> None:
    ones, zeros = right(np.ones(4)), right(np.zeros(4))
    verdicts = compared(
        {
            ("a", "r00"): {0: ones},
            ("b", "r00"): {0: ones},
            ("a", "r01"): {0: ones, 1: zeros, 3: zeros},
            ("b", "r01"): {1: ones, 2: zeros, 3: ones},
            ("c", "r01"): {7: ones},
            ("a", "r02"): {0: ones},
        }
    )
    (row,) = verdicts.to_dict("records")
    assert (row["arm"], row["other_arm"], row["n_seeds"]) == ("a", "b", 2)
    assert row["measure"] == "kept"
    assert (row["difference"], row["low"], row["high"]) == (-1, -1, -1)
    assert compared({}).empty
    empty = right(np.ones(0))
    assert compared({("a", "r01"): {0: empty}, ("b", "r01"): {0: empty}}).empty


def test_arms_are_averaged_over_their_seeds() -> None:
    columns = ("arm", "round", "seed", "n_train", "val_accuracy", "test_accuracy")
    rows = [("a", "r01", 0, 10, 0.5, 0.75), ("a", "r01", 1, 20, 1.0, 0.25)]
    rounds = rounds_of([dict(zip(columns, row, strict=True)) for row in rows])
    correct = {("a", "r01"): {0: right(np.array([1, 1, 1, 0])), 1: right(np.array([1, 0, 0, 0]))}}
    (row,) = arm_rows(rounds, correct).to_dict("records")
    assert (row["arm"], row["round"], row["n_seeds"], row["n_train"]) == ("a", "r01", 2, 15)
    assert (row["measure"], row["val_accuracy"], row["test_accuracy"]) == ("kept", 0.75, 0.5)
    late = rounds.assign(late_val_accuracy=[0.25, 0.5])
    (other,) = arm_rows(late, correct, "late").to_dict("records")
    assert (other["measure"], other["val_accuracy"], other["test_accuracy"]) == ("late", 0.375, 0.5)
    found = crossed_interval(np.array([[1.0, 1, 1, 0], [1, 0, 0, 0]]))
    assert found.low < 0
    assert found.high > 1
    assert (row["low"], row["high"]) == (0, 1)
