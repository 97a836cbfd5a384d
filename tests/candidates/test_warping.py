"""The backward map against a straightforward composition of 3 x 3 matrices."""

import numpy as np
import pytest
import torch

from databoost.candidates.recipes import Draws
from databoost.candidates.warping import find_warps, sample

NEUTRAL = {
    "mirrored": False,
    "rotation": 0.0,
    "shift_x": 0.0,
    "shift_y": 0.0,
    "scale": 1.0,
    "shear": 0.0,
    "perspective_x": 0.0,
    "perspective_y": 0.0,
    "thickness": 0.0,
    "noise": 0.0,
    "erasing": 0.0,
    "erasing_x": 0.0,
    "erasing_y": 0.0,
    "elastic": 0.0,
}


def drawn(**values) -> Draws:
    return Draws(**{name: np.array([value]) for name, value in {**NEUTRAL, **values}.items()})


def warped(image: np.ndarray, paper: int = 0, **values) -> np.ndarray:
    """Warp one (height, width) uint8 image; float32 comes back."""
    height, width = image.shape
    canvas = np.full((1, 1, height + 3, width + 3), paper, dtype=np.uint8)
    canvas[0, 0, 1:-2, 1:-2] = image
    warps = find_warps(drawn(**values), np.array([height]), np.array([width]))
    rows, columns = np.arange(height)[None], np.arange(width)[None]
    return sample(torch.from_numpy(canvas), warps, rows, columns)[0, 0].numpy()


def forward_matrix(draws: dict, height: int, width: int) -> np.ndarray:
    """Where a pixel of the parent goes: homogeneous, (x, y, 1) in pixels."""
    angle, lean = np.radians(draws["rotation"]), np.tan(np.radians(draws["shear"]))
    cosine, sine = np.cos(angle), np.sin(angle)
    to_centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    mirror = np.diag([-1.0 if draws["mirrored"] else 1.0, 1, 1])
    shear = np.array([[1, -lean, 0], [0, 1, 0], [0, 0, 1]])
    rotate = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    scale = np.diag([draws["scale"], draws["scale"], 1])
    shift = np.array(
        [[1, 0, draws["shift_x"] * width], [0, 1, draws["shift_y"] * height], [0, 0, 1]]
    )
    backwards = [[1, 0, 0], [0, 1, 0]]
    backwards.append([draws["perspective_x"] / width, draws["perspective_y"] / height, 1])
    perspective = np.linalg.inv(np.array(backwards))
    steps = [to_centre, mirror, shear, rotate, scale, shift, perspective, np.linalg.inv(to_centre)]
    whole = np.eye(3)
    for step in steps:
        whole = step @ whole
    return whole


CASES = {
    "rotation": {"rotation": 33.0},
    "shift": {"shift_x": 0.31, "shift_y": -0.17},
    "scale": {"scale": 1.7},
    "shear": {"shear": -24.0},
    "perspective": {"perspective_x": 0.4, "perspective_y": -0.3},
    "mirrored": {"mirrored": True, "rotation": 10.0},
    "all": {
        "mirrored": True,
        "rotation": -14.0,
        "shift_x": 0.1,
        "shift_y": 0.05,
        "scale": 0.8,
        "shear": 12.0,
        "perspective_x": 0.15,
        "perspective_y": 0.1,
    },
}


@pytest.mark.parametrize("name", CASES)
def test_places_are_those_of_the_composed_matrices(name: str) -> None:
    # On a ramp the value that is read is the place that it is read at.
    height, width = 40, 50
    backwards = np.linalg.inv(forward_matrix({**NEUTRAL, **CASES[name]}, height, width))
    rows, columns = np.mgrid[0:height, 0:width]
    x, y, weight = np.tensordot(backwards, np.stack([columns, rows, np.ones_like(rows)]), axes=1)
    x, y = x / weight, y / weight
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    assert inside.mean() > 0.2
    across, down = np.broadcast_to(np.arange(width), (height, width)), rows
    found_x = warped(across.astype(np.uint8), **CASES[name])
    found_y = warped(down.astype(np.uint8), **CASES[name])
    assert np.abs(found_x - x)[inside].max() < 1e-4
    assert np.abs(found_y - y)[inside].max() < 1e-4


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.parametrize("side", [1, 8, 9])
@pytest.mark.parametrize("turns", [-1, 0, 1, 2])
def test_quarter_turns_are_exact(side: int, turns: int) -> None:
    image = random_image(side, side)
    assert (warped(image, rotation=90.0 * turns) == np.rot90(image, turns)).all()


@pytest.mark.parametrize("width", [7, 8])
def test_mirroring_is_exact(width: int) -> None:
    image = random_image(5, width)
    assert (warped(image, mirrored=True) == image[:, ::-1]).all()


def test_shifts_by_whole_pixels_are_exact_and_bring_in_paper() -> None:
    image = random_image(8, 16)
    expected = np.full_like(image, 99)
    expected[2:, :-4] = image[:-2, 4:]  # down by two, left by four
    assert (warped(image, 99, shift_x=-0.25, shift_y=0.25) == expected).all()


def test_scaling_doubles_about_the_centre() -> None:
    image = np.zeros((9, 9), dtype=np.uint8)
    image[4, 3:6] = 200
    found = warped(image, scale=2.0)
    assert found[4].tolist() == [0, 100, 200, 200, 200, 200, 200, 100, 0]
    assert found[:, 4].tolist() == [0, 0, 0, 100, 200, 100, 0, 0, 0]


def test_positive_shear_leans_to_the_right() -> None:
    image = np.zeros((9, 9), dtype=np.uint8)
    image[:, 4] = 255
    assert warped(image, shear=45.0).argmax(axis=1).tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_positive_perspective_enlarges_the_right_and_the_lower_side() -> None:
    image = np.zeros((41, 41), dtype=np.uint8)
    image[10:31, 10:31] = 255
    found = warped(image, perspective_x=0.5) > 127
    assert found[:, 12].sum() < 21 < found[:, 30].sum()
    assert (warped(image, perspective_y=0.5) > 127).T.tolist() == found.tolist()


def test_the_edge_fades_into_the_paper_within_a_pixel() -> None:
    image = np.full((4, 4), 100, dtype=np.uint8)
    found = warped(image, 200, shift_x=0.375)  # by a pixel and a half
    assert found.tolist() == [[200, 150, 100, 100]] * 4


def test_far_outside_there_is_paper_alone() -> None:
    assert (warped(random_image(6, 6), 123, shift_x=1.0, shift_y=-1.0, scale=0.1) == 123).all()
    assert (warped(random_image(6, 6), 123, shift_x=1.0, perspective_x=0.8) == 123).all()


def test_coefficients_do_not_follow_the_last_digit_of_an_angle() -> None:
    near = [20.0, np.nextafter(20.0, 21.0), np.nextafter(20.0, 19.0)]
    found = {
        tuple(
            float(value[0])
            for value in vars(
                find_warps(drawn(rotation=angle, shear=angle), np.array([30]), np.array([50]))
            ).values()
        )
        for angle in near
    }
    assert len(found) == 1
