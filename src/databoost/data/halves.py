"""Validation in two halves: one that failures are mined on, one that the epoch is picked on."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def in_mining_half(image_ids: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Say which images lie in the half that is mined; the others pick the epoch.

    The half is a property of the id alone, so that it is the same in every round and stage.

    Returns
    -------
    numpy.ndarray
        (n,) bool, True for about one half.

    >>> in_mining_half(["0af255a41ffbc91b", "1eecbd44e811bc2a", "224495eeffe3d9d3"]).tolist()
    [True, False, True]
    """
    return np.array(
        [hashlib.sha256(name.encode()).digest()[0] % 2 == 1 for name in image_ids], dtype=np.bool_
    )
