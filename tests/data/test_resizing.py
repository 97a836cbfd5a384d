"""The competition's resize, against a reference pixel by pixel and against Keras' own output."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from databoost.data.images import Pixels, read_image
from databoost.data.resizing import TapStore, blend_taps, tap_axis

REFERENCE = Path(__file__).parents[1] / "model" / "keras_fixed_model.npz"
ROMAN = os.environ.get("DATABOOST_ROMAN")


def resized_slowly(image: Pixels, size: int) -> np.ndarray:
    """TensorFlow's bilinear resize, one pixel after another; (3, size, size) float32."""
    half = np.float32(0.5)
    height, width, channels = image.shape

    def taps(position: int, length: int) -> tuple[int, int, np.float32]:
        centre = (np.float32(position) + half) * (np.float32(length) / np.float32(size)) - half
        floor = np.floor(centre)
        upper = min(int(np.ceil(centre)), length - 1)
        return max(int(floor), 0), upper, np.float32(centre - floor)

    result = np.empty((3, size, size), dtype=np.float32)
    for row in range(size):
        top, bottom, down = taps(row, height)
        for column in range(size):
            left, right, across = taps(column, width)
            for channel in range(3):
                values = image[:, :, channel % channels].astype(np.float32)
                above = values[top, left] + (values[top, right] - values[top, left]) * across
                below = values[bottom, left]
                below = below + (values[bottom, right] - values[bottom, left]) * across
                result[channel, row, column] = above + (below - above) * down
    return result


def noise(height: int, width: int, channels: int) -> Pixels:
    generator = np.random.default_rng(height * 1000 + width)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_taps_of_known_axes() -> None:
    halved = tap_axis(4, 2)
    assert halved.positions.tolist() == [0, 1, 2, 3]
    assert halved.fractions.tolist() == [0.5, 0.5]
    same = tap_axis(3, 3)
    assert same.positions.tolist() == [0, 0, 1, 1, 2, 2]
    assert same.fractions.tolist() == [0, 0, 0]
    doubled = tap_axis(2, 4)  # centres -0.25, 0.25, 0.75, 1.25
    assert doubled.positions.tolist() == [0, 0, 0, 1, 0, 1, 1, 1]
    assert doubled.fractions.tolist() == [0.75, 0.25, 0.75, 0.25]
    assert (doubled.positions.dtype, doubled.fractions.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("length", [1, 2, 5, 31, 32, 33, 200, 1023])
@pytest.mark.parametrize("size", [1, 8, 32])
def test_taps_stay_inside_the_image(length: int, size: int) -> None:
    axis = tap_axis(length, size)
    assert axis.positions.shape == (2 * size,)
    assert axis.positions.min() >= 0
    assert axis.positions.max() < length
    assert (axis.fractions >= 0).all()
    assert (axis.fractions < 1).all()


@pytest.mark.parametrize(
    "shape",
    [(8, 8, 3), (8, 8, 1), (1, 1, 3), (3, 17, 3), (40, 23, 1), (200, 187, 3), (5, 300, 3)],
)
def test_resizing_equals_the_reference(shape: tuple[int, int, int]) -> None:
    image = noise(*shape)
    batch = TapStore([image], 8).batch(slice(None))
    assert (batch.shape, batch.dtype) == ((1, 3, 8, 8), torch.float32)
    np.testing.assert_array_equal(batch[0].numpy(), resized_slowly(image, 8))


def test_images_of_any_size_and_colour_share_a_store() -> None:
    images = [noise(7, 30, 1), noise(20, 10, 3), noise(4, 4, 3)]
    store = TapStore(images, 4)
    assert len(store) == 3
    assert store.taps.shape == (3, 3, 8, 8)
    expected = np.stack([resized_slowly(image, 4) for image in images])
    np.testing.assert_array_equal(store.batch(slice(None)).numpy(), expected)
    chosen = store.batch(torch.tensor([2, 0, 0]))
    np.testing.assert_array_equal(chosen.numpy(), expected[[2, 0, 0]])
    np.testing.assert_array_equal(store.batch(slice(1, 2)).numpy(), expected[1:2])


def test_grey_images_are_held_in_one_channel() -> None:
    store = TapStore([noise(9, 9, 1), noise(12, 5, 1)], 4)
    assert store.taps.shape == (2, 1, 8, 8)
    assert store.taps.dtype == torch.uint8
    batch = store.batch(slice(None))
    assert batch.shape == (2, 3, 4, 4)
    assert torch.equal(batch[:, 0], batch[:, 1])
    assert torch.equal(batch[:, 0], batch[:, 2])


def test_a_flat_image_stays_flat() -> None:
    image = np.full((50, 41, 3), (7, 130, 255), dtype=np.uint8)
    batch = TapStore([image], 32).batch(slice(None))
    for channel, value in enumerate((7, 130, 255)):
        assert batch[0, channel].unique().tolist() == [value]


def test_an_image_of_the_right_size_is_untouched() -> None:
    image = noise(32, 32, 3)
    batch = TapStore([image], 32).batch(slice(None))
    np.testing.assert_array_equal(batch[0].numpy(), image.transpose(2, 0, 1))


def test_no_images_are_a_store_too() -> None:
    store = TapStore([], 8)
    assert len(store) == 0
    assert store.batch(slice(None)).shape == (0, 3, 8, 8)


def test_a_store_moves_to_a_device_in_place() -> None:
    store = TapStore([noise(9, 9, 3)], 4)
    before = store.batch(slice(None))
    assert store.to(torch.device("cpu")) is store
    assert torch.equal(store.batch(slice(None)), before)


def test_blending_by_hand() -> None:
    taps = torch.tensor([[[[0, 100], [200, 40]]]], dtype=torch.uint8)
    down, across = torch.tensor([[0.25]]), torch.tensor([[0.5]])
    # Above 50, below 120; a quarter of the way down is 67.5.
    assert blend_taps(taps, down, across).flatten().tolist() == [67.5, 67.5, 67.5]


@pytest.mark.skipif(not ROMAN, reason="DATABOOST_ROMAN names no folder of the real images")
def test_real_images_are_resized_exactly_as_keras_does() -> None:
    reference = np.load(REFERENCE)
    images = [read_image(Path(str(ROMAN)) / path) for path in reference["paths"]]
    batch = TapStore(images, 32).batch(slice(None))
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), reference["resized"])


def test_stores_are_joined_in_their_order():
    random = np.random.default_rng(0)
    grey = [random.integers(0, 256, (5, n, 1), np.uint8) for n in (7, 8)]
    coloured = [random.integers(0, 256, (n, 6, 3), np.uint8) for n in (9, 4, 3)]
    parts = [grey, coloured[:2], coloured[2:] + grey]
    joined = TapStore.joined([TapStore(part, 4) for part in parts])
    at_once = TapStore([image for part in parts for image in part], 4)
    assert len(joined) == 7
    assert torch.equal(joined.taps, at_once.taps)
    assert torch.equal(joined.batch(slice(None)), at_once.batch(slice(None)))
    assert TapStore.joined([TapStore(grey, 4)] * 2).taps.shape == (4, 1, 8, 8)
