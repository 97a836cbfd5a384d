"""The trail of an image, on tables made by hand."""

from pathlib import Path
from typing import Any

import pytest
from handmade_traces import make_current

from databoost.data.files import write_text
from databoost.data.tablefiles import write_table
from databoost.data.tables import (
    ADDITIONS,
    DUPLICATES,
    FINDINGS,
    MANIFEST,
    RAW_INDEX,
    SHEET,
    SUSPECTS,
    TRACES,
    Table,
)
from databoost.errors import DatasetError
from databoost.layout import Layout
from databoost.trail import find_image, trail_of

ROUNDS = ("r00", "r01")
BLANKS = {"text": "", "integer": 0, "number": 0.5, "truth": False}


def lay(path: Path, table: Table, *rows: dict[str, Any]) -> None:
    """Write a table; cells that a row does not name are blank."""
    cells = {
        column: [row.get(column, BLANKS[kind]) for row in rows]
        for column, kind in table.columns.items()
    }
    write_table(path, table.frame(cells), table)


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    layout = Layout(Path())
    lay(
        layout.raw_index, RAW_INDEX,
        {"image_id": "q", "path": "val/i/a b.png", "split": "val", "label": "i"},
        {"image_id": "p", "path": "train/v/a.png", "split": "train", "label": "v"},
        {"image_id": "p", "path": "train/v/copy.png", "split": "train", "label": "v"},
        {"image_id": "o", "path": "train/i/a.png", "split": "train", "label": "i"},
    )  # fmt: skip
    return layout


def lay_rounds(layout: Layout) -> None:
    write_text(layout.corrections, "image_id,action,value,reason\np,relabel,i,one stroke\n")
    lay(
        layout.duplicates, DUPLICATES,
        {"image_id": "p", "path": "train/v/copy.png", "outcome": "dropped"},
    )  # fmt: skip
    lay(
        layout.findings, FINDINGS,
        {"finding": "near leak", "image_id": "o", "other_id": "p", "detail": "two labels"},
        {"finding": "blank", "image_id": "p"},
    )  # fmt: skip
    lay(
        layout.scores, SUSPECTS,
        {"image_id": "p", "label_score": 0.01, "suggested_label": "i", "is_label_issue": True},
        {"image_id": "q", "label_score": 0.75, "suggested_label": "i"},
    )  # fmt: skip
    for name, is_wrong in (("r00", True), ("r01", False)):
        here = layout.round(name)
        added = [{"image_id": "c"}] if name == "r01" else []
        lay(here.manifest, MANIFEST, {"image_id": "q"}, {"image_id": "p"}, *added)
        lay(
            here.sheet, SHEET,
            {"image_id": "q", "path": "val/i/q.png", "label": "i", "predicted_label": "v",
             "p_predicted": 0.75, "loss": 2.0, "is_misclassified": is_wrong},
        )  # fmt: skip
    rows = (
        {"image_id": "c", "label": "i", "parent_id": "p", "recipe": "v1:p:7", "query_id": "q",
         "query_label": "i", "similarity": 0.875},
        {"image_id": "d", "label": "v", "parent_id": "p", "recipe": "v1:p:8", "query_id": ""},
    )  # fmt: skip
    lay(layout.round("r01").additions, ADDITIONS, *rows)


def test_a_failure_is_followed_to_what_was_added_for_it(layout: Layout) -> None:
    lay_rounds(layout)
    assert trail_of(layout, "q", ROUNDS) == [
        ("raw", "data/raw/val/i/a b.png, given as val, i"),
        ("scores", "label_score 0.750, suggested i; outlier_score 0.500"),
        ("r00", "val/i/q.png, i: taken for v (p 0.750, loss 2.000)"),
        ("r01", "added for it: c (i, 0.875)"),
        ("r01", "val/i/q.png, i: right (p 0.750, loss 2.000)"),
    ]


def test_a_parent_is_followed_from_its_files_to_its_offspring(layout: Layout) -> None:
    lay_rounds(layout)
    assert trail_of(layout, "p", ROUNDS) == [
        ("raw", "data/raw/train/v/a.png, given as train, v"),
        ("raw", "data/raw/train/v/copy.png, given as train, v"),
        ("ledger", "relabel i one stroke"),
        ("duplicates", "train/v/copy.png: dropped"),
        ("audit", "near leak with o two labels"),
        ("audit", "blank"),
        ("scores", "label_score 0.010 (an issue), suggested i; outlier_score 0.500"),
        ("r01", "made of it: c, d"),
    ]


