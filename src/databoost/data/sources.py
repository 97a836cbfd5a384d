"""Getting hold of the source: ``data.source`` becomes a local folder of files."""

import hashlib
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit

from tqdm import tqdm

from databoost.data.archives import ENDINGS, archive_ending, unpack
from databoost.errors import SourceError
from databoost.layout import Layout
from databoost.sections import DataParams

#: Larger downloads are given up.
MAX_DOWNLOAD_BYTES = 20 * 2**30
#: A server that is silent for so long is given up.
TIMEOUT_S = 30.0
#: What file managers leave behind, beside hidden files.
IGNORED_NAMES = frozenset({"__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini"})

_CHUNK = 1 << 20
_KINDS = f"a folder, an archive ({', '.join(ENDINGS)}), or an http, https or file URL of an archive"


def is_url(source: str) -> bool:
    """Tell whether a source is an http, https or file URL rather than a path.

    >>> is_url("https://example.org/photos.zip"), is_url("../photos")
    (True, False)
    """
    return bool(re.match(r"(https?|file)://", source, re.IGNORECASE))


def source_files(folder: Path) -> list[PurePosixPath]:
    """List the files of a folder and its subfolders.

    Returns
    -------
    list of pathlib.PurePosixPath
        Relative to `folder`, sorted by their text. Hidden files and folders and `IGNORED_NAMES`
        are left out. Links are followed; a link back to a folder that it lies in is listed as if
        it were a file.

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
    if is_url(source) and not _is_file_url(source):
        raise SourceError(
            f"{source} is not a local file, so its SHA-256 is not known before it is downloaded; "
            "give the one that its publisher states (--sha256), or none"
        )
    return _digest(_local_place(source, root))


@contextmanager
def open_source(data: DataParams, layout: Layout) -> Iterator[Path]:
    """Give the source as a local folder of files for as long as the block runs.

    A folder is given as it is. An archive is unpacked, and a URL downloaded, to a scratch folder
    below ``Layout.state`` that is removed at the end.

    Parameters
    ----------
    data
        ``source`` and ``sha256``; an empty ``sha256`` is not checked.
    layout
        Relative paths are relative to its root.

    Raises
    ------
    SourceError
        If the source is missing, of no known kind, can't be downloaded or unpacked, is an unsafe
        archive, has another SHA-256, or is a folder that ``ingest`` itself writes to.
    """
    scratch = layout.state / "source"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        if is_url(data.source) and not _is_file_url(data.source):
            place = download(data.source, scratch)
        else:
            place = _local_place(data.source, layout.root)
        _refuse_own_output(data.source, place, layout)
        if data.sha256:
            _verify(data, _digest(place))
        if place.is_dir():
            yield place
        else:
            unpack(place, scratch / "unpacked")
            yield scratch / "unpacked"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def download(url: str, folder: Path, max_bytes: int = MAX_DOWNLOAD_BYTES) -> Path:
    """Download an archive, with a progress bar.

    Returns
    -------
    pathlib.Path
        The complete file in `folder`, under the name that the URL or the server gives it.

    Raises
    ------
    SourceError
        If the server does not answer with a complete archive of at most `max_bytes` bytes whose
        name has one of the known endings.
    """
    request = urllib.request.Request(
        quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers={"User-Agent": "databoost"}
    )
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "download.part"
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            name = _archive_name(url, response)
            _stream(url, response, part, max_bytes)
    except HTTPError as error:
        error.close()
        raise SourceError(
            f"{url} answered {error.code} {error.reason}; check data.source, or download the "
            "archive another way and name the file there"
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(
            f"{url} could not be downloaded ({getattr(error, 'reason', error)}); check data.source "
            "and the network, or download the archive another way and name the file there"
        ) from error
    os.replace(part, folder / name)
    return folder / name


def _stream(url: str, response: HTTPResponse, part: Path, max_bytes: int) -> None:
    length = response.headers.get("Content-Length")
    total = None if length is None else int(length)
    n_bytes = 0
    with (
        part.open("wb") as stream,
        tqdm(total=total, desc="download", unit="B", unit_scale=True, mininterval=1.0) as bar,
    ):
        while max(n_bytes, total or 0) <= max_bytes and (chunk := response.read(_CHUNK)):
            stream.write(chunk)
            n_bytes += len(chunk)
            bar.update(len(chunk))
    if max(n_bytes, total or 0) > max_bytes:
        raise SourceError(
            f"{url} is larger than {max_bytes:,} bytes, which is the limit; download it another "
            "way and name the file in data.source"
        )
    if total is not None and n_bytes != total:
        raise SourceError(
            f"{url} broke off after {n_bytes:,} of {total:,} bytes; nothing was kept, try again"
        )


def _archive_name(url: str, response: HTTPResponse) -> str:
    names = [unquote(urlsplit(url).path), response.headers.get_filename() or ""]
    names.append(unquote(urlsplit(response.geturl()).path))
    for name in names:
        if archive_ending(name):
            return re.sub(r"[^\w.-]", "_", PurePosixPath(name).name)[-100:]
    raise SourceError(
        f"{url} does not name an archive; its name must end in {', '.join(ENDINGS)}. Download it "
        "another way and name the file in data.source"
    )


def _is_file_url(source: str) -> bool:
    return source.lower().startswith("file://")


def _local_place(source: str, root: Path) -> Path:
    if _is_file_url(source):
        parts = urlsplit(source)
        place = Path(unquote(parts.path))
        if parts.netloc not in ("", "localhost"):
            raise SourceError(
                f"{source} names a file on the host {parts.netloc!r}; a file URL has three "
                "slashes: file:///folder/photos.zip"
            )
    else:
        place = root / Path(source).expanduser()
    if place.is_dir() or (place.is_file() and archive_ending(place.name)):
        return place
    fault = "is no known kind of archive" if place.is_file() else f"does not exist ({place})"
    raise SourceError(f"data.source {source} {fault}; allowed are synthetic, {_KINDS}")


def _refuse_own_output(source: str, place: Path, layout: Layout) -> None:
    folder = place.resolve()
    for output in (layout.raw.resolve(), layout.ingest.resolve()):
        if folder.is_relative_to(output) or output.is_relative_to(folder):
            raise SourceError(
                f"data.source {source} overlaps {output}, which ingest writes anew; move the "
                "images to a folder of their own"
            )


def _verify(data: DataParams, digest: str) -> None:
    if digest != data.sha256:
        raise SourceError(
            f"{data.source} has the SHA-256 {digest}, but data.sha256 is {data.sha256}: it was "
            "altered or is damaged. If the change is meant, `databoost source` takes it in"
        )


def _digest(place: Path) -> str:
    try:
        if place.is_file():
            return _file_digest(place)
        lines = [
            f"{_file_digest(place / path)}  {path}\n"
            for path in tqdm(source_files(place), desc="digest", unit="file", mininterval=1.0)
            if (place / path).is_file()
        ]
    except OSError as error:
        raise SourceError(
            f"{error.filename or place} can't be read ({error.strerror}); give yourself the right "
            "to read it, or take it out of the source"
        ) from error
    return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _walk(folder: Path, prefix: str, ancestors: tuple[str, ...]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in IGNORED_NAMES:
                continue
            path = prefix + entry.name
            real = os.path.realpath(entry.path)
            if entry.is_dir() and real not in ancestors:
                yield from _walk(Path(entry.path), f"{path}/", (*ancestors, real))
            else:
                yield path
