"""A dataset: an ImageFolder tree and its manifest; the rules of size, duplicates and splits."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.data.files import whole_folder
from databoost.data.tablefiles import read_table
from databoost.data.tables import CLASSES, DUPLICATES, MANIFEST
from databoost.errors import DatasetError
from databoost.layout import SNAPSHOT_SPLITS, SPLITS


def read_classes(path: Path) -> list[str]:
    """Read the classes in their order.

    Raises
    ------
    TableError
        If the table is missing or damaged.
    """
    return list(read_table(path, CLASSES)["label"])


def label_positions(labels: Iterable[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Give the position of each label in the classes: (n,) int64.

    Raises
    ------
    DatasetError
        If a label is none of the classes.

    >>> label_positions(["v", "i", "v"], ["i", "v"]).tolist()
    [1, 0, 1]
    """
    position = {label: number for number, label in enumerate(classes)}
    given = list(labels)
    unknown = sorted(set(given) - position.keys())
    if unknown:
        raise DatasetError(
            f"images have the label(s) {', '.join(unknown)}, but the classes are "
            f"{', '.join(classes)}; `dvc repro` makes what is out of date"
        )
    return np.array([position[label] for label in given], dtype=np.int64)


def padded_size(n_train: int, n_val: int, batch_size: int) -> int:
    """Size of a dataset as the competition counts it: batches filled up.

    >>> padded_size(9544, 456, 8), padded_size(9545, 456, 8)
    (10000, 10008)
    """
    return (math.ceil(n_train / batch_size) + math.ceil(n_val / batch_size)) * batch_size


def room_left(n_train: int, n_val: int, batch_size: int, size_limit: int) -> int | None:
    """Count the training images that may still be added; None if there is no limit.

    >>> room_left(9543, 456, 8, 10_000), room_left(9600, 456, 8, 10_000)
    (1, 0)
    """
    if size_limit == 0:
        return None
    batches = size_limit // batch_size - math.ceil(n_val / batch_size)
    return max(0, batches * batch_size - n_train)


@dataclass(frozen=True)
class Resolved:
    """Images without exact duplicates, and what became of each file of a duplicate group."""

    images: pd.DataFrame
    duplicates: pd.DataFrame


def resolve_duplicates(images: pd.DataFrame) -> Resolved:
    """Leave one copy of every image in train and val together, and in each held-out split.

    The same file under two labels goes out altogether; a file in both train and val stays in val;
    within a split the first by path stays. Of a training or validation file that is also in
    ``test``, only the test's copy stays: what is judged by must not be trained on. One that is
    also in ``label_book``, which is there to be looked at, stays in both, and is listed.

    Parameters
    ----------
    images
        Rows with ``image_id``, ``path``, ``split`` and ``label`` of all splits.

    Returns
    -------
    Resolved
        ``duplicates`` has a row for each copy (``DUPLICATES``), its ``outcome`` one of ``kept``,
        ``dropped``, ``dropped: two labels``, ``dropped: also in test`` and ``kept: also in
        label_book``.
    """
    is_ours = images["split"].isin(SNAPSHOT_SPLITS)
    by_preference = images.assign(
        place=images["split"].where(~is_ours, "snapshot"), is_train=images["split"] == "train"
    ).sort_values(["place", "image_id", "is_train", "path"])
    copies = by_preference.groupby(["place", "image_id"])
    has_two_labels = copies["label"].transform("nunique") > 1
    is_repeated = copies["path"].transform("size") > 1
    stays = ~by_preference.duplicated(["place", "image_id"]) & ~has_two_labels
    outcome = np.where(stays, "kept", np.where(has_two_labels, "dropped: two labels", "dropped"))
    repeated = by_preference.assign(outcome=outcome)[is_repeated]
    stays = stays.reindex(images.index)
    kept = images[stays & ~is_ours].sort_values("split", key=lambda names: names.map(SPLITS.index))
    heldout_split = kept.drop_duplicates("image_id").set_index("image_id")["split"].to_dict()
    leaks = images[stays & is_ours & images["image_id"].isin(heldout_split)]
    also_in = leaks["image_id"].map(heldout_split)
    verdict = np.where(also_in == "test", "dropped", "kept")
    leaks = leaks.assign(outcome=verdict + ": also in " + also_in.astype(str))
    stays[leaks.index[verdict == "dropped"]] = False
    repeated = repeated[~repeated["path"].isin(leaks["path"])]
    columns = list(DUPLICATES.columns)
    table = pd.concat([repeated[columns], leaks[columns]])
    table = table.sort_values(["image_id", "path", "outcome"])
    return Resolved(
        images[stays].reset_index(drop=True),
        DUPLICATES.frame({column: table[column].to_numpy() for column in columns}),
    )


def choose_validation(images: pd.DataFrame, val_fraction: float, seed: int) -> pd.Series:
    """Draw a stratified validation share.

    The images of a class are ordered by the SHA-256 of the text ``<seed> <image_id>``, and the
    first are drawn: an image more or less in a class changes the side of at most one other.

    Parameters
    ----------
    images
        Rows with ``image_id`` and ``label``, in any order; the index is unique. Copies in one class
        count as one image, and fall on one side.
    val_fraction
        Share of each class, 0 to 1; every class of two or more images gets at least one
        validation and one training image.

    Returns
    -------
    pandas.Series
        bool, True for validation, same index.
    """
    chosen = pd.Series(False, index=images.index)
    for _, members in images.groupby("label"):
        order = sorted(
            set(members["image_id"]),
            key=lambda image_id: hashlib.sha256(f"{seed} {image_id}".encode()).digest(),
        )
        n_val = min(max(round(len(order) * val_fraction), 1), len(order) - 1)
        chosen[members.index] = members["image_id"].isin(order[:n_val])
    return chosen


def write_dataset(manifest: pd.DataFrame, folder: Path, content: Callable[[str], bytes]) -> None:
    """Write the image files of a manifest; the folder appears whole or not at all.

    Parameters
    ----------
    manifest
        Rows with ``path`` (below `folder`) and ``image_id``.
    folder
        The ImageFolder; replaced if it exists.
    content
        Gives the bytes of an image by its id.
    """
    with whole_folder(folder) as part:
        for path, image_id in zip(manifest["path"], manifest["image_id"], strict=True):
            target = part / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content(image_id))


def sort_manifest(manifest: pd.DataFrame) -> pd.DataFrame:
    """Order a manifest by split (train, val, test, label_book), class folder and file."""
    order = manifest["split"].map({split: number for number, split in enumerate(SPLITS)})
    frame = manifest.assign(order=order).sort_values(["order", "path"]).drop(columns="order")
    return MANIFEST.frame({column: frame[column].to_numpy() for column in MANIFEST.columns})


def read_manifest(path: Path, folder: Path) -> pd.DataFrame:
    """Read a manifest and check that its files are there.

    Raises
    ------
    TableError
        If the table is missing or damaged.
    DatasetError
        If files that it names are missing.
    """
    manifest = read_table(path, MANIFEST)
    missing = [name for name in manifest["path"] if not (folder / name).is_file()]
    if missing:
        raise DatasetError(
            f"{folder} lacks {len(missing)} of the {len(manifest)} images of {path.name}, "
            f"{missing[0]} first; `dvc checkout` restores a snapshot"
        )
    return manifest
