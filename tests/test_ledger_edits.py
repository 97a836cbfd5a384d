"""Edits to changes to text: pure functions."""

import csv
import io

import pandas as pd
import pytest

from databoost.data.tables import CORRECTIONS, RAW_INDEX
from databoost.ledger_edits import (
    Change,
    Correction,
    Edit,
    backwards,
    changes_by,
    corrections_of,
    rewritten,
    with_rows,
)

RAW = RAW_INDEX.frame(
    {
        "image_id": ["a", "b", "b", "t"],
        "path": ["1.png", "2.png", "3.png", "4.png"],
        "split": ["train", "train", "val", "test"],
        "label": ["i", "i", "v", "i"],
    }
)
SHOWN = pd.DataFrame({"image_id": ["a", "b"], "split": ["train", "val"], "label": ["i", "v"]})
RELABEL_V = Correction("relabel", "v", "")
MOVE_VAL = Correction("move", "val", "")
DELETE = Correction("delete", "", "")


def ledger(*lines: tuple[str, Correction]) -> pd.DataFrame:
    return CORRECTIONS.frame(
        {
            "image_id": [image_id for image_id, _ in lines],
            "action": [line.action for _, line in lines],
            "value": [line.value for _, line in lines],
            "reason": [line.reason for _, line in lines],
        }
    )


def after(
    before: tuple[Correction, ...],
    action: str,
    value: str = "",
    note: str = "",
    image_id: str = "a",
    shown: pd.DataFrame = SHOWN,
    splits_again: bool = False,
) -> tuple[Correction, ...] | None:
    """Give the lines of an image after one edit; None: nothing changes."""
    edit = Edit(image_id, action, value, note)
    lines = ledger(*((image_id, line) for line in before))
    changes = changes_by([edit], lines, RAW, shown, splits_again=splits_again)
    if not changes:
        return None
    assert changes[0].before == before
    return changes[0].after


def test_an_edit_becomes_a_line() -> None:
    assert after((), "relabel", "v", "five") == (Correction("relabel", "v", "five"),)
    assert after((), "move", "val") == (MOVE_VAL,)
    assert after((), "delete") == (DELETE,)
    assert after((), "keep") is None


def test_a_relabel_and_a_move_stand_side_by_side() -> None:
    assert after((RELABEL_V,), "move", "val") == (MOVE_VAL, RELABEL_V)


def test_a_deletion_takes_the_place_of_every_line_and_any_line_that_of_a_deletion() -> None:
    assert after((MOVE_VAL, RELABEL_V), "delete") == (DELETE,)
    assert after((DELETE,), "relabel", "v") == (RELABEL_V,)
    assert after((DELETE,), "keep") == ()


def test_what_an_image_was_given_as_needs_no_line() -> None:
    assert after((RELABEL_V,), "relabel", "i") == ()
    assert after((), "relabel", "i") is None
    assert after((DELETE,), "relabel", "i") == ()
    assert after((MOVE_VAL,), "move", "train") == ()


def test_a_move_is_a_line_where_splits_are_drawn_anew() -> None:
    line = Correction("move", "train", "")
    assert after((), "move", "train", splits_again=True) == (line,)
    assert after((RELABEL_V,), "relabel", "i", splits_again=True) == ()


def test_copies_given_two_ways_need_a_line_either_way() -> None:
    assert after((), "relabel", "i", image_id="b") == (Correction("relabel", "i", ""),)
    assert after((), "move", "train", image_id="b") == (Correction("move", "train", ""),)


def test_keep_leaves_the_lines_that_the_sheet_shows_and_takes_the_others_out() -> None:
    shown = SHOWN.assign(label=["v", "v"])
    assert after((RELABEL_V,), "keep") == ()
    assert after((RELABEL_V,), "keep", shown=shown) is None
    assert after((MOVE_VAL, RELABEL_V), "keep", shown=shown) == (RELABEL_V,)
    noted = Correction("relabel", "v", "sure")
    assert after((RELABEL_V,), "keep", note="sure", shown=shown) == (noted,)


def test_an_old_reason_stays_until_a_new_one_or_another_value() -> None:
    old = (Correction("relabel", "v", "old"),)
    assert after(old, "relabel", "v") is None
    assert after(old, "relabel", "v", "new") == (Correction("relabel", "v", "new"),)
    assert after(old, "relabel", "x") == (Correction("relabel", "x", ""),)


