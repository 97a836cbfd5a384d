"""Out-of-sample predictions of every image, epoch by epoch: models that never saw it judge it.

A model that was trained on an image has learned its label, right or wrong; only models of the
other folds can tell. The fold models have the fixed model's architecture, but a training of their
own, with larger batches and fewer epochs: ``benchmarks/label_scores.py`` measures that it ranks
wrong labels well, and it costs less than the fixed training.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from databoost.data.files import write_bytes
from databoost.data.resizing import TapStore
from databoost.errors import DatasetError, ParamsError
from databoost.model.architectures import Classifier, build_model, refusal
from databoost.model.batches import Examples, batch_sizes, epoch_order
from databoost.sections import ModelParams, ScoresParams

_BATCH = 256


@dataclass(frozen=True)
class Fold:
    """What the model of one fold says.

    Attributes
    ----------
    heldout
        (n,) int64, positions of the images that it was not trained on.
    log_probabilities
        (n_epochs, n, n_classes) float32, of the held-out images after every epoch.
    """

    heldout: npt.NDArray[np.int64]
    log_probabilities: npt.NDArray[np.float32]


def stratified_folds(
    labels: npt.NDArray[np.int64],
    n_folds: int,
    seed: int,
    groups: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Deal the images to folds, class by class; a group stays together.

    Parameters
    ----------
    labels
        (N,) class of each image.
    n_folds
        At least 2.
    seed
        Of the order in which the groups are dealt.
    groups
        (N,) number of each image's group (near-duplicates, say); default: each image its own.

    Returns
    -------
    numpy.ndarray
        (N,) int64, fold of each image, 0 to ``n_folds - 1``. Without groups the folds of a class
        differ by one image at most.

    Raises
    ------
    DatasetError
        If there are fewer groups than folds, or `groups` has another length than `labels`.
    """
    group_of = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if len(group_of) != len(labels):
        raise DatasetError(f"{len(group_of)} groups are given for {len(labels)} images")
    _, first, members = np.unique(group_of, return_index=True, return_inverse=True)
    if len(first) < n_folds:
        raise DatasetError(
            f"{len(first)} group(s) of near-duplicates cannot be dealt to {n_folds} folds; lower "
            "scores.folds or give more images"
        )
    sizes = np.bincount(members)
    # Large groups first, so that the small ones can level the folds; random among equals.
    dealt = np.random.default_rng(seed).permutation(len(first))
    dealt = dealt[np.argsort(-sizes[dealt], kind="stable")]
    n_classes = int(labels.max()) + 1
    counts = np.zeros((n_folds, n_classes), dtype=np.int64)
    fold_of_group = np.zeros(len(first), dtype=np.int64)
    for number in dealt:
        label = labels[first[number]]
        keys = list(zip(counts[:, label], counts.sum(axis=1), range(n_folds), strict=True))
        fold = min(keys)[2]
        fold_of_group[number] = fold
        counts[fold, label] += sizes[number]
    return fold_of_group[members]


def is_label_seen(
    labels: npt.NDArray[np.int64], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Tell whose class the model of its fold has seen: (N,) bool.

    A class of one image, or of one group, lies in one fold, and that fold's model cannot know it.

    Parameters
    ----------
    labels, folds
        (N,) class and fold of each image.

    >>> is_label_seen(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 0])).tolist()
    [True, True, False, False]
    """
    counts = np.zeros((folds.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (folds, labels), 1)
    is_seen: npt.NDArray[np.bool_] = counts.sum(axis=0)[labels] > counts[folds, labels]
    return is_seen


def cross_validate(
    examples: Examples,
    n_classes: int,
    model: ModelParams,
    settings: ScoresParams,
    state: Path,
    *,
    device: torch.device,
    groups: npt.NDArray[np.int64] | None = None,
    progress: bool = False,
) -> list[Fold]:
    """Train a model a fold, and let it judge the images that it was not trained on.

    Parameters
    ----------
    examples
        All images, at ``model.image_size``, with their given labels.
    n_classes
        Number of classes, the width of the predictions.
    settings
        Folds, epochs, batch size, learning rate and seed.
    state
        Folder that keeps finished folds: they are not trained again after a kill, unless their
        file is damaged. Its name stands for the images, labels and settings; nothing of them is
        compared.
    groups
        See :func:`stratified_folds`.

    Returns
    -------
    list of Fold
        Together their `heldout` name every image once.

    Raises
    ------
    ParamsError
        If the architecture is unknown or does not take the images, or a training diverges.
    DatasetError
        If there are too few images for the folds.
    """
    labels = examples.labels.cpu().numpy()
    folds = stratified_folds(labels, settings.folds, settings.seed, groups)
    examples = Examples(examples.images.to(device), examples.labels.to(device))
    found = []
    with tqdm(
        total=settings.folds * settings.epochs,
        desc="scores",
        unit="epoch",
        mininterval=1.0,
        disable=not progress,
    ) as bar:
        for number in range(settings.folds):
            path = state / f"fold{number}.npz"
            fold = _unpacked(path)
            if fold is not None:
                bar.update(settings.epochs)
            else:
                heldout = np.flatnonzero(folds == number)
                fold = _trained_fold(examples, heldout, n_classes, model, settings, device, bar)
                write_bytes(path, _packed(fold))
            found.append(fold)
    return found


def fold_numbers(folds: Sequence[Fold]) -> npt.NDArray[np.int64]:
    """Give the number of each image's fold: (N,) int64."""
    numbers = np.empty(sum(len(fold.heldout) for fold in folds), dtype=np.int64)
    for number, fold in enumerate(folds):
        numbers[fold.heldout] = number
    return numbers


