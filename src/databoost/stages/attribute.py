"""``attribute``: two rounds' answers and the additions between them -> what traces to what."""

import numpy as np
import pandas as pd

from databoost.attribution import failure_outcomes
from databoost.candidates.embedding import embed_files, load_exact_embedder
from databoost.candidates.search import load_embeddings
from databoost.data.files import whole_folder, write_json
from databoost.data.images import ImageFiles
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import ADDITIONS, CREDITS, SHEET, TRACES
from databoost.errors import DatasetError
from databoost.layout import Layout, RoundLayout
from databoost.model.evaluation import pick_device
from databoost.params import Params
from databoost.publishing import publish_round
from databoost.tracing import (
    COUNT_NAMES,
    Vectors,
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
        If both rounds were validated on different images, or the candidates are others than those
        that the round's additions were chosen from.
    """
    here, before = layout.round(name), layout.round(params.boosts[name].previous)
    digests = input_digests(here)
    sheets = [read_table(files.sheet, SHEET) for files in (before, here)]
    failures = failure_outcomes(before.name, name, *sheets)
    additions = read_table(here.additions, ADDITIONS)
    traces = TRACES.empty()
    if len(failures) and len(additions):
        vectors = _embed(failures, before, layout, params)
        traces = trace_images(failures, additions, vectors, _vectors_of(additions, layout))
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


def _embed(rows: pd.DataFrame, of: RoundLayout, layout: Layout, params: Params) -> Vectors:
    embedder = load_exact_embedder(params.embedding, layout.root, pick_device(params.train))
    files = ImageFiles([of.dataset / path for path in rows["path"]])
    return embed_files(embedder, files, params.embedding.batch_size)


def _vectors_of(additions: pd.DataFrame, layout: Layout) -> Vectors:
    embeddings = load_embeddings(layout.embeddings)
    numbers = additions["candidate_id"].to_numpy()
    if numbers.max() >= len(embeddings) or numbers.min() < 0:
        raise DatasetError(
            f"candidate {numbers.max() if numbers.min() >= 0 else numbers.min()} was added, and "
            f"{layout.embeddings} holds {len(embeddings)}: the candidates were drawn anew since; "
            "`dvc repro` makes what is out of date"
        )
    vectors: Vectors = embeddings[numbers].astype(np.float32)
    return vectors
