"""The trail of one image: its file, what was said of it, and what each round made of it."""

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from databoost.data.corrections import read_corrections
from databoost.data.tablefiles import read_table
from databoost.data.tables import (
    ADDITIONS,
    DUPLICATES,
    FINDINGS,
    MANIFEST,
    RAW_INDEX,
    SHEET,
    SUSPECTS,
    Table,
)
from databoost.errors import DatasetError
from databoost.layout import Layout, RoundLayout
from databoost.tracing import LABEL, SPEAKING, read_traces

#: One step of a trail: where (a table or a round), and what stands there.
Step = tuple[str, str]
_SHORTEST = 6  # digits that stand for an id


def find_image(layout: Layout, name: str, rounds: tuple[str, ...]) -> str:
    """Give the id of the image that is meant.

    Parameters
    ----------
    name
        An image id or its first digits, six or more; the end of a raw file's path, ``vii/scan
        3.png`` say; or a file of a snapshot, which is called by its image's id.
    rounds
        Rounds that may have added it.

    Raises
    ------
    DatasetError
        If no image is called so, or several are; they are listed.
    """
    raw = read_table(layout.raw_index, RAW_INDEX)
    known = set(raw["image_id"])
    for place in rounds:
        known |= set(_read(layout.round(place).manifest, MANIFEST)["image_id"])
    digits = name.rstrip("…").lower()  # as a sheet shortens them
    if digits in known:
        return digits
    given = PurePath(name)
    folder = layout.raw.relative_to(layout.root).as_posix()
    ending = f"/{given.as_posix()}".rpartition(f"/{folder}/")[2].lstrip("/")
    meant = raw[[f"/{path}".endswith(f"/{ending}") for path in raw["path"]]]
    found, called = sorted(set(meant["image_id"])), list(meant["path"])
    if not found and given.stem.lower() in known:
        return given.stem.lower()
    if not found and len(digits) >= _SHORTEST:
        found = called = sorted(image_id for image_id in known if image_id.startswith(digits))
    if len(found) == 1:
        return str(found[0])
    told = f"{len(found)} images are called so: {', '.join(called[:5])}"
    raise DatasetError(
        f"{name!r} is no image id or beginning of one ({_SHORTEST} digits or more), and no end of "
        f"one raw file's path ({told if found else 'none'}); {layout.raw_index} lists all"
    )


def trail_of(layout: Layout, image_id: str, rounds: tuple[str, ...]) -> list[Step]:
    """Follow an image from its raw file through the rounds; tables that are missing are left out.

    Returns
    -------
    list of tuple of str
        Where, and what stands there; the steps in the order in which they happen.
    """
    steps = [*_beginnings(layout, image_id)]
    for name in rounds:
        here = layout.round(name)
        steps += [(name, told) for told in _additions(here, image_id)]
        steps += [(name, told) for told in _judgement(here, image_id)]
        steps += [(name, told) for told in _traces(here, image_id)]
    return steps


def _beginnings(layout: Layout, image_id: str) -> Iterator[Step]:
    for row in _rows(layout.raw_index, RAW_INDEX, image_id):
        yield "raw", f"{(layout.raw / row.path).as_posix()}, given as {row.split}, {row.label}"
    ledger = read_corrections(layout.corrections)
    for row in ledger[ledger["image_id"] == image_id].itertuples():
        yield "ledger", f"{row.action} {row.value} {row.reason}".strip()
    for row in _rows(layout.duplicates, DUPLICATES, image_id):
        yield "duplicates", f"{row.path}: {row.outcome}"
    for row in _rows(layout.findings, FINDINGS, image_id, "image_id", "other_id"):
        pair = [name for name in (row.image_id, row.other_id) if name not in ("", image_id)]
        told = [row.finding, *(f"with {name}" for name in pair), str(row.detail)]
        yield "audit", " ".join(filter(None, told))
    for row in _rows(layout.scores, SUSPECTS, image_id):
        doubt = " (an issue)" if row.is_label_issue else ""
        yield (
            "scores",
            f"label_score {row.label_score:.3f}{doubt}, suggested {row.suggested_label}; "
            f"outlier_score {row.outlier_score:.3f}",
        )


def _additions(here: RoundLayout, image_id: str) -> Iterator[str]:
    """Tell whether a round added the image, added others for it, or made others of it."""
    for row in _rows(here.additions, ADDITIONS, image_id):
        asked = f"for {row.query_id} ({row.query_label})" if row.query_id else "for no failure"
        near = f", similarity {row.similarity:.3f}" if row.query_id else ""
        yield f"added {asked}{near}, made of {row.parent_id}, recipe {row.recipe}"
    fetched = _rows(here.additions, ADDITIONS, image_id, "query_id")
    if fetched:
        told = (f"{row.image_id} ({row.label}, {row.similarity:.3f})" for row in fetched)
        yield f"added for it: {', '.join(told)}"
    offspring = _rows(here.additions, ADDITIONS, image_id, "parent_id")
    if offspring:
        yield f"made of it: {', '.join(str(row.image_id) for row in offspring)}"


def _judgement(here: RoundLayout, image_id: str) -> Iterator[str]:
    """Tell where the image lies in a round, and what the round's model says."""
    for row in _rows(here.sheet, SHEET, image_id):
        verdict = f"taken for {row.predicted_label}" if row.is_misclassified else "right"
        yield (f"{row.path}, {row.label}: {verdict} (p {row.p_predicted:.3f}, loss {row.loss:.3f})")


def _traces(here: RoundLayout, image_id: str) -> Iterator[str]:
    """Tell what became of the image and what it traces to, or what traces to it."""
    traces = read_traces(here)
    rows = _of_image(traces, image_id)
    if rows:
        told = (
            f"{row.addition_id} ({row.addition_label}, {row.similarity:.3f}"
            f"{', fetched for it' if row.is_asked else ''})"
            for row in rows
        )
        outcome = rows[0].outcome
        n_speaking = sum(row.speaks_for == SPEAKING[outcome] for row in rows)
        label = "its label" if SPEAKING[outcome] == LABEL else "the label that it is taken for"
        yield (
            f"{outcome}; {n_speaking} of {len(rows)} additions near it or fetched for it have "
            f"{label} (nearness is no proof of cause): {', '.join(told)}"
        )
    of_addition = _of_image(traces, image_id, "addition_id")
    if of_addition:
        told = (f"{row.image_id} ({row.outcome}, {row.similarity:.3f})" for row in of_addition)
        yield f"traced to it by nearness, no proof of cause: {', '.join(told)}"


def _rows(path: Path, table: Table, image_id: str, *columns: str) -> list[Any]:
    return _of_image(_read(path, table), image_id, *columns)


def _of_image(frame: pd.DataFrame, image_id: str, *columns: str) -> list[Any]:
    has_id = (frame[list(columns or ("image_id",))] == image_id).any(axis=1)
    return list(frame[has_id].itertuples())


def _read(path: Path, table: Table) -> pd.DataFrame:
    return read_table(path, table) if path.exists() else table.empty()
