"""Raw images: a folder's layout recognised, its readable images copied, the rest listed."""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd
from tqdm import tqdm

from databoost.data.datasets import choose_validation
from databoost.data.images import FORMATS, decode, file_ending, image_id
from databoost.data.lettering import NUMERALS
from databoost.data.sources import FolderDigest, check_digest, source_files
from databoost.data.tables import RAW_INDEX, UNREADABLE
from databoost.errors import ImageError, SourceError, listed
from databoost.labels import canonical_label, label_fault, label_look
from databoost.layout import HELDOUT_SPLITS, SNAPSHOT_SPLITS
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
#: Larger files are listed as unreadable rather than read into memory.
MAX_FILE_BYTES = 2**29

_ENDINGS = {*FORMATS.values(), ".jpeg", ".jpe", ".jfif", ".tiff", ".pgm", ".pbm", ".pnm"}
_MAX_NAME_BYTES = 200


@dataclass(frozen=True)
class Collected:
    """What a source holds.

    ``images`` has a row for each readable image (``RAW_INDEX``), sorted by path; ``unreadable`` a
    row for each other file (``UNREADABLE``), its path relative to the source, sorted, and with a
    ``./`` before what a spreadsheet would take for a formula; ``classes`` are in their order.
    """

    images: pd.DataFrame
    unreadable: pd.DataFrame
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    split: str  # empty: to be drawn
    label: str
    name: str


def collect(folder: Path, data: DataParams, raw: Path, sha256: str = "") -> Collected:
    """Copy the readable images of a folder, byte for byte, to ``raw/<split>/<class>/``.

    The folder holds ``train/<class>/`` and ``val/<class>/`` (or ``valid``, ``validation``), and
    optionally ``test/<class>/`` and ``label_book/<class>/``; or it holds one folder a class, and a
    seeded stratified share of the images becomes the validation images (copies of one image stay
    together). Either may lie in a folder of its own. Files keep their names; subfolders of a class
    become a part of the name, ``a/b.png`` that is ``a__b.png``. Two folders whose names only differ
    in how Unicode composes an accented letter are one class.

    Parameters
    ----------
    folder
        The source's files.
    data
        The order of the classes, and the share and seed of the validation images.
    raw
        An empty folder.
    sha256
        What the folder's `FolderDigest` must be, computed of the very bytes that are copied;
        empty to take the folder as it is.

    Raises
    ------
    SourceError
        If no file, no training or no validation image is readable; if there are fewer than two
        classes, or (all are listed) classes that ``data.classes`` lacks or that cannot be written;
        if folders that ``data.classes`` does not name all hold the same folders, as splits of other
        names do; if `sha256` is given and the digest differs or a file can't be read.
    """
    files = source_files(folder)
    places = _places(files, data)
    check_labels({place.label for place in places.values()}, data)
    digest = FolderDigest(folder) if sha256 else None
    arrived, unreadable = _read(folder, files, places, raw / "arriving", digest)
    if digest is not None:
        check_digest(data.source, digest.hexdigest(), sha256)
    if arrived.empty:
        raise SourceError(
            f"{data.source} holds no readable image in a class folder; {len(files)} other file(s) "
            f"are there:{listed(_examples(unreadable))}\nImages belong into train/<class>/ and "
            "val/<class>/, or into one folder a class"
        )
    is_val = _drawn_validation(arrived, data)
    arrived.loc[arrived["split"] == "", "split"] = "train"
    arrived.loc[is_val, "split"] = "val"
    images = _move_into_place(arrived, raw)
    (raw / "arriving").rmdir()
    classes = order_classes(arrived["label"], data.classes)
    _check_counts(images, classes, data.source)
    return Collected(images, unreadable, classes)


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


def _places(files: list[PurePosixPath], data: DataParams) -> dict[PurePosixPath, _Place]:
    """Give each file in a class folder its place; files outside of one have none."""
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
            places[file] = _Place("", canonical_label(parts[0]), "__".join(parts[1:]))
        elif has_splits and len(parts) > 2 and parts[0].lower() in SPLIT_FOLDERS:
            split = SPLIT_FOLDERS[parts[0].lower()]
            places[file] = _Place(split, canonical_label(parts[1]), "__".join(parts[2:]))
    return places


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


