"""The ledger: how it is read, applied and refused."""

from pathlib import Path

import pandas as pd
import pytest

from databoost.data.corrections import apply_corrections, is_gone, read_corrections
from databoost.data.tables import CORRECTIONS, RAW_INDEX
from databoost.errors import CorrectionError, TableError

CLASSES = ["i", "ii", "v"]
IMAGES = RAW_INDEX.frame(
    {
        "image_id": ["a", "b", "c", "d", "a", "c", "h"],
        "path": [f"{number}.png" for number in range(7)],
        "split": ["train", "train", "val", "val", "val", "test", "test"],
        "label": ["i", "ii", "v", "i", "ii", "v", "i"],
    }
)

GONE = (
    "\nif images are gone for good, `databoost corrections undo --gone` takes out all their lines, "
    "`undo ID` those of one"
)


def ledger(*lines: str) -> pd.DataFrame:
    """Give a ledger of lines written ``id action value``."""
    cells = [[*line.split(), "", ""][:3] for line in lines]
    return CORRECTIONS.frame(
        {
            "image_id": [cell[0] for cell in cells],
            "action": [cell[1] for cell in cells],
            "value": [cell[2] for cell in cells],
            "reason": ["seen"] * len(cells),
        }
    ).set_axis([number + 2 for number in range(len(cells))], axis=0)


def told(images: pd.DataFrame) -> list[str]:
    assert list(images.index) == list(range(len(images)))
    return [f"{row.path} {row.split} {row.label}" for row in images.itertuples()]


def problems(*lines: str) -> list[str]:
    with pytest.raises(CorrectionError, match=r"data/corrections\.csv has") as caught:
        apply_corrections(IMAGES, ledger(*lines), CLASSES)
    first, *rest = str(caught.value).split("\n  - ")
    assert first == f"data/corrections.csv has {len(rest)} bad line(s):"
    return rest


def test_no_file_is_no_correction(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(read_corrections(tmp_path / "no.csv"), CORRECTIONS.empty())


@pytest.mark.parametrize("text", ["", "\n", "\r\n \r\n", "\ufeff", "\ufeff,,,\n\t\n"])
def test_a_blank_file_is_no_correction(tmp_path: Path, text: str) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(text, encoding="utf-8", newline="")
    pd.testing.assert_frame_equal(read_corrections(path), CORRECTIONS.empty())


def test_blanks_around_cells_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(
        "image_id, action, value, reason\n a , relabel, ii , it is a two \nb,delete,,\n,,,\n"
    )
    read = read_corrections(path)
    assert read.to_numpy().tolist() == [
        ["a", "relabel", "ii", " it is a two "],
        ["b", "delete", "", ""],
    ]


def test_a_class_is_found_however_its_accent_is_written(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text("image_id,action,value,reason\na,relabel,cafe\u0301,cafe\u0301\n", "utf-8")
    assert read_corrections(path).to_numpy().tolist() == [
        ["a", "relabel", "caf\u00e9", "cafe\u0301"]
    ]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    lines = ["image_id,action,value,reason", "", 'a,relabel,v,"two', 'lines"', ",,,", "zz,delete,,"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    read = read_corrections(path)
    assert list(read.index) == [3, 6]
    with pytest.raises(CorrectionError, match="line 6: no image has the id 'zz'"):
        apply_corrections(IMAGES, read, CLASSES)


def test_a_ledger_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text("image_id,action\n")
    with pytest.raises(TableError, match=r"corrections\.csv lacks column value, reason; correct"):
        read_corrections(path)


def test_an_empty_ledger_changes_nothing() -> None:
    pd.testing.assert_frame_equal(apply_corrections(IMAGES, ledger(), CLASSES), IMAGES)


def test_each_action_holds_for_every_copy_that_is_not_held_out() -> None:
    before = IMAGES.copy()
    corrected = apply_corrections(
        IMAGES, ledger("a relabel v", "c delete", "b move val", "d relabel ii"), CLASSES
    )
    assert told(corrected) == [
        "0.png train v",
        "1.png val ii",
        "3.png val ii",
        "4.png val v",
        "5.png test v",
        "6.png test i",
    ]
    pd.testing.assert_frame_equal(IMAGES, before)


def test_an_image_may_be_relabelled_and_moved() -> None:
    corrected = apply_corrections(IMAGES, ledger("a move train", "a relabel ii"), CLASSES)
    assert told(corrected)[0] == "0.png train ii"
    assert told(corrected)[4] == "4.png train ii"


def test_everything_may_be_deleted() -> None:
    corrected = apply_corrections(IMAGES, ledger(*(f"{name} delete" for name in "abcd")), CLASSES)
    assert told(corrected) == ["5.png test v", "6.png test i"]


def test_all_bad_lines_are_one_error() -> None:
    assert problems(
        "zz relabel i", "a relabel iv", "b remove", "c move test", "d delete yes", "h delete"
    ) == [
        "line 2: no image has the id 'zz'",
        "line 3, image a: relabel to 'iv'; allowed: i, ii, v",
        "line 4, image b: action is 'remove'; allowed are relabel, delete, move",
        "line 5, image c: move to 'test'; allowed: train, val",
        "line 6, image d: delete to 'yes'; allowed: nothing",
        f"line 7: image h is held out and never corrected{GONE}",
    ]


def test_contradicting_lines_are_refused() -> None:
    assert problems(
        "a relabel ii", "b delete", "a relabel v", "b move val", "c delete", "a relabel ii"
    ) == [
        "lines 2, 4, 7: image a is corrected more than one way",
        "lines 3, 5: image b is corrected more than one way",
    ]


def test_lines_that_say_the_same_contradict_nothing() -> None:
    once = ledger("a relabel v", "b move val", "c delete")
    merged = pd.concat([once, once.assign(reason="another")], ignore_index=True)
    corrected = apply_corrections(IMAGES, merged, CLASSES)
    pd.testing.assert_frame_equal(corrected, apply_corrections(IMAGES, once, CLASSES))


def test_the_way_out_is_told_only_if_images_are_gone() -> None:
    assert problems("h delete") == ["line 2: image h is held out and never corrected"]
    assert is_gone(IMAGES, ledger("h delete", "zz delete", "a delete")).to_list() == [
        False,
        True,
        False,
    ]


def test_a_line_may_have_several_faults() -> None:
    assert problems("zz fly") == [
        "line 2: no image has the id 'zz'",
        f"line 2, image zz: action is 'fly'; allowed are relabel, delete, move{GONE}",
    ]