def dynamics(folds: Sequence[Fold]) -> npt.NDArray[np.float32]:
    """Put the folds together: (n_epochs, N, n_classes) float32 log-probabilities, out of sample."""
    n_epochs, _, n_classes = folds[0].log_probabilities.shape
    n_images = sum(len(fold.heldout) for fold in folds)
    joined = np.empty((n_epochs, n_images, n_classes), dtype=np.float32)
    for fold in folds:
        joined[:, fold.heldout] = fold.log_probabilities
    return joined


def mean_dynamics(folds: Sequence[Fold]) -> npt.NDArray[np.float64]:
    """Average :func:`dynamics` over the epochs, without a copy of them: (1, N, n_classes)."""
    n_images = sum(len(fold.heldout) for fold in folds)
    averaged = np.empty((1, n_images, folds[0].log_probabilities.shape[2]))
    for fold in folds:
        averaged[0, fold.heldout] = fold.log_probabilities.mean(axis=0, dtype=np.float64)
    return averaged


def _trained_fold(
    examples: Examples,
    heldout: npt.NDArray[np.int64],
    n_classes: int,
    model: ModelParams,
    settings: ScoresParams,
    device: torch.device,
    bar: Any,
) -> Fold:
    network = build_model(model.architecture, n_classes, settings.seed).to(device)
    trained = torch.from_numpy(np.setdiff1d(np.arange(len(examples)), heldout)).to(device)
    sizes = batch_sizes(len(trained), settings.batch_size, smallest=2)
    reason = refusal(network.cpu(), model.image_size, min(sizes), is_training=True)
    if reason:
        raise ParamsError(
            f"model.architecture {model.architecture!r} cannot be trained on {min(sizes)} image(s) "
            f"of {model.image_size} x {model.image_size} pixels ({reason}); change "
            "model.image_size, scores.batch_size or the architecture"
        )
    network = network.to(device)
    _follow_quickly(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    n_steps = settings.epochs * len(sizes)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=max(n_steps, 2)
    )
    which = torch.from_numpy(heldout).to(device)
    said = []
    for epoch in range(settings.epochs):
        network.train()
        torch.manual_seed(settings.seed * 1_000_003 + epoch)
        order = epoch_order(len(trained), settings.seed, epoch).to(device)
        for batch in torch.split(trained[order], sizes):
            loss = cross_entropy(network(examples.images.batch(batch)), examples.labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        said.append(_judged(network, examples.images, which))
        if not np.isfinite(said[-1]).all():
            raise ParamsError(
                f"the training of the label scores diverged in epoch {epoch}, with "
                f"scores.learning_rate {settings.learning_rate}; lower the rate"
            )
        bar.update()
    return Fold(heldout, np.stack(said))


def _follow_quickly(network: nn.Module) -> None:
    # The fixed model's running averages need hundreds of batches, more than a short training has.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 0.1


def _judged(network: Classifier, images: TapStore, which: torch.Tensor) -> npt.NDArray[np.float32]:
    network.eval()
    with torch.inference_mode():
        logits = [network(images.batch(part)) for part in torch.split(which, _BATCH)]
        return cast(npt.NDArray[np.float32], torch.cat(logits).log_softmax(dim=1).cpu().numpy())


def _packed(fold: Fold) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, heldout=fold.heldout, log_probabilities=fold.log_probabilities)
    return stream.getvalue()


def _unpacked(path: Path) -> Fold | None:
    """Read a finished fold; None if there is none, or none that can be read."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return Fold(arrays["heldout"], arrays["log_probabilities"])
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None
