"""Which failures were fixed, on sheets written by hand."""

import pandas as pd
import pytest

from databoost.attribution import (
    FIXED,
    NEWLY_WRONG,
    STILL_WRONG,
    Transition,
    counts_by_class,
    failure_outcomes,
    fixed_by_neighbours,
    transition,
)
from databoost.data.tables import ADDITIONS, SHEET
from databoost.errors import DatasetError


def sheet(*rows: tuple[str, str, str, float]) -> pd.DataFrame:
    """Validation images as (id, label, predicted label, loss), and one training image."""
    every = [*rows, ("t1", "i", "v", 9.0)]
    n = len(every)
    ids, labels, predicted, losses = zip(*every, strict=True)
    splits = ["val"] * len(rows) + ["train"]
    return SHEET.frame(
        {
            "image_id": ids,
            "path": [f"{s}/{b}/{a}.png" for a, b, s in zip(ids, labels, splits, strict=True)],
            "split": splits,
            "label": labels,
            "predicted_label": predicted,
            "p_label": [0.5] * n,
            "p_predicted": [0.5] * n,
            "margin": [0.0] * n,
            "loss": losses,
            "is_misclassified": [a != b for a, b in zip(labels, predicted, strict=True)],
            "origin": ["raw"] * n,
            "round_added": ["r00"] * n,
        }
    )


def additions(*rows: tuple[str, str, str, str, int]) -> pd.DataFrame:
    """Additions as (id, label, query id, query label, rank)."""
    ids, labels, queries, query_labels, ranks = zip(*rows, strict=True)
    n = len(rows)
    return ADDITIONS.frame(
        {
            "image_id": ids,
            "candidate_id": range(n),
            "label": labels,
            "parent_id": ["t1"] * n,
            "recipe": ["7"] * n,
            "strategy": ["nearest"] * n,
            "query_id": queries,
            "query_label": query_labels,
            "query_predicted_label": ["x"] * n,
            "similarity": [0.5] * n,
            "rank": ranks,
        }
    )


BEFORE = sheet(
    ("a", "i", "v", 1.0),  # will be fixed
    ("b", "i", "v", 2.0),  # stays
    ("c", "v", "v", 0.1),  # breaks
    ("d", "v", "v", 0.1),  # right all along
    ("e", "v", "i", 3.0),  # will be fixed
    ("f", "v", "i", 2.0),  # stays, as long as b wrong as before
    ("g", "v", "v", 0.2),  # breaks, less than c, though its loss was the higher one
)
AFTER = sheet(
    ("g", "v", "i", 3.0),
    ("f", "v", "x", 1.0),
    ("e", "v", "v", 0.1),
    ("d", "v", "v", 0.1),
    ("c", "v", "i", 4.0),
    ("b", "i", "v", 5.0),
    ("a", "i", "i", 0.1),
)
ADDED = additions(
    ("n3", "v", "b", "i", 2),
    ("n1", "i", "a", "i", 1),
    ("n2", "v", "b", "i", 1),
    ("n4", "v", "f", "v", 1),
)


def compared() -> Transition:
    return transition("r00", "r01", BEFORE, AFTER, ADDED, ["i", "v", "x"])


def test_outcomes_by_kind_then_worst_first_then_by_id() -> None:
    failures = failure_outcomes("r00", "r01", BEFORE, AFTER)
    assert failures[["image_id", "outcome"]].to_numpy().tolist() == [
        ["e", FIXED],
        ["a", FIXED],
        ["b", STILL_WRONG],
        ["f", STILL_WRONG],
        ["c", NEWLY_WRONG],
        ["g", NEWLY_WRONG],
    ]
    assert failures.iloc[3].to_dict() == {
        "image_id": "f",
        "path": "val/v/f.png",
        "label": "v",
        "predicted_before": "i",
        "predicted_after": "x",
        "loss_before": 2.0,
        "loss_after": 1.0,
        "outcome": STILL_WRONG,
    }


def test_the_training_images_are_left_out() -> None:
    assert "t1" not in set(compared().failures["image_id"])


def test_a_transition_counts_and_sorts_what_was_fetched() -> None:
    told = compared()
    assert [told.count(outcome) for outcome in (FIXED, STILL_WRONG, NEWLY_WRONG)] == [2, 2, 2]
    assert told.fetched["image_id"].tolist() == ["n1", "n2", "n3", "n4"]
    assert (told.before, told.after) == ("r00", "r01")


def test_counts_by_class_name_every_class() -> None:
    assert compared().by_class.to_numpy().tolist() == [
        ["i", 2, 2, 1, 1, 0, 1],
        ["v", 5, 2, 1, 1, 2, 3],
        ["x", 0, 0, 0, 0, 0, 0],
    ]


def test_counts_by_class_without_any_failure() -> None:
    right = sheet(("a", "i", "i", 0.1))
    failures = failure_outcomes("r00", "r01", right, right)
    assert failures.empty
    val = right[right["split"] == "val"]
    counted = counts_by_class(failures, val, ADDITIONS.empty(), ["i"])
    assert counted.to_numpy().tolist() == [["i", 1, 0, 0, 0, 0, 0]]


def test_failures_by_the_labels_fetched_for_them() -> None:
    assert fixed_by_neighbours(compared()).to_numpy().tolist() == [
        ["with its own label", 2, 1],  # a, fixed, and f
        ["with other labels only", 1, 0],  # b
        ["none", 1, 1],  # e
    ]


def test_random_additions_were_fetched_for_none() -> None:
    drawn = additions(("n1", "i", "", "", 0), ("n2", "v", "", "", 0))
    told = transition("r00", "r01", BEFORE, AFTER, drawn, ["i", "v"])
    assert fixed_by_neighbours(told)["n_failures"].tolist() == [0, 0, 4]


def test_rounds_of_different_validation_images_are_refused() -> None:
    other = sheet(("a", "i", "i", 0.1), ("b", "v", "v", 0.1))
    with pytest.raises(DatasetError, match=r"r00 and r02 .*labels \(6 image\(s\) differ"):
        failure_outcomes("r00", "r02", BEFORE, other)  # b has another label, five are missing
