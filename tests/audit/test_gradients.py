"""Stroke descriptors."""

import numpy as np
import pytest

from databoost.audit.gradients import gradient_descriptors, grey_levels


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


def test_grey_is_the_mean_of_the_channels_to_the_bit() -> None:
    sums = np.arange(3 * 255 + 1)  # every sum of three channels there can be
    every = np.stack([np.clip(sums - 255 * number, 0, 255) for number in range(3)], axis=1)
    random = np.random.default_rng(0).integers(0, 256, (33, 71, 3))
    for image in (every[None], every[None, :256, :1], random, random[:, :, 1:2]):
        pixels = image.astype(np.uint8)
        grey = grey_levels(pixels)
        assert grey.dtype == np.float32
        assert grey.tolist() == pixels.mean(axis=2, dtype=np.float32).tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_that_is_too_long_is_shrunk_and_no_other(channels: int) -> None:
    page = np.full((2048, 3, channels), 255, dtype=np.uint8)
    page[100:900, 1] = 0
    page[1200:1210] = 40
    doubled = page.repeat(2, axis=0).repeat(2, axis=1)
    whole, small = gradient_descriptors([doubled, page])
    assert whole.any()
    assert whole.tolist() == small.tolist()


def test_a_strip_needs_no_square_of_its_length() -> None:
    strip = np.full((1, 400_000, 1), 255, dtype=np.uint8)  # its square would have 596 GiB
    strip[0, 1000:300_000] = 0
    assert np.linalg.norm(gradient_descriptors([strip])) == pytest.approx(1.0)


def test_many_images_are_described_as_few_are() -> None:
    pages = [stroke(4, 4, 30 + number % 20, 4 + number % 7) for number in range(300)]
    every = gradient_descriptors(iter(pages))
    assert every.shape == (300, 1764)
    for number in (0, 255, 256, 299):
        assert every[number].tolist() == gradient_descriptors([pages[number]])[0].tolist()


def test_an_image_of_one_colour_has_no_strokes() -> None:
    assert not gradient_descriptors([np.full((9, 7, 3), 200, dtype=np.uint8)]).any()
