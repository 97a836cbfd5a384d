"""The fixed loop against a handmade one; resuming after a real kill; what it refuses."""

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
from trainings import CLASSES, digests, make_examples, run, stop_in_epoch

from databoost.data.tables import CURVE
from databoost.errors import DatasetError, ParamsError
from databoost.model import batches, loop, steps, training
from databoost.model.architectures import build_model
from databoost.model.batches import Examples, epoch_order
from databoost.model.checkpoints import Checkpoint
from databoost.model.training import state_folder


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Several threads only wait for each other on models and images as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    monkeypatch.setattr(steps, "cross_entropy", None)
    assert digests(run(tmp_path / "state"), tmp_path / "again") == first


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from trainings import run
torch.set_num_threads(1)
run(Path(sys.argv[2]), n_train=9, epochs=30)
"""


def curve_rows(state: Path) -> int:
    return len(torch.load(state / "last.ckpt", weights_only=True)["curve"])


@pytest.mark.slow
def test_killed_training_resumes_and_ends_with_the_same_bytes(tmp_path, monkeypatch):
    state = tmp_path / "state"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), str(state)],
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

    monkeypatch.setattr(batches, "epoch_order", spy)
    resumed = digests(run(state, n_train=9, epochs=30), tmp_path / "resumed")
    assert epochs == list(range(n_done, 30))
    epochs.clear()
    assert (
        digests(run(tmp_path / "other", n_train=9, epochs=30), tmp_path / "uninterrupted")
        == resumed
    )
    assert epochs == list(range(30))


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


def test_damaged_checkpoint_lets_the_training_begin_anew(tmp_path, monkeypatch):
    whole = digests(run(tmp_path / "whole"), tmp_path / "a")
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        stop_in_epoch(2, patch)
        with pytest.raises(OSError, match="power"):
            run(state)
    (state / "best.ckpt").write_bytes(b"what a power cut left")
    assert digests(run(state), tmp_path / "b") == whole
    assert training._unfinished(state) == state / "last.ckpt"
    (state / "last.ckpt").write_bytes(b"what a power cut left")
    assert training._unfinished(state) is None
    assert not state.exists()


def test_only_the_same_training_on_the_same_machine_is_resumed(tmp_path, monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    names = [
        state_folder(tmp_path, "work", cpu, 1),
        state_folder(tmp_path, "other", cpu, 1),
        state_folder(tmp_path / "moved", "work", cpu, 1),
        state_folder(tmp_path, "work", cuda, 1),
        state_folder(tmp_path, "work", cpu, 2),
    ]
    assert state_folder(tmp_path, "work", cpu, 1) == names[0]
    monkeypatch.setattr(torch, "__version__", "9.9")
    names.append(state_folder(tmp_path, "work", cpu, 1))
    monkeypatch.setattr(training, "version", lambda package: f"{package} 9.9")
    names.append(state_folder(tmp_path, "work", cpu, 1))
    monkeypatch.setattr(training, "code_digest", lambda *packages: "other")
    names.append(state_folder(tmp_path, "work", cpu, 1))
    assert len({path.name for path in names}) == len(names)
    assert [path.parent for path in names[:2]] == [tmp_path, tmp_path]


def test_lone_last_image_joins_the_batch_before_where_batch_norm_needs_two(tmp_path, monkeypatch):
    sizes = []
    step = loop.FixedTraining._step

    def spy(self: Any, examples: Examples, which: torch.Tensor) -> Any:
        sizes.append(len(which))
        return step(self, examples, which)

    monkeypatch.setattr(loop.FixedTraining, "_step", spy)
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
        ({"devices": 0}, r"train\.devices 0, train\.strategy 'auto', .*'32-true': .*devices=0"),
        ({"devices": (0,)}, r"train\.devices \(0,\)"),
        (
            {"devices": "9"},
            r"train\.devices is '9', 9 of them, but a batch has 8 images, and each device takes",
        ),
        ({"strategy": "telepathy"}, r"train\.strategy 'telepathy', .*telepathy"),
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


def test_a_training_that_its_device_cannot_hold_is_refused(tmp_path, monkeypatch):
    def fill(*_: Any) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15 GiB "
            "of which 1 GiB is free. If reserved but unallocated memory is large try setting"
        )

    monkeypatch.setattr(loop.FixedTraining, "_step", fill)
    message = (
        r"does not fit into the memory of train\.accelerator 'cpu' \(CUDA out of memory\. Tried to "
        r"allocate 2\.00 GiB\), with train\.batch_size 8 and model\.image_size 32; lower one of the"
    )
    with pytest.raises(ParamsError, match=message):
        run(tmp_path)


def test_fewer_images_than_devices_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"has 1 training images, fewer than the 2 devices"):
        run(tmp_path, n_train=1, devices=2)


SHARED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from torch import nn
from databoost.model import training
from databoost.model.architectures import Classifier
from trainings import run

def without_batch_norm(architecture, n_classes, seed):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Flatten())
    return Classifier(body, 196, n_classes, (100.0, 100.0, 100.0), (50.0, 50.0, 50.0))

training.build_model = without_batch_norm
folder = Path(sys.argv[2])
shared = run(folder / "shared", devices=2, strategy="ddp")  # the helper process ends in here
alone = run(folder / "alone")
for name, weights in alone.checkpoint.weights.items():
    torch.testing.assert_close(shared.checkpoint.weights[name], weights, rtol=1e-4, atol=1e-6)
difference = (alone.curve - shared.curve).abs().to_numpy().max()
assert difference < 1e-5, (alone.curve, shared.curve)
print("epochs:", len(shared.curve))
"""


@pytest.mark.slow
def test_two_devices_share_a_batch_and_end_with_the_same_weights(tmp_path):
    """Batches of 8, 8 and 5, so that shares differ; without batch norm, which sees a share."""
    script = tmp_path / "shared.py"  # Lightning runs it again for the second device
    script.write_text(SHARED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(Path(__file__).parents[1]), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "epochs: 3\n"), done.stderr
    assert done.stderr.count("train: 100%") == 2


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
