"""The colours and shapes of the map: whether everybody tells them apart."""

import itertools
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from databoost.data.images import decode
from databoost.data.tables import MAP
from databoost.views.map_picture import CLASS_COLOURS, SPLIT_COLOURS, map_picture

Numbers = npt.NDArray[np.float64]
SCRIPT = (resources.files("databoost.views") / "map.js").read_text(encoding="utf-8")
#: Colour vision that is normal, and that lacks one kind of cones (Machado 2009, severity 1).
VISIONS: list[Numbers] = [
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
              [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
              [-0.011820, 0.042940, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
              [0.004733, 0.691367, 0.303900]]),
]  # fmt: skip


def rgb(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def lab(colour: str, vision: Numbers) -> Numbers:
    """CIELAB of an sRGB colour, as somebody with a vision sees it."""
    parts = np.array(rgb(colour)) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(vision @ linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(first: Numbers, second: Numbers) -> float:
    """CIEDE2000; 1 is about the least that can be seen."""
    chroma = np.array([np.hypot(*first[1:]), np.hypot(*second[1:])])
    g = 0.5 * (1 - np.sqrt(chroma.mean() ** 7 / (chroma.mean() ** 7 + 25**7)))
    a = (1 + g) * np.array([first[1], second[1]])
    b = np.array([first[2], second[2]])
    c, h = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
    turn = (h[1] - h[0] + 180) % 360 - 180 if c.all() else 0.0
    lightness, mean_c, mean_h = (first[0] + second[0]) / 2, c.mean(), (h[0] + turn / 2) % 360
    waves = ((1, -30, -0.17), (2, 0, 0.24), (3, 6, 0.32), (4, -63, -0.2))
    t = 1 + sum(share * np.cos(np.radians(n * mean_h + shift)) for n, shift, share in waves)
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    d_l = (second[0] - first[0]) / s_l
    d_c = (c[1] - c[0]) / (1 + 0.045 * mean_c)
    d_h = 2 * np.sqrt(c.prod()) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * mean_c * t)
    bend = -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    bend *= np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    return float(np.sqrt(d_l**2 + d_c**2 + d_h**2 + bend * d_c * d_h))


def least_difference(colours: Sequence[str]) -> float:
    pairs = itertools.product(VISIONS, itertools.combinations(colours, 2))
    return min(difference(lab(one, vision), lab(two, vision)) for vision, (one, two) in pairs)


def test_differences_are_those_of_the_standard() -> None:
    # Pairs 1, 7, 14 and 21 of Sharma, Wu and Dalal (2005).
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
        ((50, 2.5, 0), (50, 3.1736, 0.5854), 1.0),
    ]
    for first, second, told in pairs:
        found = difference(np.array(first, dtype=float), np.array(second, dtype=float))
        assert found == pytest.approx(told, abs=5e-5)


def test_colours_stay_apart_for_the_colour_blind() -> None:
    assert least_difference(list(SPLIT_COLOURS.values())) > 14
    assert least_difference(CLASS_COLOURS) > 17
    assert len(CLASS_COLOURS) == 10
    named = dict(re.findall(r'\b([A-Z]+) = "(#[0-9a-f]{6})"', SCRIPT))
    shown = [group.split(", ") for group in re.findall(r"colours: \[([A-Z, ]+)\]", SCRIPT)]
    assert len(shown) == 3  # correctness, change, label score
    for names in shown:
        assert least_difference([named[name] for name in names]) > 14


def test_what_is_held_out_is_square_in_the_picture() -> None:
    shapes = {}
    for split in ("train", "test"):
        blank: dict[str, Any] = {column: [""] for column in MAP.columns}
        numbers = {"label_score": [0.5], "x": [0.0], "y": [0.0], "is_misclassified": [False]}
        told = {"split": [split], "label": ["i"], "round_added": ["r00"]}
        picture = decode(map_picture(MAP.frame(blank | numbers | told), ["i"], "r00"))
        picture = picture[:760, :800]  # a panel, without its legend
        mixed = 0.75 * np.array(rgb(SPLIT_COLOURS[split])) + 0.25 * 255
        rows, columns = np.nonzero((np.abs(picture - mixed) < 3).all(axis=2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        shapes[split] = len(rows) / (height * width)
    assert shapes["test"] == 1
    assert shapes["train"] < 0.9
