"""Columns, types and checks of every table, and the one way to read and write them.

Tables are CSV (UTF-8, Unix line ends, header row) except the recipes, which are Parquet.
Writing is deterministic, and whole or not at all. Reading accepts what spreadsheet programs leave
behind (a byte order mark, Windows line ends) and refuses what cannot be meant.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from databoost.data.files import write_text
from databoost.errors import TableError, listed

Kind = Literal["text", "integer", "number", "truth"]
_SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Table:
    """Name, columns and column kinds of a table.

    ``text`` cells are strings, never missing (empty is ``""``); ``integer`` is int64; ``number``
    is float64 and may be missing; ``truth`` is bool, written ``True`` and ``False``.
    """

    name: str
    columns: dict[str, Kind]

    def empty(self) -> pd.DataFrame:
        """Give a table with all columns and no rows."""
        return self.frame({column: [] for column in self.columns})

    def frame(self, values: dict[str, Any]) -> pd.DataFrame:
        """Build the table from column values, with the declared column order and dtypes.

        Raises
        ------
        TableError
            If the columns are not exactly the declared ones.
        """
        if set(values) != set(self.columns):
            raise TableError(f"{self.name} has columns {list(self.columns)}, not {list(values)}")
        dtypes = {"text": object, "integer": np.int64, "number": np.float64, "truth": np.bool_}
        return pd.DataFrame(
            {
                column: pd.Series(values[column], dtype=dtypes[kind])
                for column, kind in self.columns.items()
            }
        )


MANIFEST = Table(
    "manifest",
    {
        "image_id": "text",
        "path": "text",  # below the snapshot's dataset/ (train, val) or data/heldout/
        "split": "text",
        "label": "text",
        "origin": "text",  # raw, or the strategy that added it
        "parent_id": "text",
        "recipe": "text",
        "round_added": "text",
        "query_id": "text",
        "similarity": "number",
    },
)
RAW_INDEX = Table(
    "raw index",
    {"image_id": "text", "path": "text", "split": "text", "label": "text"},
)
UNREADABLE = Table("unreadable files", {"path": "text", "n_bytes": "integer", "reason": "text"})
CLASSES = Table("classes", {"label": "text"})
TRUTH = Table(
    "truth",
    {
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",  # as given
        "true_label": "text",  # empty: no numeral
        "fault": "text",  # empty | wrong_label | not_numeral | leak
        "style": "text",
        "is_unseen_style": "truth",
    },
)
CORRECTIONS = Table(
    "corrections", {"image_id": "text", "action": "text", "value": "text", "reason": "text"}
)
DUPLICATES = Table(
    "duplicates",
    {"image_id": "text", "path": "text", "split": "text", "label": "text", "outcome": "text"},
)
SHEET = Table(
    "image sheet",
    {
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",
        "predicted_label": "text",
        "p_label": "number",
        "p_predicted": "number",
        "margin": "number",
        "loss": "number",
        "is_misclassified": "truth",
        "origin": "text",
        "round_added": "text",
    },
)
CONFUSION = Table(
    "confusion",
    {"split": "text", "label": "text", "predicted_label": "text", "n_images": "integer"},
)
CURVE = Table(
    "learning curve",
    {
        "epoch": "integer",
        "train_loss": "number",
        "train_accuracy": "number",
        "val_loss": "number",
        "val_accuracy": "number",
    },
)
FINDINGS = Table(
    "findings",
    {
        "finding": "text",
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",
        "value": "number",
        "other_id": "text",  # of a pair
        "other_split": "text",
        "other_label": "text",
        "detail": "text",
    },
)
#: What is read of the label scores by those who only show them.
SUSPECTS = Table(
    "scores",
    {
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",
        "suggested_label": "text",
        "label_score": "number",  # 0 to 1, low is bad
        "is_label_issue": "truth",
        "outlier_score": "number",  # 0 to 1, low is bad
        "is_outlier_issue": "truth",
    },
)
SCORES = Table(
    "label scores",
    {
        **SUSPECTS.columns,
        "p_label": "number",  # mean of both judges, out of sample
        "p_suggested": "number",
        "network_margin": "number",  # of mean log-probabilities, nats
        "kernel_margin": "number",
    },
)
ROUNDS = Table(
    "rounds",
    {
        "round": "text",
        "strategy": "text",
        "split": "text",
        "accuracy": "number",
        "low": "number",  # ends of the 95% interval
        "high": "number",
        "n_images": "integer",
        "n_misclassified": "integer",
        "n_train": "integer",
        "n_additions": "integer",
    },
)
CURVES = Table("learning curves", {"round": "text", **CURVE.columns})
CONFUSIONS = Table("confusions", {"round": "text", **CONFUSION.columns})
MAP = Table(
    "map",
    {
        "image_id": "text",
        "path": "text",  # below the last round's dataset/ (train, val) or data/heldout/
        "split": "text",
        "label": "text",
        "predicted_label": "text",  # by the last round's model
        "is_misclassified": "truth",
        "first_predicted_label": "text",  # by r00's model; empty: added since
        "suggested_label": "text",  # empty: not scored
        "label_score": "number",
        "origin": "text",
        "round_added": "text",
        "query_id": "text",
        "x": "number",
        "y": "number",
    },
)
ADDITIONS = Table(
    "additions",
    {
        "image_id": "text",
        "candidate_id": "integer",
        "label": "text",
        "parent_id": "text",
        "recipe": "text",
        "strategy": "text",
        "query_id": "text",  # the failure that asked for it; empty: strategy random
        "query_label": "text",
        "query_predicted_label": "text",
        "similarity": "number",
        "rank": "integer",  # the query's first addition is 1; 0: strategy random
    },
)
RECIPES = Table(
    "recipes",
    {
        "candidate_id": "integer",
        "parent_id": "text",
        "label": "text",
        "seed": "integer",  # 63 random bits and the mirror bit, as a signed integer
        "policy": "text",  # version of the policy that turns the seed into pixels
    },
)


def read_table(path: Path, table: Table) -> pd.DataFrame:
    """Read a CSV table.

    Returns
    -------
    pandas.DataFrame
        The declared columns in their order and dtypes; further columns are left out.

    Raises
    ------
    TableError
        If the file is missing, lacks a column, is not a CSV of UTF-8 text, has a row of another
        length than the header, or has a cell that its column does not allow (all are listed).
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(enumerate(csv.reader(stream, strict=True), 1))
    except FileNotFoundError:
        raise TableError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is not a readable CSV in UTF-8: {error}") from error
    # Spreadsheet programs leave rows of empty cells; the numbers stay those that they show.
    rows = [(number, row) for number, row in lines if any(cell.strip() for cell in row)]
    header = [name.strip() for name in rows[0][1]] if rows else []
    missing = [column for column in table.columns if column not in header]
    if missing:
        raise TableError(
            f"{path} lacks column {', '.join(missing)}; {table.name} has {', '.join(table.columns)}"
        )
    problems = [
        f"row {number}: {len(row)} cells, the header has {len(header)}"
        for number, row in rows[1:]
        if len(row) != len(header)
    ]
    values: dict[str, list[Any]] = {column: [] for column in table.columns}
    if not problems:
        for column, kind in table.columns.items():
            position = header.index(column)
            for number, row in rows[1:]:
                try:
                    values[column].append(_parsed(row[position], kind))
                except (ValueError, OverflowError):
                    problems.append(f"row {number}, {column}: {row[position]!r} is no {kind}")
    if problems:
        left_out = len(problems) - _SHOWN_PROBLEMS
        shown = problems[:_SHOWN_PROBLEMS] + ([f"and {left_out} more"] if left_out > 0 else [])
        raise TableError(f"{path} has {len(problems)} bad row(s) or cell(s):{listed(shown)}")
    return table.frame(values)


