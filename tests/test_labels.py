"""What a class may be called."""

import pytest

from databoost.labels import canonical_label, label_fault, label_look


@pytest.mark.parametrize("label", ["i", "5", "a b", "caf\u00e9", "-", ".a", "a.", "a..b", "\u4e00"])
def test_a_folders_name_is_a_label(label: str) -> None:
    assert label_fault(label) == ""
    assert canonical_label(label) == label


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("", "is blank"),
        (" ", "is blank"),
        ("\u3000", "is blank"),
        (" cat", "begins or ends with a blank, which tables and sheets do not keep"),
        ("cat\u00a0", "begins or ends with a blank, which tables and sheets do not keep"),
        ("../../x", "holds a slash or a backslash"),
        ("/", "holds a slash or a backslash"),
        ("a\\b", "holds a slash or a backslash"),
        (".", "stands for a folder that is there already"),
        ("..", "stands for a folder that is there already"),
        ("x.part", "ends in .part, as unfinished files do"),
        ("a\nb", "holds control characters or is not UTF-8"),
        ("a\x85b", "holds control characters or is not UTF-8"),
        ("\udcff", "holds control characters or is not UTF-8"),
    ],
)
def test_other_names_are_refused_with_the_reason(label: str, fault: str) -> None:
    assert label_fault(label) == fault


@pytest.mark.parametrize(
    ("label", "look"),
    [
        ("i", "i"),
        ("Cat", "cat"),
        ("a\u200bb\u2060", "ab"),
        ("CAFE\u0301", "caf\u00e9"),
        ("e\u200d\u0301", "\u00e9"),
        ("STRASSE", "strasse"),
        ("stra\u00dfe", "strasse"),
    ],
)
def test_neither_case_nor_invisible_characters_are_seen(label: str, look: str) -> None:
    assert label_look(label) == look
    assert label_fault(label) == ""
