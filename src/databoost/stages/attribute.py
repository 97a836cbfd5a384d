"""``attribute``: two rounds' answers and the additions between them -> what traces to what."""

import pandas as pd

from databoost.attribution import failure_outcomes
from databoost.candidates.embedding import embed_files, load_exact_embedder
from databoost.data.files import whole_folder, write_json
from databoost.data.images import ImageFiles
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import ADDITIONS, CREDITS, MANIFEST, SHEET, TRACES
from databoost.errors import DatasetError
from databoost.layout import Layout, RoundLayout
from databoost.model.processor import pick_device
from databoost.params import Params
from databoost.publishing import publish_round
from databoost.tracing import (
    COUNT_NAMES,
    credit_groups,
    input_digests,
    trace_counts,
    trace_images,
)


def attribute(layout: Layout, params: Params, name: str) -> None:
    """Run the stage for the round `name`, and log it to MLflow if that answers.

    Raises
    ------
    DatasetError
        If both rounds were validated on different images, or the round's snapshot lacks additions.
    ImageError
        If a file of a snapshot is missing or no readable image.
    """
    here, before = layout.round(name), layout.round(params.boosts[name].previous)
    digests = input_digests(here)
    sheets = [read_table(files.sheet, SHEET) for files in (before, here)]
    failures = failure_outcomes(before.name, name, *sheets)
    additions = read_table(here.additions, ADDITIONS)
    traces = TRACES.empty()
    if len(failures) and len(additions):
        embedder = load_exact_embedder(params.embedding, layout.root, pick_device(params.train))
        rows = failures, _added(additions, here)  # of val, which all rounds share, and of train
        files = [ImageFiles([here.dataset / path for path in every["path"]]) for every in rows]
        vectors = [embed_files(embedder, every, params.embedding.batch_size) for every in files]
        traces = trace_images(failures, additions, *vectors)
    counts = trace_counts(failures, traces)
    with whole_folder(here.attribution) as part:
        write_table(part / here.traces.name, traces, TRACES)
        write_table(part / here.credits.name, credit_groups(traces, additions), CREDITS)
        write_json(part / here.attribution_metrics.name, counts)
        write_json(part / here.attribution_inputs.name, digests)
    publish_round(layout, params, name, with_attribution=True)
    told = ", ".join(
        f"{counts[f'{name}_traced']} of {counts[name]} {outcome}"
        for outcome, name in COUNT_NAMES.items()
    )
    print(f"{name}: traced to additions that speak for the outcome: {told}")


def _added(additions: pd.DataFrame, here: RoundLayout) -> pd.DataFrame:
    """Give the rows of the snapshot's manifest of all additions, in their order."""
    rows = additions[["image_id"]].merge(read_table(here.manifest, MANIFEST), on="image_id")
    if len(rows) < len(additions):
        raise DatasetError(
            f"{here.manifest} lacks {len(additions) - len(rows)} of the {len(additions)} images of "
            f"{here.additions.name}; `dvc checkout` restores both, and `dvc repro` makes them anew"
        )
    return rows
