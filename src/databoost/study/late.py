"""How many of a training's late epochs get an image right: what one picked blindly would give.

Nothing is chosen by it: it is there to compare arms (:mod:`databoost.model.late_epochs` says why).
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytorch_lightning as pl

from databoost.data.datasets import label_positions, read_classes, read_manifest
from databoost.data.files import read_json
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import LATE
from databoost.errors import DatasetError
from databoost.layout import Layout
from databoost.model.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from databoost.model.evaluation import predict
from databoost.model.late_epochs import late_epochs
from databoost.model.processor import pick_device
from databoost.params import Params
from databoost.stages.train import trained_alike


class LateWeights(pl.Callback):
    """Writes a checkpoint after every late epoch: ``<epoch>.ckpt``, five digits.

    Lightning calls it before its own checkpoints are written. So of a training that is resumed no
    epoch is missing.

    Parameters
    ----------
    folder
        Made when it is needed.
    params
        Of the training.
    classes
        Labels in the order of the logits.
    """

    def __init__(self, folder: Path, params: Params, classes: list[str]) -> None:
        self._folder, self._model, self._classes = folder, params.model, classes
        self._epochs = late_epochs(params.train.epochs)

    def on_train_epoch_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        """Write the weights, if the epoch is a late one."""
        epoch = trainer.current_epoch
        if epoch not in self._epochs:
            return
        # All processes gather the weights where a strategy has them in parts; one writes them.
        gathered: dict[str, Any] = trainer.strategy.lightning_module_state_dict()
        if trainer.is_global_zero:
            weights = {name.removeprefix("model."): value for name, value in gathered.items()}
            checkpoint = Checkpoint(
                self._model.architecture, self._model.image_size, self._classes, epoch, weights
            )
            save_checkpoint(self._folder / _file_name(epoch), checkpoint)


def judge_late_epochs(layout: Layout, params: Params, name: str) -> None:
    """Write a round's ``LATE``, of validation and held-out images, and remove its late weights.

    A round whose model is an earlier one's, since nothing was added, has that one's table.

    Raises
    ------
    DatasetError
        If weights of late epochs are missing.
    """
    here = layout.round(name)
    if not here.late.exists():
        twin = trained_alike(layout, name, read_json(here.model_metrics)["key"])
        table = read_table(twin.late, LATE) if twin else _judged(layout, params, name)
        write_table(here.late, table, LATE)
    shutil.rmtree(layout.late_weights(name), ignore_errors=True)


def _judged(layout: Layout, params: Params, name: str) -> pd.DataFrame:
    here, folder = layout.round(name), layout.late_weights(name)
    paths = [folder / _file_name(epoch) for epoch in late_epochs(params.train.epochs)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DatasetError(
            f"{folder} lacks weights of {len(missing)} of {len(paths)} late epochs, {missing[0]} "
            f"first; remove {here.model}, and the training is done again"
        )
    snapshot = read_manifest(here.manifest, here.dataset)
    val = snapshot[snapshot["split"] == "val"]
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    rows = pd.concat([val, heldout], ignore_index=True)
    files = [here.dataset / path for path in val["path"]]
    files += [layout.heldout / path for path in heldout["path"]]
    images = TapStore(ImageFiles(files), params.model.image_size)
    given = label_positions(rows["label"], read_classes(layout.classes))
    device = pick_device(params.train)
    n_right: npt.NDArray[np.int64] = np.zeros(len(rows), dtype=np.int64)
    for path in paths:
        n_right += predict(load_checkpoint(path).model(), images, device).argmax(axis=1) == given
    counts = {"n_right": n_right, "n_epochs": [len(paths)] * len(rows)}
    names = {column: rows[column].to_numpy() for column in ("image_id", "split")}
    return LATE.frame(names | counts)


def _file_name(epoch: int) -> str:
    return f"{epoch:05d}.ckpt"
