"""The weights after the late epochs of a training, for those who compare trainings.

From one epoch to the next, accuracy jumps by several points, also on images that nothing was
selected by: steps of Adam at a constant rate, in batches of eight. Which of them validation picks
is in part luck, and that is most of what one training differs by from the next. The mean over many
epochs is hardly moved by it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from databoost.model.architectures import Classifier
from databoost.model.checkpoints import Checkpoint, save_checkpoint
from databoost.model.loop import FixedTraining

#: Epochs that are looked at, at most.
MOST = 20


def late_epochs(n_epochs: int) -> list[int]:
    """Name the late epochs of a training, from 0: those of its last half, or some, evenly apart.

    >>> late_epochs(5), late_epochs(1), len(late_epochs(100)), late_epochs(100)[-1]
    ([2, 3, 4], [0], 20, 99)
    """
    first = n_epochs // 2
    places = np.linspace(first, n_epochs - 1, min(MOST, n_epochs - first))
    return [int(place) for place in places.round()]


class LateWeights(pl.Callback):
    """Writes a checkpoint after every late epoch: ``<epoch>.ckpt``, five digits.

    Lightning calls it before its own checkpoints are written. So of a training that is resumed no
    epoch is missing.

    Parameters
    ----------
    folder
        Made if it is not there.
    checkpoint
        Makes a checkpoint of the model after an epoch, counted from 0.
    """

    def __init__(self, folder: Path, checkpoint: Callable[[Classifier, int], Checkpoint]) -> None:
        self.folder = folder
        self._checkpoint = checkpoint

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights, if the epoch is a late one."""
        assert isinstance(pl_module, FixedTraining)
        epoch = trainer.current_epoch
        if trainer.is_global_zero and epoch in late_epochs(pl_module.settings.epochs):
            checkpoint = self._checkpoint(pl_module.model, epoch)
            save_checkpoint(self.folder / f"{epoch:05d}.ckpt", checkpoint)
