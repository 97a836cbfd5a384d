"""Failures in groups: two clouds that anyone would tell apart, and too few images."""

import numpy as np

from databoost.clusters import error_clusters


def unit(*angles: float) -> np.ndarray:
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_the_image_nearest_to_each_middle_asks():
    members, middles = error_clusters(unit(80, 2, 0, 90, 85, 4), 2, seed=0)
    assert members.tolist() == [1, 4]
    assert members.dtype == np.int64
    assert middles.dtype == np.float32
    np.testing.assert_allclose(middles, unit(2, 85), atol=1e-6)


def test_never_more_groups_than_different_images():
    members, middles = error_clusters(unit(0, 0, 90), 5, seed=0)
    assert sorted(members.tolist()) == [0, 2]
    assert middles.shape == (2, 2)
    assert error_clusters(unit(30), 5, seed=0)[0].tolist() == [0]
