"""Reading back an image sheet that a person filled in, whatever program saved it.

Rows are found by ``image_id`` and columns by their header, so sorting, filtering and moving do no
harm. Cells that are only to be read are compared with the copy in the hidden tab: an edit in the
wrong place is refused, not lost. All problems are told at once.
"""

import re
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
from openpyxl.utils import get_column_letter

from databoost.errors import CorrectionError, first_listed
from databoost.labels import canonical_label
from databoost.layout import SNAPSHOT_SPLITS
from databoost.ledger_edits import CHOICES, Edit
from databoost.views.sheets import COLUMNS, EDITED, HIDDEN_TAB, READ_ONLY, VERSION, About

#: Bytes that a sheet may have, as a file and with its tables unpacked (pictures are not unpacked).
_LARGEST_FILE = 2 * 2**30
_LARGEST_TABLES = 2**29
#: With any prefix; in the text of a cell the ``<`` is written otherwise.
_MERGED = re.compile(rb"""<(?:[\w.-]{1,40}:)?mergeCell\s+ref=["']([A-Z0-9:]{1,40})["']""")
_TOLERANCE = 1e-9  # programs write numbers with 15 digits or more

Cells = dict[str, Any]


@dataclass(frozen=True)
class FilledSheet:
    """What a sheet holds.

    Attributes
    ----------
    about
        Round and snapshot that it was made of.
    shown
        ``image_id``, ``split``, ``label`` and ``origin`` as they were written, one row an image.
    rows
        Where each row that a person sees lies ("tab 1, row 12"), and its cells by column.
    problems
        What keeps the sheet from being imported.
    """

    about: About
    shown: pd.DataFrame
    rows: list[tuple[str, Cells]]
    problems: list[str]


def read_sheet(path: Path) -> FilledSheet:
    """Read a sheet.

    Raises
    ------
    CorrectionError
        If the file is missing, too large, damaged, no XLSX, or no sheet of this version of
        databoost, or if cells were merged.
    """
    _check_file(path)
    try:
        merged = _merged(path)
        book = openpyxl.load_workbook(path, read_only=True, keep_links=False)
        tabs = {tab.title: _lines(tab) for tab in book.worksheets}
        book.close()
    except Exception as error:  # zip, XML and openpyxl each raise their own on a damaged file
        if path.suffix.lower() != ".xlsx":
            raise CorrectionError(
                f"{path} can't be read: it does not end in .xlsx; save the sheet as XLSX"
            ) from error
        raise CorrectionError(
            f"{path} is damaged or cut short and cannot be read: {error or type(error).__name__}"
        ) from error
    if merged:
        raise CorrectionError(
            f"{path} has merged cells, {merged} first, and only one row of them would be edited; "
            "unmerge the cells, and fill in every row that you mean"
        )
    if HIDDEN_TAB not in tabs:
        raise CorrectionError(
            f"{path} is no image sheet: it lacks the hidden tab {HIDDEN_TAB!r}; edit the file that "
            "`databoost sheet` wrote, and save it as XLSX with all its tabs"
        )
    about, hidden = _hidden(path, tabs.pop(HIDDEN_TAB))
    rows: list[tuple[str, Cells]] = []
    problems: list[str] = []
    for title, lines in tabs.items():
        if title.isdigit() or any(cell == "image_id" for _, line in lines[:1] for cell in line):
            _read_tab(title, lines, rows, problems)
    problems += _altered(rows, hidden)
    shown = pd.DataFrame(
        [[cells[name] for name in _SHOWN] for cells in hidden.values()], columns=_SHOWN, dtype=str
    )
    return FilledSheet(about, shown, rows, problems)


