"""UMAP: vectors of many dimensions as points of a picture, and which images the picture shows.

The picture is fitted once, on r00; everything later is laid into it batch by batch, so that a new
round moves no point that is already there. UMAP's distances between far clusters mean little: the
map is a picture to look at and never an input.
"""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.layout import Layout
from databoost.sections import MapParams

Vectors = npt.NDArray[np.float32]
Positions = npt.NDArray[np.float64]
_DECIMALS = 4
_FEWEST = 4  # images; fewer have no neighbourhoods to keep
_FEWEST_SPECTRAL = 12  # images; UMAP's spectral start fails on fewer


def choose_shown(images: pd.DataFrame, max_points: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose the images of a map: all of them, or a stratified sample.

    Every stratum (split, label, round added) keeps its share, and at least one image as long as
    there are no more strata than points. Within a stratum the order is drawn once, by image: what
    a smaller sample of a stratum holds, a larger one holds too.

    Parameters
    ----------
    images
        ``image_id``, ``split``, ``label``, ``round_added``; any index.
    max_points
        Images at most.
    seed
        Of the draw; 0 to 2**32 - 1.

    Returns
    -------
    numpy.ndarray
        (n,) int64, n = min(len(images), max_points): positions of the chosen rows, ascending.
    """
    drawn = [
        hashlib.sha256(f"{seed} {split} {image_id}".encode()).hexdigest()
        for split, image_id in zip(images["split"], images["image_id"], strict=True)
    ]
    rows = images[["split", "label", "round_added"]].reset_index(drop=True).assign(drawn=drawn)
    strata = rows.sort_values("drawn").groupby(["split", "label", "round_added"])
    rows["place"] = strata.cumcount() / strata["drawn"].transform("size")
    chosen = rows.sort_values(["place", "drawn"]).index[:max_points]
    return np.sort(chosen.to_numpy(dtype=np.int64))


def project(first: Vectors, later: Sequence[Vectors], params: MapParams) -> list[Positions]:
    """Lay out vectors in the plane: fit on the first batch, transform each later one by itself.

    Deterministic: one thread, seeded. A batch's positions depend on the first batch and on itself,
    never on the other batches.

    Parameters
    ----------
    first
        (N, D) float32: what the picture is fitted on.
    later
        Batches of (M, D) float32 each; a batch may be empty.
    params
        ``map``: neighbours, least distance, metric and seed.

    Returns
    -------
    list of numpy.ndarray
        For `first` and then each batch: (n, 2) float64, in UMAP's own units, 4 decimals.
    """
    if len(first) < _FEWEST:
        return [_on_a_line(batch) for batch in (first, *later)]
    _keep_compiled_code()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TensorFlow, which is not needed here
        import umap

    model = umap.UMAP(
        n_neighbors=min(params.neighbors, len(first) - 1),
        min_dist=params.min_dist,
        metric=params.metric,
        init="spectral" if len(first) >= _FEWEST_SPECTRAL else "random",
        random_state=params.seed,
        transform_seed=params.seed,
        n_jobs=1,  # the seed asks for it, and UMAP warns otherwise
        disconnection_distance=np.inf,  # a point far from all others gets its place too
    )
    found = [model.fit_transform(first)]
    found += [model.transform(batch) if len(batch) else np.zeros((0, 2)) for batch in later]
    return [np.asarray(positions, dtype=np.float64).round(_DECIMALS) + 0.0 for positions in found]


def _keep_compiled_code() -> None:
    """Have Numba keep UMAP's compiled code in the project where it cannot lie beside UMAP.

    Without a folder for it UMAP cannot be imported, and in a container there is often no home.
    """
    found = find_spec("umap")
    assert found is not None
    assert found.origin is not None
    try:  # as Numba itself does
        tempfile.TemporaryFile(dir=Path(found.origin).with_name("__pycache__")).close()
    except OSError:
        kept = Layout(Path()).state.absolute() / "numba"
        os.environ.setdefault("NUMBA_CACHE_DIR", str(kept))


def _on_a_line(batch: Vectors) -> Positions:
    return np.stack([np.arange(len(batch)), np.zeros(len(batch))], axis=1).astype(np.float64)
