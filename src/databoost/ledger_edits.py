"""Edits of a sheet -> changes of the ledger: pure functions on tables and text.

A change tells the lines of one image before and after. So an import, its undo, its history and
what a person is shown are all the same list of changes, once forwards and once backwards.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from databoost.errors import CorrectionError, listed
from databoost.layout import SNAPSHOT_SPLITS

#: What a person may choose in a sheet; ``keep`` leaves an image as the sheet shows it.
CHOICES = ("keep", "relabel", "delete", "move")
_COLUMNS = ("image_id", "action", "value", "reason")
_MARK = "\ufeff"


@dataclass(frozen=True)
class Correction:
    """One line of the ledger without its image."""

    action: str
    value: str
    reason: str

    def __str__(self) -> str:
        """Write it for a person: ``relabel ii (two strokes)``."""
        reason = f" ({self.reason.strip()})" if self.reason.strip() else ""
        return f"{self.action} {self.value}".rstrip() + reason


@dataclass(frozen=True)
class Change:
    """The lines of one image before and after; an empty tuple is no line."""

    image_id: str
    before: tuple[Correction, ...]
    after: tuple[Correction, ...]

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "changed" if self.before and self.after else "added" if self.after else "removed"

    def __str__(self) -> str:
        """Write it for a person: what became of the image's lines."""
        sides = [", ".join(map(str, side)) for side in (self.before, self.after) if side]
        return f"{self.kind:<8} {self.image_id}  {' -> '.join(sides)}"


@dataclass(frozen=True)
class Edit:
    """What a person chose for one image: one of `CHOICES`, its value and a note."""

    image_id: str
    action: str
    value: str
    note: str


def corrections_of(ledger: pd.DataFrame) -> dict[str, tuple[Correction, ...]]:
    """Group the ledger's lines by image; those of one image are ordered by action."""
    found: dict[str, tuple[Correction, ...]] = {}
    for image_id, *cells in zip(*(ledger[column] for column in _COLUMNS), strict=True):
        line = Correction(*(cell.strip() for cell in cells))
        found[image_id] = _ordered((*found.get(image_id, ()), line))
    return found


def changes_by(
    edits: Iterable[Edit],
    ledger: pd.DataFrame,
    raw: pd.DataFrame,
    shown: pd.DataFrame,
    *,
    splits_again: bool,
) -> list[Change]:
    """Turn edits into changes of the ledger.

    ``relabel`` and ``move`` take the place of a line of the same action and of ``delete``;
    ``delete`` takes the place of every line. A correction to what the image was given as is no
    line at all. ``keep`` takes out the lines that the sheet does not show, those that were written
    since its snapshot was made, and leaves the others.

    Parameters
    ----------
    edits
        One an image.
    ledger
        ``CORRECTIONS`` rows, without contradictions.
    raw
        ``RAW_INDEX`` rows: what the images were given as.
    shown
        ``image_id``, ``split`` and ``label`` of the sheet's snapshot.
    splits_again
        Whether ``prepare`` draws the splits anew: then only a line keeps an image where it was
        given.

    Returns
    -------
    list of Change
        In the order of the edits; without those that change nothing.
    """
    ours = raw[raw["split"].isin(SNAPSHOT_SPLITS)].groupby("image_id")
    given = {"relabel": ours["label"].agg(set).to_dict(), "move": ours["split"].agg(set).to_dict()}
    shown_as = {
        image_id: {"relabel": label, "move": split}
        for image_id, label, split in zip(
            shown["image_id"], shown["label"], shown["split"], strict=True
        )
    }
    lines = corrections_of(ledger)
    changes = []
    for edit in edits:
        before = lines.get(edit.image_id, ())
        if edit.action == "keep":
            after = _kept(before, edit, shown_as[edit.image_id])
        else:
            is_as_given = given.get(edit.action, {}).get(edit.image_id) == {edit.value}
            is_as_given &= not (edit.action == "move" and splits_again)
            after = _corrected(before, edit, is_as_given)
        if after != before:
            changes.append(Change(edit.image_id, before, after))
    return changes


