"""The fixed loop: Adam, cross-entropy, no augmentation, the first best validation epoch kept.

Everything random is a function of (seed, epoch), so a training that was killed and resumed at an
epoch's end goes through the same batches and ends with the same bytes.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy

from databoost.data.resizing import TapStore
from databoost.data.tables import CURVE
from databoost.errors import DatasetError, ParamsError
from databoost.model.architectures import FIXED, Classifier, build_model, refusal
from databoost.model.checkpoints import Checkpoint
from databoost.model.trainer import MONITORED, EpochBar, make_trainer, quiet
from databoost.sections import ModelParams, TrainParams

Batch = tuple[torch.Tensor, torch.Tensor]
_VALIDATION_BATCH = 64


@dataclass(frozen=True)
class Examples:
    """Images in memory and their labels: (n,) int64 positions in the list of classes."""

    images: TapStore
    labels: torch.Tensor

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.labels)


@dataclass(frozen=True)
class Trained:
    """What a training leaves: the best epoch's checkpoint and one row an epoch (``CURVE``)."""

    checkpoint: Checkpoint
    curve: pd.DataFrame


class Batches:
    """Examples from memory, batch by batch; shuffled anew every epoch where a seed is given."""

    def __init__(
        self,
        examples: Examples,
        sizes: list[int],
        data: "SnapshotData",
        seed: int | None = None,
    ) -> None:
        self.examples = examples
        self.sizes = sizes
        self.data = data
        self.seed = seed

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[Batch]:
        """Yield (n, 3, size, size) float32 images and (n,) int64 labels."""
        device = self.examples.labels.device
        order = torch.arange(len(self.examples), device=device)
        if self.seed is not None:
            order = epoch_order(len(self.examples), self.seed, self.data.epoch).to(device)
        for which in torch.split(order, self.sizes):
            yield self.examples.images.batch(which), self.examples.labels[which]


def batch_sizes(n_examples: int, batch_size: int, smallest: int = 1) -> list[int]:
    """Size of each batch; a last one below `smallest` joins the one before.

    >>> batch_sizes(17, 8), batch_sizes(17, 8, smallest=2)
    ([8, 8, 1], [8, 9])
    """
    full, rest = divmod(n_examples, batch_size)
    sizes = [batch_size] * full + [rest] * (rest > 0)
    if len(sizes) > 1 and sizes[-1] < smallest:
        sizes[-2:] = [sum(sizes[-2:])]
    return sizes


def epoch_order(n_examples: int, seed: int, epoch: int) -> torch.Tensor:
    """Give the order of the examples in one epoch: (n_examples,) int64, a permutation."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(n_examples, generator=generator)


class SnapshotData(pl.LightningDataModule):
    """A snapshot in memory: decoded once, moved to the device once."""

    def __init__(self, train: Examples, val: Examples, sizes: list[int], seed: int) -> None:
        super().__init__()
        self.train, self.val = train, val
        self.sizes, self.seed = sizes, seed

    @property
    def epoch(self) -> int:
        """The epoch that the trainer is in, from 0."""
        return self.trainer.current_epoch if self.trainer else 0

    def setup(self, stage: str) -> None:
        """Move the examples to the trainer's device."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        self.train = Examples(self.train.images.to(device), self.train.labels.to(device))
        self.val = Examples(self.val.images.to(device), self.val.labels.to(device))

    def train_dataloader(self) -> Batches:
        """Shuffled batches of the training images."""
        return Batches(self.train, self.sizes, self, self.seed)

    def val_dataloader(self) -> Batches:
        """Give the validation images in their order."""
        return Batches(self.val, batch_sizes(len(self.val), _VALIDATION_BATCH), self)


