"""Stroke thickness against brute force."""

import numpy as np
import pytest

from databoost.candidates.strokes import thicken


def extreme_around(planes: np.ndarray, radius: int, of) -> np.ndarray:
    _, height, width = planes.shape
    expected = np.empty_like(planes)
    for row in range(height):
        for column in range(width):
            window = planes[
                :,
                max(0, row - radius) : row + radius + 1,
                max(0, column - radius) : column + radius + 1,
            ]
            expected[:, row, column] = of(window, axis=(1, 2))
    return expected


def planes(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 6, 11), (1, 1, 1), (1, 1, 5), (2, 4, 1)])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_whole_pixels_are_minima_and_maxima_of_squares(shape, radius: int) -> None:
    image = planes(*shape)
    assert (thicken(image, radius) == extreme_around(image, radius, np.min)).all()
    assert (thicken(image, -radius) == extreme_around(image, radius, np.max)).all()


@pytest.mark.parametrize("amount", [0.25, 0.7, 1.5, 2.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_between_whole_pixels_their_results_are_mixed(amount: float, sign: int) -> None:
    image = planes(1, 12, 12)
    low = thicken(image, sign * int(amount)).astype(float)
    high = thicken(image, sign * (int(amount) + 1)).astype(float)
    mixed = low + (high - low) * (amount % 1)
    assert np.abs(thicken(image, sign * amount) - mixed).max() < 1.01


@pytest.mark.parametrize("amount", [0.0, 0.001, -0.001])
def test_nothing_changes_at_zero(amount: float) -> None:
    image = planes(1, 5, 5)
    assert (thicken(image, amount) == image).all()


@pytest.mark.parametrize("amount", [-2.3, -1, 0.4, 1, 1.999, 8])
def test_one_colour_stays_and_the_input_is_left_alone(amount: float) -> None:
    image = np.full((3, 6, 8), 77, dtype=np.uint8)
    grown = thicken(image, amount)
    assert grown.shape == image.shape
    assert grown.dtype == np.uint8
    assert (grown == 77).all()
    assert (image == 77).all()


def test_thickness_grows_steadily() -> None:
    image = planes(1, 20, 20)
    means = [thicken(image, amount).mean() for amount in np.linspace(-3, 3, 25)]
    assert (np.diff(means) < 0).all()
