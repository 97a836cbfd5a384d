"""The XLSX file itself: text stays text, tabs, drop-downs, the hidden copy."""

import io
import zipfile
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest

from databoost.data.images import encode_png
from databoost.views.sheets import COLUMNS, HIDDEN_TAB, READ_ONLY, About, write_sheet

CLASSES = ["=1+1", "+2", "@x", "-3"]
ABOUT = About("r00", "a" * 64)
PICTURE = encode_png(np.zeros((4, 4, 1), dtype=np.uint8))


def rows(n: int = 3, **changes: Any) -> pd.DataFrame:
    texts = {column.name: "=1+1" for column in COLUMNS if column.kind == "text"}
    numbers = {column.name: 0.25 for column in COLUMNS if column.kind == "number"}
    values = texts | numbers | {"origin": "raw", "split": "train"} | changes
    table = pd.DataFrame({name: [values[name]] * n for name in READ_ONLY})
    return table.assign(image_id=[f"{number:016d}" for number in range(n)])


def opened(content: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(content))


@pytest.mark.filterwarnings("ignore:Data Validation extension")
def test_cells_are_text_and_numbers_and_never_formulas() -> None:
    book = opened(write_sheet(rows(2), [{}, {}], ABOUT, CLASSES))
    tab = book["1"]
    assert [cell.value for cell in tab[1]] == [column.name for column in COLUMNS]
    cells = dict(zip([column.name for column in COLUMNS], tab[3], strict=True))
    assert (cells["label"].value, cells["label"].data_type) == ("=1+1", "s")
    assert (cells["image_id"].value, cells["image_id"].number_format) == ("0" * 15 + "1", "@")
    assert (cells["loss"].value, cells["loss"].data_type) == (0.25, "n")
    assert cells["value"].number_format == "@"
    for other in book.worksheets:
        assert all(cell.data_type != "f" for row in other for cell in row)


def test_the_header_is_frozen_filtered_and_has_lists_to_choose_from() -> None:
    book = opened(write_sheet(rows(2), [{}, {}], ABOUT, CLASSES))
    tab = book["1"]
    assert (tab.freeze_panes, tab.auto_filter.ref) == ("B2", "A1:X3")
    lists = {str(rule.sqref): rule.formula1 for rule in tab.data_validations.dataValidation}
    assert lists == {"F2:F3": '"keep,relabel,delete,move"', "G2:G3": "databoost!$A$2:$A$7"}
    hidden = book[HIDDEN_TAB]
    assert hidden.sheet_state == "veryHidden"
    assert hidden.protection.sheet
    assert [cell.value for cell in hidden["A"][:7]] == ["values", *CLASSES, "train", "val"]
    assert [cell.value for cell in hidden["B"][:5]] == ["about", "version 2", "r00", "a" * 64, "2"]


def test_a_thousand_rows_a_tab() -> None:
    tabs = opened(write_sheet(rows(1001), [{}] * 1001, ABOUT, CLASSES))
    assert tabs.sheetnames == ["1", "2", HIDDEN_TAB]
    assert [tabs[name].max_row for name in ("1", "2")] == [1001, 2]
    assert tabs["2"]["X2"].value == f"{1000:016d}"


def test_pictures_lie_on_their_rows_and_equal_ones_are_stored_once() -> None:
    pictures = [{"image": PICTURE, "nearest_image": PICTURE}, {"model_input": PICTURE}]
    content = write_sheet(rows(2), pictures, ABOUT, CLASSES)
    tab = opened(content)["1"]
    places = [(image.anchor._from.row, image.anchor._from.col) for image in tab._images]
    assert sorted(places) == [(1, 0), (1, 8), (2, 1)]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sum(name.startswith("xl/media/") for name in archive.namelist()) == 1


def test_missing_numbers_are_blank_and_additions_are_closed() -> None:
    table = rows(1, label_score=float("nan"), origin="nearest")
    tab = opened(write_sheet(table, [{}], ABOUT, CLASSES))["1"]
    assert tab["L2"].value is None
    assert tab["F2"].fill.fgColor.rgb == "FFD9D9D9"


def test_equal_rows_give_equal_bytes() -> None:
    first, second = (
        write_sheet(rows(2), [{"image": PICTURE}, {}], ABOUT, CLASSES) for _ in range(2)
    )
    assert first == second
