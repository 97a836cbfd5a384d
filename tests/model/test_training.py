"""The fixed loop against a handmade one; resuming after a real kill; what it refuses."""

import hashlib
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from databoost.data.resizing import TapStore
from databoost.data.tablefiles import write_table
from databoost.data.tables import CURVE
from databoost.errors import DatasetError, ParamsError
from databoost.model import training
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, save_checkpoint
from databoost.model.training import Examples, Trained, epoch_order, forget_training, train_model
from databoost.sections import ModelParams, TrainParams

CLASSES = ["a", "b", "c"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Several threads only wait for each other on models and images as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    state: Path, architecture: str = "fixed", n_train: int = 21, n_val: int = 12, **changes: Any
) -> Trained:
    return train_model(
        make_examples(n_train, seed=1),
        make_examples(n_val, seed=2),
        CLASSES,
        ModelParams(architecture=architecture, image_size=32),
        make_settings(**changes),
        state,
    )


def digests(trained: Trained, folder: Path) -> tuple[str, str]:
    """SHA-256 of the files that ``train`` writes."""
    save_checkpoint(folder / "best.ckpt", trained.checkpoint)
    write_table(folder / "curve.csv", trained.curve, CURVE)
    files = (folder / "best.ckpt", folder / "curve.csv")
    checkpoint, curve = (hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return checkpoint, curve


def test_same_weights_and_curve_as_a_handmade_loop(tmp_path):
    trained = run(tmp_path, epochs=4, weight_decay=0.01)
    train, val = make_examples(21, seed=1), make_examples(12, seed=2)
    model = build_model("fixed", 3, seed=0)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=1e-3, eps=1e-7, weight_decay=0.01, fused=True
    )
    rows, states = [], []
    for epoch in range(4):
        model.train()
        losses, hits = 0.0, 0
        order = epoch_order(21, seed=0, epoch=epoch)
        for which in (order[:8], order[8:16], order[16:]):
            logits = model(train.images.batch(which))
            loss = cross_entropy(logits, train.labels[which])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses += loss.item() * len(which)
            hits += int((logits.argmax(1) == train.labels[which]).sum())
        model.eval()
        with torch.no_grad():
            logits = model(val.images.batch(slice(None)))
        val_hits = int((logits.argmax(1) == val.labels).sum())
        val_loss = cross_entropy(logits, val.labels).item()
        rows.append([epoch, losses / 21, hits / 21, val_loss, val_hits / 12])
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    expected = CURVE.frame(dict(zip(CURVE.columns, zip(*rows, strict=True), strict=True)))
    pd.testing.assert_frame_equal(trained.curve, expected, rtol=1e-6)
    best = int(np.argmax(expected["val_accuracy"]))
    assert trained.checkpoint.epoch == best
    assert trained.checkpoint.weights.keys() == states[best].keys()
    for name, value in trained.checkpoint.weights.items():
        torch.testing.assert_close(value, states[best][name], rtol=1e-5, atol=1e-7)
    assert (trained.checkpoint.architecture, trained.checkpoint.image_size) == ("fixed", 32)
    assert trained.checkpoint.classes == CLASSES


