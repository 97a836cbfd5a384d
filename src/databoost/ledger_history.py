"""Changes of the ledger by a command, and the history that takes them back.

Before the ledger is written, the change goes into a numbered table below ``.databoost``; ``undo``
reads the last one backwards. Lines that a person edits by hand have no history but git's.
"""

from pathlib import Path

import pandas as pd

from databoost.data.corrections import check_corrections, read_corrections
from databoost.data.datasets import read_classes
from databoost.data.files import write_text
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import RAW_INDEX, Table
from databoost.errors import CorrectionError, listed
from databoost.layout import Layout
from databoost.ledger_edits import (
    Change,
    Correction,
    Edit,
    backwards,
    changes_by,
    check_unchanged,
    corrections_of,
    rewritten,
)

_HISTORY = Table(
    "history of corrections",
    {"side": "text", "image_id": "text", "action": "text", "value": "text", "reason": "text"},
)


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
        If the ledger does not fit the images, now or after the change; nothing is written.
    """
    raw = read_table(layout.raw_index, RAW_INDEX)
    ledger = read_corrections(layout.corrections)
    check_corrections(raw, ledger, read_classes(layout.classes))
    changes = changes_by(edits, ledger, raw, shown, splits_again=splits_again)
    text = _checked(layout, changes)
    if changes and not dry_run:
        write_table(_next_entry(layout), _table(changes), _HISTORY)
        write_text(layout.corrections, text)
    return changes


def undo_last(layout: Layout) -> list[Change]:
    """Take back the last change that a command made.

    Returns
    -------
    list of Change
        What was done to the ledger.

    Raises
    ------
    CorrectionError
        If there is nothing to undo, or lines of that change were edited since.
    """
    for entry in reversed(_entries(layout)):
        undoing = backwards(_changes(read_table(entry, _HISTORY)))
        ledger = read_corrections(layout.corrections)
        lines = corrections_of(ledger)
        if all(lines.get(change.image_id, ()) == change.after for change in undoing):
            entry.unlink()  # was interrupted before the ledger was written, or undone by hand
            continue
        check_unchanged(ledger, undoing)
        write_text(layout.corrections, _checked(layout, undoing))
        entry.unlink()
        return undoing
    raise CorrectionError("no import or undo is left to take back; `git log data/corrections.csv`")


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
    text = _read_text(layout.corrections)
    write_table(_next_entry(layout), _table(changes), _HISTORY)
    write_text(layout.corrections, rewritten(text, changes))
    return changes


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
    return sorted(layout.correction_history.glob("[0-9][0-9][0-9][0-9][0-9].csv"))


def _next_entry(layout: Layout) -> Path:
    entries = _entries(layout)
    number = int(entries[-1].stem) + 1 if entries else 1
    return layout.correction_history / f"{number:05d}.csv"


def _table(changes: list[Change]) -> pd.DataFrame:
    rows = [
        (side, change.image_id, line.action, line.value, line.reason)
        for change in changes
        for side, lines in (("before", change.before), ("after", change.after))
        for line in lines
    ]
    columns = list(zip(*rows, strict=True))
    return _HISTORY.frame(dict(zip(_HISTORY.columns, map(list, columns), strict=True)))


def _changes(table: pd.DataFrame) -> list[Change]:
    sides: dict[str, dict[str, list[Correction]]] = {}
    for side, image_id, *cells in table.itertuples(index=False):
        lines = sides.setdefault(str(image_id), {"before": [], "after": []})
        lines[str(side)].append(Correction(*map(str, cells)))
    return [
        Change(image_id, tuple(lines["before"]), tuple(lines["after"]))
        for image_id, lines in sides.items()
    ]
