"""Tables as files: the one way to read and write them.

Tables are CSV (UTF-8, Unix line ends, header row) except the recipes, which are Parquet.
Writing is deterministic, and whole or not at all. Reading accepts what spreadsheet programs leave
behind (a byte order mark, Windows line ends) and refuses what cannot be meant.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from databoost.data.files import write_bytes, write_text
from databoost.data.tables import RECIPES, Kind, Table
from databoost.errors import TableError, first_listed


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
        raise TableError(
            f"{path} does not exist; `dvc repro` makes what params.yaml declares"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is not a readable CSV in UTF-8: {error}") from error
    # Spreadsheet programs leave rows of empty cells; the numbers stay those that they show.
    rows = [(number, row) for number, row in lines if any(cell.strip() for cell in row)]
    header = [name.strip() for name in rows[0][1]] if rows else []
    missing = [column for column in table.columns if column not in header]
    if missing:
        is_parted = len(header) == 1 and (";" in header[0] or "\t" in header[0])
        hint = "; the separator must be a comma, not a semicolon or a tab" if is_parted else ""
        raise TableError(
            f"{path} lacks column {', '.join(missing)}; {table.name} has "
            f"{', '.join(table.columns)}{hint}"
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
        raise TableError(
            f"{path} has {len(problems)} bad row(s) or cell(s):{first_listed(problems)}"
        )
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
    write_bytes(path, checked.to_parquet(index=False, compression="zstd"))


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
