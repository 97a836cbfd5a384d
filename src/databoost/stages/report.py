"""``report``: everything above -> one page for people, and tables for ``dvc plots``."""

from collections.abc import Callable
from itertools import pairwise

import pandas as pd

from databoost.attribution import Transition, transition
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.files import read_json, write_text
from databoost.data.images import Pixels, read_image
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import (
    ADDITIONS,
    CONFUSIONS,
    CREDITS,
    CURVES,
    FINDINGS,
    ROUNDS,
    SHEET,
    SUSPECTS,
)
from databoost.layout import Layout, RoundLayout
from databoost.outcomes import STOP_REASONS, need_complete, read_outcomes
from databoost.params import Params
from databoost.progress import confusion_rows, curve_rows, round_rows
from databoost.publishing import publish_report
from databoost.tracing import is_current, read_traces
from databoost.views.page import Report, report_page

_N_TOLD = 3  # rounds of another size that are named


def report(layout: Layout, params: Params) -> None:
    """Run the stage for all declared rounds, and log the page to MLflow if MLflow answers."""
    need_complete(layout, params.rounds)
    outcomes = read_outcomes(layout, params, params.rounds)
    classes = read_classes(layout.classes)
    rounds = round_rows(outcomes, params.boost.strategy)
    curves = curve_rows(outcomes)
    confusions = confusion_rows(outcome.files for outcome in outcomes)
    control = read_table(layout.control, ROUNDS)
    doubts = control_doubts(rounds, control)
    attributed = [files for files in map(layout.round, params.boosts) if is_current(files)]
    last = layout.round(params.rounds[-1])
    snapshot = read_manifest(last.manifest, last.dataset)
    trained = snapshot[snapshot["split"] == "train"]
    told = Report(
        boost=f"{params.tracking.boost} {params.boost.strategy}",
        classes=classes,
        rounds=rounds,
        control=None if control.empty else control,
        confusions=confusions,
        transitions=_transitions(layout, params.rounds, classes),
        labels=dict(zip(trained["image_id"], trained["label"], strict=True)),
        traces={files.name: read_traces(files) for files in attributed},
        credits={files.name: read_table(files.credits, CREDITS) for files in attributed},
        audit=read_json(layout.audit_summary) if layout.audit_summary.exists() else None,
        findings=read_table(layout.findings, FINDINGS) if layout.findings.exists() else None,
        scores=read_table(layout.scores, SUSPECTS) if layout.scores.exists() else None,
        map_picture=layout.map_picture.read_bytes() if layout.map_picture.exists() else None,
        doubts=doubts,
        stops={outcome.files.name: STOP_REASONS.get(outcome.stop, "") for outcome in outcomes},
    )
    page = report_page(told, _reader(layout, last, snapshot), params.report)
    write_table(layout.round_progress, rounds, ROUNDS)
    write_table(layout.curves, curves, CURVES)
    write_table(layout.confusions, confusions, CONFUSIONS)
    write_text(layout.report, page)
    publish_report(layout, params)
    for doubt in doubts:
        print(f"{layout.control.as_posix()}: {doubt}")
    print(f"{layout.report.as_posix()}: {len(outcomes)} rounds, {len(page) / 1e6:.1f} MB")


def control_doubts(rounds: pd.DataFrame, control: pd.DataFrame) -> list[str]:
    """Say why a control is none of this run: both have r00 in common, and grow alike.

    Parameters
    ----------
    rounds, control
        ``ROUNDS`` of this run and of the control, which may be empty.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    if control.empty:
        return []
    here, there = _beginnings(rounds), _beginnings(control)
    differing = [name for name in here | there if here.get(name) != there.get(name)]
    if differing:
        told = (f"{name} {there.get(name, '-')}, here {here.get(name, '-')}" for name in differing)
        return [
            f"the control is of other images or another training (r00: {'; '.join(told)}); make it "
            "anew"
        ]
    own, other = (table.groupby("round")["n_train"].first() for table in (rounds, control))
    sizes = [
        f"{name} {other[name]:,} training images, here {own[name]:,}"
        for name in own.index.intersection(other.index)
        if own[name] != other[name]
    ]
    if not sizes:
        return []
    more = [f"{len(sizes) - _N_TOLD} more"] if len(sizes) > _N_TOLD else []
    return [
        f"the control's sizes differ ({'; '.join(sizes[:_N_TOLD] + more)}), so that more images "
        "are part of what tells the two apart"
    ]


def _beginnings(table: pd.DataFrame) -> dict[str, str]:
    """Tell what r00 is of, by split."""
    first = table[table["round"] == "r00"]
    told = {} if first.empty else {"training images": f"{first['n_train'].iloc[0]:,}"}
    return told | {
        str(row.split): f"{row.n_misclassified:,} of {row.n_images:,} wrong"
        for row in first.itertuples()
    }


def _transitions(layout: Layout, names: tuple[str, ...], classes: list[str]) -> list[Transition]:
    sheets = {name: read_table(layout.round(name).sheet, SHEET) for name in names}
    return [
        transition(
            before,
            after,
            sheets[before],
            sheets[after],
            read_table(layout.round(after).additions, ADDITIONS),
            classes,
        )
        for before, after in pairwise(names)
    ]


def _reader(layout: Layout, last: RoundLayout, snapshot: pd.DataFrame) -> Callable[[str], Pixels]:
    """Give the function that opens any image of the last snapshot or the held-out ones by id."""
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    files = {
        str(row.image_id): folder / str(row.path)
        for manifest, folder in ((heldout, layout.heldout), (snapshot, last.dataset))
        for row in manifest.itertuples()
    }
    return lambda image_id: read_image(files[image_id])
