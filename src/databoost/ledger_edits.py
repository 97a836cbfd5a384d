"""Edits of a sheet -> changes of the ledger: pure functions on tables and text.

A change tells the lines of one image before and after. So an import, its undo, its history and
what a person is shown are all the same list of changes, once forwards and once backwards.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pandas as pd

from databoost.labels import canonical_label
from databoost.layout import SNAPSHOT_SPLITS

#: What a person may choose in a sheet; ``keep`` leaves an image as the sheet shows it.
CHOICES = ("keep", "relabel", "delete", "move")
_COLUMNS = ("image_id", "action", "value", "reason")
_MARK = "\ufeff"


@dataclass(frozen=True)
class Correction:
    """One line of the ledger without its image.

    Attributes
    ----------
    action, value, reason
        Its cells, stripped.
    row
        What the whole line holds, further columns too: header and cell of each; empty if nobody
        asked (see :func:`with_rows`). Two lines are equal whatever their rows.
    """

    action: str
    value: str
    reason: str
    row: tuple[tuple[str, str], ...] = field(default=(), compare=False)

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
    """Group the ledger's lines by image; those of one image are ordered by action.

    Of lines that say the same, as a merge of two branches leaves them, the first counts.
    """
    found: dict[str, dict[tuple[str, str], Correction]] = {}
    for image_id, *cells in zip(*(ledger[column] for column in _COLUMNS), strict=True):
        line = Correction(*(cell.strip() for cell in cells))
        found.setdefault(image_id, {}).setdefault((line.action, line.value), line)
    return {image_id: _ordered(lines.values()) for image_id, lines in found.items()}


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
    a line that takes the place of others of its image has theirs, and one that comes back with its
    row has its own. Of lines that say the same, one is left.

    Parameters
    ----------
    text
        A ledger with a header row, or nothing.
    changes
        Their ``before`` need not be what the text holds.
    """
    mark = _MARK if text.startswith(_MARK) else ""
    newline = "\r\n" if "\r\n" in text else "\n"
    kept, rows = _parsed(text)
    header = [name.strip() for name in kept[-1]]
    place = {column: header.index(column) for column in _COLUMNS}
    left = {change.image_id: list(change.after) for change in changes}
    dropped: dict[str, list[list[str]]] = {}
    for row in rows:
        if _is_blank(row) or row[place["image_id"]].strip() not in left:
            kept.append(row)
            continue
        image_id, action = row[place["image_id"]].strip(), row[place["action"]].strip()
        line = next((line for line in left[image_id] if line.action == action), None)
        if line is not None:
            left[image_id].remove(line)
            kept.append(_row(row, place, image_id, line))
        else:
            dropped.setdefault(image_id, []).append(row)
    while _is_blank(kept[-1]):  # new lines follow the last one
        kept.pop()
    for image_id, lines in left.items():
        like = dropped.get(image_id, [[""] * len(header)])
        like += like[-1:] * len(lines)
        kept += [
            _own_row(line, header) if line.row else _row(row, place, image_id, line)
            for row, line in zip(like, lines, strict=False)
        ]
    return mark + _text(kept, newline)


def with_rows(text: str, changes: Iterable[Change]) -> list[Change]:
    """Give the changes with the rows of the lines before, so that going back restores them.

    Parameters
    ----------
    text
        The ledger before the changes.
    """
    head, rows = _parsed(text)
    header = [name.strip() for name in head[-1]]
    place = {column: header.index(column) for column in _COLUMNS}
    found: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}
    for row in rows:
        if not _is_blank(row):
            image_id, action, value, _ = (row[place[column]].strip() for column in _COLUMNS)
            key = (image_id, action, canonical_label(value))
            found.setdefault(key, tuple(zip(header, row, strict=True)))
    return [
        replace(
            change,
            before=tuple(
                replace(line, row=found[change.image_id, line.action, line.value])
                for line in change.before
            ),
        )
        for change in changes
    ]


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


def _parsed(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """Split the ledger into its rows up to the header, and those below."""
    rows = list(csv.reader(io.StringIO(text.removeprefix(_MARK), newline=""), strict=True))
    if all(map(_is_blank, rows)):
        rows = [list(_COLUMNS)]
    first = next(number for number, row in enumerate(rows) if not _is_blank(row))
    return rows[: first + 1], rows[first + 1 :]


def _is_blank(row: list[str]) -> bool:
    return not any(cell.strip() for cell in row)


def _own_row(line: Correction, header: list[str]) -> list[str]:
    """Give the row that a line had, by column where the ledger has other columns by now."""
    cells = dict(line.row)
    if [name for name, _ in line.row] == header:  # two columns may be called alike
        return [cell for _, cell in line.row]
    return [cells.get(name, "") for name in header]


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
