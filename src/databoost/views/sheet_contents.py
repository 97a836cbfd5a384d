"""What a round's image sheet for people shows: its rows, worst first, and their pictures."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.candidates.embedder import Vectors
from databoost.candidates.embedding import load_embedder
from databoost.data.corrections import read_corrections
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.files import sha256_of
from databoost.data.images import ImageFiles, encode_png
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_table
from databoost.data.tables import MANIFEST, SHEET, SUSPECTS, TRACES
from databoost.errors import DatasetError, listed
from databoost.layout import SNAPSHOT_SPLITS, Layout, RoundLayout
from databoost.ledger_edits import corrections_of
from databoost.model.processor import pick_device
from databoost.params import Params
from databoost.tracing import is_current, read_traces, told_of_addition, told_of_image
from databoost.views.sheets import PICTURE_SIDE, READ_ONLY, About, write_sheet
from databoost.views.thumbnails import model_input, thumbnail

_BATCH = 256
_DECIMALS = 6
#: Bytes of decoded images that are kept; each is looked at up to three times.
_MEMORY = 2**29


def sheet_of_round(
    layout: Layout, params: Params, name: str, shown: pd.DataFrame, n_worst: int
) -> bytes:
    """Make the image sheet for people of a round.

    Parameters
    ----------
    shown
        Rows of the round's manifest, in any order; :func:`choose_rows` gives them.
    n_worst
        Of these, how many are shown at most, the worst.

    Returns
    -------
    bytes
        An XLSX file; the same outputs of the round give the same bytes.

    Raises
    ------
    DatasetError
        If the evaluation is of another snapshot, or an output of the round is missing.
    """
    here = layout.round(name)
    manifest = read_manifest(here.manifest, here.dataset)
    every = _with_evaluation(manifest, here).merge(_scores(layout, manifest), how="left")
    every["correction"] = _corrections(layout, manifest)
    every = every.assign(**_attribution(manifest, here))
    files = ImageFiles([here.dataset / path for path in every["path"]], memory=_MEMORY)
    settings = params.embedding.model_copy(
        update={
            "architecture": "model",
            "weights": here.checkpoint.relative_to(layout.root).as_posix(),
            "image_size": 0,
        }
    )
    embedder = load_embedder(settings, layout.root, pick_device(params.train))
    inputs = TapStore(files, embedder.image_size)
    starts = range(0, len(inputs), _BATCH)
    vectors = np.concatenate(
        [embedder.embed(inputs.batch(slice(start, start + _BATCH))) for start in starts]
    )
    rows = worst_first(every[every["image_id"].isin(shown["image_id"])]).head(n_worst)
    numbers = rows.index.to_numpy(dtype=np.int64)  # of the manifest's rows
    trains = np.flatnonzero(every["split"] == "train")
    nearest, similarities = nearest_others(vectors, numbers, trains)
    rows["nearest_id"] = every["image_id"].to_numpy()[nearest]
    rows["nearest_label"] = every["label"].to_numpy()[nearest]
    rows["nearest_similarity"] = similarities
    about = About(name, sha256_of(here.manifest))
    pictures = _pictures(files, inputs, numbers, nearest)
    return write_sheet(rows[list(READ_ONLY)], pictures, about, read_classes(layout.classes))


def choose_rows(
    layout: Layout, name: str, splits: Sequence[str], image_ids: Sequence[str] | None
) -> pd.DataFrame:
    """Choose the images of a snapshot to show.

    Parameters
    ----------
    splits
        Of ``train`` and ``val``.
    image_ids
        None for all. Ids of held-out images are left out, since those are never corrected.

    Returns
    -------
    pandas.DataFrame
        ``MANIFEST`` rows.

    Raises
    ------
    DatasetError
        If the snapshot has not some of the ids (all are listed), or no image is left.
    """
    here = layout.round(name)
    manifest = read_manifest(here.manifest, here.dataset)
    chosen = manifest[manifest["split"].isin(splits)]
    if image_ids is not None:
        heldout = read_table(layout.heldout_manifest, MANIFEST)
        known = set(manifest["image_id"]) | set(heldout["image_id"])
        unknown = [image_id for image_id in dict.fromkeys(image_ids) if image_id not in known]
        if unknown:
            raise DatasetError(
                f"{name} has no image with {len(unknown)} of the ids:{listed(map(repr, unknown))}"
            )
        chosen = chosen[chosen["image_id"].isin(set(image_ids))]
    if chosen.empty:
        raise DatasetError(
            f"no image of {name} is left to show; a sheet holds images of "
            f"{' and '.join(SNAPSHOT_SPLITS)}, held-out images are never corrected"
        )
    return chosen


def worst_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Order rows by label score, lowest first, then those without one by loss, highest first."""
    return rows.sort_values(
        ["label_score", "loss", "image_id"], ascending=[True, False, True], na_position="last"
    )


