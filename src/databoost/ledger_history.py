"""Changes of the ledger by a command, and the history that takes them back.

Each change lies in a numbered table below ``.databoost``; ``undo`` reads the last one backwards and
removes it. While the ledger is written, the table is called open: if a command is killed, the next
one sees by the ledger whether the change was made. Lines that a person edits by hand have no
history but git's.
"""

import json
from pathlib import Path

import pandas as pd

from databoost.data.corrections import check_corrections, is_gone, read_corrections
from databoost.data.datasets import read_classes
from databoost.data.files import write_text
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import RAW_INDEX, Table
from databoost.errors import CorrectionError, TableError, listed
from databoost.layout import Layout
from databoost.ledger_edits import (
    Change,
    Correction,
    Edit,
    backwards,
    changes_by,
    corrections_of,
    rewritten,
    with_rows,
)

#: As databoost wrote it before it kept whole rows.
_OLD_HISTORY = Table(
    "history of corrections",
    {"side": "text", "image_id": "text", "action": "text", "value": "text", "reason": "text"},
)
_HISTORY = Table(
    _OLD_HISTORY.name,
    {**_OLD_HISTORY.columns, "row": "text"},  # JSON: header and cell of each column, or empty
)
_ENTRY = "[0-9]" * 5 + ".csv"
_OPEN = ".open"


def change_ledger(
    layout: Layout,
    edits: list[Edit],
    shown: pd.DataFrame,
    *,
    splits_again: bool,
    dry_run: bool = False,
) -> list[Change]:
    """Write edits into the ledger, whole or not at all, and into the history.

    Parameters
    ----------
    edits, shown, splits_again
        As :func:`~databoost.ledger_edits.changes_by` takes them.
    dry_run
        Check everything and write nothing.

    Returns
    -------
    list of Change
        What is different in the ledger.

    Raises
    ------
    CorrectionError
        If the ledger does not fit the images, now or after the change, or an image that is gone
        would get a line; nothing is written.
    """
    raw = read_table(layout.raw_index, RAW_INDEX)
    ledger = read_corrections(layout.corrections)
    check_corrections(raw, ledger, read_classes(layout.classes))
    changes = changes_by(edits, ledger, raw, shown, splits_again=splits_again)
    there = set(raw["image_id"])
    gone = [change.image_id for change in changes if change.image_id not in there]
    if gone:
        raise CorrectionError(
            f"{len(gone)} image(s) are no longer among the raw images; `dvc repro`, and make a new "
            f"sheet:{listed(gone)}"
        )
    text = _checked(layout, changes)
    if changes and not dry_run:
        _change(layout, changes, text)
    return changes


def undo_last(layout: Layout) -> list[Change]:
    """Take back the last change that a command made.

    The ledger is as it was before, even if it does not fit the images that there are by now.

    Returns
    -------
    list of Change
        What was done to the ledger.

    Raises
    ------
    CorrectionError
        If there is nothing to undo, or that change is not in the ledger, or not as it was made;
        nothing is written.
    """
    _close(layout)
    entries = _entries(layout)
    if not entries:
        raise CorrectionError(
            "no import or undo is left to take back; `git log data/corrections.csv`"
        )
    entry = entries[-1]
    undoing = backwards(_read(entry))
    _check_unchanged(layout, undoing, entry)
    text = rewritten(_read_text(layout.corrections), undoing)
    opened = entry.replace(entry.with_name(entry.name + _OPEN))
    write_text(layout.corrections, text)
    opened.unlink()
    return undoing


def undo_images(layout: Layout, image_ids: list[str]) -> list[Change]:
    """Take every line of these images out of the ledger.

    Returns
    -------
    list of Change
        What was done to the ledger.

    Raises
    ------
    CorrectionError
        If an image has no line; all such ids are listed and nothing is written.
    """
    lines = corrections_of(read_corrections(layout.corrections))
    wanted = list(dict.fromkeys(image_ids))
    unknown = [image_id for image_id in wanted if image_id not in lines]
    if unknown:
        raise CorrectionError(
            f"data/corrections.csv has no line for {len(unknown)} image(s); "
            f"`databoost corrections list` shows all:{listed(map(repr, unknown))}"
        )
    changes = [Change(image_id, lines[image_id], ()) for image_id in wanted]
    if changes:
        _change(layout, changes, rewritten(_read_text(layout.corrections), changes))
    return changes


