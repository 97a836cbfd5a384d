"""A sheet that came back: sorted, filtered, damaged, edited in the wrong place."""

import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from openpyxl.utils import get_column_letter

from databoost import errors
from databoost.errors import CorrectionError
from databoost.ledger_edits import Edit
from databoost.views import sheet_edits
from databoost.views.sheet_edits import edits_of, loose_notes, read_sheet
from databoost.views.sheets import COLUMNS, HIDDEN_TAB, READ_ONLY, About, write_sheet

CLASSES = ["=1+1", 'a "b", c', "7", "naïve _x0041_"]
NAMES = [column.name for column in COLUMNS]
N = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    texts = {column.name: "x" for column in COLUMNS if column.kind == "text"}
    numbers = {column.name: 1 / 3 for column in COLUMNS if column.kind == "number"}
    table = pd.DataFrame({name: [(texts | numbers)[name]] * N for name in READ_ONLY})
    table = table.assign(
        image_id=[f"id{number}" for number in range(N)],
        label=[CLASSES[number % 4] for number in range(N)],
        origin=["raw"] * (N - 1) + ["nearest"],
        label_score=[float("nan")] * N,
        split="train",
    )
    file = tmp_path / "my sheet.xlsx"
    file.write_bytes(write_sheet(table, [{}] * N, About("r00", "f" * 64), CLASSES))
    return file


def edit(path: Path, change: Callable[[Any], None]) -> Path:
    """Change the workbook as a person would, and save it with another program than wrote it."""
    book = openpyxl.load_workbook(path)
    change(book)
    book.save(path)
    return path


def put(tab: Any, row: int, **cells: Any) -> None:
    for name, value in cells.items():
        cell = tab.cell(row, NAMES.index(name) + 1)
        cell.value = value
        if isinstance(value, str):
            cell.data_type = "s"


def fill(path: Path, *rows: dict[str, Any]) -> Path:
    """Fill in the rows from the first on."""

    def change(book: Any) -> None:
        for number, cells in enumerate(rows, 2):
            put(book["1"], number, **cells)

    return edit(path, change)


def refusal(path: Path) -> list[str]:
    with pytest.raises(CorrectionError, match="nothing was imported") as caught:
        edits_of(read_sheet(path), CLASSES)
    first, *problems = str(caught.value).split("\n  - ")
    assert first == f"the sheet has {len(problems)} problem(s), nothing was imported:"
    return problems


EDITS = [
    {"action": "relabel", "value": "=1+1", "note": " a\nnote, =1 "},
    {"action": " Relabel ", "value": 7},
    {"action": "move", "value": "val"},
    {"action": "delete"},
]
TAKEN = [
    Edit("id0", "relabel", "=1+1", "a note, =1"),
    Edit("id1", "relabel", "7", ""),
    Edit("id2", "move", "val", ""),
    Edit("id3", "delete", "", ""),
]


def test_a_sheet_comes_back_as_it_went_out(path: Path) -> None:
    sheet = read_sheet(path)
    assert sheet.about == About("r00", "f" * 64)
    assert sheet.shown["label"].to_list() == [*CLASSES, CLASSES[0]]
    assert edits_of(sheet, CLASSES) == []
    assert loose_notes(sheet) == 0


def test_edits_are_taken(path: Path) -> None:
    assert edits_of(read_sheet(fill(path, *EDITS)), CLASSES) == TAKEN


def test_whole_numbers_are_the_classes_that_they_look_like(path: Path) -> None:
    fill(path, {"action": "relabel", "value": 7.0}, {"action": "relabel", "value": CLASSES[3]})
    assert [taken.value for taken in edits_of(read_sheet(path), CLASSES)] == ["7", CLASSES[3]]


def test_a_class_is_found_however_its_accent_is_written(path: Path) -> None:
    sheet = read_sheet(fill(path, {"action": "relabel", "value": "cafe\u0301"}))
    assert [taken.value for taken in edits_of(sheet, ["i", "caf\u00e9"])] == ["caf\u00e9"]


def test_keep_and_notes_without_an_action(path: Path) -> None:
    sheet = read_sheet(fill(path, {"action": "keep", "note": "fine"}, {"note": "hm"}))
    assert edits_of(sheet, CLASSES) == [Edit("id0", "keep", "", "fine")]
    assert loose_notes(sheet) == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_neither_order_of_rows_nor_of_columns_matters(path: Path, seed: int) -> None:
    def shuffle(book: Any) -> None:
        tab = book["1"]
        header, *lines = ([cell.value for cell in row] for row in tab.iter_rows())
        order = list(range(len(header)))
        dice = random.Random(seed)
        dice.shuffle(lines)
        dice.shuffle(order)
        tab.delete_rows(1, tab.max_row)
        for row, line in enumerate([header, *lines], 1):
            for place, column in enumerate(order, 1):
                cell = tab.cell(row, place)
                cell.value = line[column]
                cell.data_type = "s" if isinstance(line[column], str) else cell.data_type

    edit(fill(path, *EDITS), shuffle)
    taken = edits_of(read_sheet(path), CLASSES)
    assert sorted(taken, key=lambda one: one.image_id) == TAKEN


