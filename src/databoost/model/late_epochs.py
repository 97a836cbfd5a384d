"""Which epochs of a training are its late ones, whose mean says more of a dataset than one of them.

From one epoch to the next, accuracy jumps by several points, also on images that nothing was
selected by (``benchmarks/epoch_noise.py``, docs/evidence.md): steps of Adam at a constant rate, in
batches of eight. Which epoch validation picks is in part luck; the mean over many is hardly moved
by it.
"""

import numpy as np

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
