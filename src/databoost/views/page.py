"""The report: one HTML page that opens from disk and asks nothing of any server."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from databoost.attribution import NEWLY_WRONG, OUTCOMES, Transition, fixed_by_neighbours
from databoost.data.images import Pixels
from databoost.data.tables import CREDITS, TRACES
from databoost.layout import SPLITS
from databoost.sections import ReportParams
from databoost.tracing import TRACED
from databoost.views.charts import accuracy_chart, accuracy_range, adds_nothing
from databoost.views.pictures import Pictures
from databoost.views.traced import (
    Record,
    class_credits,
    outstanding,
    shown_additions,
    traced_counts,
)

_LARGEST_MATRIX = 30  # classes; larger ones are read in the list of the commonest confusions
_COMMONEST = 15
#: Rounds whose pictures are shown, the latest; else the page would grow with every round.
_PICTURED = 3
_ADDITIONS = 10  # shown beside one image
_CLASSES = 50  # rows of a table of classes
#: What the value of a finding is; see :mod:`databoost.audit.findings`.
_MEASURES = {
    "unreadable": "bytes",
    "blank": "content",
    "nearly blank": "content",
    "tiny": "shorter side",
    "odd size": "oddness",
    "uneven region": "p",
}


@dataclass(frozen=True)
class Report:
    """What the page tells. What is None is left out.

    Attributes
    ----------
    boost
        Name of the boost, ``boost nearest`` say.
    classes
        Labels in order.
    rounds, control
        ``ROUNDS`` of this run, and of another that it is compared with.
    confusions
        ``CONFUSIONS``.
    transitions
        One for each round after r00, in order.
    labels
        Labels of training images by id, those that additions were drawn from among them.
    traces, credits
        ``TRACES`` and ``CREDITS`` by the round after; rounds may lack them.
    audit
        Figures of the audit by name; may be nested.
    findings
        ``FINDINGS``.
    scores
        ``SCORES``.
    map_picture
        A PNG file; the page then links to ``map.html`` beside it.
    doubts
        Why the comparison with the control is none, or an unequal one.
    stops
        Why no round can follow one, by its name; empty for one that others can follow.
    """

    boost: str
    classes: list[str]
    rounds: pd.DataFrame
    control: pd.DataFrame | None
    confusions: pd.DataFrame
    transitions: list[Transition]
    labels: dict[str, str] = field(default_factory=dict)
    traces: dict[str, pd.DataFrame] = field(default_factory=dict)
    credits: dict[str, pd.DataFrame] = field(default_factory=dict)
    audit: dict[str, Any] | None = None
    findings: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None
    map_picture: bytes | None = None
    doubts: list[str] = field(default_factory=list)
    stops: dict[str, str] = field(default_factory=dict)


def report_page(told: Report, read: Callable[[str], Pixels], rules: ReportParams) -> str:
    """Write the page.

    Parameters
    ----------
    told
        What it tells.
    read
        Gives the pixels of an image id; raises KeyError if there is no such image.
    rules
        Section ``report``.

    Returns
    -------
    str
        HTML, the same for the same input. Its pictures are inside; it makes no requests.
    """
    pages = Environment(
        loader=PackageLoader("databoost", "views"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"percent": _percent, "number": _number}
    pictures, table = Pictures(read, rules.image_size), _accuracy_table(told)
    body = pages.get_template("report_body.html").render(
        told=told,
        first=told.rounds["round"].iloc[0],
        last=told.rounds["round"].iloc[-1],
        charts=_charts(told),
        table=table,
        confusions=_confusions(told),
        has_again=any(adds_nothing(row) for row in table["rows"]),
        rounds=_rounds(told, rules.failures),
        n_pictured=_PICTURED,
        figures=_figures(told.audit or {}),
        findings=_findings(told.findings, rules.findings),
        suspects=_suspects(told.scores, rules),
        n_traced=TRACED,
        map_picture=told.map_picture and base64.b64encode(told.map_picture).decode(),
        picture=pictures.show,
    )
    return pages.get_template("report.html").render(
        title=f"databoost: {told.boost}",
        body=Markup(body),  # noqa: S704  what the first template has escaped
        pictures=pictures.style(),
        n_splits=len(SPLITS),
    )


def _charts(told: Report) -> list[tuple[str, Markup]]:
    every = told.rounds if told.control is None else pd.concat([told.rounds, told.control])
    bounds = accuracy_range(every[every["split"] != "train"])
    charts = []
    for split in SPLITS[1:]:
        rows = told.rounds[told.rounds["split"] == split]
        if not rows.empty:
            other = None if told.control is None else told.control[told.control["split"] == split]
            charts.append((split, accuracy_chart(rows, other, bounds)))
    return charts


def _accuracy_table(told: Report) -> dict[str, Any]:
    """Cells of the table of accuracies: one row a round, the control's below."""
    splits = [split for split in SPLITS if split in set(told.rounds["split"])]
    rows = []
    for kind, table in (("own", told.rounds), ("control", told.control)):
        for name, group in () if table is None else table.groupby("round", sort=True):
            cells = {row["split"]: row for row in group.to_dict("records")}
            first = next(iter(cells.values()))
            rows.append({"kind": kind, "round": name, **first, "cells": cells})
    return {"splits": splits, "rows": rows}


