"""Changes of the ledger and their way back: by hand, on another branch, after a kill."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from databoost import ledger_history
from databoost.data.files import write_text
from databoost.data.tablefiles import write_table
from databoost.data.tables import CLASSES, RAW_INDEX
from databoost.errors import CorrectionError, TableError
from databoost.layout import Layout
from databoost.ledger_edits import Change, Edit
from databoost.ledger_history import change_ledger, undo_gone, undo_images, undo_last

HEADER = "image_id,action,value,reason\n"
SHOWN = pd.DataFrame(
    {"image_id": ["a", "b", "c"], "split": ["train"] * 3, "label": ["i", "i", "v"]}
)
FORGET = (
    "delete .databoost/corrections/{:05d}.csv, and `databoost corrections undo --last` takes back "
    "the one before"
)
NOT_THERE = (
    "the last import or undo is not in data/corrections.csv; nothing was changed. If it was made "
    "on another branch, take it back there; if it is taken back already, "
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Give a project of the training images a, b and c, and t, which is held out."""
    layout = Layout(tmp_path)
    write_table(layout.classes, CLASSES.frame({"label": ["i", "v"]}), CLASSES)
    lay_raw(layout, "a", "b", "c", "t")
    write_text(layout.corrections, HEADER)
    return layout


def lay_raw(layout: Layout, *image_ids: str) -> None:
    columns = {
        "image_id": list(image_ids),
        "path": [f"{image_id}.png" for image_id in image_ids],
        "split": ["test" if image_id == "t" else "train" for image_id in image_ids],
        "label": ["i"] * len(image_ids),
    }
    write_table(layout.raw_index, RAW_INDEX.frame(columns), RAW_INDEX)


def edit(layout: Layout, *edits: tuple[str, ...]) -> list[Change]:
    """Import edits: image, action and, where there is one, value."""
    wanted = [Edit(*[*cells, ""][:3], "") for cells in edits]
    return change_ledger(layout, wanted, SHOWN, splits_again=False)


def text(layout: Layout) -> str:
    return layout.corrections.read_text(encoding="utf-8")


def history(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.correction_history.glob("*"))


def refusal(layout: Layout) -> str:
    """Give what the undo of the last change is refused with; it must change nothing."""
    before = text(layout), history(layout)
    with pytest.raises(CorrectionError) as caught:
        undo_last(layout)
    assert (text(layout), history(layout)) == before
    return str(caught.value)


def test_a_change_that_was_taken_back_by_hand_stops_undo(layout: Layout) -> None:
    edit(layout, ("a", "delete"))
    only_a = text(layout)
    edit(layout, ("b", "delete"))
    write_text(layout.corrections, only_a)
    assert refusal(layout) == NOT_THERE + FORGET.format(2)
    (layout.correction_history / "00002.csv").unlink()
    assert list(map(str, undo_last(layout))) == ["removed  a  delete"]
    assert (text(layout), history(layout)) == (HEADER, [])
    assert refusal(layout) == (
        "no import or undo is left to take back; `git log data/corrections.csv`"
    )


def test_a_change_of_another_branch_is_kept_for_it(layout: Layout) -> None:
    edit(layout, ("a", "delete"))
    there = text(layout)
    layout.corrections.unlink()
    with pytest.raises(CorrectionError, match=r"is not in data/corrections\.csv; nothing was"):
        undo_last(layout)
    write_text(layout.corrections, there)
    undo_last(layout)
    assert text(layout) == HEADER