def nearest_others(
    vectors: Vectors, numbers: npt.NDArray[np.int64], among: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Find the nearest other image of each, by cosine similarity.

    Parameters
    ----------
    vectors
        (N, D) float32 unit vectors.
    numbers
        (n,) rows of `vectors` that ask.
    among
        Rows that may answer, ascending. Of equally near ones the first answers.

    Returns
    -------
    tuple
        (n,) rows of `vectors`, and (n,) float64 similarities, -1 to 1; missing where
        there is no other.

    >>> nearest_others(np.eye(2, 2, dtype=np.float32)[[0, 1, 0]], np.array([0]), np.arange(3))
    (array([2]), array([1.]))
    """
    nearest = np.empty(len(numbers), dtype=np.int64)
    similarities = np.empty(len(numbers))
    for start in range(0, len(numbers), _BATCH):
        asking = numbers[start : start + _BATCH]
        # Rounded, so that copies tie on every machine.
        cosines = (vectors[asking].astype(np.float64) @ vectors[among].T).round(_DECIMALS)
        cosines[asking[:, None] == among[None, :]] = -np.inf
        best = cosines.argmax(axis=1)
        nearest[start : start + _BATCH] = among[best]
        similarities[start : start + _BATCH] = cosines[np.arange(len(asking)), best]
    return nearest, np.where(np.isneginf(similarities), np.nan, similarities)


def _with_evaluation(manifest: pd.DataFrame, here: RoundLayout) -> pd.DataFrame:
    """Join the round's evaluation, which must be of this snapshot."""
    key = ["image_id", "path", "split", "label"]
    said = ["predicted_label", "p_label", "p_predicted", "loss"]
    sheet = read_table(here.sheet, SHEET)
    joined = manifest.merge(sheet[key + said], on=key, how="left", validate="one_to_one")
    n_missing = int(joined["loss"].isna().sum())
    if n_missing:
        raise DatasetError(
            f"{here.sheet} lacks {n_missing} of the {len(manifest)} images of {here.manifest}, as "
            "they are labelled there; `dvc repro` makes what is out of date"
        )
    return joined


def _scores(layout: Layout, manifest: pd.DataFrame) -> pd.DataFrame:
    """Give the label scores, where there are some; those of another label are out of date."""
    columns = ["image_id", "label", "suggested_label", "label_score", "outlier_score"]
    table = SUSPECTS.empty()
    if layout.scores.exists():
        table = read_table(layout.scores, SUSPECTS)
    return manifest[["image_id", "label"]].merge(table[columns], how="left")


def _attribution(manifest: pd.DataFrame, here: RoundLayout) -> dict[str, list[str]]:
    """Tell what became of validation images and what traces to what; empty unless it is current.

    Of what an earlier round added, that round's sheet tells.
    """
    cells = {"outcome": [""] * len(manifest), "traces": [""] * len(manifest)}
    if not is_current(here):
        return cells
    traces = read_traces(here)
    of_image = {str(name): rows for name, rows in traces.groupby("image_id")}
    of_addition = {str(name): rows for name, rows in traces.groupby("addition_id")}
    columns = ["image_id", "round_added", "query_id"]
    for number, (name, added, query) in enumerate(manifest[columns].itertuples(index=False)):
        if name in of_image:
            rows = of_image[name]
            cells["outcome"][number] = str(rows["outcome"].iloc[0])
            cells["traces"][number] = told_of_image(rows)
        elif added == here.name:
            rows = of_addition.get(name, TRACES.empty())
            cells["traces"][number] = told_of_addition(rows, query)
    return cells


def _corrections(layout: Layout, manifest: pd.DataFrame) -> list[str]:
    lines = corrections_of(read_corrections(layout.corrections))
    return [", ".join(map(str, lines.get(image_id, ()))) for image_id in manifest["image_id"]]


def _pictures(
    files: ImageFiles,
    inputs: TapStore,
    numbers: npt.NDArray[np.int64],
    nearest: npt.NDArray[np.int64],
) -> list[dict[str, bytes]]:
    small = {
        number: encode_png(thumbnail(files[number], PICTURE_SIDE))
        for number in sorted({*numbers.tolist(), *nearest.tolist()})
    }
    return [
        {
            "image": small[number],
            "model_input": encode_png(thumbnail(model_input(inputs, number), PICTURE_SIDE)),
            "nearest_image": small[other],
        }
        for number, other in zip(numbers.tolist(), nearest.tolist(), strict=True)
    ]
