"""Tables over rounds, from outputs written by hand."""

from pathlib import Path

import pytest
from handmade_rounds import declared, lay_round

from databoost.data.files import write_text
from databoost.data.tables import CONFUSIONS, CURVES
from databoost.layout import Layout
from databoost.outcomes import Outcome, read_outcomes
from databoost.progress import confusion_rows, curve_rows, round_rows, wilson_interval


@pytest.fixture
def outcomes(tmp_path: Path) -> list[Outcome]:
    layout = Layout(tmp_path)
    lay_round(layout, "r00")
    lay_round(layout, "r01", accuracy=1.0)
    return read_outcomes(layout, declared(), ["r00", "r01"])


@pytest.mark.parametrize(
    ("n_right", "n", "expected"),
    [
        # With none right the upper end is z^2 / (n + z^2), 3.8415 / 23.8415 here.
        (8, 10, (0.4901625, 0.9433178)),
        (0, 20, (0.0, 0.1611252)),
        (20, 20, (0.8388748, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_interval(n_right: int, n: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(n_right, n) == pytest.approx(expected, abs=1e-6)


def test_one_row_a_round_and_split(outcomes: list[Outcome]) -> None:
    rows = round_rows(outcomes, "nearest")
    assert rows[["round", "split"]].to_numpy().tolist() == [
        ["r00", "train"],
        ["r00", "val"],
        ["r00", "label_book"],
        ["r01", "train"],
        ["r01", "val"],
        ["r01", "label_book"],
    ]
    low, high = wilson_interval(1, 2)
    assert rows.iloc[1].to_dict() == {
        "round": "r00",
        "strategy": "nearest",
        "split": "val",
        "accuracy": 0.5,
        "low": round(low, 6),
        "high": round(high, 6),
        "n_images": 2,
        "n_misclassified": 1,
        "n_train": 2,
        "n_additions": 0,
    }
    assert rows["n_additions"].tolist() == [0, 0, 0, 1, 1, 1]


def test_no_round_no_row() -> None:
    assert round_rows([], "nearest").empty
    assert list(curve_rows([]).columns) == list(CURVES.columns)
    assert list(confusion_rows([]).columns) == list(CONFUSIONS.columns)


def test_curves_of_all_rounds(outcomes: list[Outcome]) -> None:
    curves = curve_rows(outcomes)
    assert curves[["round", "epoch", "val_accuracy"]].to_numpy().tolist() == [
        ["r00", 0, 0.0],
        ["r00", 1, 0.5],
        ["r01", 0, 0.0],
        ["r01", 1, 1.0],
    ]


def test_confusions_without_the_training_images(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        text = "split,label,predicted_label,n_images\ntrain,i,i,2\nval,i,v,1\ntest,v,v,3\n"
        write_text(outcome.files.confusion, text)
    assert confusion_rows(o.files for o in outcomes).to_numpy().tolist() == [
        ["r00", "val", "i", "v", 1],
        ["r00", "test", "v", "v", 3],
        ["r01", "val", "i", "v", 1],
        ["r01", "test", "v", "v", 3],
    ]
