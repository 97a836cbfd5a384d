"""Pictures: their sizes, their colours, and that they are the same bytes twice."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from databoost.data.images import Pixels, decode
from databoost.views import plots
from databoost.views.plots import Shown, candidates_grid, confusion_picture, misclassified_grid

DARKEST, LIGHTEST = (8, 48, 107), (247, 251, 255)  # of matplotlib's "Blues"


def share_of(picture: bytes, colour: tuple[int, int, int]) -> float:
    return float((decode(picture) == np.array(colour)).all(axis=2).mean())


def rows(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["iv"] * n,
            "predicted_label": ["vi"] * n,
            "p_predicted": np.linspace(1, 0.5, n),
            "image_id": [f"{number:016x}" for number in range(n)],
        }
    )


def flat(colour: tuple[int, ...], height: int = 20, width: int = 20) -> Pixels:
    return np.full((height, width, len(colour)), colour, dtype=np.uint8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: confusion_picture(np.array([[3, 1], [0, 2]]), ["a", "b"], "r00, val"),
        lambda: misclassified_grid(rows(2), [flat((9, 8, 7)), flat((200,))], "r00, val"),
        lambda: candidates_grid([Shown("v", "a1", flat((9,)), [("", flat((9, 8, 7)))])], "told"),
    ],
)
def test_pictures_are_the_same_bytes_twice(draw: Callable[[], bytes]) -> None:
    picture = draw()
    assert picture == draw()
    assert picture.startswith(b"\x89PNG")
    assert b"tEXt" not in picture  # neither a date nor the version of a program
    assert b"iTXt" not in picture


@pytest.mark.parametrize(("n", "side"), [(1, 345), (2, 390), (13, 885), (31, 1400)])
def test_a_confusion_picture_grows_with_the_classes(n: int, side: int) -> None:
    counts = np.eye(n, dtype=np.int64)
    picture = confusion_picture(counts, [f"class {number}" for number in range(n)], "title")
    assert decode(picture).shape == (side, side, 3)


@pytest.mark.parametrize(("n", "named"), [(60, 60), (61, 31), (200, 40), (2000, 40)])
def test_of_many_classes_some_are_named(
    monkeypatch: pytest.MonkeyPatch, n: int, named: int
) -> None:
    monkeypatch.setattr(plots, "figure_png", lambda figure: figure)
    classes = [f"class {number}" for number in range(n)]
    figure: Any = confusion_picture(np.eye(n, dtype=np.int64), classes, "title")
    (axes,) = figure.axes
    for ticks, labels in (
        (axes.get_xticks(), axes.get_xticklabels()),
        (axes.get_yticks(), axes.get_yticklabels()),
    ):
        assert [label.get_text() for label in labels] == [f"class {place}" for place in ticks]
        assert len(labels) == named
        assert {label.get_fontsize() < 10 for label in labels} == {n > 60}


def test_a_confusion_picture_shades_by_the_share_of_a_row() -> None:
    sure = confusion_picture(np.array([[500, 0], [0, 1]]), ["a", "b"], "t")
    # Two of four cells are full whatever their counts; numbers and frames take a little.
    assert share_of(sure, DARKEST) == pytest.approx(share_of(sure, LIGHTEST), rel=0.1)
    assert share_of(sure, DARKEST) > 0.2
    torn = confusion_picture(np.array([[5, 5], [5, 5]]), ["a", "b"], "t")
    assert share_of(torn, DARKEST) == 0
    nothing = confusion_picture(np.array([[0, 0], [0, 3]]), ["a", "b"], "t")
    assert share_of(nothing, LIGHTEST) > 2.5 * share_of(nothing, DARKEST)


def test_given_and_predicted_are_not_mixed_up() -> None:
    pixels = decode(confusion_picture(np.array([[0, 4], [0, 0]]), ["a", "b"], "t"))
    is_full = (pixels == np.array(DARKEST)).all(axis=2)
    is_empty = (pixels == np.array(LIGHTEST)).all(axis=2)
    row, column = np.argwhere(is_full).mean(axis=0)
    others = np.argwhere(is_empty).mean(axis=0)
    assert row < others[0]  # the first given label, above
    assert column > others[1]  # the second predicted label, on the right


@pytest.mark.parametrize(("n", "n_rows"), [(0, 1), (1, 1), (8, 1), (9, 2), (17, 3)])
def test_a_grid_has_eight_images_a_row(n: int, n_rows: int) -> None:
    picture = decode(misclassified_grid(rows(n), [flat((0, 0, 0))] * n, "title"))
    assert picture.shape == (int(100 * (n_rows * 1.95 + 0.5)), 1200, 3)


def test_a_grid_shows_the_images_in_their_order() -> None:
    colours = [(255, 0, 0), (0, 160, 0), (0, 0, 255)]
    images = [
        flat(colour, height, 30) for colour, height in zip(colours, (30, 60, 10), strict=True)
    ]
    picture = misclassified_grid(rows(3), images, "title")
    columns = []
    for colour in colours:
        assert share_of(picture, colour) > 0.003
        columns.append(np.argwhere((decode(picture) == np.array(colour)).all(axis=2))[:, 1].mean())
    assert columns == sorted(columns)


def test_grey_is_shown_on_the_whole_scale() -> None:
    picture = misclassified_grid(rows(1), [flat((77,))], "title")
    assert share_of(picture, (77, 77, 77)) > 0.02


def test_candidates_stand_beside_their_parents() -> None:
    colours = [[(255, 0, 0), (0, 160, 0)], [(0, 0, 255), (90, 0, 90)]]
    rows = [Shown("a" * 99, "0" * 16, flat(one), [("b" * 99, flat(two))]) for one, two in colours]
    pixels = decode(candidates_grid(rows, "title " * 40))
    assert pixels.shape == (390, 260, 3)
    places = np.array(
        [
            [np.argwhere((pixels == np.array(colour)).all(axis=2)).mean(axis=0) for colour in row]
            for row in colours
        ]
    )
    assert (places[0, :, 0] < places[1, :, 0]).all()
    assert (places[:, 0, 1] < places[:, 1, 1]).all()


def test_names_are_plain_text() -> None:
    odd = ["$\\foo$", "a_b^c", "<&>", "50%", "{}"]
    picture = confusion_picture(np.eye(5, dtype=np.int64), odd, "$\\foo$ {0}")
    assert decode(picture).shape == (525, 525, 3)
    told = rows(5).assign(label=odd, predicted_label=odd[::-1])
    assert misclassified_grid(told, [flat((1,))] * 5, "$\\foo$")
    assert candidates_grid([Shown("$\\foo$", "$", flat((1,)), [("$", flat((1,)))])], "$\\foo$")
