import numpy as np
import pytest

from databoost.data.handwriting import STYLES, draw_numeral, draw_other
from databoost.data.lettering import NUMERALS
from databoost.errors import DatasetError


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_every_numeral_with_dark_ink_on_light_paper(style):
    for number, numeral in enumerate(NUMERALS):
        pixels = draw_numeral(numeral, style, 128, np.random.default_rng(number))
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 1
        assert min(pixels.shape[:2]) > 0.5 * 128
        assert max(pixels.shape[:2]) < 2 * 128
        assert np.median(pixels) > 190
        assert 0.001 < (pixels < 150).mean() < 0.5


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_what_is_no_numeral(style):
    for seed in range(5):
        pixels = draw_other(style, 128, np.random.default_rng(seed))
        assert pixels.shape[2] == 1
        assert np.median(pixels) > 150


def test_same_generator_same_pixels():
    first, again, other = (
        draw_numeral("vii", "pencil", 200, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_a_marker_leaves_more_ink_than_a_fineliner():
    share = {
        style: np.mean(
            [
                (draw_numeral("iv", style, 128, np.random.default_rng(seed)) < 100).mean()
                for seed in range(20)
            ]
        )
        for style in ("fineliner", "marker")
    }
    assert share["marker"] > 2 * share["fineliner"]


def test_sizes_and_aspects_vary_around_the_image_size():
    shapes = np.array(
        [draw_numeral("x", "fineliner", 100, np.random.default_rng(k)).shape for k in range(60)]
    )
    sides = np.sqrt(shapes[:, 0] * shapes[:, 1])
    assert 85 < np.median(sides) < 125
    aspects = shapes[:, 1] / shapes[:, 0]
    assert aspects.min() < 1.2
    assert aspects.max() > 1.45


def test_lines_are_ruled_on_the_share_of_sheets_that_the_style_says():
    def has_line(seed):
        pixels = draw_other("photo", 128, np.random.default_rng(seed))[:, :, 0].astype(float)
        rows = np.median(pixels, axis=1)
        return bool((np.median(rows) - rows > 15).any())

    share = np.mean([has_line(seed) for seed in range(80)])
    assert 0.35 < share < 0.8


@pytest.mark.parametrize("draw", [draw_other, lambda *rest: draw_numeral("i", *rest)])
def test_an_unknown_style_is_refused(draw):
    with pytest.raises(DatasetError, match=r"no style is called 'quill'; choose one of pencil, "):
        draw("quill", 100, np.random.default_rng(0))


def test_an_unknown_numeral_is_refused():
    with pytest.raises(DatasetError, match=r"'xi' cannot be written"):
        draw_numeral("xi", "pencil", 100, np.random.default_rng(0))
