"""Which validation images ask for additions, and how many there may be."""

from typing import Any

import pytest

from databoost.additions import find_queries, wanted_additions
from databoost.data.halves import in_mining_half
from databoost.data.tables import SHEET
from databoost.sections import BoostParams


def settings(**changes: Any) -> BoostParams:
    values = {
        "strategy": "nearest", "neighbors": 3, "labels": "any", "mine_on": "val",
        "suspects": "ask", "max_margin": 0.0, "pool": 10, "additions": 0, "max_per_parent": 0,
        "max_additions": 0, "size_limit": 0, "seed": 0, "distinct_parents": False, "clusters": 0,
        "random_share": 0.0, "drop_unlike": 0.0,
    }  # fmt: skip
    return BoostParams.model_validate(values | changes)


def sheet(*rows: tuple[str, str, float]) -> Any:
    """Rows of (id, split, margin); below 0 is misclassified."""
    ids, splits, margins = zip(*rows, strict=True)
    values: dict[str, Any] = {column: [0.5] * len(rows) for column in SHEET.columns}
    texts = ("path", "label", "predicted_label", "origin", "round_added")
    values |= {column: ["x"] * len(rows) for column in texts}
    values |= {"image_id": ids, "split": splits, "margin": margins}
    return SHEET.frame(values | {"is_misclassified": [margin < 0 for margin in margins]})


ROWS = sheet(
    ("d", "val", -0.5), ("a", "val", -0.1), ("c", "val", 0.1), ("b", "val", 0.9),
    ("e", "test", -0.9), ("f", "label_book", -0.9), ("g", "train", -0.9),
)  # fmt: skip


def asking(in_doubt: tuple[str, ...] = (), **changes: Any) -> list[str]:
    return find_queries(ROWS, settings(**changes), in_doubt)["image_id"].tolist()


def test_misclassified_validation_images_ask_and_no_others() -> None:
    assert asking() == ["a", "d"]


def test_a_margin_lets_those_ask_that_are_barely_right() -> None:
    assert asking(max_margin=0.2) == ["a", "c", "d"]
    assert asking(max_margin=1.0) == ["a", "b", "c", "d"]


def test_suspects_ask_unless_they_are_skipped() -> None:
    assert asking(("a", "z")) == ["a", "d"]
    assert asking(("a", "z"), suspects="skip") == ["d"]


def test_of_two_halves_one_asks() -> None:
    names = [f"{number:02d}" for number in range(20)]
    wrong = sheet(*((name, "val", -0.5) for name in names))
    mined = [name for name, is_in in zip(names, in_mining_half(names), strict=True) if is_in]
    assert 0 < len(mined) < 20
    asked = find_queries(wrong, settings(mine_on="half"), ())
    assert asked["image_id"].tolist() == mined


@pytest.mark.parametrize(
    ("additions", "most", "room", "wanted"),
    [(0, 0, 7, 7), (5, 0, None, 5), (5, 3, 7, 3), (5, 9, 4, 4), (5, 0, 0, 0), (0, 0, None, 2**62)],
)
def test_wanted_additions(additions: int, most: int, room: int | None, wanted: int) -> None:
    assert wanted_additions(settings(additions=additions, max_additions=most), room) == wanted
