"""One step of the fixed loop, as Lightning runs it, and as one CUDA graph.

At batches of eight a GPU waits for Python: a step is some two hundred small kernels, and each
costs more to launch than to run. Captured once, they are launched together. The graph reads its
batch from fixed places in memory, so it serves batches of one size; the others, an epoch's last
one mostly, take the ordinary way on the same weights.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from databoost.errors import ParamsError
from databoost.model.architectures import Classifier

Replay = Callable[[], object]
#: Ordinary steps before a capture, in which cuDNN, cuBLAS and the optimiser set themselves up.
_WARM_UP = 3


class Outcome(NamedTuple):
    """What the learning curve needs of a batch: mean loss (), and (n,) int64 of each image."""

    loss: torch.Tensor
    predicted: torch.Tensor
    labels: torch.Tensor


def judge(model: Classifier, images: torch.Tensor, labels: torch.Tensor) -> Outcome:
    """Classify (n, 3, size, size) images; the loss is the mean cross-entropy, in nats."""
    logits = model(images)
    return Outcome(cross_entropy(logits, labels), logits.argmax(dim=1), labels)


@contextmanager
def fresh_autocast() -> Iterator[None]:
    """Let autocast convert weights at every use, since they change within the block.

    Autocast keeps converted weights until its context ends, and Lightning's spans a whole call of
    ``training_step``; a CUDA graph would keep them for ever.
    """
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def capture_on_cuda(step: Replay) -> Replay:
    """Record what `step` launches on the GPU, without running it, as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class CapturedStep:
    """A whole step (gather, forward, backward, update) recorded once and replayed.

    Parameters
    ----------
    step
        Runs one step on the examples at the (n,) int64 positions it is given. It may be called
        only on the device's own tensors, and must not wait for the device.
    state
        Lists every tensor that a step changes; asked anew at each call, since an optimiser makes
        its own at the first step.
    capture
        Records a call and gives what replays it.
    """

    def __init__(
        self,
        step: Callable[[torch.Tensor], Outcome],
        state: Callable[[], Iterable[torch.Tensor]],
        capture: Callable[[Replay], Replay] = capture_on_cuda,
    ) -> None:
        self._step, self._state, self._capture = step, state, capture
        self._which = torch.empty(0, dtype=torch.int64)
        self._outcome: Outcome | None = None
        self._replay: Replay | None = None

    def run(self, which: torch.Tensor) -> Outcome | None:
        """Step on the examples at `which`; None if the graph does not fit, and nothing was done.

        The first call captures, and decides what size fits.

        Raises
        ------
        ParamsError
            If the step cannot be captured.
        """
        if self._replay is None:
            self._replay = self._record(which)
        if self._outcome is None or which.shape != self._which.shape:
            return None
        self._which.copy_(which)
        self._replay()
        loss, predicted, labels = (tensor.clone() for tensor in self._outcome)
        return Outcome(loss, predicted, labels)

    def _record(self, which: torch.Tensor) -> Replay:
        self._which = which.clone()
        # Detached: a graph that is kept would tie the parameters' gradients to this stream.
        before = [(tensor, tensor.detach().clone()) for tensor in self._state()]
        random = torch.cuda.get_rng_state_all() if which.is_cuda else []
        self._warm_up()
        try:
            replay = self._capture(self._keep)
        except torch.OutOfMemoryError:  # which uncaptured steps would meet as well
            raise
        except RuntimeError as error:  # whatever a capture refuses, CUDA's own errors among it
            # To go on without would be unsafe: streams and random generators may still record.
            raise ParamsError(
                "the training step of this model cannot be captured as a CUDA graph "
                f"({str(error).splitlines()[0]}); set train.cuda_graph=false"
            ) from error
        self._restore(before)
        if random:
            torch.cuda.set_rng_state_all(random)
        return replay

    def _warm_up(self) -> None:
        if not self._which.is_cuda:
            for _ in range(_WARM_UP):
                self._step(self._which)
            return
        # On a stream of its own, as PyTorch's notes on CUDA graphs demand.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._step(self._which)
        torch.cuda.current_stream().wait_stream(stream)

    def _keep(self) -> None:
        self._outcome = self._step(self._which)

    def _restore(self, before: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        values = {id(tensor): value for tensor, value in before}
        with torch.no_grad():
            for tensor in self._state():
                if id(tensor) in values:
                    tensor.copy_(values[id(tensor)])
                else:  # Adam's moments and its count begin as zeros
                    tensor.zero_()
