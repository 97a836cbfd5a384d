"""Getting hold of the source: ``data.source`` becomes a local folder of files."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from databoost.data.archives import ENDINGS, archive_ending, is_ignored, unpack
from databoost.data.downloads import download
from databoost.data.files import sha256_of
from databoost.errors import SourceError
from databoost.layout import Layout
from databoost.sections import DataParams

_KINDS = f"a folder, an archive ({', '.join(ENDINGS)}), or an http, https or file URL of an archive"


@dataclass(frozen=True)
class Opened:
    """A source as a local ``folder`` of files.

    ``sha256`` is the digest that whoever reads the files must find them to have (`FolderDigest`,
    `check_digest`); it is empty where none is asked for, and for an archive, which was checked.
    """

    folder: Path
    sha256: str


class FolderDigest:
    """SHA-256 of a folder, as `source_digest` gives it, taken in file by file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[str] = []

    def add(self, path: PurePosixPath, content: bytes | None = None) -> None:
        """Take in one of the folder's `source_files`; what is no regular file does not count.

        Parameters
        ----------
        path
            Relative to the folder.
        content
            The file's bytes where they were read already; by default the file is read here.

        Raises
        ------
        SourceError
            If the file can't be read.
        """
        file = self._folder / path
        try:
            if content is not None:
                digest = hashlib.sha256(content).hexdigest()
            elif file.is_file():
                digest = sha256_of(file)
            else:
                return
        except OSError as error:
            raise _unreadable(file, error) from error
        self._lines.append(f"{digest}  {path}\n")

    def hexdigest(self) -> str:
        """Give the digest of what was taken in, in whatever order: 64 hex digits."""
        text = "".join(sorted(self._lines))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def is_remote(source: str) -> bool:
    """Tell whether a source is downloaded, rather than a path or a file URL.

    >>> is_remote("https://example.org/photos.zip"), is_remote("file:///photos.zip")
    (True, False)
    """
    return bool(re.match(r"https?://", source, re.IGNORECASE))


def source_files(folder: Path) -> list[PurePosixPath]:
    """List the files of a folder and its subfolders.

    Returns
    -------
    list of pathlib.PurePosixPath
        Relative to `folder`, sorted by their text. Hidden files and folders, and what else
        `is_ignored`, are left out. Links are followed; a link back to a folder that it lies in is
        listed as if it were a file.

    Raises
    ------
    SourceError
        If a folder cannot be read.
    """
    try:
        found = _walk(folder, "", (os.path.realpath(folder),))
        return sorted((PurePosixPath(path) for path in found), key=str)
    except OSError as error:
        raise SourceError(
            f"{error.filename} can't be read ({error.strerror}); it is part of the source, so "
            "give yourself the right to read it, or take it out"
        ) from error


def source_digest(source: str, root: Path) -> str:
    """SHA-256 of a local source, as ``data.sha256`` holds it.

    Parameters
    ----------
    source
        A folder, an archive or a file URL; relative paths are relative to `root`.
    root
        The project folder.

    Returns
    -------
    str
        64 hex digits: of the file, or, for a folder, of the sorted lines
        ``<sha256 of the file>  <relative path>`` of its `source_files`.

    Raises
    ------
    SourceError
        If the source is missing, is of no known kind, can't be read, or is not local.
    """
    if is_remote(source):
        raise SourceError(
            f"{source} is not a local file, so its SHA-256 is not known before it is downloaded; "
            "give the one that its publisher states (--sha256), or none"
        )
    return _digest(_local_place(source, root))


