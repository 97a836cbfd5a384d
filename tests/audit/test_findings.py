"""Findings on hand-made tables: what is listed, in which order, with which partner."""

from typing import Any

import numpy as np
import pandas as pd
from projects import REPOSITORY

from databoost.audit.findings import (
    KINDS,
    audit_figures,
    copy_findings,
    image_findings,
    near_findings,
    order_findings,
    region_findings,
    unreadable_findings,
)
from databoost.audit.regions import Region
from databoost.audit.shift import ShiftResult
from databoost.data.tables import FINDINGS, RAW_INDEX, UNREADABLE
from databoost.params import read_params

RULES = read_params(REPOSITORY / "params.yaml").audit


def raw(*rows: str) -> pd.DataFrame:
    """Build the raw index from ``id split/label/file`` lines."""
    ids, paths = zip(*(row.split(" ") for row in rows), strict=True)
    parts = [path.split("/") for path in paths]
    return RAW_INDEX.frame(
        {
            "image_id": ids,
            "path": paths,
            "split": [part[0] for part in parts],
            "label": [part[1] for part in parts],
        }
    )


IMAGES = raw("a train/i/1.png", "b train/v/2.png", "c val/i/3.png", "d test/i/4.png")


def told(findings: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    assert list(findings.columns) == list(FINDINGS.columns)
    return list(findings[["finding", "image_id", *columns]].itertuples(index=False, name=None))


def test_unreadable_files():
    table = UNREADABLE.frame({"path": ["x/a.png"], "n_bytes": [7], "reason": ["cut short"]})
    (row,) = unreadable_findings(table).to_dict("records")
    assert row == {
        "finding": "unreadable", "image_id": "", "path": "x/a.png", "split": "", "label": "",
        "value": 7.0, "other_id": "", "other_split": "", "other_label": "", "detail": "cut short",
    }  # fmt: skip


def test_blank_tiny_and_odd_images():
    images = raw(*(f"{number} train/i/{number}.png" for number in range(12)))
    shares = np.full(12, 0.1)
    shares[:3] = 0.0, RULES.nearly_blank / 2, RULES.nearly_blank
    heights, widths = np.full(12, 100), np.full(12, 100)
    heights[3] = 9
    widths[4] = 5000
    found = image_findings(images, shares, heights, widths, RULES)
    assert told(found, "detail")[:3] == [
        ("blank", "0", "100 x 100"),
        ("nearly blank", "1", "100 x 100"),
        ("tiny", "3", "100 x 9"),
    ]
    assert told(found, "detail")[3:] == [("odd size", "4", "5000 x 100")]
    assert found["value"][:3].tolist() == [0.0, RULES.nearly_blank / 2, 9.0]


def test_copies_across_splits_are_leaks_and_within_one_duplicates():
    images = raw(
        "a train/i/1.png", "a train/v/2.png", "a val/i/3.png", "b train/i/4.png", "b test/v/5.png",
        "c test/i/6.png", "c label_book/i/7.png",
    )  # fmt: skip
    found = copy_findings(images)
    columns = ("path", "other_split", "other_label", "detail")
    assert told(found, *columns) == [
        ("exact leak", "a", "train/i/1.png", "val", "i", ""),
        ("exact leak", "b", "train/i/4.png", "test", "v", "two labels"),
        ("exact duplicate", "a", "train/v/2.png", "train", "i", "two labels"),
    ]
    assert (found["value"] == 1.0).all()
    assert copy_findings(IMAGES).empty


def test_near_duplicates_across_splits_are_leaks():
    pairs = pd.DataFrame({"first": [0, 0], "second": [1, 3], "similarity": [0.96004, 0.99]})
    columns = ("value", "other_id", "other_split", "other_label", "detail")
    assert told(near_findings(IMAGES, pairs), *columns) == [
        ("near leak", "a", 0.99, "d", "test", "i", ""),
        ("near-duplicate", "a", 0.96, "b", "train", "v", "two labels"),
    ]


def test_regions_name_their_typical_images():
    region = Region(4, 64, 1, 14.7, "i", 0.001, ("b", "a"))
    found = region_findings([region], IMAGES)
    told_region = "region 4, mostly i: 64 train, 1 val (14.7 expected); val lacks it"
    assert told(found, "split", "value", "detail") == [
        ("uneven region", "b", "train", 0.001, told_region),
        ("uneven region", "a", "train", 0.001, told_region),
    ]
    assert region_findings([], IMAGES).empty


def test_the_whole_list_goes_by_kind():
    parts = [
        near_findings(IMAGES, pd.DataFrame({"first": [0], "second": [3], "similarity": [0.99]})),
        image_findings(IMAGES, np.zeros(4), np.full(4, 50), np.full(4, 50), RULES),
    ]
    ordered = order_findings(parts)
    assert told(ordered) == [*(("blank", name) for name in "abcd"), ("near leak", "a")]
    assert set(ordered["finding"]) <= set(KINDS)


def test_the_figures():
    findings = order_findings(
        [image_findings(IMAGES, np.zeros(4), np.full(4, 50), np.full(4, 50), RULES)]
    )
    figures = audit_figures(findings, IMAGES, 2, ShiftResult(0.61234, 0.5, 0.7, 0.01, 2, 1), 7)
    assert figures["n_near_duplicate_pairs"] == 7
    assert list(figures["findings"]) == list(KINDS)
    assert {kind: n for kind, n in figures["findings"].items() if n} == {
        "blank": 4,
        "uneven region": 2,
    }
    assert figures["n_images"] == {"train": 2, "val": 1, "test": 1}
    assert figures["class_balance"] == {
        "train": {"i": 1, "v": 1},
        "val": {"i": 1},
        "test": {"i": 1},
    }
    assert figures["train_val_difference"]["auc"] == 0.6123
    assert "train_val_difference" not in audit_figures(findings, IMAGES, 0, None, 0)