def edits_of(sheet: FilledSheet, classes: list[str]) -> list[Edit]:
    """Take the edits out of a sheet; rows without an action are none.

    Raises
    ------
    CorrectionError
        Once, listing every problem of the sheet: rows or columns that are missing or come twice,
        cells that were altered, unknown actions, labels and splits, a value without an action or
        where the action takes none, an edit of an image that a round added, a formula.
    """
    problems = list(sheet.problems)
    origins = dict(zip(sheet.shown["image_id"], sheet.shown["origin"], strict=True))
    edits = []
    for place, cells in sheet.rows:
        image_id = _text(cells["image_id"])
        action, value, note = (_text(cells[column]).strip() for column in EDITED)
        note = " ".join(note.split())  # a line of the ledger is one line of text
        edit = Edit(image_id, action.lower(), canonical_label(value), note)
        found = list(_faults(edit, origins.get(image_id, "raw"), classes))
        if any(isinstance(cells[column], _Formula) for column in EDITED):
            found = ["a formula stands where text is needed"]
        problems += [f"{place}, image {image_id}: {problem}" for problem in found]
        if edit.action and not found:
            edits.append(edit)
    if problems:
        raise CorrectionError(
            f"the sheet has {len(problems)} problem(s), nothing was imported:"
            f"{first_listed(problems)}"
        )
    return edits


def loose_notes(sheet: FilledSheet) -> int:
    """Count the notes in rows without an action: they stay in the sheet and nowhere else."""
    return sum(
        bool(_text(cells["note"]).strip()) and not _text(cells["action"]).strip()
        for _, cells in sheet.rows
    )


def how_to_renew(path: Path, round_name: str) -> str:
    """Say how to make a new sheet in the place of one that cannot be imported.

    >>> how_to_renew(Path("r00.xlsx"), "r00")
    '`databoost sheet r00 --overwrite -o r00.xlsx` makes it anew; copy it first for what you judged'
    """
    command = f"databoost sheet {round_name} --overwrite -o {shlex.quote(str(path))}"
    return f"`{command}` makes it anew; copy it first for what you judged"


_SHOWN = ["image_id", "split", "label", "origin"]


class _Formula(str):
    """A formula; the text of an ordinary cell may start with ``=`` too."""


def _check_file(path: Path) -> None:
    try:
        n_bytes = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            tables = sum(
                entry.file_size for entry in archive.infolist() if not _is_picture(entry.filename)
            )
    except FileNotFoundError:
        raise CorrectionError(f"{path} does not exist; `databoost sheet r00` writes one") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise CorrectionError(
            f"{path} is no XLSX file, or one that was cut short ({error}); save the sheet as XLSX"
        ) from error
    if n_bytes > _LARGEST_FILE or tables > _LARGEST_TABLES:
        raise CorrectionError(
            f"{path} is too large to be an image sheet: {n_bytes:,} bytes, tables of {tables:,} "
            f"bytes; allowed are {_LARGEST_FILE:,} and {_LARGEST_TABLES:,}"
        )