class FixedTraining(pl.LightningModule):
    """One step, one optimiser, one row of the learning curve an epoch."""

    def __init__(self, model: Classifier, settings: TrainParams) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.rows: list[dict[str, float]] = []
        self._totals: dict[str, list[torch.Tensor]] = {"train": [], "val": []}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with the settings of ``params.yaml``."""
        return torch.optim.Adam(
            self.model.parameters(),
            lr=self.settings.learning_rate,
            eps=self.settings.epsilon,
            weight_decay=self.settings.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def on_train_epoch_start(self) -> None:
        """Seed dropout and the like by epoch, so that a resumed training repeats it."""
        torch.manual_seed(self.settings.seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Mean cross-entropy of a batch."""
        images, labels = batch
        logits = self.model(images)
        loss = cross_entropy(logits, labels)
        self._count("train", loss, logits, labels)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count losses and hits."""
        images, labels = batch
        logits = self.model(images)
        self._count("val", cross_entropy(logits, labels), logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Complete the epoch's row; the validation runs inside the training epoch."""
        row = {"epoch": float(self.current_epoch)} | self._means("train") | self._means("val")
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            raise ParamsError(
                f"the training diverged: the loss of epoch {self.current_epoch} is "
                f"{row['train_loss']} in training and {row['val_loss']} in validation, with "
                f"train.learning_rate {self.settings.learning_rate} and train.precision "
                f"{self.settings.precision!r}; lower the rate, or use precision 32-true"
            )
        self.rows.append(row)
        self.log(MONITORED, torch.tensor(row["val_accuracy"], dtype=torch.float64))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the rows of the learning curve with the weights."""
        checkpoint["curve"] = self.rows

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the rows of the learning curve up again."""
        self.rows = list(checkpoint["curve"])

    def _count(
        self, split: str, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
    ) -> None:
        hits = (logits.argmax(dim=1) == labels).sum()
        totals = torch.stack([loss.detach().double() * len(labels), hits.double()])
        self._totals[split].append(torch.cat([totals, totals.new_tensor([len(labels)])]))

    def _means(self, split: str) -> dict[str, float]:
        loss, hits, n_images = torch.stack(self._totals[split]).sum(dim=0).tolist()
        self._totals[split] = []
        return {f"{split}_loss": loss / n_images, f"{split}_accuracy": hits / n_images}


def train_model(
    train: Examples,
    val: Examples,
    classes: list[str],
    model: ModelParams,
    settings: TrainParams,
    state: Path,
    title: str = "train",
) -> Trained:
    """Train the fixed model on a snapshot; resume what `state` holds of the same training.

    Parameters
    ----------
    train, val
        Examples at ``model.image_size``.
    classes
        Labels in the order of the logits.
    state
        Folder of this training alone, for checkpoints of unfinished work. It is removed by
        :func:`forget_training` once the result is safe.
    title
        Name on the progress bar.

    Raises
    ------
    ParamsError
        If the architecture is unknown or does not take the images, Lightning refuses accelerator,
        devices or precision, more than one device is asked for, or the training diverges.
    DatasetError
        If there is no training or no validation image.
    """
    network = build_model(model.architecture, len(classes), settings.seed)
    sizes = _training_batches(network, len(train), len(val), model, settings)
    module = FixedTraining(network, settings)
    best = ModelCheckpoint(
        state, "best", monitor=MONITORED, mode="max", enable_version_counter=False,
        save_on_train_epoch_end=True,
    )  # fmt: skip
    last = ModelCheckpoint(
        state, "last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    data = SnapshotData(train, val, sizes, settings.seed)
    unfinished = state / "last.ckpt"
    with quiet():
        trainer = make_trainer(settings, [EpochBar(title), best, last], state)
        trainer.fit(
            module,
            datamodule=data,
            ckpt_path=str(unfinished) if unfinished.exists() else None,
            weights_only=True,
        )
    content = torch.load(state / "best.ckpt", map_location="cpu", weights_only=True)
    weights = {name.removeprefix("model."): value for name, value in content["state_dict"].items()}
    checkpoint = Checkpoint(
        model.architecture, model.image_size, list(classes), int(content["epoch"]), weights
    )
    columns = {name: [row[name] for row in module.rows] for name in CURVE.columns}
    return Trained(checkpoint, CURVE.frame(columns))


def forget_training(state: Path) -> None:
    """Remove the state of a training whose result is written."""
    shutil.rmtree(state, ignore_errors=True)


def _training_batches(
    network: Classifier, n_train: int, n_val: int, model: ModelParams, settings: TrainParams
) -> list[int]:
    if not n_train or not n_val:
        raise DatasetError(
            f"the snapshot has {n_train} training and {n_val} validation images; a training needs "
            "at least one of each"
        )
    # Batch norm cannot be trained on a lone image where torchvision shrinks it to one position.
    smallest = 1 if model.architecture == FIXED else 2
    sizes = batch_sizes(n_train, settings.batch_size, smallest)
    reason = refusal(network, model.image_size, min(sizes), is_training=True)
    if reason:
        raise ParamsError(
            f"model.architecture {model.architecture!r} cannot be trained on {min(sizes)} image(s) "
            f"of {model.image_size} x {model.image_size} pixels ({reason}); change "
            "model.image_size, train.batch_size or the architecture"
        )
    return sizes