def test_an_addition_names_its_failure_and_its_parent(layout: Layout) -> None:
    lay_rounds(layout)
    assert trail_of(layout, "c", ROUNDS) == [
        ("r01", "added for q (i), similarity 0.875, made of p, recipe v1:p:7")
    ]
    assert trail_of(layout, "d", ROUNDS) == [
        ("r01", "added for no failure, made of p, recipe v1:p:8")
    ]


def test_what_traces_to_what_is_told_in_the_round(layout: Layout) -> None:
    lay_rounds(layout)
    of_q = {"image_id": "q", "outcome": "fixed", "addition_label": "i"}
    lay(
        layout.round("r01").traces, TRACES,
        of_q | {"addition_id": "c", "similarity": 0.875, "is_asked": True,
                "speaks_for": "label"},
        of_q | {"addition_id": "d", "similarity": 0.25, "speaks_for": "neither"},
        {"image_id": "o", "outcome": "newly wrong", "addition_id": "c", "similarity": 0.125,
         "speaks_for": "prediction"},
    )  # fmt: skip
    make_current(layout.round("r01"))
    assert trail_of(layout, "q", ROUNDS)[-1] == (
        "r01",
        "fixed; 1 of 2 additions near it or fetched for it have its label (nearness is no proof of "
        "cause): "
        "c (i, 0.875, fetched for it), d (i, 0.250)",
    )
    assert trail_of(layout, "o", ROUNDS)[-1] == (
        "r01",
        "newly wrong; 1 of 1 additions near it or fetched for it have the label that it is taken "
        "for (nearness is no proof of cause): c (, 0.125)",
    )
    assert trail_of(layout, "c", ROUNDS)[-1] == (
        "r01",
        "traced to it by nearness, no proof of cause: q (fixed, 0.875), o (newly wrong, 0.125)",
    )
    assert [place for place, _ in trail_of(layout, "q", ROUNDS)].count("r01") == 3
    lay(layout.round("r01").sheet, SHEET, {"image_id": "q"})  # as evaluate alone would
    for image_id in "qc":
        assert not [told for _, told in trail_of(layout, image_id, ROUNDS) if "traced" in told]


def test_before_any_round_there_is_the_file(layout: Layout) -> None:
    assert trail_of(layout, "o", ROUNDS) == [("raw", "data/raw/train/i/a.png, given as train, i")]


def test_images_are_found_by_id_and_by_the_end_of_a_path(layout: Layout) -> None:
    assert find_image(layout, "p", ROUNDS) == "p"
    assert find_image(layout, "a b.png", ROUNDS) == "q"
    assert find_image(layout, "v/a.png", ROUNDS) == "p"
    with pytest.raises(DatasetError, match=r"'c' is no image id .* \(none\); .*images\.csv lists"):
        find_image(layout, "c", ROUNDS)
    lay_rounds(layout)
    assert find_image(layout, "c", ROUNDS) == "c"
    two = r"'a\.png' .* \(2 images are called so: train/v/a\.png, train/i/a\.png\)"
    with pytest.raises(DatasetError, match=two):
        find_image(layout, "a.png", ROUNDS)


def test_images_are_found_by_what_the_project_prints_of_them(layout: Layout) -> None:
    ids = ("0af255a41ffbc91b", "0af255b81ffbc91b", "1234567812345678")
    lay(
        layout.raw_index, RAW_INDEX,
        {"image_id": ids[0], "path": "val/i/a b.png", "split": "val", "label": "i"},
        {"image_id": ids[1], "path": "train/i/a.png", "split": "train", "label": "i"},
    )  # fmt: skip
    lay(layout.round("r01").manifest, MANIFEST, {"image_id": ids[2]})
    for name in (
        "data/raw/val/i/a b.png",
        "./data/raw/val/i/a b.png",
        str(Path("data/raw/val/i/a b.png").absolute()),
        f"data/rounds/r00/dataset/val/i/{ids[0]}.png",
        f"{ids[0]}.png",
        ids[0].upper(),
        "0af255a",
        "0AF255A4…",
    ):
        assert find_image(layout, name, ROUNDS) == ids[0], name
    assert find_image(layout, f"data/rounds/r01/dataset/train/i/{ids[2]}.png", ROUNDS) == ids[2]
    assert find_image(layout, "123456", ROUNDS) == ids[2]
    with pytest.raises(DatasetError, match=rf"2 images are called so: {ids[0]}, {ids[1]}"):
        find_image(layout, "0af255", ROUNDS)
    for name in ("12345", "data/raw/i/a b.pn", "data/raw/b.png"):
        with pytest.raises(DatasetError, match=r"6 digits or more.*\(none\)"):
            find_image(layout, name, ROUNDS)
