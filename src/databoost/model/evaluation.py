"""One row an image: what the model says of it, and how sure it is."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from databoost.data.datasets import label_positions
from databoost.data.resizing import TapStore
from databoost.data.tables import CONFUSION, SHEET
from databoost.model.architectures import Classifier

Probabilities = npt.NDArray[np.float64]
#: Images that go through a model at once.
BATCH = 64
_DECIMALS = 6
_MOST_WITH_ZEROS = 100  # classes


def predict(model: Classifier, images: TapStore, device: torch.device) -> Probabilities:
    """Class probabilities.

    Returns
    -------
    numpy.ndarray
        (n, n_classes) float64, log-probabilities (natural logarithm, at most 0).
    """
    model = model.eval().to(device)
    images = images.to(device)
    found = [torch.zeros((0, model.head.out_features), dtype=torch.float64)]
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            logits = model(images.batch(slice(start, start + BATCH)))
            found.append(logits.double().log_softmax(dim=1).cpu())
    return torch.cat(found).numpy()


def image_sheet(
    manifest: pd.DataFrame, log_probabilities: Probabilities, classes: list[str]
) -> pd.DataFrame:
    """Build the image sheet.

    Parameters
    ----------
    manifest
        Images (``MANIFEST`` columns), in the order of the predictions.
    log_probabilities
        (n, n_classes) float64.
    classes
        Labels in the order of the columns of `log_probabilities`.

    Returns
    -------
    pandas.DataFrame
        ``SHEET``, the highest loss first. ``p_label`` and ``p_predicted`` lie in 0 to 1; ``margin``
        is ``p_label`` minus the best other class, from -1 to 1, below 0 where misclassified;
        ``loss`` is -log(p_label), in nats.
    """
    given = label_positions(manifest["label"], classes)
    predicted = log_probabilities.argmax(axis=1)
    rows = np.arange(len(given))
    others = log_probabilities.copy()
    others[rows, given] = -np.inf
    p_label = np.exp(log_probabilities[rows, given])
    columns: dict[str, Any] = {
        name: manifest[name].to_numpy()
        for name in ("image_id", "path", "split", "label", "origin", "round_added")
    }
    columns |= {
        "predicted_label": [classes[number] for number in predicted],
        "p_label": p_label.round(_DECIMALS),
        "p_predicted": np.exp(log_probabilities[rows, predicted]).round(_DECIMALS),
        "margin": (p_label - np.exp(others.max(axis=1, initial=-np.inf))).round(_DECIMALS) + 0.0,
        "loss": image_losses(log_probabilities, given),
        "is_misclassified": predicted != given,
    }
    sheet = SHEET.frame(columns)
    return sheet.sort_values(
        ["loss", "split", "image_id", "path"], ascending=[False, True, True, True]
    ).reset_index(drop=True)


def split_metrics(sheet: pd.DataFrame, classes: list[str]) -> dict[str, dict[str, Any]]:
    """Count and average the sheet by split.

    Returns
    -------
    dict
        By split: ``accuracy`` (0 to 1), ``loss`` (nats), ``n_images``, ``n_misclassified`` and
        ``per_class_accuracy`` (by label, classes without images left out).
    """
    metrics: dict[str, dict[str, Any]] = {}
    for split, rows in sheet.groupby("split", sort=True):
        by_class = 1.0 - rows.groupby("label")["is_misclassified"].mean()
        n_misclassified = int(rows["is_misclassified"].sum())
        metrics[str(split)] = {
            "accuracy": round(1.0 - n_misclassified / len(rows), _DECIMALS),
            "loss": round(float(rows["loss"].mean()), _DECIMALS),
            "n_images": len(rows),
            "n_misclassified": n_misclassified,
            "per_class_accuracy": {
                label: round(float(by_class[label]), _DECIMALS)
                for label in classes
                if label in by_class.index
            },
        }
    return metrics


def confusion_matrix(sheet: pd.DataFrame, classes: list[str]) -> npt.NDArray[np.int64]:
    """Count images by given label (rows) and predicted one: (n_classes, n_classes) int64."""
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    pairs = tuple(label_positions(sheet[name], classes) for name in ("label", "predicted_label"))
    np.add.at(counts, pairs, 1)
    return counts


def confusion_counts(sheet: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Count images by split, given and predicted label.

    Returns
    -------
    pandas.DataFrame
        ``CONFUSION``, by split and then the order of the classes. Of up to 100 classes it holds
        every pair, zeros included. Of more, whose zeros would be millions, it holds the pairs that
        occur, and with zeros too each class with itself and the first class with every other:
        plots take from these the classes of both axes, in order.
    """
    names = np.array(classes, dtype=object)
    n_whole = len(classes) if len(classes) <= _MOST_WITH_ZEROS else 1
    parts = [CONFUSION.empty()]
    for split, rows in sheet.groupby("split", sort=True):
        counts = confusion_matrix(rows, classes)
        is_kept = (counts > 0) | np.eye(len(classes), dtype=bool)
        is_kept[:n_whole] = True
        given, predicted = np.nonzero(is_kept)
        columns = {
            "split": [split] * len(given),
            "label": names[given],
            "predicted_label": names[predicted],
            "n_images": counts[is_kept],
        }
        parts.append(CONFUSION.frame(columns))
    return pd.concat(parts, ignore_index=True)


def image_losses(
    log_probabilities: Probabilities, given: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Give the loss of each image as the sheet holds it: (n,) float64, in nats.

    Parameters
    ----------
    log_probabilities
        (n, n_classes) float64.
    given
        (n,) int64 positions of the given labels.
    """
    rows = np.arange(len(given))
    losses: npt.NDArray[np.float64] = (-log_probabilities[rows, given]).round(_DECIMALS) + 0.0
    return losses