def test_a_change_of_lines_that_were_edited_since_stops_undo(layout: Layout) -> None:
    edit(layout, ("a", "delete"), ("b", "relabel", "v"), ("c", "delete"))
    write_text(layout.corrections, f"{HEADER}a,delete,,\nb,relabel,i,\n")
    assert refusal(layout) == (
        "data/corrections.csv was edited since the last import or undo, for 2 of its image(s); "
        "nothing was changed:\n  - b: was relabel v, is relabel i\n  - c: was delete, is no line\n"
        "`databoost corrections undo ID` takes out the lines of an image; to leave them, "
        + FORGET.format(1)
    )


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def kill_before(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let a command die before so many changes of files were made."""
    steps = count()

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **named: Any) -> Any:
            if next(steps) == step:
                raise Killed
            return change(*arguments, **named)

        return changed

    for place, name in (
        (Path, "replace"),
        (Path, "unlink"),
        (ledger_history, "write_text"),
        (ledger_history, "write_table"),
    ):
        patch.setattr(place, name, dying(getattr(place, name)))


@pytest.mark.parametrize(
    ("command", "after"),
    [
        (lambda layout: edit(layout, ("c", "delete")), "a,delete,,\nb,delete,,\nc,delete,,\n"),
        (lambda layout: undo_images(layout, ["a"]), "b,delete,,\n"),
        (undo_last, "a,delete,,\n"),
    ],
)
def test_a_kill_at_any_point_leaves_a_command_that_can_be_given_again(
    layout: Layout, command: Callable[[Layout], object], after: str
) -> None:
    edit(layout, ("a", "delete"))
    edit(layout, ("b", "delete"))
    before = text(layout)
    entries = {path: path.read_bytes() for path in layout.correction_history.iterdir()}
    for step in count():
        for path in layout.correction_history.iterdir():
            path.unlink()
        for path, content in entries.items():
            path.write_bytes(content)
        write_text(layout.corrections, before)
        with pytest.MonkeyPatch.context() as patch:
            kill_before(patch, step)
            try:
                command(layout)
            except Killed:
                killed = True
            else:
                killed = False
        if text(layout) == before:
            command(layout)  # again
        assert text(layout) == HEADER + after
        if command is undo_last:
            undo_last(layout)  # the change before it
            assert text(layout) == HEADER
        else:
            undo_last(layout)
            assert sorted(text(layout).splitlines()) == sorted(before.splitlines())
            undo_last(layout)
            assert text(layout) == f"{HEADER}a,delete,,\n"
        if not killed:
            break
    assert step >= 3


def test_an_open_entry_that_the_ledger_neither_has_nor_lacks_is_kept(layout: Layout) -> None:
    edit(layout, ("a", "delete"))
    entry = layout.correction_history / "00001.csv"
    entry.rename(entry.with_name("00001.csv.open"))  # as a kill leaves it
    write_text(layout.corrections, f"{HEADER}a,relabel,v,\n")
    edit(layout, ("b", "delete"))
    assert history(layout) == ["00001.csv", "00002.csv"]
    undo_last(layout)
    assert refusal(layout).endswith(FORGET.format(1))


def test_whole_lines_come_back(layout: Layout) -> None:
    lines = 'a,delete,, why ,Ann,"x, y",1\nb , relabel,v,cafe\u0301,Bob,,\nc,move,val,,Eve,z,\n'
    before = f"image_id,action,value,reason,who,,\n{lines}"
    write_text(layout.corrections, before)
    undo_images(layout, ["a", "b", "c"])
    assert text(layout) == "image_id,action,value,reason,who,,\n"
    undo_last(layout)
    assert text(layout) == before


def test_each_line_that_a_deletion_replaced_comes_back_with_its_own_columns(
    layout: Layout,
) -> None:
    before = "image_id,action,value,reason,who\na,move,val,,me\na,relabel,v,x,you\n"
    write_text(layout.corrections, before)
    edit(layout, ("a", "delete"))
    assert text(layout) == "image_id,action,value,reason,who\na,delete,,,me\n"
    undo_last(layout)
    assert text(layout) == before


def test_a_line_comes_back_into_columns_that_were_changed_since(layout: Layout) -> None:
    write_text(layout.corrections, "image_id,action,value,reason,who,when\na,delete,,x,Ann,now\n")
    undo_images(layout, ["a"])
    write_text(layout.corrections, "who,image_id,value,action,reason,where\nBob,b,,delete,,here\n")
    undo_last(layout)
    assert text(layout) == (
        "who,image_id,value,action,reason,where\nBob,b,,delete,,here\nAnn,a,,delete,x,\n"
    )


def test_a_column_that_was_filled_in_since_stays(layout: Layout) -> None:
    header = "image_id,action,value,reason,who\n"
    write_text(layout.corrections, f"{header}a,relabel,v,,Ann\n")
    edit(layout, ("a", "move", "val"))
    write_text(layout.corrections, text(layout).replace("Ann", "Bob"))
    undo_last(layout)
    assert text(layout) == f"{header}a,relabel,v,,Bob\n"


def test_history_from_before_rows_were_kept_is_read(layout: Layout) -> None:
    entry = layout.correction_history / "00007.csv"
    columns = "side,image_id,action,value,reason\n"
    write_text(entry, f"{columns}before,a,relabel,v,x\nafter,a,delete,,\nafter,b,move,val,=1\n")
    write_text(layout.corrections, f"{HEADER}a,delete,,\nb,move,val,=1\n")
    edit(layout, ("c", "delete"))
    assert history(layout) == ["00007.csv", "00008.csv"]
    undo_last(layout)
    undo_last(layout)
    assert text(layout) == f"{HEADER}a,relabel,v,x\n"
    write_text(entry, "side,image_id\n")
    with pytest.raises(TableError, match=r"00007\.csv lacks column action, value, reason"):
        undo_last(layout)


def test_lines_of_a_merge_that_say_the_same_are_one(layout: Layout) -> None:
    merged = f"{HEADER}a,relabel,v,mine\nb,delete,,\na,relabel,v,theirs\n"
    write_text(layout.corrections, merged)
    assert edit(layout, ("a", "relabel", "v")) == []
    assert text(layout) == merged
    edit(layout, ("a", "delete"))
    assert sorted(text(layout).splitlines()[1:]) == ["a,delete,,", "b,delete,,"]
    undo_last(layout)
    assert sorted(text(layout).splitlines()[1:]) == ["a,relabel,v,mine", "b,delete,,"]


def test_the_lines_of_all_images_that_are_gone_are_taken_out_and_come_back(
    layout: Layout,
) -> None:
    lines = "b,delete,,\n\n,,,\nt,delete,,\na,relabel,v,x\nc,move,val,\n,delete,,no id\n"
    write_text(layout.corrections, HEADER + lines)
    lay_raw(layout, "b", "t")
    assert list(map(str, undo_gone(layout))) == [
        "removed  a  relabel v (x)",
        "removed  c  move val",
        "removed    delete (no id)",
    ]
    kept = "b,delete,,\n\n,,,\nt,delete,,\n"
    assert text(layout) == HEADER + kept
    assert undo_gone(layout) == []
    assert history(layout) == ["00001.csv"]
    undo_last(layout)  # though they are still gone
    assert text(layout) == HEADER + lines


def test_an_image_that_is_gone_gets_no_line(layout: Layout) -> None:
    lay_raw(layout, "b", "t")
    with pytest.raises(CorrectionError) as caught:
        edit(layout, ("a", "delete"), ("b", "delete"), ("c", "relabel", "v"))
    assert str(caught.value) == (
        "2 image(s) are no longer among the raw images; `dvc repro`, and make a new sheet:"
        "\n  - a\n  - c"
    )
    assert text(layout) == HEADER
