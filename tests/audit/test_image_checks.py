"""What is wrong with single images and between splits, on small exact cases."""

import numpy as np
import pandas as pd
import pytest

from databoost.audit.image_checks import content_share, exact_leaks, odd_sizes


def test_content_is_what_differs_from_the_paper() -> None:
    page = np.full((10, 10, 3), 255, dtype=np.uint8)
    assert content_share(page) == 0.0
    page[0, :5] = 0
    assert content_share(page) == pytest.approx(0.05)


def test_faint_noise_is_no_content() -> None:
    page = np.full((10, 10, 1), 255, dtype=np.uint8)
    page[0] = 255 - 32
    assert content_share(page) == 0.0


def test_odd_sizes_by_size_and_by_shape() -> None:
    heights = np.array([100, 100, 100, 100, 10, 200])
    widths = np.array([100, 100, 100, 100, 10, 50])
    odd = odd_sizes(heights, widths)
    assert odd[:4].tolist() == [0, 0, 0, 0]
    assert odd[4:] == pytest.approx([np.log(10) / 0.05, np.log(4) / 0.05])


def test_no_images_have_no_sizes() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert odd_sizes(nothing, nothing).shape == (0,)


def test_leaks_between_splits_are_listed_once() -> None:
    images = pd.DataFrame(
        {
            "image_id": ["a", "a", "a", "b", "b", "c", "c", "d"],
            "split": ["val", "train", "train", "label_book", "train", "test", "label_book", "val"],
        }
    )
    assert exact_leaks(images).to_numpy().tolist() == [
        ["a", "train", "val"],
        ["b", "train", "label_book"],
    ]