def test_every_epoch_has_its_own_order():
    first, second = epoch_order(50, seed=0, epoch=0), epoch_order(50, seed=0, epoch=1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert not torch.equal(first, epoch_order(50, seed=1, epoch=0))
    assert torch.equal(first, epoch_order(50, seed=0, epoch=0))


def test_first_of_equal_epochs_is_kept_and_the_curve_goes_on(tmp_path):
    trained = run(tmp_path, n_val=3, epochs=6)
    accuracies = trained.curve["val_accuracy"].tolist()
    assert len(set(accuracies)) < 6
    assert trained.checkpoint.epoch == accuracies.index(max(accuracies))
    assert trained.curve["epoch"].tolist() == list(range(6))


def test_same_input_same_bytes_and_nothing_but_the_bar_on_the_terminal(tmp_path, capfd):
    first = digests(run(tmp_path / "a"), tmp_path / "first")
    output = capfd.readouterr()
    assert output.out == ""
    assert "train: 100%" in output.err
    assert all(word not in output.err for word in ("GPU", "Tip", "Trainer", "warn"))
    assert digests(run(tmp_path / "b"), tmp_path / "second") == first
    assert digests(run(tmp_path / "c", seed=1), tmp_path / "third") != first


def test_threads_are_a_parameter_and_not_the_machine(tmp_path):
    whole = digests(run(tmp_path / "one"), tmp_path / "a")
    torch.set_num_threads(2)
    assert digests(run(tmp_path / "two"), tmp_path / "b") == whole
    assert torch.get_num_threads() == 1


def test_finished_training_is_taken_up_again_without_work(tmp_path, monkeypatch):
    first = digests(run(tmp_path / "state"), tmp_path / "first")
    monkeypatch.setattr(training, "cross_entropy", None)
    assert digests(run(tmp_path / "state"), tmp_path / "again") == first
    forget_training(tmp_path / "state")
    assert not (tmp_path / "state").exists()
    forget_training(tmp_path / "state")


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from test_training import run
torch.set_num_threads(1)
run(Path(sys.argv[2]), n_train=9, epochs=30)
"""


def curve_rows(state: Path) -> int:
    return len(torch.load(state / "last.ckpt", weights_only=True)["curve"])


@pytest.mark.slow
def test_killed_training_resumes_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    state = tmp_path / "state"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(state)],
        stderr=subprocess.DEVNULL,
    )
    while not (state / "last.ckpt").exists() or curve_rows(state) < 5:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    n_done = curve_rows(state)
    assert 5 <= n_done < 30

    epochs = []

    def spy(n_examples: int, seed: int, epoch: int) -> torch.Tensor:
        epochs.append(epoch)
        return epoch_order(n_examples, seed, epoch)

    monkeypatch.setattr(training, "epoch_order", spy)
    resumed = digests(run(state, n_train=9, epochs=30), tmp_path / "resumed")
    assert epochs == list(range(n_done, 30))
    epochs.clear()
    assert (
        digests(run(tmp_path / "other", n_train=9, epochs=30), tmp_path / "uninterrupted")
        == resumed
    )
    assert epochs == list(range(30))


def stop_in_epoch(
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    how: BaseException = OSError("the power is off"),  # noqa: B008
) -> None:
    """Let trainings break off at the second batch of an epoch, once a batch is through."""
    step = training.FixedTraining.training_step

    def breaking(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == (number, 1):
            raise how
        return step(self, batch, batch_idx)

    monkeypatch.setattr(training.FixedTraining, "training_step", breaking)


def test_dropout_resumes_identically(tmp_path, monkeypatch):
    """A torchvision architecture, whose dropout draws from the global generator."""
    settings = {"architecture": "mobilenet_v3_small", "epochs": 3, "n_train": 17}
    whole = digests(run(tmp_path / "whole", **settings), tmp_path / "a")
    with monkeypatch.context() as patch:
        stop_in_epoch(2, patch)
        with pytest.raises(OSError, match="power"):
            run(tmp_path / "state", **settings)
    torch.manual_seed(99)
    assert curve_rows(tmp_path / "state") == 2
    assert digests(run(tmp_path / "state", **settings), tmp_path / "b") == whole


def test_interrupting_says_so_and_resumes(tmp_path, monkeypatch):
    """Lightning itself would end the program with exit status 1 and no word."""
    whole = digests(run(tmp_path / "whole"), tmp_path / "a")
    for how, seen in ((KeyboardInterrupt(), KeyboardInterrupt), (SystemExit(3), SystemExit)):
        with monkeypatch.context() as patch:
            stop_in_epoch(1, patch, how)
            with pytest.raises(seen):
                run(tmp_path / "state")
    assert digests(run(tmp_path / "state"), tmp_path / "b") == whole


def test_half_written_checkpoint_is_never_resumed(tmp_path, monkeypatch):
    whole = digests(run(tmp_path / "whole"), tmp_path / "a")
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        stop_in_epoch(1, patch)
        with pytest.raises(OSError, match="power"):
            run(state)
    (state / "last.ckpt.part").write_bytes((state / "last.ckpt").read_bytes()[:999])
    assert digests(run(state), tmp_path / "b") == whole


def test_lone_last_image_joins_the_batch_before_where_batch_norm_needs_two(tmp_path, monkeypatch):
    sizes = []
    step = training.FixedTraining.training_step

    def spy(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        sizes.append(len(batch[1]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(training.FixedTraining, "training_step", spy)
    run(tmp_path / "a", "resnet18", n_train=17, epochs=1)
    run(tmp_path / "b", "fixed", n_train=17, epochs=1)
    assert sizes == [8, 9, 8, 8, 1]


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "16-mixed"])
def test_other_precisions_train(tmp_path, precision):
    with warnings.catch_warnings(record=True) as caught:
        trained = run(tmp_path, epochs=1, precision=precision)
    told = [str(warning.message) for warning in caught]
    assert len(told) == (precision == "16-mixed")
    assert all("Using `precision='bf16-mixed'` instead" in message for message in told)
    assert np.isfinite(trained.curve.to_numpy()).all()
    assert trained.checkpoint.model().head.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "quantum"}, r"refuses train\.accelerator 'quantum', .* invalid accel"),
        ({"accelerator": "tpu"}, r"refuses train\.accelerator 'tpu'"),
        ({"devices": 0}, r"train\.devices 0, train\.precision '32-true': .*devices=0"),
        ({"devices": (0,)}, r"train\.devices \(0,\)"),
        (
            {"devices": "2"},
            r"train\.devices is '2'; the fixed training \(batches of 8\) runs on one",
        ),
        ({"precision": "8"}, r"train\.precision '8': Precision '8' is invalid"),
        ({"architecture": "resnet7"}, r"architecture is 'resnet7'; allowed are fixed"),
        (
            {"architecture": "inception_v3"},
            r"'inception_v3' cannot be trained on 5 image\(s\) of 32 x 32 pixels \(.*Kernel size",
        ),
        (
            {"architecture": "resnet18", "batch_size": 1},
            r"cannot be trained on 1 image\(s\) .*more than 1 value.*; change model\.image_size",
        ),
        (
            {"learning_rate": 1e30},
            r"diverged: the loss of epoch 0 is nan in training .*learning_rate 1e\+30 .*lower",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, changes, message):
    with pytest.raises(ParamsError, match=message):
        run(tmp_path, **changes)


@pytest.mark.parametrize(("n_train", "n_val"), [(0, 3), (3, 0)])
def test_empty_split_is_refused(tmp_path, n_train, n_val):
    message = rf"has {n_train} training and {n_val} validation images; a training needs at least"
    with pytest.raises(DatasetError, match=message):
        run(tmp_path, n_train=n_train, n_val=n_val)


def test_checkpoint_predicts_what_the_curve_says(tmp_path):
    trained = run(tmp_path, epochs=2)
    assert isinstance(trained.checkpoint, Checkpoint)
    val = make_examples(12, seed=2)
    with torch.inference_mode():
        logits = trained.checkpoint.model()(val.images.batch(slice(None)))
    accuracy = (logits.argmax(1) == val.labels).double().mean().item()
    assert accuracy == trained.curve["val_accuracy"].max()
