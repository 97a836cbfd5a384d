"""The competition's resize, split in two: which pixels it reads, and how it blends them.

TensorFlow's bilinear resize (half-pixel centres, no antialiasing) reads four source pixels for
each output pixel. Those *taps* are all that is ever needed of an image at one input size: they
are kept as uint8, a batch is blended when it is needed, and a candidate has to be rendered at
its taps alone. The blend is exactly TensorFlow's, operation for operation, in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from databoost.data.images import Pixels


@dataclass(frozen=True)
class Axis:
    """Taps along one axis of an image.

    Attributes
    ----------
    positions
        (2 * size,) int64: lower and upper source pixel of each output pixel, alternating.
    fractions
        (size,) float32 in [0, 1): weight of the upper one.
    """

    positions: npt.NDArray[np.int64]
    fractions: npt.NDArray[np.float32]


def tap_axis(length: int, size: int) -> Axis:
    """Find the source pixels that resizing `length` pixels to `size` pixels reads.

    >>> tap_axis(4, 2).positions.tolist(), tap_axis(4, 2).fractions.tolist()
    ([0, 1, 2, 3], [0.5, 0.5])
    """
    scale = np.float32(length) / np.float32(size)
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floors = np.floor(centres)
    lower = np.maximum(floors, 0).astype(np.int64)
    upper = np.minimum(np.ceil(centres), length - 1).astype(np.int64)
    return Axis(np.stack([lower, upper], axis=1).reshape(-1), (centres - floors).astype(np.float32))


class TapStore:
    """Images of any sizes, held as the uint8 taps of one input size and blended in batches.

    Parameters
    ----------
    images
        uint8 pixels of shape (height, width, channels), channels 1 or 3, each asked for once. If
        all of them are grey, one channel is kept in memory, and repeated when a batch is blended.
    size
        Side of the square they are resized to, in pixels.
    """

    def __init__(self, images: Sequence[Pixels], size: int) -> None:
        taps = np.empty((len(images), 1, 2 * size, 2 * size), dtype=np.uint8)
        rows = np.empty((len(images), size), dtype=np.float32)
        columns = np.empty((len(images), size), dtype=np.float32)
        axes: dict[int, Axis] = {}
        for number, image in enumerate(images):
            height, width = image.shape[:2]
            for length in (height, width):
                if length not in axes:
                    axes[length] = tap_axis(length, size)
            picked = image[np.ix_(axes[height].positions, axes[width].positions)]
            if picked.shape[2] > taps.shape[1]:  # the first coloured one
                taps = np.repeat(taps, 3, axis=1)
            taps[number] = picked.transpose(2, 0, 1)
            rows[number] = axes[height].fractions
            columns[number] = axes[width].fractions
        self.taps = torch.from_numpy(taps)
        self.row_fractions = torch.from_numpy(rows)
        self.column_fractions = torch.from_numpy(columns)

    @classmethod
    def joined(cls, parts: Sequence["TapStore"]) -> "TapStore":
        """Put one or more stores of one size together, in their order."""
        channels = max(part.taps.shape[1] for part in parts)
        store = cls([], parts[0].row_fractions.shape[1])
        store.taps = torch.cat([part.taps.expand(-1, channels, -1, -1) for part in parts])
        store.row_fractions = torch.cat([part.row_fractions for part in parts])
        store.column_fractions = torch.cat([part.column_fractions for part in parts])
        return store

    def __len__(self) -> int:
        """Count the images."""
        return len(self.taps)

    def to(self, device: torch.device) -> "TapStore":
        """Move the store to a device, in place."""
        self.taps = self.taps.to(device)
        self.row_fractions = self.row_fractions.to(device)
        self.column_fractions = self.column_fractions.to(device)
        return self

    def batch(self, which: torch.Tensor | slice) -> torch.Tensor:
        """Resize images.

        Parameters
        ----------
        which
            Positions of the images: (n,) int64, or a slice.

        Returns
        -------
        torch.Tensor
            (n, 3, size, size) float32, RGB, 0 to 255.
        """
        return blend_taps(self.taps[which], self.row_fractions[which], self.column_fractions[which])


def blend_taps(
    taps: torch.Tensor, row_fractions: torch.Tensor, column_fractions: torch.Tensor
) -> torch.Tensor:
    """Blend taps into resized images.

    Parameters
    ----------
    taps
        (n, channels, 2 * size, 2 * size) uint8, channels 1 or 3.
    row_fractions, column_fractions
        (n, size) float32: weights of the lower row and of the right column.

    Returns
    -------
    torch.Tensor
        (n, 3, size, size) float32, RGB, 0 to 255.
    """
    n, channels, doubled, _ = taps.shape
    size = doubled // 2
    corners = taps.to(torch.float32).view(n, channels, size, 2, size, 2)
    right = column_fractions.view(n, 1, 1, 1, size)
    rows = corners[..., 0] + (corners[..., 1] - corners[..., 0]) * right  # (n, c, size, 2, size)
    down = row_fractions.view(n, 1, size, 1)
    resized = rows[..., 0, :] + (rows[..., 1, :] - rows[..., 0, :]) * down  # (n, c, size, size)
    return resized.expand(n, 3, size, size) if channels == 1 else resized
