"""What differs between two snapshots."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Differences:
    """What became of the images of one manifest in another.

    Attributes
    ----------
    relabelled, moved
        ``image_id``, ``before`` and ``after``: labels, and splits.
    deleted, added
        Rows of the manifest that has them: the first, and the second.
    """

    relabelled: pd.DataFrame
    moved: pd.DataFrame
    deleted: pd.DataFrame
    added: pd.DataFrame


def manifest_differences(before: pd.DataFrame, after: pd.DataFrame) -> Differences:
    """Compare two manifests by ``image_id``; rows are ordered by it.

    Parameters
    ----------
    before, after
        Rows with ``image_id`` (each once), ``split`` and ``label``.
    """
    both = before.merge(after, on="image_id", suffixes=("_before", "_after"))
    both = both.sort_values("image_id")
    relabelled, moved = (
        both.loc[
            both[f"{column}_before"] != both[f"{column}_after"],
            ["image_id", f"{column}_before", f"{column}_after"],
        ].set_axis(["image_id", "before", "after"], axis=1)
        for column in ("label", "split")
    )
    return Differences(
        relabelled,
        moved,
        before[~before["image_id"].isin(after["image_id"])].sort_values("image_id"),
        after[~after["image_id"].isin(before["image_id"])].sort_values("image_id"),
    )


def told(differences: Differences) -> str:
    """Write differences for a person: the ids of corrected images, additions counted by class."""
    lines = []
    for name, rows in (("relabelled", differences.relabelled), ("moved", differences.moved)):
        lines.append(f"{name}: {len(rows)}")
        lines += [f"  {row.image_id}  {row.before} -> {row.after}" for row in rows.itertuples()]
    lines.append(f"deleted: {len(differences.deleted)}")
    lines += [
        f"  {row.image_id}  {row.split}/{row.label}" for row in differences.deleted.itertuples()
    ]
    lines.append(f"added: {len(differences.added)}")
    classes = differences.added["split"] + "/" + differences.added["label"]
    lines += [f"  {name}  {n}" for name, n in classes.value_counts().sort_index().items()]
    return "\n".join(lines)
