"""Where a source's files belong: its layout, told by its folders' names, and its classes."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from databoost.data.images import FORMATS
from databoost.data.lettering import NUMERALS
from databoost.errors import SourceError, listed
from databoost.labels import canonical_label, label_fault, label_look
from databoost.layout import SPLITS
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
#: Endings that name an image file, in lower case.
IMAGE_ENDINGS = frozenset(
    {*FORMATS.values(), ".jpeg", ".jpe", ".jfif", ".tiff", ".pgm", ".pbm", ".pnm"}
)

# Names may lack an ending; and a class of pictures that can't be read is a class, too.
_MAY_BE_IMAGES = IMAGE_ENDINGS | {"", ".heic", ".heif", ".avif"}
_LIKE_A_SPLIT = re.compile("train|test|val", re.IGNORECASE)  # and eval


@dataclass(frozen=True)
class Place:
    """What a file in a class folder is: `name` is its name there, its subfolders a part of it."""

    split: str  # empty: to be drawn
    label: str
    name: str


def find_places(
    files: list[PurePosixPath], data: DataParams
) -> tuple[dict[PurePosixPath, Place], list[str]]:
    """Give each file in a class folder its place; files outside of one have none.

    Folders are splits by their names, unless there is but one of such a name, without folders of
    images in it, or ``data.classes`` names all. If that leaves a file in a folder without a place,
    the second result is the folders that were taken for splits. Where none is ``val``, and no
    folder of images lies beside them, the images of ``train`` are to be split.

    Parameters
    ----------
    files
        Relative to the source.
    data
        Its classes, and its name for errors.

    Raises
    ------
    SourceError
        If splits lie below several folders, or folders that ``data.classes`` does not name look
        like splits of other names: all hold the same folders, or are called like splits and share
        some; or one is called like a split and holds folders of classes that lie beside it, or in
        the splits.
    """
    # Folders of notes and the like say nothing about the layout.
    telling = [file for file in files if _ending(file.parts) in _MAY_BE_IMAGES] or files
    top = _top(telling)
    inside = {file: file.parts[len(top) :] for file in files if file.parts[: len(top)] == top}
    images = [inside[file] for file in telling if file in inside]
    splits = _splits(images, data)
    nested = {"/".join(parts[:2]) for parts in images if len(parts) > 2}
    nested = {path for path in nested if path.lower().endswith(("/train", "/val"))}
    if nested and not splits:
        raise SourceError(
            f"{data.source} holds splits below several folders "
            f"({shown(', '.join(sorted(nested)))}); name the one folder that holds train and val "
            "in data.source"
        )
    if not splits:
        _refuse_unknown_splits(images, data)
    _refuse_another_split(images, splits, data)
    places = {}
    for file, parts in inside.items():
        if not splits and len(parts) > 1:
            places[file] = Place("", canonical_label(parts[0]), "__".join(parts[1:]))
        elif splits and len(parts) > 2 and parts[0].lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[parts[0].lower()]
            places[file] = Place(split, canonical_label(parts[1]), "__".join(parts[2:]))
    has_strays = any(len(parts) > 1 and file not in places for file, parts in inside.items())
    given = {SPLIT_FOLDERS[name.lower()] for name in splits}
    given |= {place.split for place in places.values()}
    if "val" not in given and {parts[0] for parts in images if len(parts) > 1} <= splits:
        places = {
            file: replace(place, split="") if place.split == "train" else place
            for file, place in places.items()
        }
    return places, sorted(splits) if has_strays else []


def taken_for_splits(folders: Sequence[str]) -> str:
    r"""Say, at the end of a message, which folders were taken for splits; empty if none was.

    >>> taken_for_splits(["train"])
    '\nTaken for splits: train. If these are classes, name all classes in data.classes'
    """
    if not folders:
        return ""
    return (
        f"\nTaken for splits: {shown(', '.join(folders))}. If these are classes, name all classes "
        "in data.classes"
    )


def order_classes(labels: Iterable[str], declared: tuple[str, ...]) -> tuple[str, ...]:
    """Put classes in their order: as declared; else i to x by value; else sorted.

    >>> order_classes(["dog", "cat", "dog"], ()), order_classes(["dog"], ("dog", "cat"))
    (('cat', 'dog'), ('dog', 'cat'))
    """
    if declared:
        return declared
    found = set(labels)
    return NUMERALS if found == set(NUMERALS) else tuple(sorted(found))


def check_labels(labels: set[str], data: DataParams, splits: Sequence[str] = ()) -> None:
    """Refuse classes that ``data.classes`` lacks, if it names any, or that can't be written.

    Nor may classes that ``data.classes`` does not name look alike: folders whose names differ only
    in case are one on macOS and Windows. `splits` are the folders that may wrongly have been taken
    for some.

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
            f"{listed(problems)}{taken_for_splits(splits)}"
        )