def _confusions(told: Report) -> list[dict[str, Any]]:
    """One entry a split: the matrices of the first and last round, and the commonest confusions."""
    counts, names = told.confusions, list(dict.fromkeys(told.confusions["round"]))
    shown = list(dict.fromkeys([names[0], names[-1]])) if names else []
    found = []
    for split in SPLITS[1:]:
        of = {
            name: counts[(counts["round"] == name) & (counts["split"] == split)].pivot_table(
                index="label", columns="predicted_label", values="n_images", aggfunc="sum"
            )
            for name in shown
        }
        matrices = {
            name: table.reindex(index=told.classes, columns=told.classes).fillna(0).to_numpy(int)
            for name, table in of.items()
            if not table.empty
        }
        if matrices:
            fits = len(told.classes) <= _LARGEST_MATRIX
            found.append(
                {
                    "split": split,
                    "matrices": {n: _matrix(m, told.classes) for n, m in matrices.items() if fits},
                    "rounds": list(matrices),
                    "commonest": _commonest(list(matrices.values()), told.classes),
                }
            )
    return found


def _matrix(counts: np.ndarray[Any, Any], classes: list[str]) -> list[tuple[str, list[Any]]]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        (label, [(int(n), round(float(s), 3)) for n, s in zip(row, share, strict=True)])
        for label, row, share in zip(classes, counts, shares, strict=True)
    ]


def _commonest(matrices: list[np.ndarray[Any, Any]], classes: list[str]) -> list[dict[str, Any]]:
    first, last = matrices[0], matrices[-1]
    pairs = [
        (int(first[i, j]), int(last[i, j]), i, j)
        for i in range(len(classes))
        for j in range(len(classes))
        if i != j and first[i, j] + last[i, j]
    ]
    pairs.sort(key=lambda pair: (-max(pair[:2]), -pair[0] - pair[1], pair[2:]))
    return [
        {"label": classes[i], "predicted": classes[j], "first": before, "last": after}
        for before, after, i, j in pairs[:_COMMONEST]
    ]


def _rounds(told: Report, n_shown: int) -> list[dict[str, Any]]:
    earlier, latest = told.transitions[:-_PICTURED], told.transitions[-_PICTURED:]
    return [_round(told, step, 0) for step in earlier] + [
        _round(told, step, n_shown) for step in latest
    ]


def _round(told: Report, step: Transition, n_shown: int) -> dict[str, Any]:
    """Tell what became of a round's failures, with pictures of `n_shown` of each kind."""
    traces = told.traces.get(step.after, TRACES.empty())
    credited = told.credits.get(step.after, CREDITS.empty())
    shown = shown_additions(step, traces) if n_shown else {}
    is_mined = bool((step.fetched["query_id"] != "").any())
    groups = []
    for outcome in OUTCOMES:
        rows = step.failures[step.failures["outcome"] == outcome].to_dict("records")
        cases = [_case(row, shown[row["image_id"]]) for row in rows[:n_shown]]
        is_asking = is_mined and outcome != NEWLY_WRONG
        is_wide = is_asking or any(case["additions"] for case in cases)
        group = {"outcome": outcome, "n": len(rows), "rows": cases}
        groups.append(group | {"is_asking": is_asking, "is_wide": is_wide})
    stop = told.stops.get(step.after, "")
    if stop and step.fetched.empty:
        stop += f", so {step.after} is the model of {step.before} again"
    return {
        "before": step.before,
        "after": step.after,
        "stop": stop,
        "is_pictured": n_shown > 0,
        "groups": groups,
        "n_additions": len(step.fetched),
        "is_mined": is_mined,
        "by_class": _most_failing(step.by_class).to_dict("records"),
        "n_classes": len(step.by_class),
        "by_neighbours": fixed_by_neighbours(step).to_dict("records"),
        "traced": traced_counts(step, traces),
        "class_credits": class_credits(credited),
        "outstanding": outstanding(step, credited, told.labels) if n_shown else [],
    }


def _case(row: Record, additions: list[Record]) -> Record:
    n_more = len(additions) - _ADDITIONS
    return row | {"additions": additions[:_ADDITIONS], "n_more": max(n_more, 0)}


def _most_failing(by_class: pd.DataFrame) -> pd.DataFrame:
    """Keep, of many classes, those with most failures, and none in which nothing happened."""
    if len(by_class) <= _CLASSES:
        return by_class
    counts = ["n_failures", "n_newly_wrong", "n_additions"]
    told = by_class[by_class[counts].any(axis=1)]
    return told.sort_values(counts, ascending=False, kind="stable").head(_CLASSES)


def _figures(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Flatten nested figures to pairs of a dotted name and a value."""
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        nested = isinstance(value, dict)
        pairs += _figures(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return pairs


def _findings(findings: pd.DataFrame | None, n_shown: int) -> list[dict[str, Any]]:
    if findings is None:
        return []
    return [
        {
            "finding": name,
            "n": len(group),
            "n_regions": group["detail"].nunique() if name == "uneven region" else 0,
            "measure": _MEASURES.get(str(name), "similarity"),
            "rows": group.head(n_shown).to_dict("records"),
        }
        for name, group in findings.groupby("finding", sort=False)
    ]


def _suspects(scores: pd.DataFrame | None, rules: ReportParams) -> list[dict[str, Any]]:
    if scores is None:
        return []
    kinds = (
        ("wrong labels", "label_score", "is_label_issue", rules.suspects),
        ("pictures of no class", "outlier_score", "is_outlier_issue", rules.outliers),
    )
    found = []
    for title, score, flag, n_shown in kinds:
        order = scores.assign(is_flagged=scores[flag], is_clear=~scores[flag])
        worst = order.sort_values(["is_clear", score, "image_id"], kind="stable").head(n_shown)
        found.append(
            {
                "title": title,
                "score": score,
                "n_flagged": int(scores[flag].sum()),
                "n_shown_flagged": int(worst["is_flagged"].sum()),
                "rows": [row | {"score": row[score]} for row in worst.to_dict("records")],
            }
        )
    return found


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _number(value: Any) -> str:
    """Write a figure of any kind: text as it is, numbers short, missing ones empty."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)
