"""Raw images: the readable ones of a source's class folders copied, the rest listed."""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd
from tqdm import tqdm

from databoost.data.class_folders import (
    IMAGE_ENDINGS,
    Place,
    check_labels,
    find_places,
    order_classes,
    shown,
    taken_for_splits,
)
from databoost.data.datasets import choose_validation
from databoost.data.images import decode, file_ending, image_id
from databoost.data.sources import FolderDigest, check_digest, source_files
from databoost.data.tables import RAW_INDEX, UNREADABLE
from databoost.errors import ImageError, SourceError, listed
from databoost.layout import HELDOUT_SPLITS, SNAPSHOT_SPLITS, SPLITS
from databoost.sections import DataParams

#: Larger files are listed as unreadable rather than read into memory.
MAX_FILE_BYTES = 2**29

_MAX_NAME_BYTES = 200
_N_NAMES = 20


@dataclass(frozen=True)
class Collected:
    """What a source holds.

    ``images`` has a row for each readable image (``RAW_INDEX``), sorted by path; ``unreadable`` a
    row for each other file (``UNREADABLE``), its path relative to the source, sorted, and with a
    ``./`` before what a spreadsheet would take for a formula; ``classes`` are in their order;
    ``is_val_drawn`` tells that the source gives no validation images of its own.
    """

    images: pd.DataFrame
    unreadable: pd.DataFrame
    classes: tuple[str, ...]
    is_val_drawn: bool = False


def collect(folder: Path, data: DataParams, raw: Path, sha256: str = "") -> Collected:
    """Copy the readable images of a folder, byte for byte, to ``raw/<split>/<class>/``.

    The folder holds ``train/<class>/``, and optionally ``val/<class>/`` (or ``valid``,
    ``validation``), ``test/<class>/`` and ``label_book/<class>/``; or it holds one folder a class.
    Without ``val``, a seeded stratified share of the training images, or of all, becomes the
    validation images (copies of one image stay together). Either may lie in a folder of its own.
    Files keep their names; subfolders of a class become a part of the name, ``a/b.png`` that is
    ``a__b.png``. Two folders whose names only differ in how Unicode composes an accented letter are
    one class.

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
        classes, or (all are listed) classes that ``data.classes`` lacks or that cannot be written,
        or of which no training image is readable and that ``data.classes`` does not name; if
        folders that it does not name look like splits of other names; if `sha256` is given and the
        digest differs or a file can't be read.
    """
    files = source_files(folder)
    places, splits = find_places(files, data)
    named = {place.label for file, place in places.items() if file.suffix.lower() in IMAGE_ENDINGS}
    check_labels(named, data, splits)
    digest = FolderDigest(folder) if sha256 else None
    arrived, unreadable = _read(folder, files, places, raw / "arriving", digest)
    if digest is not None:
        check_digest(data.source, digest.hexdigest(), sha256)
    if arrived.empty:
        raise SourceError(
            f"{data.source} holds no readable image in a class folder; {len(files)} other file(s) "
            f"are there:{listed(_examples(unreadable))}\nImages belong into train/<class>/ and "
            f"val/<class>/, or into one folder a class{taken_for_splits(splits)}"
        )
    # Now of what images turned out to be, too: a folder without any is no class.
    check_labels(set(arrived["label"]), data, splits)
    is_val = _drawn_validation(arrived, data)
    arrived.loc[arrived["split"] == "", "split"] = "train"
    arrived.loc[is_val, "split"] = "val"
    images = _move_into_place(arrived, raw)
    (raw / "arriving").rmdir()
    classes = order_classes(arrived["label"], data.classes)
    _check_counts(images, classes, data.source, splits)
    if not data.classes:
        _check_trained(images, data.source)
    return Collected(images, unreadable, classes, bool(is_val.any()))


def _read(
    folder: Path,
    files: list[PurePosixPath],
    places: dict[PurePosixPath, Place],
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
    is_val = choose_validation(pool, data.val_fraction, data.seed)
    return is_val.reindex(arrived.index, fill_value=False)


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
    if ending.lower() not in IMAGE_ENDINGS:
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


def _check_counts(
    images: pd.DataFrame, classes: tuple[str, ...], source: str, splits: list[str]
) -> None:
    if len(classes) < 2:
        raise SourceError(
            f"{source} has only the class {classes[0]!r}; a classifier needs at least two folders "
            "of images, train/<class>/ and val/<class>/, or one folder a class"
            f"{taken_for_splits(splits)}"
        )
    present = set(images["split"])
    advice = {
        "train": "put some into train/<class>/",
        "val": "put some into val/<class>/, or take val and folders of other names out, and "
        "data.val_fraction of train is taken (at least one image of each class of two or more)",
    }
    for split in SNAPSHOT_SPLITS:
        if split not in present:
            found = ", ".join(sorted(present & {*SNAPSHOT_SPLITS, *HELDOUT_SPLITS}))
            raise SourceError(
                f"{source} holds no readable {split} image, only {found}; {advice[split]}"
                f"{taken_for_splits(splits)}"
            )


def _check_trained(images: pd.DataFrame, source: str) -> None:
    labels = images.groupby("split")["label"].agg(set)
    unknown = {split: labels[split] - labels["train"] for split in SPLITS if split in labels.index}
    problems = [f"in {split}: {_few(names)}" for split, names in unknown.items() if names]
    if problems:
        raise SourceError(
            f"{source} has classes that train ({_few(labels['train'])}) lacks, so that no model "
            f"would learn them:{listed(problems)}\nRename their folders, take them out, or name "
            "all classes in data.classes"
        )


def _few(names: set[str]) -> str:
    more = f" and {len(names) - _N_NAMES} more" if len(names) > _N_NAMES else ""
    return shown(", ".join(sorted(names)[:_N_NAMES])) + more


def _examples(unreadable: pd.DataFrame, n_shown: int = 5) -> list[str]:
    first = unreadable.head(n_shown)
    return [shown(f"{row.path}: {row.reason}") for row in first.itertuples()]
