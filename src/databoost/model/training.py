"""The fixed training: Adam, cross-entropy, no augmentation, the first best validation epoch kept.

Everything random is a function of (seed, epoch), so a training that was killed and resumed at an
epoch's end goes through the same batches and ends with the same bytes.
"""

import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from databoost.code import code_digest
from databoost.data.tables import CURVE
from databoost.errors import DatasetError, ParamsError, WeightsError
from databoost.model.architectures import FIXED, Classifier, build_model, refusal
from databoost.model.batches import Examples, batch_sizes
from databoost.model.checkpoints import Checkpoint, load_tensors
from databoost.model.loop import FixedTraining, SnapshotData
from databoost.model.processor import lack_of_memory
from databoost.model.trainer import MONITORED, EpochBar, make_trainer, quiet
from databoost.sections import ModelParams, TrainParams

#: Parts of databoost that every training depends on.
_CODE = ("data.images", "data.resizing", "model")


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the best epoch's checkpoint and one row an epoch (``CURVE``)."""

    checkpoint: Checkpoint
    curve: pd.DataFrame


def train_model(
    train: Examples,
    val: Examples,
    classes: list[str],
    model: ModelParams,
    settings: TrainParams,
    state: Path,
    title: str = "train",
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train the fixed model on a snapshot; resume what `state` holds of the same training.

    A training whose checkpoints cannot be read is begun anew.

    Parameters
    ----------
    train, val
        Examples at ``model.image_size``.
    classes
        Labels in the order of the logits.
    state
        Folder of this training alone, for checkpoints of unfinished work. It is left to the caller
        to remove, once the result is safe.
    title
        Name on the progress bar.
    callbacks
        Lightning's, beside those of the loop; they may look on, and change nothing.

    Raises
    ------
    ParamsError
        If the architecture is unknown or does not take the images, Lightning refuses accelerator,
        devices, strategy or precision, a batch is smaller than the number of devices, or the
        training diverges or does not fit into the GPU's memory.
    DatasetError
        If there is no training or no validation image.
    """
    network = build_model(model.architecture, len(classes), settings.seed)
    module = FixedTraining(network, settings)
    best = ModelCheckpoint(
        state, "best", monitor=MONITORED, mode="max", enable_version_counter=False,
        save_on_train_epoch_end=True,
    )  # fmt: skip
    last = ModelCheckpoint(
        state, "last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    unfinished = _unfinished(state)
    with quiet():
        trainer = make_trainer(settings, [EpochBar(title), *callbacks, best, last], state)
        sizes = _training_batches(
            network, len(train), len(val), model, settings, trainer.world_size
        )
        if model.architecture == FIXED and trainer.strategy.root_device.type == "cuda":
            # Channels last, which is faster on a CPU, takes a GPU 1.6 times as long.
            network.lay_out(torch.contiguous_format)
        try:
            trainer.fit(
                module,
                datamodule=SnapshotData(train, val, sizes, settings.seed),
                ckpt_path=unfinished,
                weights_only=True,
            )
        except torch.OutOfMemoryError as error:
            raise ParamsError(
                f"the training does not fit into the memory of train.accelerator "
                f"{settings.accelerator!r} ({lack_of_memory(error)}), with "
                f"train.batch_size {settings.batch_size} and model.image_size "
                f"{model.image_size}; lower one of the two, or set train.accelerator=cpu"
            ) from error
    if not trainer.is_global_zero:
        sys.exit()  # one of Lightning's helpers, which ran the same command for its own device
    return _best(state, model, classes)


def state_folder(folder: Path, work: str, device: torch.device, threads: int) -> Path:
    """Name the folder of an unfinished training by all that its result depends on.

    Parameters
    ----------
    folder
        Where such folders of one training lie: those of other code and settings are its own too.
    work
        The training's input and settings, and the code beside the model's that it depends on.
    device, threads
        What it runs on: the device, and PyTorch's CPU threads.

    Returns
    -------
    pathlib.Path
        A folder in `folder`, which this function does not make.
    """
    # Lightning's checkpoints name folders and hold optimiser states of one PyTorch version, so
    # neither a moved project nor an upgrade resumes them; nor does another device.
    made_by = f"{code_digest(*_CODE)} {torch.__version__} {version('pytorch-lightning')}"
    place = f"{work} {folder.resolve()} {made_by} {device.type} {threads}"
    return folder / hashlib.sha256(place.encode()).hexdigest()[:16]


def _unfinished(state: Path) -> Path | None:
    """Give the checkpoint to resume; None if there is none, or only what cannot be read."""
    try:
        for path in _checkpoints(state):
            load_tensors(path)
    except WeightsError:
        shutil.rmtree(state, ignore_errors=True)
        return None
    return state / "last.ckpt"


def _checkpoints(state: Path) -> tuple[Path, Path]:
    """Lightning's checkpoints of the best and of the last epoch: both are needed to go on."""
    return state / "best.ckpt", state / "last.ckpt"


def _best(state: Path, model: ModelParams, classes: list[str]) -> Trained:
    """Read the result back: with some strategies the training ran in other processes."""
    best, last = (
        torch.load(path, map_location="cpu", weights_only=True) for path in _checkpoints(state)
    )
    weights = {name.removeprefix("model."): value for name, value in best["state_dict"].items()}
    columns = {name: [row[name] for row in last["curve"]] for name in CURVE.columns}
    return Trained(
        Checkpoint(
            model.architecture, model.image_size, list(classes), int(best["epoch"]), weights
        ),
        CURVE.frame(columns),
    )


def _training_batches(
    network: Classifier,
    n_train: int,
    n_val: int,
    model: ModelParams,
    settings: TrainParams,
    n_devices: int,
) -> list[int]:
    if not n_train or not n_val:
        raise DatasetError(
            f"the snapshot has {n_train} training and {n_val} validation images; a training needs "
            "at least one of each"
        )
    # Batch norm cannot be trained on a lone image where torchvision shrinks it to one position.
    smallest = 1 if model.architecture == FIXED else 2
    sizes = batch_sizes(n_train, settings.batch_size, smallest * n_devices)
    share = min(sizes) // n_devices
    if not share:
        raise DatasetError(
            f"the snapshot has {n_train} training images, fewer than the {n_devices} devices of "
            "train.devices, each of which takes one or more of every batch"
        )
    reason = refusal(network, model.image_size, share, is_training=True)
    if reason:
        raise ParamsError(
            f"model.architecture {model.architecture!r} cannot be trained on {share} image(s) "
            f"of {model.image_size} x {model.image_size} pixels ({reason}); change "
            "model.image_size, train.batch_size or the architecture"
        )
    return sizes
