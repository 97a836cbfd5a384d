"""A dataset: an ImageFolder tree and its manifest; the rules of size, duplicates and splits."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.data.files import whole_folder
from databoost.data.tablefiles import read_table
from databoost.data.tables import CLASSES, DUPLICATES, MANIFEST
from databoost.errors import DatasetError, first_listed
from databoost.layout import SNAPSHOT_SPLITS, SPLITS

_N_REASONS = 5  # shown of what became of a class


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


def lost_images(raw: pd.DataFrame, corrected: pd.DataFrame, resolved: pd.DataFrame) -> pd.DataFrame:
    """List what of train and val did not stay where it came, and why.

    Parameters
    ----------
    raw, corrected, resolved
        Rows with ``image_id``, ``split`` and ``label`` of all splits: as they came, after the
        ledger, and without exact duplicates.

    Returns
    -------
    pandas.DataFrame
        A row for each image, label and split, by these: ``reason``, words that follow a number of
        images; ``is_by_hand``, whether the ledger did it; ``is_left``, whether the image is in the
        other split under this label.
    """
    columns = ["image_id", "label", "split"]
    ours = [rows[rows["split"].isin(SNAPSHOT_SPLITS)] for rows in (raw, corrected, resolved)]
    came, now, left = (set(rows[columns].itertuples(index=False, name=None)) for rows in ours)
    split_of = {(image_id, label): split for image_id, label, split in left}
    labels: dict[str, set[str]] = {image_id: set() for image_id, _, _ in came}
    for image_id, label, _ in now:
        labels[image_id].add(label)
    lost = []
    for image_id, label, split in sorted((came | now) - left):
        names, other = sorted(labels[image_id]), split_of.get((image_id, label), "")
        by_hand = ""
        if label not in names:
            by_hand = "relabelled" if names else "deleted"
        elif other and (image_id, label, split) not in now:
            by_hand = f"moved to {other}"
        if by_hand:
            reason = f"{by_hand} by data/corrections.csv"
        elif len(names) > 1:
            both = "both" if len(names) == 2 else "all of"
            reason = f"in {both} {' and '.join(map(repr, names))}"
        else:
            reason = f"also in {other or 'test'}"
        lost.append((image_id, label, split, reason, bool(by_hand), bool(other)))
    table = pd.DataFrame(lost, columns=[*columns, "reason", "is_by_hand", "is_left"])
    return table.astype({"is_by_hand": bool, "is_left": bool})


def check_usable(
    manifest: pd.DataFrame, strategy: str = "given", lost: pd.DataFrame | None = None
) -> list[str]:
    """Refuse a snapshot that cannot be trained on, or that copies have robbed of a class.

    Parameters
    ----------
    manifest
        Rows with ``split`` and ``label``, of train and val.
    strategy
        How it was split, ``split.strategy``: what is advised depends on it.
    lost
        :func:`lost_images`; None: nothing was lost.

    Returns
    -------
    list of str
        What a person should know: each class of which the ledger alone has left no image.

    Raises
    ------
    DatasetError
        If train or val has no image, a validation label has no training image, train has fewer
        than two classes, or a class is lost to copies, in full or in part. It counts the reasons.
    """
    if lost is None:
        lost = lost_images(manifest, manifest, manifest)
    if strategy != "given":  # train and val are one pool
        lost = lost[~lost["is_left"]]
    _check_sides(manifest, strategy, lost)
    gone = lost[~lost["label"].isin(manifest["label"])]
    classes = sorted(set(manifest.loc[manifest["split"] == "train", "label"]))
    if len(classes) < 2:
        raise DatasetError(
            f"train has images of one class, {classes[0]!r}, and a model needs two to tell apart"
            f"{_explained(gone)}"
        )
    robbed = sorted(set(gone.loc[~gone["is_by_hand"], "label"]))
    if robbed:
        raise DatasetError(
            f"no image is left of the class(es) {', '.join(robbed)}"
            f"{_explained(gone[gone['label'].isin(robbed)])}"
        )
    return _reasons(gone)


def _check_sides(manifest: pd.DataFrame, strategy: str, lost: pd.DataFrame) -> None:
    """Refuse an empty train or val, and classes that are in val alone."""
    is_given = strategy == "given"
    empty = [split for split in SNAPSHOT_SPLITS if not (manifest["split"] == split).any()]
    if empty:
        together = "" if is_given else " (near-duplicates stay together)"
        gone = lost[lost["split"].isin(empty)] if is_given else lost
        look = "" if len(gone) else "; look at data/corrections.csv and the split section"
        raise DatasetError(
            f"no image is left in {' and '.join(empty)}{together}{look}{_explained(gone)}"
        )
    by_split = manifest.groupby("split")["label"].agg(set)
    missing = sorted(by_split["val"] - by_split["train"])
    if not missing:
        return
    gone = lost[lost["label"].isin(missing) & ((lost["split"] == "train") | (not is_given))]
    advice = (
        "; give more images of them, move some to train in data/corrections.csv, or set another "
        "split.seed"
    )
    if is_given:
        advice = (
            "; rename a misspelt folder in the source and give it again; if it is no misspelling, "
            "split.strategy: stratified pools and splits again"
        )
        if set(missing) <= set(gone["label"]):
            advice = ""
    raise DatasetError(
        f"validation has classes that training lacks: {', '.join(missing)}{advice}"
        f"{_explained(gone)}"
    )


def _reasons(lost: pd.DataFrame) -> list[str]:
    """Count the images of each class by what became of them, the most frequent first."""
    lines = []
    for label, rows in lost.drop_duplicates(["image_id", "label"]).groupby("label"):
        counts = Counter(rows["reason"]).most_common()
        shown = [f"{n} {reason}" for reason, n in counts[:_N_REASONS]]
        if len(counts) > _N_REASONS:
            shown.append(f"{sum(n for _, n in counts[_N_REASONS:])} for other reasons")
        lines.append(f"{label!r} had {len(rows)} image(s): {', '.join(shown)}")
    return lines


def _explained(lost: pd.DataFrame) -> str:
    """Tell why images are gone, and what to do; nothing if none is."""
    if lost.empty:
        return ""
    remedies = []
    if not lost["is_by_hand"].all():
        remedies.append(
            "data/rounds/r00/duplicates.csv lists the copies: take those that do not belong there "
            "out of the source and give it again, or relabel or delete them in data/corrections.csv"
        )
    if lost["is_by_hand"].any():
        remedies.append("what data/corrections.csv does is undone by taking its lines out")
    return f":{first_listed(_reasons(lost))}\n{'; '.join(remedies)}"


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