def _read(
    folder: Path,
    files: list[PurePosixPath],
    places: dict[PurePosixPath, _Place],
    arriving: Path,
    digest: FolderDigest | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Copy what is readable under a number; list the rest with its reason."""
    arrived = []
    refused = []
    arriving.mkdir(parents=True)
    for number, file in enumerate(tqdm(files, desc="ingest", unit="file", mininterval=1.0)):
        place = places.get(file)
        n_bytes, content, reason = _content(folder / file)
        if digest is not None:
            digest.add(file, None if reason else content)
        if place is None:
            reason = "outside of any class folder: <split>/<class>/ or, without splits, <class>/"
        elif not reason:
            try:
                decode(content)
            except ImageError as error:
                reason = str(error)
        if place is None or reason:
            refused.append((_no_formula(_encodable(str(file))), n_bytes, reason))
            continue
        target = arriving / str(number)
        target.write_bytes(content)
        name = _safe_name(place.name, content)
        arrived.append((image_id(content), place.split, place.label, *name, str(target)))
    columns = ["image_id", "split", "label", "stem", "ending", "file"]
    unreadable = pd.DataFrame(sorted(refused), columns=list(UNREADABLE.columns))
    return (
        pd.DataFrame(arrived, columns=columns, dtype=object),
        UNREADABLE.frame({column: unreadable[column].to_numpy() for column in UNREADABLE.columns}),
    )


def _content(path: Path) -> tuple[int, bytes, str]:
    """Size and bytes of a file, and the reason if it has none to give."""
    try:
        n_bytes = path.stat().st_size
        if not path.is_file():
            return 0, b"", "not a regular file"
        if n_bytes > MAX_FILE_BYTES:
            return n_bytes, b"", f"larger than {MAX_FILE_BYTES:,} bytes"
        return n_bytes, path.read_bytes(), ""
    except OSError as error:
        return 0, b"", f"can't be read: {error.strerror}"


def _drawn_validation(arrived: pd.DataFrame, data: DataParams) -> pd.Series:
    """Draw validation images among those without a split; copies of one image go together."""
    pool = arrived[arrived["split"] == ""]
    unique = pool.drop_duplicates(["image_id", "label"]).sort_values(["image_id", "label"])
    is_val = choose_validation(unique["label"], data.val_fraction, data.seed)
    chosen = set(unique.loc[is_val, ["image_id", "label"]].itertuples(index=False, name=None))
    pairs = zip(arrived["image_id"], arrived["label"], strict=True)
    return (arrived["split"] == "") & pd.Series([pair in chosen for pair in pairs], arrived.index)


def _move_into_place(arrived: pd.DataFrame, raw: Path) -> pd.DataFrame:
    paths = []
    taken: set[str] = set()
    for row in arrived.itertuples(index=False):
        path = f"{row.split}/{row.label}/{row.stem}{row.ending}"
        number = 2
        # casefold: where case does not matter, A.png must not overwrite a.png.
        while path.casefold() in taken:
            path = f"{row.split}/{row.label}/{row.stem}-{number}{row.ending}"
            number += 1
        taken.add(path.casefold())
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(str(row.file), raw / path)
        paths.append(path)
    images = arrived.assign(path=paths).sort_values("path")
    return RAW_INDEX.frame({column: images[column].to_numpy() for column in RAW_INDEX.columns})


def _safe_name(name: str, content: bytes) -> tuple[str, str]:
    """Stem and ending that every file system takes and no tool mistakes for its own file."""
    safe = re.sub(r'[\x00-\x1f\x7f<>:"|?*\\]', "_", _encodable(name))
    stem, ending = os.path.splitext(safe)  # noqa: PTH122  (a name, not a path)
    if ending.lower() not in _ENDINGS:
        stem, ending = safe, file_ending(Path(safe), content)
    if len(stem.encode()) > _MAX_NAME_BYTES:
        kept = stem.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
        stem = f"{kept}-{image_id(name.encode('utf-8', 'surrogateescape'))}"
    return stem, ending


def _encodable(text: str) -> str:
    """Replace what no UTF-8 file holds: bytes of a name in another encoding."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _no_formula(path: str) -> str:
    return f"./{path}" if path.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else path


def _check_counts(images: pd.DataFrame, classes: tuple[str, ...], source: str) -> None:
    if len(classes) < 2:
        raise SourceError(
            f"{source} has only the class {classes[0]!r}; a classifier needs at least two folders "
            "of images, train/<class>/ and val/<class>/, or one folder a class"
        )
    present = set(images["split"])
    advice = {
        "train": "put some into train/<class>/",
        "val": "put some into val/<class>/, or give one folder a class, without splits, of which "
        "data.val_fraction is taken (at least one image of each class of two or more)",
    }
    for split in SNAPSHOT_SPLITS:
        if split not in present:
            found = ", ".join(sorted(present & {*SNAPSHOT_SPLITS, *HELDOUT_SPLITS}))
            raise SourceError(
                f"{source} holds no readable {split} image, only {found}; {advice[split]}"
            )


def _examples(unreadable: pd.DataFrame, n_shown: int = 5) -> list[str]:
    first = unreadable.head(n_shown)
    return [shown(f"{row.path}: {row.reason}") for row in first.itertuples()]