def write_table(path: Path, frame: pd.DataFrame, table: Table) -> None:
    """Write a CSV table: same rows, same bytes; whole or not at all.

    Raises
    ------
    TableError
        If the columns are not exactly the declared ones.
    """
    checked = table.frame({str(column): frame[column].to_numpy() for column in frame.columns})
    text = checked.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # the csv module leaves it unquoted, and takes it for a line end when reading
        text = checked.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    write_text(path, text)


def read_recipes(path: Path) -> pd.DataFrame:
    """Read the Parquet table of recipes.

    Raises
    ------
    TableError
        If the file is missing, is no Parquet file, lacks a column or holds other types.
    """
    try:
        frame = pd.read_parquet(path, columns=list(RECIPES.columns))
        return RECIPES.frame({column: frame[column].to_numpy() for column in RECIPES.columns})
    except FileNotFoundError:
        raise TableError(f"{path} does not exist; the candidates stage writes it") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path} is no readable table of recipes: {error}") from error


def write_recipes(path: Path, frame: pd.DataFrame) -> None:
    """Write the Parquet table of recipes: same rows, same bytes; whole or not at all."""
    checked = RECIPES.frame({str(column): frame[column].to_numpy() for column in frame.columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    checked.to_parquet(part, index=False, compression="zstd")
    os.replace(part, path)


def _parsed(cell: str, kind: Kind) -> str | int | float | bool:
    if kind == "text":
        return cell
    if kind == "integer":
        return int(np.int64(int(cell)))
    if kind == "number":
        return float(cell) if cell.strip() else float("nan")
    if cell not in ("True", "False"):
        raise ValueError(cell)
    return cell == "True"
