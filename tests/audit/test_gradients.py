"""Stroke descriptors."""

import numpy as np
import pytest

from databoost.audit.gradients import gradient_descriptors


def stroke(top: int, left: int, height: int, width: int) -> np.ndarray:
    """A black bar on white paper."""
    image = np.full((64, 64, 1), 255, dtype=np.uint8)
    image[top : top + height, left : left + width] = 0
    return image


def test_place_does_not_matter_and_direction_does() -> None:
    upright, moved, lying = gradient_descriptors(
        [stroke(4, 4, 40, 6), stroke(20, 50, 40, 6), stroke(4, 4, 6, 40)]
    )
    assert upright.dtype == np.float32
    assert upright.shape == (1764,)
    assert np.linalg.norm(upright) == pytest.approx(1.0)
    assert upright @ moved == pytest.approx(1.0)
    assert upright @ lying < 0.5


def test_an_image_of_one_colour_has_no_strokes() -> None:
    assert not gradient_descriptors([np.full((9, 7, 3), 200, dtype=np.uint8)]).any()
