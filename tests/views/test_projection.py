"""The map's points: which images, where, and that neither time nor later rounds move them."""

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness

from databoost.sections import MapParams
from databoost.views.projection import Vectors, choose_shown, project

PARAMS = MapParams(neighbors=10, min_dist=0.1, metric="cosine", max_points=1000, seed=0)


def clusters(n: int, seed: int) -> tuple[Vectors, np.ndarray]:
    """Unit vectors around four axes of ten dimensions, and the axis of each."""
    generator = np.random.default_rng(seed)
    axis = generator.integers(4, size=n)
    vectors = np.eye(10)[axis] + generator.normal(0, 0.1, (n, 10))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), axis


def table(**counts: int) -> pd.DataFrame:
    names = [name for name, count in counts.items() for _ in range(count)]
    return pd.DataFrame(
        {
            "image_id": [f"{number:016x}" for number in range(len(names))],
            "split": "train",
            "label": names,
            "round_added": "r00",
        }
    )


def test_everything_is_shown_where_it_fits() -> None:
    assert choose_shown(table(i=3, v=2), 5, seed=0).tolist() == [0, 1, 2, 3, 4]
    assert choose_shown(table(i=0), 5, seed=0).tolist() == []


def test_a_sample_keeps_the_shares_and_the_rare() -> None:
    images = table(i=600, v=300, x=1)
    labels = images["label"].to_numpy()[choose_shown(images, 90, seed=0)]
    assert [int((labels == name).sum()) for name in ("i", "v", "x")] in ([60, 29, 1], [59, 30, 1])


def test_a_smaller_sample_is_a_part_of_a_larger_one_whatever_is_added() -> None:
    images = table(i=60, v=30)
    added = table(i=40).assign(image_id=lambda rows: "a" + rows["image_id"], round_added="r01")
    small = set(choose_shown(images, 20, seed=0))
    assert small < set(choose_shown(images, 45, seed=0))
    with_more = choose_shown(pd.concat([images, added]), 25, seed=0)
    assert {row for row in with_more if row < 90} <= small


def test_the_sample_follows_the_seed_and_not_the_order_of_rows() -> None:
    images = table(i=60, v=30)
    turned = images.iloc[::-1]
    there = set(images["image_id"].iloc[choose_shown(images, 20, seed=0)])
    assert set(turned["image_id"].iloc[choose_shown(turned, 20, seed=0)]) == there
    assert set(images["image_id"].iloc[choose_shown(images, 20, seed=1)]) != there


def test_too_few_images_lie_on_a_line() -> None:
    vectors, _ = clusters(3, seed=0)
    first, later = project(vectors, [vectors[:1]], PARAMS)
    assert first.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert later.tolist() == [[0, 0]]


@pytest.mark.slow
def test_neighbourhoods_are_kept() -> None:
    vectors, axis = clusters(200, seed=0)
    later, later_axis = clusters(60, seed=1)
    first, second, none = project(vectors, [later, vectors[:0]], PARAMS)
    assert trustworthiness(vectors, first, n_neighbors=10) >= 0.8
    centres = np.stack([np.median(first[axis == number], axis=0) for number in range(4)])
    nearest = np.linalg.norm(second[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == later_axis).mean() > 0.95
    assert none.shape == (0, 2)


@pytest.mark.slow
def test_a_later_batch_moves_nothing() -> None:
    vectors, _ = clusters(100, seed=0)
    one, two = clusters(20, seed=1)[0], clusters(30, seed=2)[0]
    before = project(vectors, [one], PARAMS)
    after = project(vectors, [one, two], PARAMS)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 11])
def test_few_images_have_their_places(n: int) -> None:
    vectors, _ = clusters(n, seed=0)
    assert np.isfinite(project(vectors, [vectors], PARAMS)).all()


@pytest.mark.slow
def test_another_process_gives_the_same_places() -> None:
    code = (
        "import hashlib, sys\n"
        "sys.path.insert(0, 'tests/views')\n"
        "from test_projection import PARAMS, clusters, project\n"
        "found = project(clusters(100, 0)[0], [clusters(20, 1)[0]], PARAMS)\n"
        "print(hashlib.sha256(b''.join(map(bytes, found))).hexdigest())\n"
    )
    from projects import REPOSITORY

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    found = project(clusters(100, 0)[0], [clusters(20, 1)[0]], PARAMS)
    digest = hashlib.sha256(b"".join(place.tobytes() for place in found)).hexdigest()
    assert done.stdout.strip() == digest
