"""The Lightning trainer of the fixed loop: whole checkpoints, nothing to read, nothing to spare."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from databoost.data.files import write_bytes
from databoost.errors import ParamsError
from databoost.model.processor import use_cpu, use_float32
from databoost.sections import TrainParams

#: What the best epoch is chosen by.
MONITORED = "val/accuracy"


class EpochBar(pl.Callback):
    """A progress bar over epochs; batches of eight are too quick to be worth one."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the epoch where the training starts or resumes."""
        self.bar = tqdm(
            disable=not trainer.is_global_zero,
            total=trainer.max_epochs,
            initial=trainer.current_epoch,
            desc=self.title,
            unit="epoch",
            mininterval=1.0,
            file=sys.stderr,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch's validation accuracy."""
        self.bar.set_postfix(val_accuracy=f"{float(trainer.callback_metrics[MONITORED]):.3f}")
        self.bar.update()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self.bar.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar before the message that ends the command."""
        if self.bar is not None:
            self.bar.close()


class WholeFiles(TorchCheckpointIO):
    """Checkpoints beside which no half-written one is ever taken for whole.

    Lightning's own are written in the system's folder for temporary files, and copied where that
    is another file system.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint whole or not at all."""
        stream = io.BytesIO()
        torch.save(checkpoint, stream)
        write_bytes(Path(path), stream.getvalue())


def make_trainer(settings: TrainParams, callbacks: list[pl.Callback], state: Path) -> pl.Trainer:
    """Build the trainer of the fixed loop: no logger, checkpoints in `state`.

    PyTorch runs with ``settings.threads`` CPU threads from now on.

    Raises
    ------
    ParamsError
        If Lightning refuses accelerator, devices, strategy or precision, or a batch is smaller
        than the number of devices.
    """
    devices = list(settings.devices) if isinstance(settings.devices, tuple) else settings.devices
    use_cpu(settings.threads)
    use_float32()
    try:
        trainer = pl.Trainer(
            accelerator=settings.accelerator,
            devices=1 if devices == "auto" else devices,
            strategy=settings.strategy,
            precision=settings.precision,  # type: ignore[arg-type]
            max_epochs=settings.epochs,
            callbacks=callbacks,
            plugins=[WholeFiles()],
            default_root_dir=state,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            deterministic="warn",
            # Batch norm sees the whole batch then; PyTorch has no such layer for the CPU.
            sync_batchnorm=settings.accelerator != "cpu" and torch.cuda.is_available(),
        )
    except Exception as error:  # Lightning raises its own, ValueError and RuntimeError alike
        raise ParamsError(
            f"Lightning refuses train.accelerator {settings.accelerator!r}, train.devices "
            f"{settings.devices!r}, train.strategy {settings.strategy!r}, train.precision "
            f"{settings.precision!r}: {error}"
        ) from error
    # With deterministic algorithms PyTorch fills every new tensor before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if trainer.world_size > settings.batch_size:
        raise ParamsError(
            f"train.devices is {settings.devices!r}, {trainer.world_size} of them, but a batch has "
            f"{settings.batch_size} images, and each device takes one or more of it"
        )
    return trainer


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Lightning's advice on what is meant here (no logger, no workers), and its greetings.

    Raises
    ------
    KeyboardInterrupt
        If the block was interrupted, where Lightning would end the program.
    """
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*")
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*")
        warnings.filterwarnings("default", message=r".*AMP with fp16 is not supported.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        except SystemExit as end:
            if isinstance(end.__context__, KeyboardInterrupt):  # Lightning's answer to Ctrl-C
                raise KeyboardInterrupt from end
            raise
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
