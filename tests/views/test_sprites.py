"""Sprite sheets: where each picture lies, and that they are the same bytes twice."""

import numpy as np
import pytest

from databoost.data.images import Pixels, decode
from databoost.views.sprites import sprite_sheet


def decoded(file: bytes) -> np.ndarray:
    return decode(file).astype(int)


def flat(value: tuple[int, ...], height: int = 8, width: int = 8) -> Pixels:
    return np.full((height, width, len(value)), value, dtype=np.uint8)


@pytest.mark.parametrize(("n", "shape"), [(0, (8, 8)), (1, (8, 8)), (3, (16, 16)), (5, (16, 24))])
def test_the_sheet_is_about_square(n: int, shape: tuple[int, int]) -> None:
    assert decode(sprite_sheet([flat((0,))] * n, 8)).shape == (*shape, 1)


def test_every_picture_has_its_square() -> None:
    sheet = decoded(sprite_sheet([flat((40 * number,)) for number in range(5)], 8))
    values = [sheet[4 + 8 * (number // 3), 4 + 8 * (number % 3), 0] for number in range(5)]
    assert values == pytest.approx([0, 40, 80, 120, 160], abs=2)


def test_a_narrow_picture_stands_in_the_middle_on_white() -> None:
    sheet = decoded(sprite_sheet([flat((0,), height=16, width=8)], 16))
    assert sheet[8, [1, 8, 14], 0] == pytest.approx([255, 0, 255], abs=12)


def test_one_colour_picture_makes_the_sheet_coloured() -> None:
    pictures = [flat((0,)), flat((200, 0, 0))]
    sheet = decoded(sprite_sheet(pictures, 8))
    assert sheet[4, 12] == pytest.approx([200, 0, 0], abs=6)
    assert sprite_sheet(pictures, 8) == sprite_sheet(pictures, 8)