def check_no_output(source: str, layout: Layout) -> None:
    """Refuse a local source that overlaps what databoost writes: it may be gone before it is read.

    DVC removes the outputs of nearly every stage before it runs the stage, so this is checked
    before ``data.source`` is written, too.

    Parameters
    ----------
    source
        As ``data.source`` holds it; it need not exist.
    layout
        Relative paths are relative to its root.

    Raises
    ------
    SourceError
        If it lies in an output, or an output lies in it; or for a file URL of another host.
    """
    if is_remote(source):
        return
    place = _resolved(_local_path(source, layout.root))
    for written in (
        layout.raw,
        layout.ingest,
        layout.heldout,
        layout.round("r00").root.parent,
        layout.candidates,
        layout.audit,
        layout.map_points.parent,
        layout.reports,
        layout.state,
    ):
        output = _resolved(written)
        if place.is_relative_to(output) or output.is_relative_to(place):
            raise SourceError(
                f"data.source {source} overlaps {output}, which is removed and written anew; copy "
                "the images to a folder of their own"
            )


@contextmanager
def open_source(data: DataParams, layout: Layout) -> Iterator[Opened]:
    """Give the source as a local folder of files for as long as the block runs.

    A folder is given as it is, its files unread: checking its SHA-256 is left to whoever reads
    them. An archive is checked and unpacked, and a URL downloaded, to a scratch folder below
    ``Layout.state`` that is removed at the end.

    Parameters
    ----------
    data
        ``source`` and ``sha256``; an empty ``sha256`` is not checked.
    layout
        Relative paths are relative to its root; of DVC's copy for an experiment, to the project's.

    Raises
    ------
    SourceError
        If the source is missing, of no known kind, can't be downloaded or unpacked, is an unsafe
        archive, an archive of another SHA-256, or refused by `check_no_output`.
    OSError
        If the disk is full, or may not be written to.
    """
    check_no_output(data.source, layout)
    scratch = layout.state / "source"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        if is_remote(data.source):
            place = download(data.source, scratch)
        else:
            is_own = layout.home() == layout.root.resolve()
            place = _local_place(data.source, layout.root if is_own else layout.home())
        if place.is_dir():
            yield Opened(place, data.sha256)
        else:
            if data.sha256:
                check_digest(data.source, _digest(place), data.sha256)
            unpack(place, scratch / "unpacked")
            yield Opened(scratch / "unpacked", "")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_digest(source: str, digest: str, sha256: str) -> None:
    """Refuse a source that is not the one that ``data.sha256`` was computed of.

    Raises
    ------
    SourceError
        If the digest differs from `sha256`.
    """
    if digest != sha256:
        raise SourceError(
            f"{source} has the SHA-256 {digest}, but data.sha256 is {sha256}: it was altered or is "
            "damaged. If the change is meant, `databoost source` takes it in"
        )


def _is_file_url(source: str) -> bool:
    return source.lower().startswith("file://")


def _local_path(source: str, root: Path) -> Path:
    if not _is_file_url(source):
        return root / os.path.expanduser(source)  # noqa: PTH111  # Path's raises for no user
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost"):
        raise SourceError(
            f"{source} names a file on the host {parts.netloc!r}; a file URL has three "
            "slashes: file:///folder/photos.zip"
        )
    return Path(unquote(parts.path))


def _local_place(source: str, root: Path) -> Path:
    place = _local_path(source, root)
    if place.is_dir() or (place.is_file() and archive_ending(place.name)):
        return place
    fault = "is no known kind of archive" if place.is_file() else f"does not exist ({place})"
    raise SourceError(f"data.source {source} {fault}; allowed are synthetic, {_KINDS}")


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for links in a circle


def _digest(place: Path) -> str:
    if place.is_file():
        try:
            return sha256_of(place)
        except OSError as error:
            raise _unreadable(place, error) from error
    digest = FolderDigest(place)
    for path in tqdm(source_files(place), desc="digest", unit="file", mininterval=1.0):
        digest.add(path)
    return digest.hexdigest()


def _unreadable(file: Path, error: OSError) -> SourceError:
    return SourceError(
        f"{file} can't be read ({error.strerror}); give yourself the right to read it, or take it "
        "out of the source"
    )


def _walk(folder: Path, prefix: str, ancestors: tuple[str, ...]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_ignored(entry.name):
                continue
            path = prefix + entry.name
            real = os.path.realpath(entry.path)
            if entry.is_dir() and real not in ancestors:
                yield from _walk(Path(entry.path), f"{path}/", (*ancestors, real))
            else:
                yield path
