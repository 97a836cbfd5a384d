"""Examples in memory, and the batches that an epoch goes through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from databoost.data.resizing import TapStore

#: Steps between two looks at Lightning: its work is then below 1% of theirs, and a request to stop
#: is heard within a second.
STRETCH = 64


@dataclass(frozen=True)
class Examples:
    """Images in memory and their labels: (n,) int64 positions in the list of classes."""

    images: TapStore
    labels: torch.Tensor

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.labels)

    def to(self, device: torch.device) -> "Examples":
        """Give the examples on a device."""
        return Examples(self.images.to(device), self.labels.to(device))


class Stretch:
    """Consecutive batches: (n,) int64 positions in `examples` for each of them.

    Not a dataclass: Lightning would look into one for tensors to move.
    """

    def __init__(self, examples: Examples, batches: tuple[torch.Tensor, ...]) -> None:
        self.examples, self.batches = examples, batches


class Stretches:
    """The batches of an epoch, as often as it is asked for them.

    Parameters
    ----------
    sizes
        Of each batch; together they count the examples.
    seed
        Of the order, which is another one every epoch; None: as the examples stand.
    epoch
        Tells which epoch it is, from 0.
    """

    def __init__(
        self,
        examples: Examples,
        sizes: list[int],
        seed: int | None = None,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self.examples = examples
        self.sizes = sizes
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the stretches."""
        return -(-len(self.sizes) // STRETCH)

    def __iter__(self) -> Iterator[Stretch]:
        """Yield the epoch's batches in order."""
        device = self.examples.labels.device
        order = torch.arange(len(self.examples), device=device)
        if self.seed is not None:
            order = epoch_order(len(self.examples), self.seed, self.epoch()).to(device)
        batches = torch.split(order, self.sizes)
        for start in range(0, len(batches), STRETCH):
            yield Stretch(self.examples, batches[start : start + STRETCH])


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