def test_changes_speak() -> None:
    change = Change("a", (), (Correction("relabel", "v", "five"), DELETE))
    assert str(change) == "added    a  relabel v (five), delete"
    assert str(*backwards([change])) == "removed  a  relabel v (five), delete"
    assert str(Change("a", (DELETE,), (RELABEL_V,))) == "changed  a  delete -> relabel v"


HEADER = "image_id,action,value,reason\n"


def test_other_lines_stay_as_they_are() -> None:
    text = f'{HEADER}x , delete,, "why"\n\na,relabel,v,\ny,move,val,=1\n'
    changes = [Change("a", (RELABEL_V,), ()), Change("b", (), (DELETE,))]
    rows = list(csv.reader(io.StringIO(rewritten(text, changes), newline="")))
    assert rows == [*list(csv.reader([HEADER, 'x , delete,, "why"', "", "y,move,val,=1"])), [
        "b", "delete", "", ""
    ]]  # fmt: skip


def test_windows_line_ends_a_mark_and_further_columns_stay() -> None:
    text = "\ufeffreason,image_id,action,value,by\r\nbad,a,relabel,v,me\r\n\r\n"
    changed = rewritten(text, [Change("a", (RELABEL_V,), (Correction("relabel", "x", "bad"),))])
    assert changed == "\ufeffreason,image_id,action,value,by\r\nbad,a,relabel,x,me\r\n"
    added = rewritten(text, [Change("b", (), (Correction("delete", "", 'a "b", c'),))])
    assert added == text.removesuffix("\r\n") + '"a ""b"", c",b,delete,,\r\n'


def test_further_columns_stay_when_a_line_of_another_action_takes_its_place() -> None:
    text = "image_id,action,value,reason,who\na,relabel,v,x,me\nb,move,val,,you\n"
    change = Change("a", (Correction("relabel", "v", "x"),), (DELETE,))
    changed = rewritten(text, [change])
    assert changed == "image_id,action,value,reason,who\nb,move,val,,you\na,delete,,,me\n"
    undone = rewritten(changed, backwards([change]))
    assert sorted(undone.splitlines()) == sorted(text.splitlines())


def test_each_of_several_new_lines_is_like_one_that_it_replaces() -> None:
    header = "image_id,action,value,reason,who\n"
    change = Change("a", (MOVE_VAL, RELABEL_V), (DELETE,))
    changed = rewritten(f"{header}a,move,val,,me\na,relabel,v,,you\n", [change])
    assert changed == f"{header}a,delete,,,me\n"
    undone = rewritten(changed, backwards([change]))
    assert undone == f"{header}a,move,val,,me\na,relabel,v,,me\n"


@pytest.mark.parametrize("text", ["", "\n", ",,\n"])
def test_an_empty_ledger_gets_its_header(text: str) -> None:
    assert rewritten(text, [Change("b", (), (DELETE,))]) == HEADER + "b,delete,,\n"


def test_a_lone_carriage_return_stays_within_its_cell() -> None:
    text = rewritten("", [Change("b", (), (Correction("delete", "", "one\rtwo"),))])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[1] == ["b", "delete", "", "one\rtwo"]


def test_rows_of_the_lines_before_are_found() -> None:
    text = '\n who, image_id,action ,value,reason\nme,a, relabel,v,"x,"\n,,,,\nyou,a,relabel,v,y\n'
    reason = Correction("relabel", "v", "x,")
    (change,) = with_rows(text, [Change("a", (reason,), (DELETE,))])
    assert change == Change("a", (reason,), (DELETE,))
    assert change.before[0].row == (
        ("who", "me"), ("image_id", "a"), ("action", " relabel"), ("value", "v"), ("reason", "x,"),
    )  # fmt: skip
    assert change.after[0].row == ()


def test_lines_are_grouped_by_image() -> None:
    grouped = corrections_of(ledger(("a", RELABEL_V), ("b", DELETE), ("a", MOVE_VAL)))
    assert grouped == {"a": (MOVE_VAL, RELABEL_V), "b": (DELETE,)}


def test_of_lines_that_say_the_same_the_first_counts() -> None:
    mine, theirs = (Correction("relabel", "v", reason) for reason in ("mine", "theirs"))
    other = Correction("relabel", "i", "mine")
    assert corrections_of(ledger(("a", mine), ("a", theirs))) == {"a": (mine,)}
    assert corrections_of(ledger(("a", theirs), ("a", other))) == {"a": (theirs, other)}
