"""Images with an outcome and additions, written by hand, and what traces to what."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.attribution import FIXED, NEWLY_WRONG, STILL_WRONG
from databoost.data.files import write_json
from databoost.data.tablefiles import write_table
from databoost.data.tables import ADDITIONS, CREDITS, TRACES
from databoost.layout import RoundLayout
from databoost.tracing import input_digests


def failures(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    """Images as (id, outcome, label, predicted before, predicted after)."""
    columns = ["image_id", "outcome", "label", "predicted_before", "predicted_after"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def additions(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Additions as (id, label, parent id, query id)."""
    ids, labels, parents, queries = zip(*rows, strict=True)
    n = len(rows)
    values: dict[str, Any] = {
        "image_id": ids,
        "candidate_id": range(n),
        "label": labels,
        "parent_id": parents,
        "recipe": ["7"] * n,
        "strategy": ["nearest"] * n,
        "query_id": queries,
        "query_label": ["i" if query else "" for query in queries],
        "query_predicted_label": ["v" if query else "" for query in queries],
        "similarity": [0.5] * n,
        "rank": [int(bool(query)) for query in queries],
    }
    return ADDITIONS.frame(values)


def make_current(here: RoundLayout) -> None:
    """Lay what a round's attribution lacks, and have it be of the sheet and additions there."""
    tables = {here.additions: ADDITIONS, here.traces: TRACES, here.credits: CREDITS}
    for path, table in tables.items():
        if not path.exists():
            write_table(path, table.empty(), table)
    if not here.attribution_metrics.exists():
        write_json(here.attribution_metrics, {})
    write_json(here.attribution_inputs, input_digests(here))


def plane(*cosines: float) -> npt.NDArray[np.float32]:
    """Unit vectors with these cosines to the first axis."""
    x = np.array(cosines)
    return np.stack([x, np.sqrt(1 - x**2)], axis=1).astype(np.float32)


#: Fixed, still wrong and newly wrong: each lies on the first axis, so a cosine is a similarity.
FAILURES = failures(
    ("f", FIXED, "i", "v", "i"),
    ("s", STILL_WRONG, "i", "v", "v"),
    ("n", NEWLY_WRONG, "i", "i", "x"),
)
ON_AXIS = plane(1, 1, 1)
#: d and c are equally near; a was fetched for f and is the farthest of all.
ADDED = additions(
    ("e", "v", "q", ""),
    ("d", "x", "p", ""),
    ("c", "i", "p", "s"),
    ("b", "i", "q", ""),
    ("a", "i", "p", "f"),
)
NEARNESS = plane(0.96, 0.8, 0.8, 0.6, 0.28)
