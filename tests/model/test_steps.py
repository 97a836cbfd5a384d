"""Steps taken through a graph: the bookkeeping on any machine, the capture itself on a GPU."""

import functools
import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from trainings import (
    CLASSES,
    digests,
    make_examples,
    make_settings,
    run,
    stop_in_epoch,
)

from databoost.errors import ParamsError
from databoost.model import loop
from databoost.model.architectures import Classifier, build_model
from databoost.model.batches import Examples
from databoost.model.steps import CapturedStep, Outcome, Replay, fresh_autocast, judge


def record(step: Replay) -> Replay:
    """Stand in for the capture: the replay is the step itself, on the same places in memory."""
    step()
    return step


class Bench:
    """A model, its optimiser and examples, and one step on them."""

    def __init__(self) -> None:
        self.model: Classifier = build_model("fixed", len(CLASSES), seed=0)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        self.examples = make_examples(21, seed=1)

    def step(self, which: torch.Tensor) -> Outcome:
        labels = self.examples.labels[which]
        outcome = judge(self.model, self.examples.images.batch(which), labels)
        self.optimizer.zero_grad()
        outcome.loss.backward()
        self.optimizer.step()
        return outcome._replace(loss=outcome.loss.detach())

    def state(self) -> Iterator[torch.Tensor]:
        yield from self.model.parameters()
        yield from self.model.buffers()
        for values in self.optimizer.state.values():
            yield from values.values()

    def copies(self) -> list[torch.Tensor]:
        return [tensor.clone() for tensor in self.state()]


BATCHES = torch.arange(21).split(8)


@pytest.mark.parametrize("n_before", [0, 2])
def test_replayed_steps_leave_what_plain_ones_do(n_before):
    """From fresh weights and from an optimiser that has a past; the last batch does not fit."""
    plain, replayed = Bench(), Bench()
    for bench in (plain, replayed):
        for which in BATCHES[:n_before]:
            bench.step(which)
    captured = CapturedStep(replayed.step, replayed.state, record)
    for which in BATCHES:
        expected = plain.step(which)
        found = captured.run(which)
        if len(which) == 8:
            assert found is not None
        else:
            assert found is None
            found = replayed.step(which)
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
    for one, other in zip(plain.state(), replayed.state(), strict=True):
        assert torch.equal(one, other)


def test_no_graph_of_gradients_is_alive_while_a_step_is_recorded():
    """One would tie the gradients to the stream that it was made on, which no capture allows."""
    alive: list[str] = []

    def look(step: Replay) -> Replay:
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
        alive.extend(str(one.grad_fn) for one in tensors if one.grad_fn is not None)
        return record(step)

    bench = Bench()
    CapturedStep(bench.step, bench.state, look).run(BATCHES[0])
    assert alive == []


def test_outcomes_are_kept_when_the_next_step_overwrites_the_graphs_own():
    bench = Bench()
    captured = CapturedStep(bench.step, bench.state, record)
    first = captured.run(BATCHES[0])
    assert first is not None
    kept = [tensor.clone() for tensor in first]
    captured.run(BATCHES[1])
    assert all(torch.equal(one, other) for one, other in zip(kept, first, strict=True))
    assert first.labels.tolist() == bench.examples.labels[:8].tolist()


def test_a_step_that_cannot_be_captured_is_refused():
    bench = Bench()

    def refuse(step: Replay) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    captured = CapturedStep(bench.step, bench.state, refuse)
    message = (
        r"cannot be captured .* \(operation not permitted .* capturing\); set train\.cuda_graph"
    )
    with pytest.raises(ParamsError, match=message):
        captured.run(BATCHES[0])


@pytest.mark.parametrize("moment", ["before", "in it"])
def test_a_memory_that_is_full_is_no_fault_of_the_capture(moment):
    bench = Bench()
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a")

    def refuse(*_: object) -> Any:
        raise full

    captured = CapturedStep(
        refuse if moment == "before" else bench.step,
        bench.state,
        refuse if moment == "in it" else record,
    )
    with pytest.raises(torch.OutOfMemoryError) as caught:
        captured.run(BATCHES[0])
    assert caught.value is full