def test_hidden_rows_blank_rows_and_tabs_of_ones_own_do_no_harm(path: Path) -> None:
    def change(book: Any) -> None:
        book["1"].row_dimensions[2].hidden = True
        book["1"].auto_filter.add_filter_column(2, ["7"])
        book["1"].insert_rows(4)
        book["1"].cell(1, len(NAMES) + 1).value = "mine"
        book["1"].cell(2, len(NAMES) + 1).value = "in a column with a name"
        book.create_sheet("notes")["A1"] = "to do"
        book.create_sheet("empty")

    edit(fill(path, *EDITS), change)
    assert edits_of(read_sheet(path), CLASSES) == TAKEN


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"value": "7"}, "value is '7' without an action; choose keep, relabel, delete, move"),
        ({"action": "rename"}, "action is 'rename'; allowed are keep, relabel, delete, move"),
        ({"action": "keep", "value": "7"}, "keep takes no value, and value is '7'"),
        ({"action": "delete", "value": "7"}, "delete takes no value, and value is '7'"),
        ({"action": "relabel"}, f"relabel to ''; allowed are {', '.join(CLASSES)}"),
        ({"action": "relabel", "value": "8"}, f"relabel to '8'; allowed are {', '.join(CLASSES)}"),
        ({"action": "move", "value": "test"}, "move to 'test'; allowed are train, val"),
        ({"label": "7"}, "label is '7', was '=1+1'; only action, value, note are to be edited"),
        ({"label": None}, "label is '', was '=1+1'; only action, value, note are to be edited"),
        ({"loss": 0.5}, "loss is '0.5', was '0.3333333333333333'; only action, value, note"),
        ({"label_score": "7"}, "label_score is '7', was ''; only action, value, note"),
        ({"model_input": "7"}, "model_input is '7', was ''; only action, value, note"),
    ],
)
def test_a_bad_cell_is_named(path: Path, cells: dict[str, Any], problem: str) -> None:
    (told,) = refusal(fill(path, cells))
    assert told.startswith(f"tab 1, row 2, image id0: {problem}")


def test_all_problems_are_told_at_once(path: Path) -> None:
    fill(path, {"action": "fly"}, {"value": "7"}, {"image_id": "id9"})

    def change(book: Any) -> None:
        put(book["1"], N + 1, action="delete")
        book["1"].cell(5, len(NAMES) + 3).value = "lost?"

    assert refusal(edit(path, change)) == [
        "tab 1, row 5: AA5 lies outside of the columns; clear it",
        "tab 1, row 4: image_id is 'id9', which this sheet was not written with",
        "1 of 5 rows are missing, image id2 first; hide rows by a filter, and delete none",
        "tab 1, row 2, image id0: action is 'fly'; allowed are keep, relabel, delete, move",
        "tab 1, row 3, image id1: value is '7' without an action; choose keep, relabel, delete, "
        "move",
        "tab 1, row 6, image id4: it was added by a round (nearest); correct the image that it "
        "was made of",
    ]


def test_many_problems_are_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_N_LISTED", 1)
    fill(path, {"action": "fly"}, {"action": "fly"}, {"action": "fly"})
    with pytest.raises(CorrectionError, match=r"has 3 problem\(s\)[\s\S]*and 2 more$"):
        edits_of(read_sheet(path), CLASSES)


def test_one_image_twice_is_a_contradiction(path: Path) -> None:
    def copy(book: Any) -> None:
        tab = book.copy_worksheet(book["1"])
        tab.delete_rows(3, N)

    assert refusal(edit(path, copy)) == [
        "tab 1 Copy, row 2: image id0 comes a second time, first in tab 1, row 2"
    ]


def test_a_formula_is_no_text(path: Path) -> None:
    def change(book: Any) -> None:
        book["1"].cell(2, NAMES.index("value") + 1).value = '="7"'

    assert refusal(edit(path, change)) == [
        "tab 1, row 2, image id0: a formula stands where text is needed"
    ]


