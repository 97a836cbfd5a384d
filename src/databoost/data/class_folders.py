"""Where a source's files belong: its layout, told by its folders' names, and its classes."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from databoost.data.lettering import NUMERALS
from databoost.errors import SourceError, listed
from databoost.labels import canonical_label, label_fault, label_look
from databoost.sections import DataParams

#: Names of split folders (any case) and the splits that they stand for.
SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "label_book": "label_book",
}


@dataclass(frozen=True)
class Place:
    """What a file in a class folder is: `name` is its name there, its subfolders a part of it."""

    split: str  # empty: to be drawn
    label: str
    name: str


def find_places(files: list[PurePosixPath], data: DataParams) -> dict[PurePosixPath, Place]:
    """Give each file in a class folder its place; files outside of one have none.

    Parameters
    ----------
    files
        Relative to the source.
    data
        Its classes, and its name for errors.

    Raises
    ------
    SourceError
        If splits lie below several folders, or folders that ``data.classes`` does not name all hold
        the same folders, as splits of other names do.
    """
    top = _top(files)
    inside = {file: file.parts[len(top) :] for file in files if file.parts[: len(top)] == top}
    folders = {parts[0].lower() for parts in inside.values() if len(parts) > 1}
    has_splits = bool(folders & {"train", "val"}) or folders <= set(SPLIT_FOLDERS)
    nested = {"/".join(parts[:2]) for parts in inside.values() if len(parts) > 2}
    nested = {path for path in nested if path.lower().endswith(("/train", "/val"))}
    if nested and not has_splits:
        raise SourceError(
            f"{data.source} holds splits below several folders "
            f"({shown(', '.join(sorted(nested)))}); name the one folder that holds train and val "
            "in data.source"
        )
    if not has_splits:
        _refuse_unknown_splits(inside.values(), data)
    places = {}
    for file, parts in inside.items():
        if not has_splits and len(parts) > 1:
            places[file] = Place("", canonical_label(parts[0]), "__".join(parts[1:]))
        elif has_splits and len(parts) > 2 and parts[0].lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[parts[0].lower()]
            places[file] = Place(split, canonical_label(parts[1]), "__".join(parts[2:]))
    return places


def order_classes(labels: Iterable[str], declared: tuple[str, ...]) -> tuple[str, ...]:
    """Put classes in their order: as declared; else i to x by value; else sorted.

    >>> order_classes(["dog", "cat", "dog"], ()), order_classes(["dog"], ("dog", "cat"))
    (('cat', 'dog'), ('dog', 'cat'))
    """
    if declared:
        return declared
    found = set(labels)
    return NUMERALS if found == set(NUMERALS) else tuple(sorted(found))


def check_labels(labels: set[str], data: DataParams) -> None:
    """Refuse classes that ``data.classes`` lacks, if it names any, or that can't be written.

    Nor may classes that ``data.classes`` does not name look alike: folders whose names differ only
    in case are one on macOS and Windows.

    Raises
    ------
    SourceError
        Once, naming every such class.
    """
    problems = [
        f"{label!r} {fault}; rename it" for label in sorted(labels) if (fault := label_fault(label))
    ]
    if data.classes:
        problems += [
            f"{label!r} is not in data.classes: rename it, remove it or add it there"
            for label in sorted(labels - set(data.classes))
        ]
    else:
        looks: dict[str, list[str]] = {}
        for label in sorted(labels):
            looks.setdefault(label_look(label), []).append(label)
        problems += [
            f"{' and '.join(map(repr, alike))} differ only in case or by invisible characters: "
            "rename one, or name them all in data.classes"
            for alike in looks.values()
            if len(alike) > 1
        ]
    if problems:
        allowed = ", ".join(data.classes) or "any"
        raise SourceError(
            f"{data.source} has class folders that can't be taken (data.classes: {allowed}):"
            f"{listed(problems)}"
        )


def shown(text: str) -> str:
    r"""Give a text for the terminal: what does not print, control characters above all, is escaped.

    >>> print(shown("a b\x1b[2J.png"))
    a b\x1b[2J.png
    """
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def _refuse_unknown_splits(inside: Collection[tuple[str, ...]], data: DataParams) -> None:
    """Refuse folders without images of their own that all hold the same folders."""
    held: dict[str, list[tuple[str, ...]]] = {}
    for parts in inside:
        if len(parts) > 1:
            held.setdefault(parts[0], []).append(parts[1:])
    below = {_below(files) for files in held.values()}
    same = next(iter(below), frozenset())
    is_declared = {canonical_label(name) for name in held} <= set(data.classes)
    if len(held) > 1 and len(below) == 1 and len(same) > 1 and not is_declared:
        raise SourceError(
            f"{data.source} holds {shown(', '.join(sorted(held)))}, and in each of them "
            f"{shown(', '.join(sorted(same)))}: are these splits? Name them train, val and test; "
            "if they are classes, name them in data.classes"
        )


def _below(inside: list[tuple[str, ...]]) -> frozenset[str]:
    """Give the folders in a folder, or in the only one in it; none if files lie beside them."""
    while all(len(parts) > 1 for parts in inside):
        folders = frozenset(canonical_label(parts[0]) for parts in inside)
        if len(folders) != 1:
            return folders
        inside = [parts[1:] for parts in inside]
    return frozenset()


def _top(files: list[PurePosixPath]) -> tuple[str, ...]:
    """Folder that the splits or classes lie in: down as long as one folder holds only folders."""
    top: tuple[str, ...] = ()
    while True:
        inside = [file.parts[len(top) :] for file in files if file.parts[: len(top)] == top]
        folders = {parts[0] for parts in inside if len(parts) > 1}
        below = {parts[1].lower() for parts in inside if len(parts) > 2}
        is_split = bool({name.lower() for name in folders} & set(SPLIT_FOLDERS))
        if len(folders) != 1 or not below or (is_split and not below & {"train", "val"}):
            return top
        top += tuple(folders)