def test_a_step_that_fails_before_the_capture_is_not_refused_as_one():
    def fail(which: torch.Tensor) -> Outcome:
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        CapturedStep(fail, Bench().state, record).run(BATCHES[0])


def use_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let trainings on the CPU go through `CapturedStep`; gives the sizes of replayed batches."""
    replayed: list[int] = []

    class Spy(CapturedStep):
        def run(self, which: torch.Tensor) -> Outcome | None:
            outcome = super().run(which)
            if outcome is not None:
                replayed.append(len(which))
            return outcome

    monkeypatch.setattr(loop.FixedTraining, "_can_capture", lambda self: True)
    monkeypatch.setattr(loop, "CapturedStep", functools.partial(Spy, capture=record))
    return replayed


def test_a_training_of_replayed_steps_is_the_same_and_resumes(tmp_path, monkeypatch):
    whole = digests(run(tmp_path / "plain"), tmp_path / "a")
    replayed = use_the_stand_in(monkeypatch)
    assert digests(run(tmp_path / "replayed"), tmp_path / "b") == whole
    assert replayed == [8, 8] * 3  # 21 images: 8, 8 and 5
    with monkeypatch.context() as patch:
        patch.setattr("databoost.model.batches.STRETCH", 1)
        stop_in_epoch(1, patch, n_steps=1)  # the plain step of the epoch, its last
        with pytest.raises(OSError, match="power"):
            run(tmp_path / "state")
    assert digests(run(tmp_path / "state"), tmp_path / "c") == whole


def test_weights_are_converted_anew_at_every_use():
    """Lightning holds one autocast over a whole stretch, whose cache would keep the first ones."""
    layer = torch.nn.Linear(2, 1, bias=False)
    ones = torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16), fresh_autocast():
        torch.nn.init.constant_(layer.weight, 1.0)
        assert layer(ones).item() == 2.0
        torch.nn.init.constant_(layer.weight, 3.0)
        assert layer(ones).item() == 6.0
    assert torch.is_autocast_cache_enabled()


def test_mixed_precision_does_not_depend_on_the_stretch(tmp_path, monkeypatch):
    found = []
    for length in (1, 64):
        monkeypatch.setattr("databoost.model.batches.STRETCH", length)
        trained = run(tmp_path / str(length), precision="bf16-mixed")
        found.append(digests(trained, tmp_path / f"{length}-files"))
    assert found[0] == found[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="captures a CUDA graph, needs a GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_captured_training_on_a_gpu_is_the_uncaptured_one(tmp_path, monkeypatch, precision):
    from databoost.model.training import train_model
    from databoost.sections import ModelParams

    def train(folder: str) -> tuple[str, str]:
        trained = train_model(
            make_examples(21, seed=1),
            make_examples(12, seed=2),
            CLASSES,
            ModelParams(architecture="fixed", image_size=32),
            make_settings(accelerator="cuda", precision=precision),
            tmp_path / folder,
        )
        return digests(trained, tmp_path / f"{folder}-files")

    captured = train("captured")
    monkeypatch.setattr(loop.FixedTraining, "_can_capture", lambda self: False)
    assert train("plain") == captured


@pytest.mark.skipif(not torch.cuda.is_available(), reason="captures a CUDA graph, needs a GPU")
def test_a_captured_training_on_a_gpu_resumes(tmp_path, monkeypatch):
    whole = digests(run(tmp_path / "whole", accelerator="cuda"), tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr("databoost.model.batches.STRETCH", 1)
        stop_in_epoch(1, patch, n_steps=1)
        with pytest.raises(OSError, match="power"):
            run(tmp_path / "state", accelerator="cuda")
    assert digests(run(tmp_path / "state", accelerator="cuda"), tmp_path / "b") == whole


def test_examples_move_to_a_device():
    examples = make_examples(3, seed=0).to(torch.device("meta"))
    assert isinstance(examples, Examples)
    assert examples.labels.is_meta
    assert examples.images.taps.is_meta
