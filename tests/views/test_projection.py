"""The map's points: which images, where, and that neither time nor later rounds move them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness

from databoost.sections import MapParams
from databoost.views import projection
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


@pytest.mark.parametrize(
    ("is_beside_umap", "told", "expected"),
    [
        (True, {}, None),
        (False, {}, ".databoost/numba"),
        (False, {"NUMBA_CACHE_DIR": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_compiled_code_is_kept_in_the_project_only_where_it_must(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_beside_umap: bool,
    told: dict[str, str],
    expected: str | None,
) -> None:
    umap = tmp_path / "umap" / "__init__.py"
    if is_beside_umap:
        umap.with_name("__pycache__").mkdir(parents=True)
    monkeypatch.setattr(projection, "find_spec", lambda _: SimpleNamespace(origin=str(umap)))
    monkeypatch.setattr(os, "environ", dict(told))
    monkeypatch.chdir(tmp_path)
    projection._keep_compiled_code()
    kept = os.environ.get("NUMBA_CACHE_DIR")
    assert kept == (expected and str(tmp_path / expected))


#: A package that has Numba keep its code, as UMAP does.
COMPILED = """
import numba
import numpy as np

@numba.njit("i8(i8)", cache=True)
def twice(number):
    return 2 * number

class UMAP:
    def __init__(self, **_):
        pass

    def fit_transform(self, vectors):
        return np.full((len(vectors), 2), twice(21))
"""


@pytest.mark.slow
def test_a_map_is_drawn_where_neither_umap_nor_a_home_can_be_written(tmp_path: Path) -> None:
    packages, folder = tmp_path / "packages", tmp_path / "project"
    (packages / "umap").mkdir(parents=True)
    folder.mkdir()
    (packages / "umap" / "__init__.py").write_text(COMPILED)
    (packages / "umap" / "__pycache__").touch()  # a file: not even root can write below it
    code = "from test_projection import PARAMS, clusters, project\n"
    code += "print(project(clusters(4, 0)[0], [], PARAMS)[0].tolist())\n"
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull}
    search = os.pathsep.join(map(str, (packages, Path(__file__).parent)))
    variables = os.environ | nowhere | {"PYTHONPATH": search}
    variables.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == f"{[[42.0, 42.0]] * 4}\n", done.stderr
    kept = [path.name for path in (folder / ".databoost" / "numba").rglob("*.nbi")]
    assert [name.partition("-")[0] for name in kept] == ["__init__.twice"]
