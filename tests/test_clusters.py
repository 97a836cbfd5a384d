"""Failures in groups: two clouds that anyone would tell apart, and too few images."""

import numpy as np

from databoost.clusters import error_clusters


def unit(*angles: float) -> np.ndarray:
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_the_image_nearest_to_each_middle_asks_for_all_of_its_group():
    members, middles, sizes = error_clusters(unit(80, 2, 0, 90, 85, 4, 3), 2, seed=0)
    assert members.tolist() == [1, 4]
    assert members.dtype == sizes.dtype == np.int64
    assert sizes.tolist() == [4, 3]
    assert middles.dtype == np.float32
    np.testing.assert_allclose(middles, unit(2.25, 85), atol=1e-4)


def test_never_more_groups_than_different_images():
    members, middles, sizes = error_clusters(unit(90, 0, 0), 5, seed=0)
    assert members.tolist() == [0, 1]
    assert sizes.tolist() == [1, 2]
    assert middles.shape == (2, 2)
    assert error_clusters(unit(30), 5, seed=0)[0].tolist() == [0]