def _merged(path: Path) -> str:
    """Give the first range of merged cells, of which openpyxl says nothing when it only reads."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                with archive.open(name) as stream:
                    text = b""
                    while part := stream.read(2**20):
                        text = text[-200:] + part  # a range may lie across two parts
                        if found := _MERGED.search(text):
                            return found[1].decode()
    return ""


def _is_picture(name: str) -> bool:
    return name.startswith("xl/media/")


def _lines(tab: Any) -> list[tuple[int, list[Any]]]:
    """Give the lines that are not blank, with their numbers in the tab."""
    tab.reset_dimensions()  # a program may have written a wrong one
    lines = []
    for number, cells in enumerate(tab.iter_rows(), 1):
        values = [_value(cell) for cell in cells]
        if any(value is not None for value in values):
            lines.append((number, values))
    return lines


def _value(cell: Any) -> Any:
    if isinstance(cell.value, str):
        if cell.data_type == "f":
            return _Formula(cell.value)
        return cell.value if cell.value.strip() else None
    return cell.value if cell.data_type != "f" else _Formula("=")


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a class called 1, typed as a number
    return "" if value is None else str(value)


def _hidden(path: Path, lines: list[tuple[int, list[Any]]]) -> tuple[About, dict[str, Cells]]:
    header = [_text(cell) for cell in lines[0][1]] if lines else []
    n_columns = len(READ_ONLY) + 2
    table = [line + [None] * (n_columns - len(line)) for _, line in lines[1:]]
    facts = [_text(line[1]) for line in table[:4]]
    if header[:2] != ["values", "about"] or len(facts) < 4:
        raise CorrectionError(f"{path}: the hidden tab {HIDDEN_TAB!r} was edited; make a new sheet")
    version, round_name, snapshot, n_rows = facts
    if version != f"version {VERSION}" or header[2:] != list(READ_ONLY):
        raise CorrectionError(
            f"{path} is a sheet of {version}; this databoost reads version {VERSION}: "
            f"{how_to_renew(path, round_name)}"
        )
    every = [dict(zip(READ_ONLY, line[2:], strict=False)) for line in table]
    hidden = {_text(cells["image_id"]): cells for cells in every if cells["image_id"] is not None}
    if str(len(hidden)) != n_rows:
        raise CorrectionError(
            f"{path} is cut short: its hidden tab lists {len(hidden)} of {n_rows} images"
        )
    return About(round_name, snapshot), hidden


def _read_tab(
    title: str,
    lines: list[tuple[int, list[Any]]],
    rows: list[tuple[str, Cells]],
    problems: list[str],
) -> None:
    """Read a tab into `rows` and `problems`."""
    header = [_text(cell).strip() for cell in lines[0][1]] if lines else []
    names = [column.name for column in COLUMNS]
    missing = [name for name in names if name not in header]
    repeated = [name for name in names if header.count(name) > 1]
    for fault, found in (("lacks column", missing), ("has more than once column", repeated)):
        if found:
            problems.append(f"tab {title} {fault} {', '.join(found)}; its first row names them")
    if missing or repeated:
        return
    for number, line in lines[1:]:
        place = f"tab {title}, row {number}"
        line = line + [None] * (len(header) - len(line))
        rows.append((place, {name: line[header.index(name)] for name in names}))
        unnamed = [
            f"{get_column_letter(position)}{number}"
            for position, value in enumerate(line, 1)
            if value is not None and (position > len(header) or not header[position - 1])
        ]
        if unnamed:
            problems.append(f"{place}: {', '.join(unnamed)} lies outside of the columns; clear it")


def _altered(rows: list[tuple[str, Cells]], hidden: dict[str, Cells]) -> Iterator[str]:
    """Compare the rows with the copy; tell rows that are unknown, repeated or missing."""
    places: dict[str, str] = {}
    for place, cells in rows:
        image_id = _text(cells["image_id"])
        if image_id not in hidden:
            yield f"{place}: image_id is {image_id!r}, which this sheet was not written with"
            continue
        if image_id in places:
            yield f"{place}: image {image_id} comes a second time, first in {places[image_id]}"
            continue
        places[image_id] = place
        for column in COLUMNS:
            now, was = cells[column.name], hidden[image_id].get(column.name)
            if column.kind != "edit" and not _is_same(now, was):
                yield (
                    f"{place}, image {image_id}: {column.name} is {_text(now)!r}, was "
                    f"{_text(was)!r}; only {', '.join(EDITED)} are to be edited"
                )
    lost = [image_id for image_id in hidden if image_id not in places]
    if lost:
        yield (
            f"{len(lost)} of {len(hidden)} rows are missing, image {lost[0]} first; hide rows by "
            "a filter, and delete none"
        )


def _is_same(now: Any, was: Any) -> bool:
    if isinstance(now, int | float) and isinstance(was, int | float):
        return abs(now - was) <= _TOLERANCE * max(1.0, abs(was))
    return type(now) is type(was) and bool(now == was)


def _faults(edit: Edit, origin: str, classes: list[str]) -> Iterator[str]:
    """Tell what is wrong with one edit."""
    allowed = {"relabel": classes, "move": list(SNAPSHOT_SPLITS)}
    if not edit.action:
        if edit.value:
            yield f"value is {edit.value!r} without an action; choose {', '.join(CHOICES)}"
    elif edit.action not in CHOICES:
        yield f"action is {edit.action!r}; allowed are {', '.join(CHOICES)}"
    elif origin != "raw":
        yield f"it was added by a round ({origin}); correct the image that it was made of"
    elif edit.action not in allowed:
        if edit.value:
            yield f"{edit.action} takes no value, and value is {edit.value!r}"
    elif edit.value not in allowed[edit.action]:
        yield f"{edit.action} to {edit.value!r}; allowed are {', '.join(allowed[edit.action])}"
