"""Which additions of a round its changed answers trace to, by class, parent and query.

An image is traced to the additions that were fetched for it and to those nearest to it, so that
additions that no failure asked for are traced too. A trace is nearness, no proof of cause: how many
of the images that are still wrong trace to additions of their label is the comparison.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.attribution import FIXED, NEWLY_WRONG, OUTCOMES, STILL_WRONG
from databoost.data.files import read_json, sha256_of
from databoost.data.tablefiles import read_table
from databoost.data.tables import CREDITS, TRACES
from databoost.layout import RoundLayout
from databoost.params import round_name, round_number

#: Nearest additions that an image is traced to, beside those fetched for it.
TRACED = 3
#: Additions that a cell of a sheet names, at most: all that are not fetched, and one more.
_TOLD = TRACED + 1
_SHOWN_DIGITS = 8  # of an id, enough for `databoost image`
#: What the label of an addition speaks for.
LABEL, PREDICTION, NEITHER = "label", "prediction", "neither"
#: What an addition has to speak for, to have a part in an outcome.
SPEAKING = {FIXED: LABEL, STILL_WRONG: LABEL, NEWLY_WRONG: PREDICTION}
#: Names under which the images of each outcome are counted.
COUNT_NAMES = {outcome: f"n_{outcome.replace(' ', '_')}" for outcome in OUTCOMES}
#: Groups of additions, and the columns of ``ADDITIONS`` and ``TRACES`` that name them.
_GROUPS = {
    "class": ("label", "addition_label"),
    "parent": ("parent_id", "parent_id"),
    "query": ("query_id", "query_id"),
}
_BLOCK = 256
_DECIMALS = 6

Vectors = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def trace_images(
    failures: pd.DataFrame, additions: pd.DataFrame, vectors: Vectors, added: Vectors
) -> pd.DataFrame:
    """Trace images to the additions fetched for them and to their `TRACED` nearest ones.

    Parameters
    ----------
    failures
        Images with an outcome; see :func:`databoost.attribution.failure_outcomes`.
    additions
        ``ADDITIONS`` of the round after.
    vectors, added
        (n, D) and (m, D) float32 unit vectors of the images and of the additions, in their order,
        by one embedder.

    Returns
    -------
    pandas.DataFrame
        ``TRACES``: in the order of the images, of each the most similar addition first, of equally
        similar ones (to 6 decimals) the smallest id.
    """
    if failures.empty or additions.empty:
        return TRACES.empty()
    order = additions["image_id"].argsort(kind="stable").to_numpy()
    rows, among = additions.iloc[order].reset_index(drop=True), added[order].astype(np.float64)
    fetched = rows.groupby("query_id").indices
    found: list[tuple[Places, Places, npt.NDArray[np.float64], npt.NDArray[np.bool_]]] = []
    for start in range(0, len(failures), _BLOCK):
        # Rounded, so that copies tie on every machine; no zero is negative.
        cosines = (vectors[start : start + _BLOCK].astype(np.float64) @ among.T).round(_DECIMALS)
        cosines += 0.0
        for image, line in enumerate(cosines, start):
            near = np.argsort(-line, kind="stable")[:TRACED]
            asked = fetched.get(failures["image_id"].iloc[image], near[:0])
            shown = np.union1d(near, asked)
            shown = shown[np.argsort(-line[shown], kind="stable")]
            images = np.full(len(shown), image)
            found.append((images, shown, line[shown], np.isin(shown, near)))
    images, places, similarities, is_near = map(np.concatenate, zip(*found, strict=True))
    return _traces(failures.iloc[images], rows.iloc[places], similarities, is_near)


def credit_groups(traces: pd.DataFrame, additions: pd.DataFrame) -> pd.DataFrame:
    """Count what traces to each class, parent and query of a round's additions.

    Parameters
    ----------
    traces
        ``TRACES``.
    additions
        ``ADDITIONS`` of the same round.

    Returns
    -------
    pandas.DataFrame
        ``CREDITS``: one row a class, parent and query that has additions. Counted are different
        images: those fixed that trace to an addition of the group with their own label, and those
        newly wrong that trace to one with the label that they are now taken for. Ordered by kind;
        within it the most fixed minus newly wrong come first, then by name.
    """
    told = speaking(traces)
    parts = []
    for by, (column, traced) in _GROUPS.items():
        n_additions = additions[additions[column] != ""].groupby(column).size()
        part: dict[str, Any] = {"by": by, "name": n_additions.index, "n_additions": n_additions}
        for name, outcome in (("n_fixed", FIXED), ("n_newly_wrong", NEWLY_WRONG)):
            images = told[told["outcome"] == outcome].groupby(traced)["image_id"].nunique()
            part[name] = images.reindex(n_additions.index, fill_value=0)
        parts.append(pd.DataFrame(part))
    every = pd.concat(parts, ignore_index=True)
    every["net"] = every["n_newly_wrong"] - every["n_fixed"]
    every = every.sort_values(["by", "net", "name"], ignore_index=True)
    return CREDITS.frame({column: every[column].to_numpy() for column in CREDITS.columns})


def trace_counts(failures: pd.DataFrame, traces: pd.DataFrame) -> dict[str, int]:
    """Count the images of each outcome, and those that trace to an addition with a part in it.

    Returns
    -------
    dict
        ``n_fixed``, ``n_still_wrong``, ``n_newly_wrong`` (`COUNT_NAMES`), and the same with
        ``_traced``: those that trace to an addition of their own label or, newly wrong, of the
        one predicted.
    """
    told = speaking(traces)
    every = {
        name: int((failures["outcome"] == outcome).sum()) for outcome, name in COUNT_NAMES.items()
    }
    return every | {
        f"{name}_traced": int(told[told["outcome"] == outcome]["image_id"].nunique())
        for outcome, name in COUNT_NAMES.items()
    }


def input_digests(here: RoundLayout) -> dict[str, str]:
    """Give the SHA-256 of what a round's traces are made of, as far as it lies there.

    These are the sheets of the round and of the one before (each round is made from the one before
    it), and the additions.
    """
    name = round_name(round_number(here.name) - 1)
    before = RoundLayout(here.root.with_name(name), name)
    paths = {"sheet": here.sheet, "previous_sheet": before.sheet, "additions": here.additions}
    return {name: sha256_of(path) for name, path in paths.items() if path.exists()}


def is_current(here: RoundLayout) -> bool:
    """Tell whether a round's attribution is complete, and of the sheets and additions there.

    Raises
    ------
    TableError
        If what it says of its inputs is not readable.
    """
    made = (here.traces, here.credits, here.attribution_metrics, here.attribution_inputs)
    if not all(path.exists() for path in made):
        return False
    return bool(read_json(here.attribution_inputs) == input_digests(here))


def read_traces(here: RoundLayout) -> pd.DataFrame:
    """Read ``TRACES`` of a round; empty where they are not current (:func:`is_current`).

    Raises
    ------
    TableError
        If the table is damaged.
    """
    return read_table(here.traces, TRACES) if is_current(here) else TRACES.empty()


def speaking(traces: pd.DataFrame) -> pd.DataFrame:
    """Give those of ``TRACES`` whose addition speaks for what became of the image."""
    return traces[traces["speaks_for"] == traces["outcome"].map(SPEAKING)]


def told_of_image(rows: pd.DataFrame) -> str:
    """Tell briefly what an image traces to: ``vii 0af255a4… 0.931, v 77b0c1d2… 0.914 (fetched)``.

    Of many that were fetched for it, the nearest are named and the others counted.

    Parameters
    ----------
    rows
        ``TRACES`` of one image.
    """
    told = [
        f"{row.addition_label} {str(row.addition_id)[:_SHOWN_DIGITS]}… {row.similarity:.3f}"
        f"{' (fetched)' if row.is_asked else ''}"
        for row in rows.head(_TOLD).itertuples()
    ]
    if len(rows) > _TOLD:
        told.append(f"{len(rows) - _TOLD} more (fetched)")
    return ", ".join(told)


def told_of_addition(rows: pd.DataFrame, query_id: str) -> str:
    """Tell briefly what traces to an addition: ``asked for by 0af2…; near 2 fixed, 1 newly wrong``.

    Parameters
    ----------
    rows
        ``TRACES`` of one addition; none if nothing traces to it.
    query_id
        The failure that asked for it; empty: none did.
    """
    outcomes = rows[rows["is_near"]]["outcome"]
    n_fixed, n_newly_wrong = ((outcomes == kind).sum() for kind in (FIXED, NEWLY_WRONG))
    near = f"near {n_fixed} fixed, {n_newly_wrong} newly wrong"
    return f"asked for by {query_id}; {near}" if query_id else near


def _traces(
    images: pd.DataFrame,
    added: pd.DataFrame,
    similarities: npt.NDArray[np.float64],
    is_near: npt.NDArray[np.bool_],
) -> pd.DataFrame:
    """Write pairs of an image and an addition, row by row, as ``TRACES``."""
    of_image = {name: images[name].to_numpy() for name in images.columns}
    of_added = {name: added[name].to_numpy() for name in added.columns}
    is_label = of_added["label"] == of_image["label"]
    is_predicted = of_added["label"] == of_image["predicted_after"]
    copied = ("image_id", "outcome", "label", "predicted_before", "predicted_after")
    return TRACES.frame(
        {
            **{name: of_image[name] for name in copied},
            "addition_id": of_added["image_id"],
            "addition_label": of_added["label"],
            "parent_id": of_added["parent_id"],
            "query_id": of_added["query_id"],
            "is_asked": of_added["query_id"] == of_image["image_id"],
            "is_near": is_near,
            "similarity": similarities,
            "speaks_for": np.where(is_label, LABEL, np.where(is_predicted, PREDICTION, NEITHER)),
        }
    )
