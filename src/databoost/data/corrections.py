"""The ledger ``data/corrections.csv`` and how it is applied.

One line is one correction: ``relabel`` to a class, ``delete``, or ``move`` to train or val. It
names an image by its id, so it holds for every copy of that file, and deleting the line undoes it.
Held-out images are never corrected: they are what the corrections are judged by.
"""

import codecs
import csv
from pathlib import Path

import pandas as pd

from databoost.data.tablefiles import read_table
from databoost.data.tables import CORRECTIONS
from databoost.errors import CorrectionError, listed
from databoost.labels import canonical_label
from databoost.layout import SNAPSHOT_SPLITS

ACTIONS = ("relabel", "delete", "move")
_GONE = (
    "\nif images are gone for good, `databoost corrections undo --gone` takes out all their lines, "
    "`undo ID` those of one"
)


def read_corrections(path: Path) -> pd.DataFrame:
    """Read the ledger; cells are stripped of blanks around them, and classes in NFC.

    Returns
    -------
    pandas.DataFrame
        ``CORRECTIONS`` columns, indexed by the line of the file that each row begins on; no row if
        the file does not exist or is blank.

    Raises
    ------
    TableError
        If the file lacks a column or is no CSV.
    """
    if not path.exists() or _is_blank(path):
        return CORRECTIONS.empty()
    ledger = read_table(path, CORRECTIONS).set_axis(_line_numbers(path), axis=0)
    for column in ("image_id", "action", "value"):
        ledger[column] = ledger[column].str.strip()
    ledger["value"] = ledger["value"].map(canonical_label)
    return ledger


def apply_corrections(
    images: pd.DataFrame, ledger: pd.DataFrame, classes: list[str]
) -> pd.DataFrame:
    """Apply the ledger.

    Parameters
    ----------
    images
        Rows with at least ``image_id``, ``split`` and ``label``.
    ledger
        ``CORRECTIONS`` rows, indexed by line as :func:`read_corrections` gives them.
    classes
        The labels that there are.

    Returns
    -------
    pandas.DataFrame
        `images` without the deleted rows, with labels and splits corrected; the order is kept.

    Raises
    ------
    CorrectionError
        Once, listing every line that names an unknown image, action, class or split, and every
        image with contradicting lines. Lines of one action and value contradict nothing.
    """
    check_corrections(images, ledger, classes)
    corrected = images.copy()
    may_change = corrected["split"].isin(SNAPSHOT_SPLITS)
    for action, column in (("relabel", "label"), ("move", "split")):
        lines = ledger[ledger["action"] == action]
        values = dict(zip(lines["image_id"], lines["value"], strict=True))
        hit = may_change & corrected["image_id"].isin(list(values))
        corrected.loc[hit, column] = corrected.loc[hit, "image_id"].map(values)
    deleted = ledger.loc[ledger["action"] == "delete", "image_id"]
    return corrected[~(may_change & corrected["image_id"].isin(deleted))].reset_index(drop=True)


def check_corrections(images: pd.DataFrame, ledger: pd.DataFrame, classes: list[str]) -> None:
    """Refuse a ledger that does not fit the images; the parameters of :func:`apply_corrections`.

    Raises
    ------
    CorrectionError
        As :func:`apply_corrections` raises it.
    """
    problems = _problems(images, ledger, classes)
    if problems:
        hint = _GONE if is_gone(images, ledger).any() else ""
        raise CorrectionError(
            f"data/corrections.csv has {len(problems)} bad line(s):{listed(problems)}{hint}"
        )


def is_gone(images: pd.DataFrame, ledger: pd.DataFrame) -> pd.Series:
    """Tell which lines of the ledger name no image that there is, held out or not; one truth each.

    Parameters
    ----------
    images
        Rows with at least ``image_id``.
    """
    return ~ledger["image_id"].isin(images["image_id"])


def _is_blank(path: Path) -> bool:
    """Tell whether a file holds nothing but empty cells, not even a header."""
    return path.is_file() and not path.read_bytes().removeprefix(codecs.BOM_UTF8).strip(b", \t\r\n")


def _line_numbers(path: Path) -> list[int]:
    numbers, begins = [], 1
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, strict=True)
        for cells in lines:
            if any(cell.strip() for cell in cells):  # as read_table leaves out empty rows
                numbers.append(begins)
            begins = lines.line_num + 1
    return numbers[1:]


def _problems(images: pd.DataFrame, ledger: pd.DataFrame, classes: list[str]) -> list[str]:
    known = set(images.loc[images["split"].isin(SNAPSHOT_SPLITS), "image_id"])
    heldout = set(images["image_id"]) - known
    allowed = {"relabel": classes, "move": list(SNAPSHOT_SPLITS), "delete": [""]}
    problems = []
    lines = zip(ledger.index, ledger["image_id"], ledger["action"], ledger["value"], strict=True)
    for number, image_id, action, value in lines:
        if image_id in heldout:
            problems.append(f"line {number}: image {image_id} is held out and never corrected")
        elif image_id not in known:
            problems.append(f"line {number}: no image has the id {image_id!r}")
        if action not in ACTIONS:
            problems.append(
                f"line {number}, image {image_id}: action is {action!r}; "
                f"allowed are {', '.join(ACTIONS)}"
            )
        elif value not in allowed[action]:
            choices = ", ".join(allowed[action]) or "nothing"
            problems.append(
                f"line {number}, image {image_id}: {action} to {value!r}; allowed: {choices}"
            )
    for image_id, chosen in sorted(ledger.groupby("image_id"), key=lambda pair: str(pair[0])):
        actions = list(chosen.drop_duplicates(["action", "value"])["action"])
        if len(actions) != len(set(actions)) or ("delete" in actions and len(actions) > 1):
            numbers = ", ".join(map(str, chosen.index))
            problems.append(f"lines {numbers}: image {image_id!s} is corrected more than one way")
    return problems
