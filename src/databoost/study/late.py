"""How many of its late epochs get an image right: what an epoch picked blindly would give.

Nothing is chosen by it: it is there to compare arms, on images that a training never saw.
"""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.data.datasets import label_positions, read_manifest
from databoost.data.files import read_json
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import LATE
from databoost.layout import Layout
from databoost.model.checkpoints import load_checkpoint
from databoost.model.evaluation import BATCH, pick_device, predict
from databoost.params import Params, round_name, round_number


def late_table(layout: Layout, name: str) -> Path:
    """Place of a round's ``LATE``."""
    return layout.round(name).root / "late.csv"


def late_weights(layout: Layout, name: str) -> Path:
    """Folder of the weights that it is made of, until it is made."""
    return layout.state / "late" / name


def judge_late_epochs(layout: Layout, params: Params, name: str) -> None:
    """Write a round's ``LATE``: of validation and held-out images. The weights are removed then.

    A round whose model is an earlier one's, since nothing was added, has that one's table.
    """
    folder = late_weights(layout, name)
    table = _judged(layout, params, name, folder) if folder.exists() else _of_twin(layout, name)
    write_table(late_table(layout, name), table, LATE)
    shutil.rmtree(folder, ignore_errors=True)


def _judged(layout: Layout, params: Params, name: str, folder: Path) -> pd.DataFrame:
    here = layout.round(name)
    snapshot = read_manifest(here.manifest, here.dataset)
    val = snapshot[snapshot["split"] == "val"]
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    rows = pd.concat([val, heldout], ignore_index=True)
    files = [here.dataset / path for path in val["path"]]
    files += [layout.heldout / path for path in heldout["path"]]
    checkpoints = [load_checkpoint(path) for path in sorted(folder.glob("*.ckpt"))]
    size, classes = checkpoints[0].image_size, checkpoints[0].classes
    models = [checkpoint.model() for checkpoint in checkpoints]
    device = pick_device(params.train)
    given = label_positions(rows["label"], classes)
    n_right: npt.NDArray[np.int64] = np.zeros(len(rows), dtype=np.int64)
    start = 0
    for images in ImageFiles(files).parts(BATCH):
        part = slice(start, start + len(images))
        store = TapStore(images, size)
        for model in models:
            n_right[part] += predict(model, store, device).argmax(axis=1) == given[part]
        start = part.stop
    counts = {"n_right": n_right, "n_epochs": [len(models)] * len(rows)}
    columns = {column: rows[column].to_numpy() for column in ("image_id", "split")}
    return LATE.frame(columns | counts)


def _of_twin(layout: Layout, name: str) -> pd.DataFrame:
    """Read the table of the earlier round that was trained alike."""
    key = read_json(layout.round(name).model_metrics)["key"]
    earlier = (round_name(number) for number in range(round_number(name)))
    twin = next(
        other for other in earlier if read_json(layout.round(other).model_metrics)["key"] == key
    )
    return read_table(late_table(layout, twin), LATE)
