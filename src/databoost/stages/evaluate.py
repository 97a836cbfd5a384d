"""``evaluate``: a round's model and images -> image sheet, metrics and pictures."""

import numpy as np
import pandas as pd
import torch

from databoost.data.datasets import padded_size, read_manifest
from databoost.data.files import whole_folder, write_bytes, write_json
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import write_table
from databoost.data.tables import CONFUSION, SHEET
from databoost.layout import Layout, RoundLayout
from databoost.model.checkpoints import Checkpoint, load_checkpoint
from databoost.model.evaluation import (
    BATCH,
    Probabilities,
    confusion_counts,
    confusion_matrix,
    image_sheet,
    predict,
    split_metrics,
)
from databoost.model.processor import pick_device
from databoost.params import Params
from databoost.publishing import publish_round
from databoost.views.plots import confusion_picture, misclassified_grid
from databoost.views.worst_images import WorstImages


def evaluate(layout: Layout, params: Params, name: str, *, is_logged: bool = True) -> None:
    """Run the stage for the round `name`; unless told not to, log it to MLflow if that answers."""
    here = layout.round(name)
    checkpoint = load_checkpoint(here.checkpoint)
    classes = checkpoint.classes
    snapshot = read_manifest(here.manifest, here.dataset)
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    files = [here.dataset / path for path in snapshot["path"]]
    files += [layout.heldout / path for path in heldout["path"]]
    every = pd.concat([snapshot, heldout], ignore_index=True)
    worst = WorstImages(every, classes, params.evaluate.grid_images)
    predictions = _predict(checkpoint, ImageFiles(files), worst, pick_device(params.train))
    sheet = image_sheet(every, predictions, classes)
    metrics = split_metrics(sheet, classes) | {"size": _size(snapshot, params)}
    with whole_folder(here.evaluation) as part:
        write_table(part / here.sheet.name, sheet, SHEET)
        write_table(part / here.confusion.name, confusion_counts(sheet, classes), CONFUSION)
        write_bytes(part / here.confusion_picture.name, _confusion_of_val(sheet, classes, here))
        write_bytes(part / here.misclassified.name, _worst_of_val(sheet, worst, here))
        write_json(part / here.metrics.name, metrics)
    if is_logged:
        publish_round(layout, params, name)
    accuracies = ", ".join(
        f"{split} {values['accuracy']:.3f}" for split, values in metrics.items() if split != "size"
    )
    print(
        f"{name}: accuracy {accuracies}; {metrics['val']['n_misclassified']} misclassified in val"
    )


def _predict(
    checkpoint: Checkpoint, files: ImageFiles, worst: WorstImages, device: torch.device
) -> Probabilities:
    """Read each image once, for the model and, as long as it is among the worst, for the grid."""
    model, found = checkpoint.model(), []
    for images in files.parts(BATCH):
        found.append(predict(model, TapStore(images, checkpoint.image_size), device))
        worst.see(found[-1], images)
    return np.concatenate(found)


def _size(snapshot: pd.DataFrame, params: Params) -> dict[str, int]:
    n_train = int((snapshot["split"] == "train").sum())
    n_val = len(snapshot) - n_train
    return {
        "n_train": n_train,
        "n_val": n_val,
        "padded": padded_size(n_train, n_val, params.train.batch_size),
    }


def _confusion_of_val(sheet: pd.DataFrame, classes: list[str], here: RoundLayout) -> bytes:
    matrix = confusion_matrix(sheet[sheet["split"] == "val"], classes)
    return confusion_picture(matrix, classes, f"{here.name}, validation: {matrix.sum()} images")


def _worst_of_val(sheet: pd.DataFrame, worst: WorstImages, here: RoundLayout) -> bytes:
    wrong = sheet[(sheet["split"] == "val") & sheet["is_misclassified"]]
    images = worst.images()
    return misclassified_grid(
        wrong.head(len(images)),
        images,
        f"{here.name}, validation: {len(wrong)} misclassified, highest loss first",
    )
