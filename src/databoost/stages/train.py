"""``train``: a snapshot -> the fixed model trained on it."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pytorch_lightning.callbacks import Callback

from databoost.code import code_digest
from databoost.data.datasets import label_positions, read_classes, read_manifest
from databoost.data.files import read_json, whole_folder, write_json
from databoost.data.halves import in_mining_half
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import write_table
from databoost.data.tables import CURVE
from databoost.errors import ParamsError
from databoost.layout import Layout, RoundLayout
from databoost.model.batches import Examples
from databoost.model.checkpoints import save_checkpoint
from databoost.model.processor import pick_device
from databoost.model.training import Trained, state_folder, train_model
from databoost.params import Params, round_name, round_number

#: Parts of databoost that say which images are trained on, and under which labels.
_CODE = ("data.datasets", "data.halves", "stages.train")


def train(layout: Layout, params: Params, name: str, callbacks: Sequence[Callback] = ()) -> None:
    """Run the stage for the round `name`.

    A snapshot that an earlier round was trained on already (nothing was added) is not trained on
    again: that round's model is taken over. What a training is resumed from is left to
    :func:`~databoost.unfinished.forget_unfinished`. `callbacks` are Lightning's, for those who look
    on.

    Raises
    ------
    ParamsError
        If ``boost.mine_on`` leaves no validation image to pick the epoch on, or the training's
        parameters do not fit (see :func:`~databoost.model.training.train_model`).
    """
    here = layout.round(name)
    manifest = read_manifest(here.manifest, here.dataset)
    classes = read_classes(layout.classes)
    key = training_key(here.manifest, params, classes)
    twin = trained_alike(layout, name, key)
    if twin:
        with whole_folder(here.model) as part:
            shutil.copytree(twin.model, part, dirs_exist_ok=True)
        print(f"{name}: nothing was added since {twin.name}; its model is taken over")
        return
    device = pick_device(params.train)
    work = f"{key} {code_digest(*_CODE)}"
    state = state_folder(layout.unfinished("train", name), work, device, params.train.threads)
    trained = train_model(
        _examples(manifest, "train", here, params, classes),
        _examples(manifest, "val", here, params, classes),
        classes,
        params.model,
        params.train,
        state,
        title=f"train {name}",
        callbacks=callbacks,
    )
    _write(here, trained, key)


def training_key(manifest: Path, params: Params, classes: Sequence[str]) -> str:
    """Name a training by its input: 16 hex digits of snapshot, parameters and classes in order."""
    settings = params.train.model_dump(mode="json") | {"model": params.model.model_dump()}
    settings |= {"mine_on": params.boost.mine_on, "classes": list(classes)}
    content = hashlib.sha256(manifest.read_bytes()).hexdigest() + json.dumps(
        settings, sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def trained_alike(layout: Layout, name: str, key: str) -> RoundLayout | None:
    """Find a round before `name` whose model is of the training with this :func:`training_key`."""
    for number in range(round_number(name)):
        earlier = layout.round(round_name(number))
        if earlier.model_metrics.exists() and read_json(earlier.model_metrics)["key"] == key:
            return earlier
    return None


def _examples(
    manifest: pd.DataFrame, split: str, here: RoundLayout, params: Params, classes: list[str]
) -> Examples:
    rows = manifest[manifest["split"] == split]
    if split == "val" and params.boost.mine_on == "half" and len(rows):
        is_mined = in_mining_half(rows["image_id"])
        if is_mined.all():
            raise ParamsError(
                f"boost.mine_on is 'half', and all {len(rows)} validation image(s) lie in the half "
                "that is mined; set it to val, or validate on more images"
            )
        rows = rows[~is_mined]
    images = ImageFiles([here.dataset / path for path in rows["path"]])
    labels = torch.from_numpy(label_positions(rows["label"], classes))
    return Examples(TapStore(images, params.model.image_size), labels)


def _write(here: RoundLayout, trained: Trained, key: str) -> None:
    best = trained.curve.iloc[trained.checkpoint.epoch]
    metrics: dict[str, Any] = {
        "best_epoch": trained.checkpoint.epoch,
        "n_epochs": len(trained.curve),
        **{column: round(float(best[column]), 6) for column in CURVE.columns if column != "epoch"},
        "key": key,
    }
    with whole_folder(here.model) as part:
        save_checkpoint(part / here.checkpoint.name, trained.checkpoint)
        write_table(part / here.curve.name, trained.curve, CURVE)
        write_json(part / here.model_metrics.name, metrics)
    print(
        f"{here.name}: epoch {metrics['best_epoch'] + 1} of {metrics['n_epochs']} is the first "
        f"best, validation accuracy {metrics['val_accuracy']:.3f}"
    )
