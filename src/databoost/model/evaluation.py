"""One row an image: what the model says of it, and how sure it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from databoost.data.datasets import label_positions
from databoost.data.images import Pixels
from databoost.data.resizing import TapStore
from databoost.data.tables import CONFUSION, SHEET
from databoost.errors import ParamsError
from databoost.model.architectures import Classifier
from databoost.model.processor import use_cpu, use_float32
from databoost.sections import TrainParams

Probabilities = npt.NDArray[np.float64]
#: Images that go through a model at once.
BATCH = 64
_DECIMALS = 6
_MOST_WITH_ZEROS = 100  # classes


def pick_device(settings: TrainParams) -> torch.device:
    """Choose the one device for work outside the training loop, and take the CPU threads.

    Parameters
    ----------
    settings
        ``accelerator`` is Lightning's name: ``auto`` (a GPU where there is one), ``cpu``, ``gpu``,
        ``cuda``, ``mps``; ``threads`` is what PyTorch runs with from now on.

    Raises
    ------
    ParamsError
        If there is no such device here.
    """
    use_cpu(settings.threads)
    use_float32()
    accelerator = settings.accelerator
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if accelerator in ("auto", "gpu"):
        found = next((kind for kind in ("cuda", "mps") if available[kind]), "cpu")
        if accelerator == "auto" or found != "cpu":
            return torch.device(found)
    elif available.get(accelerator, False):
        return torch.device(accelerator)
    here = ", ".join(["auto", *(kind for kind, is_here in available.items() if is_here)])
    raise ParamsError(f"train.accelerator is {accelerator!r}; available here are {here}")


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


class WorstImages:
    """The worst misclassified validation images, kept as all images pass by.

    Parameters
    ----------
    manifest
        All images (``MANIFEST`` columns), in the order in which they pass.
    classes
        Labels in the order of the predictions.
    n_kept
        Images that are kept at most.
    """

    def __init__(self, manifest: pd.DataFrame, classes: list[str], n_kept: int) -> None:
        self._given = label_positions(manifest["label"], classes)
        self._is_val = (manifest["split"] == "val").to_numpy()
        self._names = list(zip(manifest["image_id"], manifest["path"], strict=True))
        self._n_kept, self._n_seen = n_kept, 0
        self._kept: list[tuple[tuple[float, str, str], Pixels]] = []

    def see(self, log_probabilities: Probabilities, images: Sequence[Pixels]) -> None:
        """Look at the next images and at what was predicted of them, (n, n_classes) float64."""
        rows = slice(self._n_seen, self._n_seen + len(images))
        given, self._n_seen = self._given[rows], rows.stop
        is_wrong = self._is_val[rows] & (log_probabilities.argmax(axis=1) != given)
        losses = _losses(log_probabilities, given)
        for number in np.flatnonzero(is_wrong).tolist():
            order = (-losses[number], *self._names[rows.start + number])
            self._kept.append((order, images[number]))
        self._kept.sort(key=lambda kept: kept[0])
        del self._kept[self._n_kept :]

    def images(self) -> list[Pixels]:
        """Give the pixels of those kept, in the order of the :func:`image_sheet`."""
        return [image for _, image in self._kept]


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
        "loss": _losses(log_probabilities, given),
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


def _losses(
    log_probabilities: Probabilities, given: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Loss of each image as the sheet holds it."""
    rows = np.arange(len(given))
    losses: npt.NDArray[np.float64] = (-log_probabilities[rows, given]).round(_DECIMALS) + 0.0
    return losses
