"""Displacement fields against SciPy's B-splines."""

import hashlib

import numpy as np
import pytest
from scipy.interpolate import BSpline

from databoost.candidates.augmentation import CPU
from databoost.candidates.bending import SPANS, bend
from databoost.candidates.recipes import draw_unit, hash_numbers

POINTS = SPANS + 3


def random_seeds(n: int) -> np.ndarray:
    return hash_numbers(np.array([7], dtype=np.uint64), np.arange(n, dtype=np.uint64))


def field(seed: np.uint64, amount: float, height: int, width: int) -> np.ndarray:
    """Give the displacements of a whole image: (2, height, width)."""
    return bend(
        np.array([seed]), np.array([amount]), np.array([height]), np.array([width]),
        np.arange(height)[None], np.arange(width)[None], CPU,
    )[0].numpy()  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(40, 60), (33, 7), (1, 1), (300, 2)])
def test_displacements_are_those_of_a_cubic_b_spline(height: int, width: int) -> None:
    seed, amount = random_seeds(1)[0], 0.3
    keys = np.arange(2**34, 2**34 + 2 * POINTS**2, dtype=np.uint64)
    lattice = (
        (2 * draw_unit(seed, keys) - 1).reshape(2, POINTS, POINTS) * amount * min(height, width)
    )
    knots = np.arange(-3.0, POINTS + 1)
    rows = BSpline.design_matrix((np.arange(height) + 0.5) / height * SPANS, knots, 3).toarray()
    columns = BSpline.design_matrix((np.arange(width) + 0.5) / width * SPANS, knots, 3).toarray()
    expected = np.einsum("rk,akj,cj->arc", rows, lattice, columns)
    assert field(seed, amount, height, width) == pytest.approx(expected, abs=1e-4)


def test_a_displacement_does_not_depend_on_what_is_asked_beside_it() -> None:
    seeds, amounts = random_seeds(3), np.array([0.1, 0.0, 0.4])
    heights, widths = np.array([40, 9, 71]), np.array([30, 50, 64])
    rows, columns = np.array([[3, 8], [0, 8], [70, 5]]), np.array([[29], [1], [63]])
    found = bend(seeds, amounts, heights, widths, rows, columns, CPU).numpy()
    assert found.shape == (3, 2, 2, 1)
    for n in range(3):
        whole = field(seeds[n], amounts[n], heights[n], widths[n])
        assert (found[n] == whole[:, rows[n]][:, :, columns[n]]).all()


def test_no_amount_displaces_nothing() -> None:
    assert (field(random_seeds(1)[0], 0.0, 20, 30) == 0).all()


def test_displacements_are_around_zero_and_within_the_amount_of_the_shorter_side() -> None:
    fields = np.stack([field(seed, 0.2, 50, 200) for seed in random_seeds(400)]) / (0.2 * 50)
    assert np.abs(fields).max() < 1
    assert fields.mean() == pytest.approx(0, abs=0.01)
    assert fields.std() == pytest.approx(0.28, abs=0.01)


def test_axes_and_candidates_are_bent_apart() -> None:
    fields = np.stack([field(seed, 0.2, 30, 30) for seed in random_seeds(2000)])
    middle = fields[:, :, 15, 15]
    assert abs(np.corrcoef(middle.T)[0, 1]) < 0.07
    assert abs(np.corrcoef(middle[:-1, 0], middle[1:, 0])[0, 1]) < 0.07


def test_no_candidate_is_bent_into_no_field() -> None:
    none = np.empty((0, 5), dtype=np.int64)
    lengths = np.empty(0, dtype=np.int64)
    found = bend(random_seeds(0), np.empty(0), lengths, lengths, none, none, CPU)
    assert found.shape == (0, 2, 5, 5)


def test_displacements_are_what_they_were() -> None:
    # A change of these bytes needs another CODE_VERSION.
    found = field(random_seeds(1)[0], 0.2, 64, 48)
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == "e8b69db1723889b5"
