"""Whether a snapshot can be trained on, and what became of the images that it lacks."""

from collections import Counter

import pandas as pd

from databoost.errors import DatasetError, first_listed
from databoost.layout import SNAPSHOT_SPLITS

_N_REASONS = 5  # shown of what became of a class


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
