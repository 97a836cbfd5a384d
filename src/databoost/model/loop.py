"""The fixed loop as Lightning runs it: Adam, cross-entropy, and one row an epoch.

What Lightning calls a step is a *stretch* of them here. Its own work for each (hooks, progress,
results) costs a twentieth of a step at batches of eight on a CPU, and more than the step on a GPU.
"""

import math
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch

from databoost.errors import ParamsError
from databoost.model.architectures import Classifier
from databoost.model.batches import Examples, Stretch, Stretches, batch_sizes
from databoost.model.steps import CapturedStep, Outcome, fresh_autocast, judge
from databoost.model.trainer import MONITORED
from databoost.sections import TrainParams

_VALIDATION_BATCH = 64


class SnapshotData(pl.LightningDataModule):
    """A snapshot in memory: decoded once, moved to the device once."""

    def __init__(self, train: Examples, val: Examples, sizes: list[int], seed: int) -> None:
        super().__init__()
        self.train, self.val = train, val
        self.sizes, self.seed = sizes, seed

    def setup(self, stage: str) -> None:
        """Move the examples to the trainer's device."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        self.train, self.val = self.train.to(device), self.val.to(device)

    def train_dataloader(self) -> Stretches:
        """Shuffled batches of the training images."""
        return Stretches(self.train, self.sizes, self.seed, self._epoch)

    def val_dataloader(self) -> Stretches:
        """Give the validation images in their order."""
        return Stretches(self.val, batch_sizes(len(self.val), _VALIDATION_BATCH))

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0


class FixedTraining(pl.LightningModule):
    """One optimiser, one row of the learning curve an epoch.

    On several devices each takes its share of every batch, and the gradients are averaged to the
    batch's. Every device validates on all images, and the row has the means over the devices.
    """

    def __init__(self, model: Classifier, settings: TrainParams) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.settings = settings
        self.rows: list[dict[str, float]] = []
        self._outcomes: dict[str, list[Outcome]] = {"train": [], "val": []}
        self._captured: CapturedStep | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with the settings of ``params.yaml``."""
        return torch.optim.Adam(
            self.model.parameters(),
            lr=self.settings.learning_rate,
            eps=self.settings.epsilon,
            weight_decay=self.settings.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
            capturable=self.device.type == "cuda",
        )

    def on_train_epoch_start(self) -> None:
        """Seed dropout and the like by epoch, so that a resumed training repeats it."""
        torch.manual_seed(self.settings.seed * 1_000_003 + self.current_epoch)

    def training_step(self, stretch: Stretch, batch_idx: int) -> None:
        """Take the stretch's steps."""
        captured = self._capture(stretch.examples) if self._can_capture() else None
        with fresh_autocast():
            for which in stretch.batches:
                outcome = captured.run(which) if captured else None
                if outcome is None:
                    outcome = self._step(stretch.examples, which)
                else:
                    self._note_a_step()
                self._outcomes["train"].append(outcome)

    def validation_step(self, stretch: Stretch, batch_idx: int) -> None:
        """Judge the stretch's batches."""
        for which in stretch.batches:
            self._outcomes["val"].append(self._judge(stretch.examples, which))

    def on_validation_epoch_end(self) -> None:
        """Complete the epoch's row; the validation runs inside the training epoch."""
        row = {"epoch": float(self.current_epoch)} | self._means("train") | self._means("val")
        row = self.trainer.strategy.broadcast(row)
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

    def _step(self, examples: Examples, which: torch.Tensor) -> Outcome:
        """Take a step as Lightning would, whatever precision and strategy."""
        n_devices = self.trainer.world_size
        share = which[self.global_rank :: n_devices] if n_devices > 1 else which
        outcome = self._judge(examples, share)
        optimizer = self.optimizers()
        assert isinstance(optimizer, pl.core.optimizer.LightningOptimizer)
        optimizer.zero_grad()
        # The strategy averages over devices, whose shares may differ by an image.
        self.manual_backward(outcome.loss * (len(share) * n_devices / len(which)))
        optimizer.step()
        return outcome._replace(loss=outcome.loss.detach())

    def _judge(self, examples: Examples, which: torch.Tensor) -> Outcome:
        images = self.trainer.precision_plugin.convert_input(examples.images.batch(which))
        return judge(self.model, images, examples.labels[which])

    def _can_capture(self) -> bool:
        """Whether a GPU's graph can hold the step: no other device, no scale that steps adapt."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        is_alone = self.device.type == "cuda" and self.trainer.world_size == 1
        return self.settings.cuda_graph and is_alone and scaler is None

    def _capture(self, examples: Examples) -> CapturedStep:
        if self._captured is None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)

            def step(which: torch.Tensor) -> Outcome:
                outcome = self._judge(examples, which)
                optimizer.zero_grad()
                outcome.loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                return outcome._replace(loss=outcome.loss.detach())

            def state() -> Iterator[torch.Tensor]:
                yield from self.model.parameters()
                yield from self.model.buffers()
                for values in optimizer.state.values():
                    yield from values.values()

            self._captured = CapturedStep(step, state)
        return self._captured

    def _note_a_step(self) -> None:
        # Lightning counts the calls of its own wrapper, and saves no checkpoint where none came.
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()

    def _means(self, split: str) -> dict[str, float]:
        losses, predicted, labels = zip(*self._outcomes[split], strict=True)
        self._outcomes[split] = []
        sizes = torch.tensor([len(batch) for batch in labels], dtype=torch.float64)
        loss = (torch.stack(losses).double().cpu() * sizes).sum()
        hits = (torch.cat(predicted) == torch.cat(labels)).sum().cpu()
        sums = torch.stack([loss, hits.double(), sizes.sum()]).to(self.device)
        total, n_hits, n_images = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        return {f"{split}_loss": total / n_images, f"{split}_accuracy": n_hits / n_images}
