"""What the report shows of traces: the additions beside an image, and the groups that stand out."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from databoost.attribution import NEWLY_WRONG, Transition
from databoost.tracing import COUNT_NAMES, PREDICTION, trace_counts

#: Parents, and failures that asked, that are shown of those with most to gain or to answer for.
_SHOWN = 8

Record = dict[Any, Any]


def shown_additions(step: Transition, traces: pd.DataFrame) -> dict[str, list[Record]]:
    """Give the additions to show beside each image with an outcome.

    Parameters
    ----------
    step
        The round's transition.
    traces
        ``TRACES`` of the round; may be empty.

    Returns
    -------
    dict
        By image id: ``image_id``, ``label``, ``parent_id``, ``similarity`` and ``is_asked`` of each
        addition. Those fetched for a failure, by rank; where none were, and for an image that is
        newly wrong, those that it traces to, which for the latter begin with those that have the
        label it is now taken for.
    """
    columns = ["image_id", "label", "parent_id", "similarity"]
    fetched = {
        str(name): rows[columns].assign(is_asked=True).to_dict("records")
        for name, rows in step.fetched.groupby("query_id")
    }
    is_blamed = (traces["outcome"] == NEWLY_WRONG) & (traces["speaks_for"] == PREDICTION)
    near = traces.assign(last=~is_blamed).sort_values("last", kind="stable")
    traced = {
        str(name): _renamed(rows)[[*columns, "is_asked"]].to_dict("records")
        for name, rows in near.groupby("image_id")
    }
    shown: dict[str, list[Record]] = {}
    for name, outcome in step.failures[["image_id", "outcome"]].itertuples(index=False):
        asked = [] if outcome == NEWLY_WRONG and name in traced else fetched.get(name, [])
        shown[name] = asked or traced.get(name, [])
    return shown


def traced_counts(step: Transition, traces: pd.DataFrame) -> list[Record]:
    """Give the images of each ``outcome``, ``n``, and how many were ``traced``; none: no traces."""
    if traces.empty:
        return []
    counts = trace_counts(step.failures, traces)
    return [
        {"outcome": outcome, "n": counts[name], "traced": counts[f"{name}_traced"]}
        for outcome, name in COUNT_NAMES.items()
    ]


def class_credits(credits_: pd.DataFrame) -> dict[str, Record]:
    """Give the rows of ``CREDITS`` about classes by label."""
    rows = credits_[credits_["by"] == "class"].to_dict("records")
    return {str(row["name"]): row for row in rows}


def outstanding(
    step: Transition, credits_: pd.DataFrame, labels: Mapping[str, str]
) -> list[Record]:
    """Give the parents and the failures that asked to whose additions most traces.

    Parameters
    ----------
    step
        The round's transition.
    credits_
        ``CREDITS`` of the round.
    labels
        Labels of training images by id; a parent without one has an empty ``label``.

    Returns
    -------
    list of dict
        One a kind, ``title``, and ``sides``, pairs of a heading and ``CREDITS`` rows, each with the
        ``label`` of the image: those with more fixed than newly wrong images, and those with fewer,
        at most 8, the farthest apart first. Kinds and sides without rows are left out.
    """
    asked = dict(zip(step.fetched["query_id"], step.fetched["query_label"], strict=True))
    known = {"parent": labels, "query": asked}
    titles = {
        "parent": "Training images that the additions were drawn from",
        "query": "Failures that asked for additions",
    }
    found = []
    for by, title in titles.items():
        rows = credits_[credits_["by"] == by]
        rows = rows.assign(label=[known[by].get(name, "") for name in rows["name"]])
        net = rows["n_fixed"] - rows["n_newly_wrong"]
        worst = rows.assign(net=net)[net < 0].sort_values(["net", "name"])
        sides = [
            (heading, side.to_dict("records"))
            for heading, side in (
                ("more fixed than newly wrong", rows[net > 0].head(_SHOWN)),
                ("more newly wrong than fixed", worst.head(_SHOWN)),
            )
            if not side.empty
        ]
        if sides:
            found.append({"title": title, "sides": sides})
    return found


def _renamed(rows: pd.DataFrame) -> pd.DataFrame:
    """Name the columns of ``TRACES`` rows as those of ``ADDITIONS`` are."""
    kept = ["addition_id", "addition_label", "parent_id", "similarity", "is_asked"]
    return rows[kept].rename(columns={"addition_id": "image_id", "addition_label": "label"})
