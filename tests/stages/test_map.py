"""The map stage: every point lies where its own image does, and says what is said of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from handmade_rounds import MANIFEST_HEADER, declared, lay_round
from projects import Project

from databoost.data.files import write_text
from databoost.data.images import Pixels, write_png
from databoost.data.tablefiles import read_table
from databoost.data.tables import MAP
from databoost.layout import Layout
from databoost.stages import map as stage

SHEET_HEADER = (
    "image_id,path,split,label,predicted_label,p_label,p_predicted,margin,loss,is_misclassified,"
    "origin,round_added\n"
)
#: Path, id, predictions of r00 and of r01, and grey. One file is held out and trained on too.
IMAGES = [
    ("train/i/a1.png", "a1", "i", "i", 10),
    ("train/v/a2.png", "a2", "i", "v", 20),
    ("train/v/c1.png", "c1", "", "i", 30),
    ("val/i/b1.png", "b1", "i", "v", 40),
    ("val/v/b2.png", "b2", "v", "v", 50),
    ("test/i/a1.png", "a1", "v", "i", 60),
    ("test/v/h1.png", "h1", "v", "i", 70),
]
HELDOUT_ROWS = "h1,test/v/h1.png,test,v,raw,,,r00,,\na1,test/i/a1.png,test,i,raw,,,r00,,\n"
SCORES = "image_id,label_score,suggested_label\nb2,0.5,i\nb1,0.25,v\na1,0.75,v\na2,1.0,v\n"


def sheet(predicted: dict[str, tuple[str, str]]) -> str:
    """Predictions by path as (id, label), in another order than a manifest's."""
    rows = [SHEET_HEADER]
    for path, (name, said) in reversed(predicted.items()):
        split, label, _ = path.split("/")
        rows.append(f"{name},{path},{split},{label},{said},0.5,0.5,0,1,{label != said},raw,r00\n")
    return "".join(rows)


@pytest.fixture
def pictures() -> list[list[int]]:
    """Greys of the pictures on the page, one list a run."""
    return []


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[list[int]]) -> Layout:
    """Handmade rounds whose images are embedded as their grey, and placed there."""
    layout = Layout(tmp_path)
    for number, name in enumerate(("r00", "r01")):
        lay_round(layout, name)
        said = {path: (ids, both[number]) for path, ids, *both, _ in IMAGES if both[number]}
        write_text(layout.round(name).sheet, sheet(said))
    write_text(layout.classes, "label\ni\nv\n")
    write_text(layout.scores, SCORES)
    write_text(layout.heldout_manifest, MANIFEST_HEADER + HELDOUT_ROWS)
    for path, *_, grey in IMAGES:
        folder = layout.heldout if path.startswith("test") else layout.round("r01").dataset
        write_png(folder / path, np.full((8, 8, 1), grey, dtype=np.uint8))

    def embed(batch: Any) -> Any:
        grey = batch.mean(dim=(1, 2, 3)).numpy()
        return np.stack([grey, -grey], axis=1)

    def as_they_are(first: Any, later: Any, params: Any) -> Any:
        return [batch.astype(np.float64) for batch in (first, *later)]

    def note(found: list[Pixels], side: int) -> bytes:
        pictures.append([int(picture[0, 0, 0]) for picture in found])
        return b""

    embedder = SimpleNamespace(image_size=8, dimension=2, embed=embed)
    monkeypatch.setattr(stage, "load_embedder", lambda settings, root, device: embedder)
    monkeypatch.setattr(stage, "project", as_they_are)
    monkeypatch.setattr(stage, "sprite_sheet", note)
    monkeypatch.setattr(stage, "map_picture", lambda *arguments: b"picture")
    return layout


@pytest.mark.parametrize("max_points", [7, 3])
def test_each_point_is_of_its_own_image(
    layout: Layout, pictures: list[list[int]], max_points: int
) -> None:
    train = {"accelerator": "cpu", "threads": 1}
    stage.map(layout, declared(train=train, map={"max_points": max_points}))
    points = read_table(layout.map_points, MAP)
    assert len(points) == max_points
    columns = ["path", "image_id", "first_predicted_label", "predicted_label", "x"]
    order = [image for image in IMAGES if image[0] in set(points["path"])]
    assert [tuple(row) for row in points[columns].to_numpy().tolist()] == order
    assert points["y"].tolist() == (-points["x"]).tolist()
    assert pictures == [points["x"].tolist()]
    is_wrong = points["label"] != points["predicted_label"]
    assert points["is_misclassified"].tolist() == is_wrong.tolist()


def test_only_images_of_r00_have_label_scores(layout: Layout) -> None:
    stage.map(layout, declared(train={"accelerator": "cpu", "threads": 1}))
    points = read_table(layout.map_points, MAP)
    told = points[["path", "suggested_label", "label_score"]]
    assert told.fillna({"label_score": -1.0}).to_numpy().tolist() == [
        ["train/i/a1.png", "v", 0.75],
        ["train/v/a2.png", "v", 1.0],
        ["train/v/c1.png", "", -1.0],
        ["val/i/b1.png", "v", 0.25],
        ["val/v/b2.png", "i", 0.5],
        ["test/i/a1.png", "", -1.0],
        ["test/v/h1.png", "", -1.0],
    ]


@pytest.mark.parametrize("last", ["r00", "r03"])
def test_dvc_has_the_map_depend_on_the_last_round(project: Project, last: str) -> None:
    project.run("databoost", "declare", last)
    named = project.known_to_dvc()["map"]
    assert {path for path in named if path.endswith(("/dataset", "/manifest.csv"))} == {
        f"data/rounds/{last}/dataset",
        f"data/rounds/{last}/manifest.csv",
    }
    assert {path for path in named if path.endswith("/sheet.csv")} == {
        f"data/rounds/{name}/evaluation/sheet.csv" for name in ("r00", last)
    }
