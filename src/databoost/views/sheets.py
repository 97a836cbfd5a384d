"""The image sheet for people: an XLSX file with pictures, to look at and to fill in.

Every cell is written as text or as a number, never as a formula, whatever a class is called. A
hidden tab holds the snapshot's digest and a copy of the cells that are only to be read, by which
:mod:`databoost.views.sheet_edits` sees what was edited. Same rows, same bytes.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pandas as pd
import xlsxwriter

from databoost.layout import SNAPSHOT_SPLITS
from databoost.ledger_edits import CHOICES

#: Version of the columns; a sheet of another one cannot be imported.
VERSION = 2
ROWS_A_TAB = 1_000
HIDDEN_TAB = "databoost"
#: Side of a picture, in pixels.
PICTURE_SIDE = 96
_ROW_HEIGHT = 78  # points; 104 pixels
_PINNED = datetime(2020, 1, 1)  # so that equal rows give equal files

Kind = Literal["picture", "text", "number", "edit"]


@dataclass(frozen=True)
class Column:
    """A column of the sheet: name in the header, kind of cells, width in characters."""

    name: str
    kind: Kind
    width: float


COLUMNS = (
    Column("image", "picture", 14.0),
    Column("model_input", "picture", 15.0),
    Column("label", "text", 12.0),
    Column("predicted_label", "text", 18.0),
    Column("suggested_label", "text", 18.0),
    Column("action", "edit", 11.0),
    Column("value", "edit", 11.0),
    Column("note", "edit", 24.0),
    Column("nearest_image", "picture", 16.0),
    Column("nearest_label", "text", 15.0),
    Column("nearest_similarity", "number", 19.0),
    Column("label_score", "number", 13.0),
    Column("outlier_score", "number", 15.0),
    Column("loss", "number", 8.0),
    Column("p_label", "number", 10.0),
    Column("p_predicted", "number", 14.0),
    Column("split", "text", 8.0),
    Column("origin", "text", 10.0),
    Column("round_added", "text", 15.0),
    Column("outcome", "text", 14.0),
    Column("traces", "text", 34.0),
    Column("correction", "text", 20.0),
    Column("nearest_id", "text", 20.0),
    Column("image_id", "text", 20.0),
)
#: What a person may edit, and what must stay as it was written.
EDITED = tuple(column.name for column in COLUMNS if column.kind == "edit")
READ_ONLY = tuple(column.name for column in COLUMNS if column.kind in ("text", "number"))
_HINTS = {
    "action": "keep: leave it as shown here; relabel: the value is its class; delete: take it out; "
    "move: the value is train or val. Empty: no edit.",
    "value": "The class to relabel to, or train or val to move to.",
}


@dataclass(frozen=True)
class About:
    """What a sheet belongs to: its round and the SHA-256 of that round's manifest."""

    round_name: str
    snapshot: str


def write_sheet(
    rows: pd.DataFrame,
    pictures: Sequence[dict[str, bytes]],
    about: About,
    classes: Sequence[str],
) -> bytes:
    """Make the XLSX file.

    Parameters
    ----------
    rows
        `READ_ONLY` columns in the order to show them; numbers may be missing.
    pictures
        PNG files by column for each row; a column may be absent.
    about
        What an import checks.
    classes
        Labels to choose from.

    Returns
    -------
    bytes
        At most `ROWS_A_TAB` rows a tab, tabs "1", "2", ...
    """
    stream = io.BytesIO()
    book = xlsxwriter.Workbook(stream, {"in_memory": True})
    book.set_properties({"title": f"image sheet {about.round_name}", "created": _PINNED})
    formats = _formats(book)
    values = list(dict.fromkeys([*classes, *SNAPSHOT_SPLITS]))
    starts = range(0, max(len(rows), 1), ROWS_A_TAB)
    for number, start in enumerate(starts, 1):
        tab = book.add_worksheet(str(number))
        part = rows.iloc[start : start + ROWS_A_TAB]
        _lay_tab(tab, part, len(values), formats)
        for row, shown in enumerate(pictures[start : start + ROWS_A_TAB], 1):
            _lay_pictures(tab, row, shown, str(part["image_id"].iloc[row - 1]))
    _lay_hidden_tab(book.add_worksheet(HIDDEN_TAB), rows, about, values)
    book.close()
    return stream.getvalue()