def rewritten(text: str, changes: Iterable[Change]) -> str:
    """Apply changes to the text of the ledger.

    Other lines, blank lines, the line ends and a byte order mark stay, and so do further columns:
    a line that takes the place of others of its image has theirs.

    Parameters
    ----------
    text
        A ledger with a header row, or nothing.
    changes
        Their ``before`` need not be what the text holds; see :func:`check_unchanged`.
    """
    mark = _MARK if text.startswith(_MARK) else ""
    newline = "\r\n" if "\r\n" in text else "\n"
    rows = list(csv.reader(io.StringIO(text.removeprefix(_MARK), newline=""), strict=True))
    if not any(cell.strip() for row in rows for cell in row):
        rows = [list(_COLUMNS)]
    first = next(number for number, row in enumerate(rows) if any(cell.strip() for cell in row))
    header = [name.strip() for name in rows[first]]
    place = {column: header.index(column) for column in _COLUMNS}
    left = {change.image_id: list(change.after) for change in changes}
    kept = rows[: first + 1]
    dropped: dict[str, list[list[str]]] = {}
    for row in rows[first + 1 :]:
        image_id = row[place["image_id"]].strip() if len(row) == len(header) else ""
        if image_id not in left:
            kept.append(row)
            continue
        action = row[place["action"]].strip()
        line = next((line for line in left[image_id] if line.action == action), None)
        if line is not None:
            left[image_id].remove(line)
            kept.append(_row(row, place, image_id, line))
        else:
            dropped.setdefault(image_id, []).append(row)
    while not any(cell.strip() for cell in kept[-1]):  # new lines follow the last one
        kept.pop()
    for image_id, lines in left.items():
        like = dropped.get(image_id, [[""] * len(header)])
        like += like[-1:] * len(lines)
        kept += [_row(row, place, image_id, line) for row, line in zip(like, lines, strict=False)]
    return mark + _text(kept, newline)


def check_unchanged(ledger: pd.DataFrame, changes: Iterable[Change]) -> None:
    """Refuse changes whose images have other lines by now.

    Raises
    ------
    CorrectionError
        Once, listing every such image with its lines then and now.
    """
    lines = corrections_of(ledger)
    problems = [
        f"{change.image_id}: was {_told(change.before)}, is {_told(now)}"
        for change in changes
        if (now := lines.get(change.image_id, ())) != change.before
    ]
    if problems:
        raise CorrectionError(
            f"data/corrections.csv was edited since, for {len(problems)} image(s) of that change:"
            f"{listed(problems)}\n`databoost corrections undo ID` takes out the lines of an image"
        )


def backwards(changes: Iterable[Change]) -> list[Change]:
    """Give the changes that undo these."""
    return [Change(change.image_id, change.after, change.before) for change in changes]


def _kept(
    before: tuple[Correction, ...], edit: Edit, shown: dict[str, str]
) -> tuple[Correction, ...]:
    return tuple(
        Correction(line.action, line.value, edit.note or line.reason)
        for line in before
        if shown.get(line.action) == line.value
    )


def _corrected(
    before: tuple[Correction, ...], edit: Edit, is_as_given: bool
) -> tuple[Correction, ...]:
    same = next((line for line in before if line.action == edit.action), None)
    old_reason = same.reason if same is not None and same.value == edit.value else ""
    line = Correction(edit.action, edit.value, edit.note or old_reason)
    replaced = [line if other is same else other for other in before]
    if same is None:
        replaced.append(line)
    if edit.action == "delete":
        replaced = [line]
    return _ordered(
        other
        for other in replaced
        if not (other is line and is_as_given)
        and not (other.action == "delete" and edit.action != "delete")
    )


def _ordered(lines: Iterable[Correction]) -> tuple[Correction, ...]:
    return tuple(sorted(lines, key=lambda line: line.action))


def _row(row: list[str], place: dict[str, int], image_id: str, line: Correction) -> list[str]:
    cells = list(row)
    values = (image_id, line.action, line.value, line.reason)
    for column, value in zip(_COLUMNS, values, strict=True):
        if cells[place[column]].strip() != value.strip():
            cells[place[column]] = value
    return cells


def _text(rows: list[list[str]], newline: str) -> str:
    stream = io.StringIO(newline="")
    # A lone "\r" is left unquoted by the csv module, and taken for a line end when reading.
    has_return = any("\r" in cell for row in rows for cell in row)
    if has_return:
        csv.writer(stream, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows(rows)
    else:
        csv.writer(stream, lineterminator=newline).writerows(rows)
    return stream.getvalue()


def _told(lines: tuple[Correction, ...]) -> str:
    return ", ".join(map(str, lines)) or "no line"
