"""Small trainings for tests: settings, examples, and ways to break them off."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from databoost.data.resizing import TapStore
from databoost.data.tablefiles import write_table
from databoost.data.tables import CURVE
from databoost.model import loop
from databoost.model.batches import Examples
from databoost.model.checkpoints import save_checkpoint
from databoost.model.training import Trained, train_model
from databoost.sections import ModelParams, TrainParams

CLASSES = ["a", "b", "c"]


def make_settings(**changes: Any) -> TrainParams:
    values: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "epsilon": 1e-7,
        "weight_decay": 0.0,
        "seed": 0,
        "threads": 1,
        "accelerator": "cpu",
        "devices": "auto",
        "strategy": "auto",
        "cuda_graph": True,
        "precision": "32-true",
    }
    return TrainParams(**(values | changes))


def make_examples(n: int, seed: int) -> Examples:
    """Noise with a bright band whose place is the class, as far as the noise lets it be seen."""
    random = np.random.default_rng(seed)
    labels = torch.arange(n) % len(CLASSES)
    images = random.integers(0, 200, (n, 32, 32, 1), dtype=np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[8 * label : 8 * label + 8] += 40
    return Examples(TapStore(list(images), 32), labels)


def run(
    state: Path,
    architecture: str = "fixed",
    n_train: int = 21,
    n_val: int = 12,
    callbacks: Sequence[Callback] = (),
    **changes: Any,
) -> Trained:
    return train_model(
        make_examples(n_train, seed=1),
        make_examples(n_val, seed=2),
        CLASSES,
        ModelParams(architecture=architecture, image_size=32),
        make_settings(**changes),
        state,
        callbacks=callbacks,
    )


def digests(trained: Trained, folder: Path) -> tuple[str, str]:
    """SHA-256 of the files that ``train`` writes."""
    save_checkpoint(folder / "best.ckpt", trained.checkpoint)
    write_table(folder / "curve.csv", trained.curve, CURVE)
    files = (folder / "best.ckpt", folder / "curve.csv")
    checkpoint, curve = (hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return checkpoint, curve


def stop_in_epoch(
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    how: BaseException = OSError("the power is off"),  # noqa: B008
    n_steps: int = 2,
) -> None:
    """Let trainings break off at a step of an epoch, the second, once a batch is through."""
    step = loop.FixedTraining._step
    seen: list[int] = []

    def breaking(self: Any, examples: Examples, which: torch.Tensor) -> Any:
        seen.append(self.current_epoch)
        if seen.count(number) == n_steps:
            raise how
        return step(self, examples, which)

    monkeypatch.setattr(loop.FixedTraining, "_step", breaking)
