"""The picture of candidates beside their parents: which, what they are called, and their pixels."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from handmade_rounds import declared

from databoost.candidates.augmentation import Parents, render
from databoost.candidates.recipes import make_recipes
from databoost.cli import main
from databoost.data.files import write_bytes, write_text
from databoost.data.images import Pixels, decode, encode_png
from databoost.data.tablefiles import read_table
from databoost.data.tables import MANIFEST
from databoost.errors import DatasetError, TableError
from databoost.layout import Layout
from databoost.params import Params
from databoost.views import preview as preview_module
from databoost.views.plots import Shown
from databoost.views.preview import preview

HEADER = "image_id,path,split,label,origin,parent_id,recipe,round_added,query_id,similarity\n"
STILL = {
    **{key: [0, 0] for key in ("rotation", "translation", "shear", "perspective", "noise")},
    **{"thickness": [0, 0], "elastic": [0, 0], "scale": [1, 1], "erasing_probability": 0.0},
}
Grid = list[Shown]


def image(number: int, side: int = 20) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (side, side, 1), dtype=np.uint8)


def lay(root: Path, labels: list[str], classes: list[str], side: int = 20) -> Layout:
    """Write r00 with a training image for each of the labels, and one for validation."""
    layout = Layout(root)
    here = layout.round("r00")
    rows = [("train", label, f"{number:02d}") for number, label in enumerate(labels)]
    rows.append(("val", classes[0], "99"))
    text = HEADER
    for split, label, name in rows:
        path = f"{split}/{label}/{name}.png"
        write_bytes(here.dataset / path, encode_png(image(int(name), side)))
        text += f"{name},{path},{split},{label},raw,,,r00,,\n"
    write_text(here.manifest, text)
    write_text(layout.classes, "\n".join(["label", *classes]) + "\n")
    return layout


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> Grid:
    """Take what would be drawn."""
    taken: Grid = []

    def note(rows: Grid, title: str) -> bytes:
        taken.extend(rows)
        return title.encode()

    monkeypatch.setattr(preview_module, "candidates_grid", note)
    return taken


def names(grid: Grid) -> list[str]:
    return [f"{row.label}  {row.image_id}" for row in grid]


def test_a_row_is_a_training_image_and_its_first_candidates(tmp_path: Path, grid: Grid) -> None:
    params = declared(candidates={"elastic": [0.0, 0.2]})
    layout = lay(tmp_path, ["v", "i", "v"], ["i", "v"])
    preview(layout, params)
    assert names(grid) == ["i  01", "v  00", "v  02"]
    assert [len(row.candidates) for row in grid] == [8, 8, 8]
    train = read_table(layout.round("r00").manifest, MANIFEST).iloc[:3]
    images = [image(number) for number in range(3)]
    recipes = make_recipes(0, 24, train, params.candidates, ["i", "v"])
    parents = Parents(train, images, params.candidates)
    for row, number in zip(grid, (1, 0, 2), strict=True):
        assert (row.pixels == images[number]).all()
        for step, (told, pixels) in enumerate(row.candidates):
            assert told == ""
            assert (pixels == render(parents, recipes.iloc[[3 * step + number]])).all()


def test_a_changed_label_is_told(tmp_path: Path, grid: Grid) -> None:
    params = declared(candidates={"mirror": {"iv": "vi"}, "mirror_probability": 1.0})
    preview(lay(tmp_path, ["iv", "vi"], ["iv", "vi"]), params)
    assert names(grid) == ["iv  00", "vi  01"]
    assert [[told for told, _ in row.candidates] for row in grid] == [["vi"] * 8, [""] * 8]


def test_ten_images_are_shown_of_the_classes_in_turn(tmp_path: Path, grid: Grid) -> None:
    preview(lay(tmp_path, ["b"] * 8 + ["a"] * 3 + ["c"], ["c", "a", "b", "none"]), declared())
    assert names(grid) == [
        "c  11", "a  08", "a  09", "a  10", "b  00", "b  01", "b  02", "b  03", "b  04", "b  05",
    ]  # fmt: skip


def test_of_many_classes_some_far_apart_are_shown(tmp_path: Path, grid: Grid) -> None:
    labels = [f"c{number:02d}" for number in range(28)]
    preview(lay(tmp_path, labels, labels), declared())
    shown = [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert names(grid) == [f"c{number:02d}  {number:02d}" for number in shown]


def test_large_images_are_made_smaller(tmp_path: Path, grid: Grid) -> None:
    preview(lay(tmp_path, ["i"], ["i"], side=400), declared())
    (row,) = grid
    assert {pixels.shape for _, pixels in row.candidates} == {row.pixels.shape} == {(160, 160, 1)}


def test_coloured_images_stay_coloured(tmp_path: Path, grid: Grid) -> None:
    layout = lay(tmp_path, ["i", "v"], ["i", "v"])
    coloured = np.random.default_rng(9).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    write_bytes(layout.round("r00").dataset / "train/v/01.png", encode_png(coloured))
    preview(layout, declared(candidates=STILL))
    grey, other = grid
    assert (grey.pixels.shape, other.pixels.shape) == ((20, 20, 1), (30, 20, 3))
    for row, expected in ((grey, image(0)), (other, coloured)):
        assert all((pixels == expected).all() for _, pixels in row.candidates)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "nothing varies"),
        ({"scale": [0.5, 2]}, "scale 0.5 to 2"),
        ({"noise": [0, 3], "rotation": [-5, 5]}, "rotation -5 to 5, noise 0 to 3"),
        ({"erasing_probability": 0.25, "erasing": [0.1, 0.2]}, "erasing 0.1 to 0.2 in 25%"),
        ({"erasing_probability": 0.25, "erasing": [0, 0]}, "nothing varies"),
        ({"mirror": {"i": "i"}, "mirror_probability": 0.5}, "mirrored in 50% (i to i)"),
        (
            {"mirror": dict.fromkeys("abcde", "i"), "noise": [1, 1]},
            "noise 1 to 1, mirrored in 50% (a to i, b to i, c to i and 2 more)",
        ),
        ({"mirror": {"i": "i"}, "mirror_probability": 0.0}, "nothing varies"),
    ],
)
def test_the_title_says_what_varies(tmp_path: Path, grid: Grid, changes, expected) -> None:
    params = declared(candidates=STILL | changes)
    title = preview(lay(tmp_path, ["i"], list("iabcde")), params).decode()
    assert title == f"Training images of r00, and candidates of each: {expected}"


def test_without_a_snapshot_or_images_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="manifest"):
        preview(Layout(tmp_path), declared())
    with pytest.raises(DatasetError, match="0 training images"):
        preview(lay(tmp_path, [], ["i"]), declared())


def test_the_command_writes_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params_file: str
) -> None:
    lay(tmp_path, ["i", "v"], ["i", "v"])
    write_text(tmp_path / "params.yaml", params_file)
    monkeypatch.chdir(tmp_path)
    for arguments, path in (([], "sheets/candidates.png"), (["-o", "a/b.png"], "a/b.png")):
        done = CliRunner().invoke(main, ["preview", *arguments])
        assert done.exit_code == 0
        assert done.stdout == f"{path}\n"
        assert decode((tmp_path / path).read_bytes()).shape == (390, 1170, 3)


@pytest.fixture
def params_file() -> str:
    return (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")


def test_params_are_taken_as_they_are(tmp_path: Path, grid: Grid) -> None:
    params: Params = declared(candidates=STILL)
    preview(lay(tmp_path, ["i"], ["i"]), params)
    assert all((pixels == image(0)).all() for _, pixels in grid[0].candidates)
