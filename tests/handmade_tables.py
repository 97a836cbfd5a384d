"""Small raw indexes and manifests, written in a line each."""

import numpy as np
import pandas as pd

from databoost.data.tables import MANIFEST, RAW_INDEX


def raw(*rows: str) -> pd.DataFrame:
    """Give a raw index of rows written ``id split/label/file``."""
    cells = [(row.split()[0], row.split()[1]) for row in rows]
    return RAW_INDEX.frame(
        {
            "image_id": [image_id for image_id, _ in cells],
            "path": [path for _, path in cells],
            "split": [path.split("/")[0] for _, path in cells],
            "label": [path.split("/")[1] for _, path in cells],
        }
    )


def manifest(*paths: str) -> pd.DataFrame:
    n = len(paths)
    cells = {column: [""] * n for column in MANIFEST.columns}
    cells |= {
        "image_id": [f"{number:016x}" for number in range(n)],
        "path": list(paths),
        "split": [path.split("/")[0] for path in paths],
        "label": [path.split("/")[1] for path in paths],
        "similarity": [np.nan] * n,
    }
    return MANIFEST.frame(cells)