def test_merged_cells_are_no_edits_of_every_row(path: Path) -> None:
    fill(path, {"action": "delete"})
    column = get_column_letter(NAMES.index("action") + 1)
    cells = f"{column}2:{column}4"
    edit(path, lambda book: book["1"].merge_cells(cells))
    assert broken(path) == (
        f"{path} has merged cells, {cells} first, and only one row of them would be edited; "
        "unmerge the cells, and fill in every row that you mean"
    )
    edit(path, lambda book: book["1"].unmerge_cells(cells))
    assert edits_of(read_sheet(path), CLASSES) == [Edit("id0", "delete", "", "")]


@pytest.mark.parametrize("n_before", [2**20 - 10, 2**20, 3 * 2**20 - 25])
def test_merged_cells_are_found_wherever_they_stand(path: Path, n_before: int) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        content = b" " * n_before + b"<x:mergeCell ref='A1:B2'/>"
        archive.writestr("xl/worksheets/other.xml", content)
    assert broken(path).startswith(f"{path} has merged cells, A1:B2 first, and only one row")


def test_a_note_about_merged_cells_is_a_note(path: Path) -> None:
    note = '<mergeCell ref="A1:B2"/>'
    sheet = read_sheet(fill(path, {"action": "keep", "note": note}))
    assert edits_of(sheet, CLASSES) == [Edit("id0", "keep", "", note)]


def test_columns_that_are_missing_or_there_twice(path: Path) -> None:
    edit(path, lambda book: book["1"].delete_cols(NAMES.index("value") + 1, 2))
    assert refusal(path)[0] == "tab 1 lacks column value, note; its first row names them"

    def rename(book: Any) -> None:
        for place, name in ((NAMES.index("value"), "value"), (NAMES.index("value") + 1, "value")):
            book["1"].insert_cols(place + 1)
            book["1"].cell(1, place + 1).value = name

    edit(path, rename)
    assert refusal(path)[:2] == [
        "tab 1 lacks column note; its first row names them",
        "tab 1 has more than once column value; its first row names them",
    ]


def test_an_emptied_tab(path: Path) -> None:
    edit(path, lambda book: book["1"].delete_rows(1, N + 1))
    assert refusal(path)[0].startswith("tab 1 lacks column image, model_input, label")


def broken(path: Path) -> str:
    with pytest.raises(CorrectionError) as caught:
        read_sheet(path)
    return str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    path = tmp_path / "no.xlsx"
    assert broken(path) == f"{path} does not exist; `databoost sheet r00` writes one"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_that_was_cut_short(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert broken(path).startswith(f"{path} is no XLSX file, or one that was cut short (")


def test_a_folder_and_a_csv_are_no_sheet(path: Path) -> None:
    assert "is no XLSX file" in broken(path.parent)
    path.write_text("image_id,action\n")
    assert "is no XLSX file" in broken(path)


def test_a_sheet_of_another_program_is_to_be_saved_as_xlsx(path: Path) -> None:
    ods = path.with_suffix(".ods")
    with zipfile.ZipFile(ods, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    message = f"{ods} can't be read: it does not end in .xlsx; save the sheet as XLSX"
    assert broken(ods) == message
    assert read_sheet(path.rename(path.with_suffix(".XLSX"))).problems == []


def test_a_damaged_table(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["xl/worksheets/sheet1.xml"] = contents["xl/worksheets/sheet1.xml"][:2000]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert broken(path).startswith(f"{path} is damaged or cut short and cannot be read: ")


@pytest.mark.parametrize("limit", ["_LARGEST_FILE", "_LARGEST_TABLES"])
def test_a_file_that_would_fill_the_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(sheet_edits, limit, 100)
    assert broken(path).startswith(f"{path} is too large to be an image sheet: ")


def test_another_workbook_is_no_image_sheet(path: Path) -> None:
    edit(path, lambda book: book.remove(book[HIDDEN_TAB]))
    assert broken(path).startswith(f"{path} is no image sheet: it lacks the hidden tab 'databoost'")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tab: tab.delete_rows(1, 9), ": the hidden tab 'databoost' was edited; make a new"),
        (lambda tab: put_at(tab, "B2", "version 9"), " is a sheet of version 9; this databoost"),
        (lambda tab: put_at(tab, "B2", "version 1"), " is a sheet of version 1; this databoost"),
        (lambda tab: put_at(tab, "C1", "labels"), " is a sheet of version 2; this databoost reads"),
        (lambda tab: tab.delete_rows(6), " is cut short: its hidden tab lists 4 of 5 images"),
    ],
)
def test_an_edited_hidden_tab(path: Path, change: Callable[[Any], None], message: str) -> None:
    edit(path, lambda book: change(book[HIDDEN_TAB]))
    assert broken(path).startswith(f"{path}{message}")


def put_at(tab: Any, place: str, value: str) -> None:
    tab[place].value = value
