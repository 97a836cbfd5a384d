"""From the sheet to a corrected dataset and back, as a person goes."""

import errno
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openpyxl
import pytest
import torch
from click.testing import CliRunner, Result
from handmade_traces import additions, failures, make_current, plane
from sheet_project import HEADER, LABELS, N_TRAIN, lay_scores, lay_sheet_project

from databoost import ledger_history
from databoost.attribution import FIXED, NEWLY_WRONG
from databoost.candidates.embedder import Vectors
from databoost.cli import main
from databoost.data.corrections import read_corrections
from databoost.data.files import sha256_of, write_text
from databoost.data.images import Pixels, decode, read_image
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import MANIFEST, SHEET, SUSPECTS, TRACES
from databoost.layout import Layout
from databoost.params import edit_params, read_params
from databoost.stages.prepare import prepare
from databoost.tracing import trace_images
from databoost.views import sheet_contents
from databoost.views.sheets import PICTURE_SIDE
from databoost.views.thumbnails import model_input, thumbnail

SHEET_FILE = Path("sheets/r00.xlsx")
R01_FILE = Path("sheets/r01.xlsx")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "project"
    lay_sheet_project(folder)
    return folder


@pytest.fixture
def layout(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Give a project in the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    edit_params(folder / "params.yaml", {"train.threads": 1, "train.accelerator": "cpu"})
    return Layout(Path())


def databoost(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=text, prog_name="databoost")


def told(*arguments: str) -> list[str]:
    result = databoost(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def refusal(*arguments: str) -> str:
    result = databoost(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    return result.stderr.removeprefix("error: ").removesuffix("\n")


def ids(layout: Layout, name: str = "r00") -> list[str]:
    return list(read_table(layout.round(name).manifest, MANIFEST)["image_id"])


def cells(path: Path = SHEET_FILE) -> list[dict[str, Any]]:
    tab = openpyxl.load_workbook(path)["1"]
    header, *rows = tab.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def pictures(path: Path = SHEET_FILE) -> dict[tuple[int, str], Pixels]:
    """Give the pictures by the number of their row, from 1, and the name of their column."""
    tab = openpyxl.load_workbook(path)["1"]
    places = [(image.anchor._from, image) for image in tab._images]
    return {
        (place.row + 1, tab.cell(1, place.col + 1).value): decode(image._data())
        for place, image in places
    }


def fill(edits: dict[str, tuple[str, ...]], path: Path = SHEET_FILE) -> None:
    """Write action, value and note to the rows of images, and save."""
    book = openpyxl.load_workbook(path)
    tab = book["1"]
    place = {cell.value: number for number, cell in enumerate(tab[1])}
    for row in tab.iter_rows(min_row=2):
        chosen = edits.get(row[place["image_id"]].value, ())
        for name, value in zip(("action", "value", "note"), chosen, strict=False):
            if value:
                row[place[name]].value = value
                row[place[name]].data_type = "s"
    book.save(path)


def evaluate_again(layout: Layout) -> None:
    """Let the evaluation of r00 be of its manifest, as `evaluate` would write it."""
    sheet = read_table(layout.round("r00").sheet, SHEET)
    manifest = read_table(layout.round("r00").manifest, MANIFEST).set_index("image_id")
    sheet = sheet[sheet["image_id"].isin(manifest.index)]
    known = {column: sheet["image_id"].map(manifest[column]) for column in ("label", "path")}
    write_table(layout.round("r00").sheet, sheet.assign(**known), SHEET)


def test_a_sheet_of_the_worst_leaves_the_others_out(layout: Layout) -> None:
    told("sheet", "r00")
    worst = [row["image_id"] for row in cells()][:5]
    assert told("sheet", "r00", "--worst", "5", "-o", "five.xlsx")[0] == (
        "five.xlsx: 5 image(s), worst first (7 better ones are left out: --worst); fill in action, "
        "value and note, then"
    )
    assert [row["image_id"] for row in cells(Path("five.xlsx"))] == worst
    fill({worst[2]: ("delete",)}, Path("five.xlsx"))
    assert told("corrections", "import", "five.xlsx")[0] == f"added    {worst[2]}  delete"
    assert told("sheet", "r00", "--worst", "12", "-o", "all.xlsx")[0].startswith(
        "all.xlsx: 12 image(s), worst first; fill in"
    )


def test_from_the_sheet_to_a_corrected_dataset_and_back(layout: Layout) -> None:
    a, b, c, d = ids(layout)[:4]
    assert told("sheet", "r00") == [
        "sheets/r00.xlsx: 12 image(s), worst first; fill in action, value and note, then",
        "  databoost corrections import sheets/r00.xlsx",
    ]
    fill({a: ("relabel", "7", "=seven"), b: ("delete",), c: ("move", "val"), d: ("keep",)})
    expected = [
        f"added    {a}  relabel 7 (=seven)",
        f"added    {b}  delete",
        f"added    {c}  move val",
        "3 added, 0 changed, 0 removed",
        "1 edit(s) change nothing: the ledger or the image says so already",
    ]
    dry = told("corrections", "import", "sheets/r00.xlsx", "--dry-run")
    assert sorted(dry) == sorted([*expected, "dry run: data/corrections.csv is as it was"])
    assert layout.corrections.read_text() == HEADER
    assert not layout.state.exists()
    lines = told("corrections", "import", "sheets/r00.xlsx")
    assert sorted(lines[:-1]) == sorted(expected)
    assert lines[-1].startswith("data/corrections.csv: 3 image(s) changed; `dvc repro` rebuilds")
    listing = databoost("corrections", "list")
    assert sorted(listing.stdout.splitlines()) == sorted(
        [f"{a}  relabel 7  (=seven)", f"{b}  delete", f"{c}  move val"]
    )
    assert listing.stderr == "3 line(s) in data/corrections.csv\n"
    shutil.copy(layout.round("r00").manifest, "before.csv")
    prepare(layout, read_params(layout.params))
    assert told("corrections", "diff", "before.csv", "r00") == [
        "before.csv -> r00: 12 -> 11 images",
        "relabelled: 1",
        f"  {a}  =1+1 -> 7",
        "moved: 1",
        f"  {c}  train -> val",
        "deleted: 1",
        f"  {b}  train/{LABELS[1]}",
        "added: 0",
    ]
    was, now = (sha256_of(path)[:12] for path in (Path("before.csv"), layout.round("r00").manifest))
    assert refusal("corrections", "import", "sheets/r00.xlsx") == (
        f"sheets/r00.xlsx is a sheet of another snapshot of r00 ({was}) than lies here ({now}); "
        "`databoost sheet r00 --overwrite -o sheets/r00.xlsx` makes it anew; copy it first for "
        "what you judged"
    )
    assert told("corrections", "undo", "--last")[-1] == "0 added, 0 changed, 3 removed"
    assert layout.corrections.read_text() == HEADER


def test_importing_twice_changes_nothing_the_second_time(layout: Layout) -> None:
    told("sheet", "r00")
    fill({ids(layout)[0]: ("delete",)})
    told("corrections", "import", "sheets/r00.xlsx")
    before = layout.corrections.read_bytes()
    assert told("corrections", "import", "sheets/r00.xlsx") == [
        "0 added, 0 changed, 0 removed",
        "1 edit(s) change nothing: the ledger or the image says so already",
    ]
    assert layout.corrections.read_bytes() == before
    assert len(list(layout.correction_history.iterdir())) == 1


def test_a_relabel_back_takes_the_line_out(layout: Layout) -> None:
    a = ids(layout)[0]
    write_text(layout.corrections, f"{HEADER}{a},relabel,7,wrong\n")
    prepare(layout, read_params(layout.params))
    evaluate_again(layout)
    told("sheet", "r00")
    (row,) = (row for row in cells() if row["image_id"] == a)
    assert (row["label"], row["correction"]) == ("7", "relabel 7 (wrong)")
    fill({a: ("relabel", "=1+1")})
    lines = told("corrections", "import", "sheets/r00.xlsx")
    assert lines[:2] == [
        f"removed  {a}  relabel 7 (wrong)",
        "0 added, 0 changed, 1 removed",
    ]
    assert layout.corrections.read_text() == HEADER


def test_the_worst_come_first_and_the_nearest_is_another_training_image(layout: Layout) -> None:
    order = ids(layout)
    told("sheet", "r00")
    assert [row["image_id"] for row in cells()] == order[::-1]  # by loss
    assert [row["label_score"] for row in cells()] == [None] * len(order)
    lay_scores(layout)
    told("sheet", "r00", "-o", "scored.xlsx", "--split", "train")
    rows = cells(Path("scored.xlsx"))
    assert [row["image_id"] for row in rows] == order[N_TRAIN - 1 :: -1]
    assert rows[0]["label_score"] == pytest.approx(5 / 12)
    labels = dict(zip(order, [row["label"] for row in cells()][::-1], strict=True))
    for row in rows:
        assert row["nearest_id"] in set(order[:N_TRAIN]) - {row["image_id"]}
        assert row["nearest_label"] == labels[row["nearest_id"]]
        assert -1 <= row["nearest_similarity"] <= 1
        assert (row["suggested_label"], row["p_label"], row["origin"]) == ("=1+1", 0.25, "raw")


def test_a_row_shows_its_image_and_the_nearest_other(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_grey(batch: torch.Tensor) -> Vectors:
        angles = batch.double().mean(dim=(1, 2, 3)) / 20
        return torch.stack([angles.cos(), angles.sin()], dim=1).float().numpy()

    embedder = SimpleNamespace(image_size=8, embed=by_grey)
    monkeypatch.setattr(sheet_contents, "load_embedder", lambda *arguments: embedder)
    told("sheet", "r00")
    here = layout.round("r00")
    manifest = read_table(here.manifest, MANIFEST)
    images = {
        name: read_image(here.dataset / path)
        for name, path in zip(manifest["image_id"], manifest["path"], strict=True)
    }
    inputs = {name: TapStore([image], 8) for name, image in images.items()}
    greys = {name: float(store.batch(slice(None)).mean()) for name, store in inputs.items()}
    shown = pictures()
    for number, row in enumerate(cells(), 2):
        name = row["image_id"]
        others = set(manifest["image_id"][:N_TRAIN]) - {name}
        nearest = min(others, key=lambda other: abs(greys[other] - greys[name]))
        assert row["nearest_id"] == nearest
        expected = [images[name], model_input(inputs[name], 0), images[nearest]]
        for column, image in zip(("image", "model_input", "nearest_image"), expected, strict=True):
            assert np.array_equal(shown[number, column], thumbnail(image, PICTURE_SIDE))


def test_scores_of_another_label_are_left_out(layout: Layout) -> None:
    lay_scores(layout)
    scores = read_table(layout.scores, SUSPECTS)
    scores["label"] = scores["label"].replace({"=1+1": "7"})
    write_table(layout.scores, scores, SUSPECTS)
    told("sheet", "r00")
    assert [row["label"] for row in cells() if row["label_score"] is None] == ["=1+1"] * 3
    assert [row["label"] for row in cells()[-3:]] == ["=1+1"] * 3


def test_additions_are_shown_and_never_corrected(layout: Layout) -> None:
    added = ids(layout, "r01")[-1]
    told("sheet", "r01")
    path = Path("sheets/r01.xlsx")
    assert cells(path)[0]["image_id"] == added
    fill({added: ("delete",)}, path)
    assert refusal("corrections", "import", str(path)).endswith(
        f"image {added}: it was added by a round (nearest); correct the image that it was made of"
    )


def test_outcomes_and_traces_are_told_once_they_are_known(layout: Layout) -> None:
    *given, added = ids(layout, "r01")
    fixed, wrong = given[-2:]
    told("sheet", "r01")
    assert {(row["outcome"], row["traces"]) for row in cells(R01_FILE)} == {(None, None)}
    images = failures(
        (fixed, FIXED, "7", "x", "7"), (wrong, NEWLY_WRONG, "naïve ü", "naïve ü", "=1+1")
    )
    rows = additions((added, "=1+1", given[0], ""), ("ffff", "7", given[0], fixed))
    traces = trace_images(images, rows, plane(1, 0), plane(0.6, 0.8))
    here = layout.round("r01")
    write_table(here.traces, traces, TRACES)
    make_current(here)
    told("sheet", "r01", "--overwrite")
    found = {row["image_id"]: (row["outcome"], row["traces"]) for row in cells(R01_FILE)}
    short = added[:8]
    assert found.pop(fixed) == ("fixed", f"7 ffff… 0.800 (fetched), =1+1 {short}… 0.600")
    assert found.pop(wrong) == ("newly wrong", f"=1+1 {short}… 0.800, 7 ffff… 0.600")
    assert found.pop(added) == (None, "near 1 fixed, 1 newly wrong")
    assert set(found.values()) == {(None, None)}
    assert told("corrections", "import", str(R01_FILE))[-1] == "0 added, 0 changed, 0 removed"
    sheet = read_table(here.sheet, SHEET)
    write_table(here.sheet, sheet.assign(loss=sheet["loss"] + 1), SHEET)  # as evaluate alone would
    told("sheet", "r01", "--overwrite")
    assert {(row["outcome"], row["traces"]) for row in cells(R01_FILE)} == {(None, None)}


def test_a_sheet_of_some_ids(layout: Layout) -> None:
    a, b = ids(layout)[:2]
    (heldout,) = read_table(layout.heldout_manifest, MANIFEST)["image_id"]
    result = databoost("sheet", "r00", "--ids", "-", text=f"{b},{heldout}\n{a} {a}\n")
    assert result.exit_code == 0, result.output
    assert {row["image_id"] for row in cells()} == {a, b}
    fill({b: ("delete",)})
    assert told("corrections", "import", "sheets/r00.xlsx")[0] == f"added    {b}  delete"
    Path("ids.txt").write_text("nobody\nnothing\n")
    assert refusal("sheet", "r00", "--ids", "ids.txt", "--overwrite") == (
        "r00 has no image with 2 of the ids:\n  - 'nobody'\n  - 'nothing'"
    )
    for text in (f"\ufeff{a}", f"\ufeff{b},{heldout}"):  # as Windows programs save it
        Path("ids.txt").write_text(text, encoding="utf-8")
        told("sheet", "r00", "--ids", "ids.txt", "--overwrite")
        assert [row["image_id"] for row in cells()] == [text[1:17]]
    result = databoost("sheet", "r00", "--ids", "-", "--overwrite", text=f"\ufeff{a}")
    assert result.exit_code == 0, result.output
    assert [row["image_id"] for row in cells()] == [a]
    for content, unknown in (
        (a.encode("utf-16"), "\ufffd\ufffd" + "".join(f"{digit}\0" for digit in a)),
        (b"PK\x03\x04\xff", "PK\x03\x04\ufffd"),  # a sheet
    ):
        Path("ids.txt").write_bytes(content)
        assert refusal("sheet", "r00", "--ids", "ids.txt", "--overwrite") == (
            f"r00 has no image with 1 of the ids:\n  - {unknown!r}"
        )
    Path("ids.txt").write_text(heldout)
    assert refusal("sheet", "r00", "--ids", "ids.txt", "-o", "x.xlsx") == (
        "no image of r00 is left to show; a sheet holds images of train and val, held-out images "
        "are never corrected"
    )


def test_a_sheet_is_not_written_over_and_the_same_again(layout: Layout) -> None:
    told("sheet", "r00", "--split", "val")
    digest = sha256_of(SHEET_FILE)
    assert refusal("sheet", "r00", "--split", "val") == (
        "sheets/r00.xlsx exists and may hold edits; --overwrite, or -o another file"
    )
    told("sheet", "r00", "--split", "val", "--overwrite")
    assert sha256_of(SHEET_FILE) == digest


def test_a_sheet_is_written_over_no_folder(layout: Layout) -> None:
    Path("sheets").mkdir()
    result = databoost("sheet", "r00", "-o", "sheets", "--overwrite")
    assert result.exit_code == 2
    assert "'-o' / '--output': File 'sheets' is a directory." in result.stderr
    assert list(Path("sheets").iterdir()) == []
    Path("blocked").touch()
    assert refusal("sheet", "r00", "-o", "blocked/r00.xlsx") == "blocked: File exists"


def test_sheets_that_cannot_be_made(layout: Layout) -> None:
    declared = ", ".join(read_params(layout.params).rounds)
    assert refusal("sheet", "r77") == f"'r77' is no declared round; declared are {declared}"
    here = layout.round("r00")
    sheet = read_table(here.sheet, SHEET)
    write_table(here.sheet, sheet.iloc[2:], SHEET)
    assert refusal("sheet", "r00").startswith(
        "data/rounds/r00/evaluation/sheet.csv lacks 2 of the 12 images of data/rounds/r00/manifest"
    )


def test_a_round_that_is_not_here(layout: Layout) -> None:
    told("sheet", "r01")
    layout.round("r01").manifest.unlink()
    assert refusal("corrections", "import", "sheets/r01.xlsx") == (
        "sheets/r01.xlsx is a sheet of r01, and data/rounds/r01/manifest.csv does not exist; "
        "`dvc repro` or `dvc pull` makes it"
    )


def test_a_note_without_an_action_is_mentioned(layout: Layout) -> None:
    told("sheet", "r00")
    fill({ids(layout)[0]: ("", "", "look again")})
    assert told("corrections", "import", "sheets/r00.xlsx") == [
        "0 added, 0 changed, 0 removed",
        "1 note(s) without an action stay in the sheet only",
    ]


def test_a_ledger_of_windows_keeps_its_lines_and_its_line_ends(layout: Layout) -> None:
    a, b, c = ids(layout)[:3]
    text = f'\ufeff{HEADER}\n{a},relabel,"a ""b"", c","=why, ""so"""\n'.replace("\n", "\r\n")
    layout.corrections.write_bytes(text.encode())
    told("sheet", "r00")
    fill({b: ("relabel", "naïve ü"), c: ("delete",)})
    told("corrections", "import", "sheets/r00.xlsx")
    content = layout.corrections.read_bytes().decode()
    assert content.startswith(text)
    assert sorted(content.removeprefix(text).split("\r\n")) == sorted(
        ["", f"{b},relabel,naïve ü,", f"{c},delete,,"]
    )
    assert len(read_corrections(layout.corrections)) == 3
    told("corrections", "undo", "--last")
    assert layout.corrections.read_bytes().decode() == text


def test_a_ledger_that_contradicts_itself_is_told_by_its_lines(layout: Layout) -> None:
    a, b = ids(layout)[:2]
    text = f"{HEADER}\n{a},relabel,7,\n\n{a},delete,,\n"
    write_text(layout.corrections, text)
    told("sheet", "r00")
    fill({b: ("delete",)})
    assert refusal("corrections", "import", "sheets/r00.xlsx") == (
        "data/corrections.csv has 1 bad line(s):\n"
        f"  - lines 3, 5: image {a} is corrected more than one way"
    )
    assert layout.corrections.read_text() == text


def test_undo_of_images_is_undone(layout: Layout) -> None:
    a, b = ids(layout)[:2]
    text = f"{HEADER}{a},relabel,7,seven\n{b},move,val,\n"
    write_text(layout.corrections, text)
    assert told("corrections", "undo", a, a) == [
        f"removed  {a}  relabel 7 (seven)",
        "0 added, 0 changed, 1 removed",
    ]
    assert layout.corrections.read_text() == f"{HEADER}{b},move,val,\n"
    assert told("corrections", "undo", "--last")[-1] == "1 added, 0 changed, 0 removed"
    assert sorted(layout.corrections.read_text().splitlines()) == sorted(text.splitlines())
    assert refusal("corrections", "undo", "--last").startswith("no import or undo is left")


def test_undo_takes_back_one_change_after_another(layout: Layout) -> None:
    a, b = ids(layout)[:2]
    write_text(layout.corrections, f"{HEADER}{a},delete,,\n{b},delete,,\n")
    told("corrections", "undo", a)
    told("corrections", "undo", b)
    assert told("corrections", "undo", "--last")[0] == f"added    {b}  delete"
    assert told("corrections", "undo", "--last")[0] == f"added    {a}  delete"


@pytest.mark.parametrize("command", ["import", "undo"])
def test_a_change_that_the_disk_refused_is_taken_back_without_harm(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    a, b = ids(layout)[:2]
    text = f"{HEADER}{a},relabel,7,seven\n"
    write_text(layout.corrections, text)
    told("sheet", "r00")
    fill({b: ("delete",)})

    def refuse(path: Path, content: str) -> None:
        if path.name == layout.corrections.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_text(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(ledger_history, "write_text", refuse)
        said = refusal("corrections", command, str(SHEET_FILE) if command == "import" else a)
    assert said.endswith("data/corrections.csv: No space left on device")
    assert len(list(layout.correction_history.iterdir())) == 1
    assert refusal("corrections", "undo", "--last").startswith("no import or undo is left")
    assert list(layout.correction_history.iterdir()) == []
    assert layout.corrections.read_text() == text


def test_undo_of_lines_that_were_edited_since_is_refused(layout: Layout) -> None:
    a = ids(layout)[0]
    write_text(layout.corrections, f"{HEADER}{a},delete,,\n")
    told("corrections", "undo", a)
    write_text(layout.corrections, f"{HEADER}{a},relabel,7,\n")
    assert f"{a}: was no line, is relabel 7" in refusal("corrections", "undo", "--last")
    write_text(layout.corrections, f"{HEADER}{a},delete,,\n")  # undone by hand
    said = refusal("corrections", "undo", "--last")
    assert said.startswith("the last import or undo is not in data/corrections.csv; nothing was")
    assert "; if it is taken back already, delete .databoost/corrections/00001.csv, and" in said
    assert Path(".databoost/corrections/00001.csv").exists()


def test_undo_wants_one_thing_that_is_there(layout: Layout) -> None:
    for arguments in ([], ["abc", "--last"], ["--gone", "abc"], ["--last", "--gone"]):
        assert refusal("corrections", "undo", *arguments) == (
            "name the images to take back, or --last, or --gone: one of the three; `databoost "
            "corrections list` shows the ids"
        )
    assert refusal("corrections", "undo", "abc") == (
        "data/corrections.csv has no line for 1 image(s); `databoost corrections list` shows all:"
        "\n  - 'abc'"
    )


def test_an_image_that_is_no_longer_among_the_raw_ones_is_refused(layout: Layout) -> None:
    told("sheet", "r00")
    a = ids(layout)[0]
    fill({a: ("delete",)})
    lines = layout.raw_index.read_text().splitlines(keepends=True)
    layout.raw_index.write_text("".join(line for line in lines if a not in line))
    assert refusal("corrections", "import", "sheets/r00.xlsx") == (
        "1 image(s) are no longer among the raw images; `dvc repro`, and make a new sheet:"
        f"\n  - {a}"
    )
    assert layout.corrections.read_text() == HEADER


def test_an_import_that_stale_lines_block_is_free_by_one_command(layout: Layout) -> None:
    told("sheet", "r00")
    a, b, c = ids(layout)[:3]
    fill({c: ("delete",)})
    write_text(layout.corrections, f"{HEADER}{a},delete,,\n{b},move,val,\n")
    lines = layout.raw_index.read_text().splitlines(keepends=True)
    layout.raw_index.write_text("".join(line for line in lines if a not in line and b not in line))
    assert refusal("corrections", "import", "sheets/r00.xlsx") == (
        f"data/corrections.csv has 2 bad line(s):\n  - line 2: no image has the id '{a}'\n"
        f"  - line 3: no image has the id '{b}'\nif images are gone for good, `databoost "
        "corrections undo --gone` takes out all their lines, `undo ID` those of one"
    )
    taken = [f"removed  {a}  delete", f"removed  {b}  move val", "0 added, 0 changed, 2 removed"]
    assert told("corrections", "undo", "--gone") == taken
    assert told("corrections", "undo", "--last")[-1] == "2 added, 0 changed, 0 removed"
    assert told("corrections", "undo", "--gone") == taken
    assert told("corrections", "undo", "--gone") == ["0 added, 0 changed, 0 removed"]
    assert told("corrections", "import", "sheets/r00.xlsx")[0] == f"added    {c}  delete"
    assert layout.corrections.read_text() == f"{HEADER}{c},delete,,\n"


def test_the_command_that_a_sheet_of_another_snapshot_is_refused_with_makes_it_anew(
    layout: Layout,
) -> None:
    told("sheet", "r00", "-o", "my sheet.xlsx")
    write_text(layout.corrections, f"{HEADER}{ids(layout)[0]},delete,,\n")
    prepare(layout, read_params(layout.params))
    said = refusal("corrections", "import", "my sheet.xlsx")
    command = said.split("`")[1]
    assert command == "databoost sheet r00 --overwrite -o 'my sheet.xlsx'"
    evaluate_again(layout)
    told(*shlex.split(command)[1:])
    assert told("corrections", "import", "my sheet.xlsx") == ["0 added, 0 changed, 0 removed"]


def test_rounds_differ_by_what_was_added(layout: Layout) -> None:
    assert told("corrections", "diff", "r00", "r01") == [
        "r00 -> r01: 12 -> 13 images",
        *("relabelled: 0", "moved: 0", "deleted: 0", "added: 1", "  train/=1+1  1"),
    ]
    assert refusal("corrections", "diff", "r00", "r09") == (
        "data/rounds/r09/manifest.csv does not exist; `dvc repro` makes what params.yaml declares"
    )


@pytest.mark.parametrize("command", ["import", "list", "undo", "diff"])
def test_every_command_explains_itself_by_an_example(command: str) -> None:
    _, _, examples = databoost("corrections", command, "--help").stdout.partition("Example")
    assert f"  databoost corrections {command}" in examples


def test_import_says_when_a_line_is_taken_out() -> None:
    words = " ".join(databoost("corrections", "import", "--help").stdout.split())
    assert (
        "relabel to the class that an image was given as takes its line out, and so does move to "
        "the split that it was given in, unless split.strategy draws the splits anew: then the "
        "line keeps it there."
    ) in words


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
def test_a_sheet_that_libreoffice_saved(layout: Layout, tmp_path: Path) -> None:
    a, b, c = ids(layout)[:3]
    told("sheet", "r00")
    edits = {a: ("relabel", "=1+1", "=2"), b: ("relabel", "7", "two\nlines"), c: ("delete",)}
    fill(edits)
    profile = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    command = ["soffice", profile, "--headless", "--convert-to", "xlsx", "--outdir", "saved"]
    subprocess.run([*command, str(SHEET_FILE)], check=True, capture_output=True, timeout=120)
    ours, theirs = (told("corrections", "import", path, "--dry-run") for path in
                    ("sheets/r00.xlsx", "saved/r00.xlsx"))  # fmt: skip
    assert theirs == ours
    assert f"added    {b}  relabel 7 (two lines)" in theirs
