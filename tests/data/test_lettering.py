import numpy as np
import pytest

from databoost.data.lettering import NUMERALS, Hand, numeral_strokes, other_strokes
from databoost.errors import DatasetError

# Writes every line exactly where the letter shapes have it, as far as bends and ends go.
STEADY = Hand(slant=0, width=1, gap=0.3, bend=0, jitter=0, rounding=0, hook=0)


def strokes_of(numeral, case="upper", bars="none", hand=STEADY, seed=0):
    return numeral_strokes(numeral, case, bars, hand, np.random.default_rng(seed))


@pytest.mark.parametrize("numeral", NUMERALS)
def test_a_capital_numeral_has_one_stroke_for_i_and_v_and_two_for_x(numeral):
    expected = sum({"i": 1, "v": 1, "x": 2}[letter] for letter in numeral)
    assert len(strokes_of(numeral)) == expected


@pytest.mark.parametrize("numeral", NUMERALS)
def test_a_small_i_has_a_dot(numeral):
    expected = sum({"i": 2, "v": 1, "x": 2}[letter] for letter in numeral)
    assert len(strokes_of(numeral, case="lower")) == expected


@pytest.mark.parametrize(("numeral", "n_serifs"), [("i", 2), ("v", 2), ("x", 4), ("viii", 8)])
def test_separate_bars_are_serifs_of_every_letter(numeral, n_serifs):
    n_plain = len(strokes_of(numeral))
    assert len(strokes_of(numeral, bars="separate")) == n_plain + n_serifs


def test_joint_bars_run_above_and_below_the_whole_numeral():
    for seed in range(20):
        *letters, top, foot = strokes_of("viii", bars="joint", seed=seed)
        points = np.concatenate(letters)
        width = np.ptp(points[:, 0])
        for bar in (top, foot):
            assert np.ptp(bar[:, 0]) > 0.9 * width
        assert abs(top[:, 1].mean() - points[:, 1].min()) < 0.1
        assert abs(foot[:, 1].mean() - points[:, 1].max()) < 0.1


def test_a_lone_i_with_joint_bars_looks_like_a_capital_i():
    _, top, foot = strokes_of("i", bars="joint")
    assert min(np.ptp(top[:, 0]), np.ptp(foot[:, 0])) > 0.3


def test_letters_follow_one_another_from_left_to_right():
    for seed in range(20):
        middles = [stroke[:, 0].mean() for stroke in strokes_of("viii", seed=seed)]
        assert middles == sorted(middles)


def test_slant_moves_the_head_and_leaves_the_foot():
    upright = strokes_of("i")[0]
    leaning = strokes_of("i", hand=Hand(0.5, 1, 0.3, 0, 0, 0, 0))[0]
    np.testing.assert_allclose(leaning[:, 1], upright[:, 1])
    np.testing.assert_allclose(leaning[:, 0] - upright[:, 0], 0.5 * (1 - upright[:, 1]))


def test_a_hook_leaves_the_foot_to_the_right():
    plain = strokes_of("i")[0]
    hooked = strokes_of("i", hand=Hand(0, 1, 0.3, 0, 0, 0, 1.0))[0]
    assert hooked[-1, 0] > plain[-1, 0] + 0.04
    assert hooked[-1, 1] <= hooked[:, 1].max()


def test_a_sharp_v_reaches_its_corner_and_a_rounded_one_does_not():
    sharp, round_ = strokes_of("v")[0], strokes_of("v", hand=Hand(0, 1, 0.3, 0, 0, 1.0, 0))[0]
    assert sharp[:, 1].max() > round_[:, 1].max() + 0.1


def test_strokes_are_points_of_float64():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        strokes = other_strokes(Hand.of(rng, "upper"), rng)
        assert strokes
        for stroke in strokes:
            assert stroke.dtype == np.float64
            assert stroke.ndim == 2
            assert stroke.shape[1] == 2
            assert len(stroke) >= 2
            assert np.abs(stroke).max() < 4


def test_other_strokes_vary_in_kind():
    counts = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        counts.add(sum(len(stroke) for stroke in other_strokes(Hand.of(rng, "upper"), rng)))
    assert len(counts) > 10


@pytest.mark.parametrize("numeral", ["xi", "", "V"])
def test_an_unknown_numeral_is_refused(numeral):
    with pytest.raises(
        DatasetError, match=rf"'{numeral}' cannot be written; .*i, ii, iii, .*ix, x"
    ):
        strokes_of(numeral)
