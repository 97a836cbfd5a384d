"""Find what is wrong with single images and between splits: blank, odd in size, copied."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.audit.gradients import grey_levels
from databoost.data.images import Pixels
from databoost.layout import SNAPSHOT_SPLITS

#: Makes the median absolute deviation the standard deviation of a normal distribution.
_NORMAL = 1.4826
#: Grey levels of 255 by which content differs from the middle grey of the image.
_CONTRAST = 32


def content_share(pixels: Pixels) -> float:
    """Measure how much of an image is content, 0 (one colour) to 1.

    Content is what differs by more than 32 of 255 grey levels from the image's median grey.

    >>> content_share(np.full((4, 4, 1), 200, dtype=np.uint8))
    0.0
    """
    grey = grey_levels(pixels)
    return float((np.abs(grey - np.median(grey)) > _CONTRAST).mean())


def odd_sizes(
    heights: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Measure how far the size or the shape of each image lies from those of the rest.

    Returns
    -------
    numpy.ndarray
        (n,) float64, at least 0: the larger of two robust z-values, of the logarithm of
        the area's root and of the logarithm of width by height. Their spread counts as at least
        5%, so that images of nearly one size have no odd ones among them.
    """
    if not len(heights):
        return np.zeros(0)
    high, wide = np.log(heights.astype(np.float64)), np.log(widths.astype(np.float64))
    odd: npt.NDArray[np.float64] = np.maximum(_robust_z((high + wide) / 2), _robust_z(wide - high))
    return odd


def exact_leaks(images: pd.DataFrame) -> pd.DataFrame:
    """List the files of a snapshot's split that another split also has, byte for byte.

    Parameters
    ----------
    images
        Table `RAW_INDEX`, before any correction.

    Returns
    -------
    pandas.DataFrame
        ``image_id``, ``split`` and ``other_split``, in the order train, val, test, label book; one
        row an image and pair of splits, by image_id. Pairs of two held-out splits are left out.
    """
    place = {name: number for number, name in enumerate(("train", "val", "test", "label_book"))}
    held = images[["image_id", "split"]].drop_duplicates()
    pairs = held.merge(held.rename(columns={"split": "other_split"}), on="image_id")
    is_leak = pairs["split"].map(place) < pairs["other_split"].map(place)
    leaks = pairs[is_leak & pairs["split"].isin(SNAPSHOT_SPLITS)]
    return leaks.sort_values(["image_id", "split", "other_split"], ignore_index=True)


def _robust_z(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    distances = np.abs(values - np.median(values))
    z: npt.NDArray[np.float64] = distances / max(_NORMAL * float(np.median(distances)), 0.05)
    return z
