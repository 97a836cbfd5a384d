"""Many small pictures in one file: a sprite sheet, from which a page cuts out each."""

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from databoost.data.images import Pixels

_QUALITY = 80  # of a JPEG, of 95


def sprite_columns(n_pictures: int) -> int:
    """Count the columns of a sprite sheet, which is about as wide as high.

    >>> [sprite_columns(n) for n in (0, 1, 2, 9, 10)]
    [1, 1, 2, 3, 4]
    """
    return max(1, math.ceil(math.sqrt(n_pictures)))


def sprite_sheet(pictures: Sequence[Pixels], side: int) -> bytes:
    """Lay pictures side by side, row by row, each in the middle of a white square.

    Parameters
    ----------
    pictures
        uint8, at most (side, side), 1 or 3 channels each; picture *i* goes to row
        ``i // sprite_columns(n)``.
    side
        Of a square, in pixels.

    Returns
    -------
    bytes
        A JPEG file, grey if every picture is; same pictures, same bytes.
    """
    n_columns = sprite_columns(len(pictures))
    n_rows = max(1, -(-len(pictures) // n_columns))
    channels = max((picture.shape[2] for picture in pictures), default=1)
    sheet: npt.NDArray[np.uint8] = np.full(
        (n_rows * side, n_columns * side, channels), 255, dtype=np.uint8
    )
    for number, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        top = side * (number // n_columns) + (side - height) // 2
        left = side * (number % n_columns) + (side - width) // 2
        sheet[top : top + height, left : left + width] = picture
    stream = io.BytesIO()
    file = Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)
    file.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
