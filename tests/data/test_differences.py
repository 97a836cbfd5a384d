"""What differs between two manifests."""

import pandas as pd

from databoost.data.differences import manifest_differences, told


def manifest(*rows: str) -> pd.DataFrame:
    return pd.DataFrame([row.split() for row in rows], columns=["image_id", "split", "label"])


def test_every_difference_is_told_once() -> None:
    before = manifest("a train i", "b train i", "c val v", "d train v")
    after = manifest("e train v", "d val i", "f train v", "c val v", "b train v", "g val i")
    assert told(manifest_differences(before, after)).splitlines() == [
        "relabelled: 2",
        "  b  i -> v",
        "  d  v -> i",
        "moved: 1",
        "  d  train -> val",
        "deleted: 1",
        "  a  train/i",
        "added: 3",
        "  train/v  2",
        "  val/i  1",
    ]


def test_equal_manifests_differ_in_nothing() -> None:
    same = manifest("a train i")
    assert told(manifest_differences(same, same)) == "relabelled: 0\nmoved: 0\ndeleted: 0\nadded: 0"