def _formats(book: Any) -> dict[str, Any]:
    middle = {"valign": "vcenter", "border": 1, "border_color": "#D9D9D9"}
    return {
        "header": book.add_format(
            {"bold": True, "text_wrap": True, "valign": "top", "bg_color": "#1F3A5F"}
            | {"font_color": "#FFFFFF", "border": 1}
        ),
        "picture": book.add_format(middle | {"bg_color": "#EDEDED"}),
        # "@" is text: a spreadsheet program takes nothing that is typed there for a number.
        "text": book.add_format(middle | {"num_format": "@", "text_wrap": True, "indent": 1}),
        "number": book.add_format(middle | {"num_format": "0.000"}),
        "edit": book.add_format(
            middle | {"num_format": "@", "bg_color": "#FFF8DC", "text_wrap": True}
        ),
        "closed": book.add_format(middle | {"num_format": "@", "bg_color": "#D9D9D9"}),
    }


def _lay_tab(tab: Any, rows: pd.DataFrame, n_values: int, formats: dict[str, Any]) -> None:
    tab.freeze_panes(1, 1)
    tab.set_row(0, 20)
    tab.set_landscape()
    tab.set_paper(8)  # A3
    tab.fit_to_pages(1, 0)
    tab.repeat_rows(0)
    tab.autofilter(0, 0, len(rows), len(COLUMNS) - 1)
    choices = {
        "action": list(CHOICES),
        "value": f"={HIDDEN_TAB}!$A$2:$A${n_values + 1}",
    }
    for place, column in enumerate(COLUMNS):
        tab.set_column(place, place, column.width)
        tab.write_string(0, place, column.name, formats["header"])
        for row, record in enumerate(rows.to_dict("records"), 1):
            kind: str = column.kind
            if kind == "edit" and record["origin"] != "raw":
                kind = "closed"
            _write(tab, row, place, record.get(column.name), formats[kind])
        if column.name in choices and len(rows):
            tab.data_validation(
                *(1, place, len(rows), place),
                {
                    "validate": "list",
                    "source": choices[column.name],
                    "input_title": column.name,
                    "input_message": _HINTS[column.name],
                    "error_message": f"{column.name}: choose from the list, or leave it empty",
                },
            )
    for row in range(1, len(rows) + 1):
        tab.set_row(row, _ROW_HEIGHT)


def _lay_pictures(tab: Any, row: int, pictures: dict[str, bytes], image_id: str) -> None:
    for place, column in enumerate(COLUMNS):
        if column.name in pictures:
            tab.insert_image(
                *(row, place, f"{column.name}.png"),
                {
                    "image_data": io.BytesIO(pictures[column.name]),
                    "x_offset": 3,
                    "y_offset": 4,
                    "object_position": 1,  # moves and hides with its row
                    "description": f"{column.name} of {image_id}",
                },
            )


def _lay_hidden_tab(tab: Any, rows: pd.DataFrame, about: About, values: Sequence[str]) -> None:
    tab.very_hidden()
    tab.protect()
    facts = (f"version {VERSION}", about.round_name, about.snapshot, str(len(rows)))
    for row, text in enumerate(["values", *values]):
        tab.write_string(row, 0, text)
    for row, text in enumerate(["about", *facts]):
        tab.write_string(row, 1, text)
    for place, name in enumerate(READ_ONLY, 2):
        tab.write_string(0, place, name)
        for row, value in enumerate(rows[name], 1):
            _write(tab, row, place, value, None)


def _write(tab: Any, row: int, place: int, value: Any, layout: Any) -> None:
    if value is None or value == "" or value != value:  # a missing number
        tab.write_blank(row, place, None, layout)
    elif isinstance(value, str):
        tab.write_string(row, place, value, layout)
    else:
        tab.write_number(row, place, value, layout)