def shown(text: str) -> str:
    r"""Give a text for the terminal: what does not print, control characters above all, is escaped.

    >>> print(shown("a b\x1b[2J.png"))
    a b\x1b[2J.png
    """
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def _ending(parts: tuple[str, ...]) -> str:
    return PurePosixPath(parts[-1]).suffix.lower()


def _splits(inside: Collection[tuple[str, ...]], data: DataParams) -> set[str]:
    """Give the folders that are splits; none if folders are classes."""
    folders = {parts[0] for parts in inside if len(parts) > 1}
    splits = {name for name in folders if name.lower() in SPLIT_FOLDERS}
    is_known = splits == folders or any(name.lower() in ("train", "val") for name in splits)
    has_folders = any(len(parts) > 2 and parts[0] in splits for parts in inside)
    is_split = is_known and (len(splits) > 1 or has_folders) and not _are_declared(folders, data)
    return splits if is_split else set()


def _are_declared(folders: Iterable[str], data: DataParams) -> bool:
    return {canonical_label(name) for name in folders} <= set(data.classes)


def _refuse_unknown_splits(inside: Collection[tuple[str, ...]], data: DataParams) -> None:
    """Refuse folders without images of their own that all hold the same folders.

    Those whose names are like a split's need only share some folders.
    """
    held: dict[str, list[tuple[str, ...]]] = {}
    for parts in inside:
        if len(parts) > 1:
            held.setdefault(parts[0], []).append(parts[1:])
    if len(held) < 2 or _are_declared(held, data):
        return
    below = [_below(files) for files in held.values()]
    shared = frozenset.intersection(*(folders for folders, _ in below))
    are_same = all(folders == shared and not has_images for folders, has_images in below)
    if len(shared) > 1 and (are_same or all(map(_LIKE_A_SPLIT.search, held))):
        raise SourceError(
            f"{data.source} holds {shown(', '.join(sorted(held)))}, and in each of them "
            f"{shown(', '.join(sorted(shared)))}: are these splits? Name them train, val and test; "
            "if they are classes, name them in data.classes"
        )


def _refuse_another_split(
    inside: Collection[tuple[str, ...]], splits: set[str], data: DataParams
) -> None:
    """Refuse a folder called like a split that holds classes, where others are told otherwise.

    Beside classes it would be one, and its test images would be trained on; beside splits it would
    be left out.
    """
    held: dict[str, set[str]] = {}
    for parts in inside:
        if len(parts) > 1:
            below = {canonical_label(parts[1])} if len(parts) > 2 else set()
            held.setdefault(parts[0], set()).update(below)
    if _are_declared(held, data):
        return
    for name in sorted(held.keys() - splits):
        others = held.keys() - {name}
        classes = set().union(*(held[split] for split in splits)) if splits else others
        shared = held[name] & {canonical_label(label) for label in classes}
        if shared and (name.lower() in SPLIT_FOLDERS or _LIKE_A_SPLIT.search(name)):
            where = f"in {', '.join(sorted(splits))}" if splits else "beside it"
            way = (
                f"name it {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, or take it out of the source"
                if splits
                else "if it is a split, put the others into a folder train; if it is a class, name "
                "all classes in data.classes"
            )
            raise SourceError(
                f"{data.source} holds {shown(name)}, and in it {shown(', '.join(sorted(shared)))}, "
                f"which lie {shown(where)}, too: {way}"
            )


def _below(inside: list[tuple[str, ...]]) -> tuple[frozenset[str], bool]:
    """Give the folders in a folder, or in the only one in it, and whether images lie beside."""
    while True:
        folders = frozenset(canonical_label(parts[0]) for parts in inside if len(parts) > 1)
        has_images = any(len(parts) == 1 and _ending(parts) in IMAGE_ENDINGS for parts in inside)
        if len(folders) != 1 or has_images:
            return folders, has_images
        inside = [parts[1:] for parts in inside if len(parts) > 1]


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