def undo_gone(layout: Layout) -> list[Change]:
    """Take every line out of the ledger whose image is no longer among the raw images.

    Returns
    -------
    list of Change
        What was done to the ledger.
    """
    ledger = read_corrections(layout.corrections)
    gone = is_gone(read_table(layout.raw_index, RAW_INDEX), ledger)
    return undo_images(layout, list(ledger.loc[gone, "image_id"]))


def _change(layout: Layout, changes: list[Change], text: str) -> None:
    """Write the ledger's new text, and the changes into the history."""
    _close(layout)
    entries = _entries(layout)
    number = int(entries[-1].stem) + 1 if entries else 1
    opened = layout.correction_history / f"{number:05d}.csv{_OPEN}"
    write_table(opened, _table(with_rows(_read_text(layout.corrections), changes)), _HISTORY)
    write_text(layout.corrections, text)
    opened.replace(opened.with_suffix(""))


def _close(layout: Layout) -> None:
    """Keep an open entry, which a killed command left, if its change is in the ledger."""
    for opened in layout.correction_history.glob(_ENTRY + _OPEN):
        lines = corrections_of(read_corrections(layout.corrections))
        if all(lines.get(change.image_id, ()) == change.before for change in _read(opened)):
            opened.unlink()
        else:
            opened.replace(opened.with_suffix(""))


def _check_unchanged(layout: Layout, undoing: list[Change], entry: Path) -> None:
    """Refuse to undo an entry if its images have other lines by now."""
    lines = corrections_of(read_corrections(layout.corrections))
    now = [(change, lines.get(change.image_id, ())) for change in undoing]
    edited = [
        f"{change.image_id}: was {_told(change.before)}, is {_told(found)}"
        for change, found in now
        if found != change.before
    ]
    if not edited:
        return
    forget = (
        f"delete {entry.relative_to(layout.root).as_posix()}, and `databoost corrections undo "
        "--last` takes back the one before"
    )
    if all(found == change.after for change, found in now):
        raise CorrectionError(
            "the last import or undo is not in data/corrections.csv; nothing was changed. If it "
            f"was made on another branch, take it back there; if it is taken back already, {forget}"
        )
    raise CorrectionError(
        f"data/corrections.csv was edited since the last import or undo, for {len(edited)} of its "
        f"image(s); nothing was changed:{listed(edited)}\n`databoost corrections undo ID` takes "
        f"out the lines of an image; to leave them, {forget}"
    )


def _told(lines: tuple[Correction, ...]) -> str:
    return ", ".join(map(str, lines)) or "no line"


def _checked(layout: Layout, changes: list[Change]) -> str:
    """Give the ledger's text after the changes, which must fit the images."""
    raw = read_table(layout.raw_index, RAW_INDEX)
    classes = read_classes(layout.classes)
    text = rewritten(_read_text(layout.corrections), changes)
    part = layout.corrections.with_name(layout.corrections.name + ".new")
    try:
        write_text(part, text)
        check_corrections(raw, read_corrections(part), classes)
    finally:
        part.unlink(missing_ok=True)
    return text


def _read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def _entries(layout: Layout) -> list[Path]:
    return sorted(layout.correction_history.glob(_ENTRY))


def _table(changes: list[Change]) -> pd.DataFrame:
    rows = [
        (side, change.image_id, line.action, line.value, line.reason, _json(line.row))
        for change in changes
        for side, lines in (("before", change.before), ("after", change.after))
        for line in lines
    ]
    columns = list(zip(*rows, strict=True))
    return _HISTORY.frame(dict(zip(_HISTORY.columns, map(list, columns), strict=True)))


def _json(row: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(row, ensure_ascii=False) if row else ""


def _read(entry: Path) -> list[Change]:
    try:
        table = read_table(entry, _HISTORY)
    except TableError:  # if it is damaged, this refuses it too
        table = read_table(entry, _OLD_HISTORY).assign(row="")
    sides: dict[str, dict[str, list[Correction]]] = {}
    for side, image_id, action, value, reason, row in table.astype(str).itertuples(index=False):
        lines = sides.setdefault(image_id, {"before": [], "after": []})
        cells = tuple((name, cell) for name, cell in json.loads(row or "[]"))
        lines[side].append(Correction(action, value, reason, cells))
    return [
        Change(image_id, tuple(lines["before"]), tuple(lines["after"]))
        for image_id, lines in sides.items()
    ]
