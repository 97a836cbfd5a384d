"""Archives to folders; nothing is written before every member to write was found harmless.

Members are written by this module's own loop, never by ``extractall``: only folders and regular
files come out, below the target folder, and no more bytes than are allowed, whatever the headers
say.
"""

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from tqdm import tqdm

from databoost.data.files import is_refusal
from databoost.errors import SourceError

#: Endings of the archives that can be unpacked (any case).
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
#: What systems and file managers leave behind, beside hidden files; in lower case.
IGNORED_NAMES = frozenset(
    {
        *("__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
        *("@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"),
    }
)
#: Bytes of all members together.
MAX_UNPACKED_BYTES = 20 * 2**30
#: Files and folders.
MAX_MEMBERS = 200_000
#: Unpacked bytes for each byte of the archive; images shrink by far less.
MAX_RATIO = 200
#: Archives that unpack to less than this may shrink as much as they like.
FREE_BYTES = 64 * 2**20

_CHUNK = 1 << 18
_MAX_HEADER_BYTES = 1 << 20
_HEADER_ROOM = 4096
_IS_UTF8 = 0x800  # of a member's flags: so is its name
_HARD_LINK = "is a hard link"


@dataclass(frozen=True)
class Limits:
    """What an archive may hold."""

    n_bytes: int = MAX_UNPACKED_BYTES
    n_members: int = MAX_MEMBERS
    ratio: int = MAX_RATIO
    n_free_bytes: int = FREE_BYTES

    def allowed_bytes(self, archive_bytes: int) -> int:
        """Bytes that an archive of this size may unpack to.

        >>> Limits(n_bytes=1000, ratio=10, n_free_bytes=50).allowed_bytes(20)
        200
        """
        return min(self.n_bytes, max(self.n_free_bytes, self.ratio * archive_bytes))


@dataclass(frozen=True)
class _Member:
    name: str
    n_bytes: int
    is_folder: bool
    fault: str  # why its kind is refused, or empty
    handle: Any


_Opened = tuple[Iterable[_Member], Callable[[Any], IO[bytes]]]


def archive_ending(name: str) -> str:
    """Give the ending of an archive's file name, one of `ENDINGS`; empty if it has none of them.

    >>> archive_ending("Photos.2021.TAR.GZ"), archive_ending("photos.rar")
    ('.tar.gz', '')
    """
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")


def is_ignored(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or one of `IGNORED_NAMES` in any case.

    >>> is_ignored(".git"), is_ignored("@eaDir"), is_ignored("eaDir")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in IGNORED_NAMES


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> None:
    """Unpack an archive into a new folder, without what `is_ignored` or lies in what is.

    Parameters
    ----------
    archive
        A file with one of `ENDINGS`.
    folder
        Made by this function. It is incomplete if an error is raised while it is filled.
    limits
        What the archive may hold, ignored members too; the module's constants by default.

    Raises
    ------
    SourceError
        Before anything is written: if a member that is not ignored is a link or a device, is
        encrypted, appears twice, or has a name that is absolute, holds ``..``, a backslash, a drive
        letter or control characters; if the archive is larger than `limits` allow; if its table of
        contents is damaged. While writing: if a member is damaged or longer than its header says.
    OSError
        If the disk is full, or the archive may not be read or the folder not written to.
    """
    limits = limits or Limits()
    allowed = limits.allowed_bytes(archive.stat().st_size)
    try:
        opened = _open_zip if archive_ending(archive.name) == ".zip" else _open_tar
        with opened(archive, allowed + limits.n_members * _HEADER_ROOM) as (members, read):
            checked = _checked(archive, members, limits, allowed)
            folder.mkdir(parents=True)
            _write(archive, checked, read, folder, allowed)
    except SourceError:
        raise
    except Exception as error:  # the parsers raise almost anything on damaged archives
        if is_refusal(error):
            raise
        raise SourceError(
            f"{archive.name} can't be unpacked ({type(error).__name__}: {error}); it is damaged, "
            "incomplete or not what its ending says: get it again, or unpack it yourself and name "
            "the folder in data.source"
        ) from error


def _checked(
    archive: Path, members: Iterable[_Member], limits: Limits, allowed: int
) -> list[tuple[_Member, PurePosixPath]]:
    checked = []
    files: set[PurePosixPath] = set()
    n_bytes = 0
    for number, member in enumerate(members, 1):
        if number > limits.n_members:
            raise SourceError(
                f"{archive.name} holds more than {limits.n_members:,} files and folders, which is "
                "the limit; unpack it yourself and name the folder in data.source"
            )
        path = PurePosixPath(member.name)
        is_left_out = _is_left_out(member, path)
        fault = "" if is_left_out else _name_fault(member.name) or member.fault
        if not fault and not member.is_folder and path in files:
            fault = "appears twice"
        if fault:
            tool = " with `tar --hard-dereference`" if fault == _HARD_LINK else ""
            raise SourceError(
                f"{archive.name} is refused: its member {member.name!r} {fault}; allowed are "
                "folders and regular files with relative names. Nothing was unpacked: pack the "
                f"images again{tool}"
            )
        n_bytes += member.n_bytes
        if n_bytes > allowed:
            raise _too_large(archive, member.name, f"{n_bytes:,}", allowed)
        if is_left_out:
            continue
        checked.append((member, path))
        if not member.is_folder:
            files.add(path)
    return checked


def _is_left_out(member: _Member, path: PurePosixPath) -> bool:
    # A negative size would win bytes back, and may send a reader of tar round in circles.
    return member.n_bytes >= 0 and any(part != ".." and is_ignored(part) for part in path.parts)


def _name_fault(name: str) -> str:
    if any(ord(character) < 32 for character in name):
        return "has control characters in its name"
    if "\\" in name:
        return "has a backslash in its name"
    if re.match(r"[A-Za-z]:", name):
        return "names a drive"
    if name.startswith("/"):
        return "has an absolute name"
    if ".." in PurePosixPath(name).parts:
        return "points outside of the archive (..)"
    return ""


def _too_large(archive: Path, member: str, n_bytes: str, allowed: int) -> SourceError:
    return SourceError(
        f"{archive.name} is refused: up to its member {member!r} it unpacks to {n_bytes} bytes; "
        f"allowed are {allowed:,} bytes for an archive of {archive.stat().st_size:,}. If you trust "
        "it, unpack it yourself and name the folder in data.source"
    )


def _write(
    archive: Path,
    members: list[tuple[_Member, PurePosixPath]],
    read: Callable[[Any], IO[bytes]],
    folder: Path,
    allowed: int,
) -> None:
    room = allowed
    for member, path in tqdm(members, desc="unpack", unit="file", mininterval=1.0):
        target = folder / path
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x": where case does not matter, A.png must not overwrite a.png.
        with read(member.handle) as stream, target.open("xb") as file:
            room -= _copy(stream, file, room)
        if room < 0:
            raise _too_large(archive, member.name, f"more than {allowed:,}", allowed)


def _copy(stream: IO[bytes], file: IO[bytes], room: int) -> int:
    """Copy a stream, stopping as soon as it turns out longer than the room there is."""
    n_bytes = 0
    while n_bytes <= room and (chunk := stream.read(_CHUNK)):
        file.write(chunk)
        n_bytes += len(chunk)
    return n_bytes


@contextmanager
def _open_zip(archive: Path, _most: int) -> Iterator[_Opened]:
    with zipfile.ZipFile(archive) as opened:
        yield (_zip_member(info) for info in opened.infolist()), opened.open


def _zip_member(info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    fault = ""
    if info.flag_bits & 0x1:
        fault = "is encrypted"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a link or a device"
    return _Member(_zip_name(info), info.file_size, info.is_dir(), fault, info)


def _zip_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename  # zipfile cuts `filename` at the first zero byte
    if not info.flag_bits & _IS_UTF8:
        # Read as code page 437 then; but macOS writes UTF-8 and does not say so.
        with suppress(UnicodeError):
            return name.encode("cp437").decode("utf-8")
    return name


@contextmanager
def _open_tar(archive: Path, most: int) -> Iterator[_Opened]:
    decompress: dict[str, Callable[..., Any]] = {
        ".tar": Path.open,
        ".tar.gz": gzip.open,
        ".tgz": gzip.open,
        ".tar.xz": lzma.open,
        ".tar.bz2": bz2.open,
    }
    with decompress[archive_ending(archive.name)](archive, "rb") as stream:
        bounded = _BoundedStream(archive, stream, most)
        with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as opened:
            extract = cast(Callable[[Any], IO[bytes]], opened.extractfile)
            yield _tar_members(opened, bounded), extract


def _tar_members(opened: tarfile.TarFile, stream: "_BoundedStream") -> Iterator[_Member]:
    for info in opened:
        fault = "" if info.isreg() or info.isdir() else "is a link or a device"
        if info.islnk():
            fault = _HARD_LINK
        if info.size < 0:
            fault = f"has a size of {info.size} bytes"
        yield _Member(info.name, info.size, info.isdir(), fault, info)
    # tarfile takes a damaged header for the end; the end is a block of zeros.
    stream.seek(opened.offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if block != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no end mark at byte {opened.offset}")
    while stream.read(_CHUNK):  # to the end, where gzip, xz and bz2 keep their checksums
        pass


class _BoundedStream:
    """A tar stream that neither reads far nor reads much at once, whatever the headers say."""

    def __init__(self, archive: Path, stream: IO[bytes], most: int) -> None:
        self._archive = archive
        self._stream = stream
        self._most = most

    def read(self, n_bytes: int) -> bytes:
        if not 0 <= n_bytes <= _MAX_HEADER_BYTES:
            raise SourceError(
                f"{self._archive.name} is refused: it has a header of {n_bytes:,} bytes; allowed "
                f"are {_MAX_HEADER_BYTES:,}. Pack the images again"
            )
        content = self._stream.read(n_bytes)
        self._check(self._stream.tell())
        return content

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._most:
            raise SourceError(
                f"{self._archive.name} is refused: it unpacks to {position:,} bytes or more; "
                f"allowed are {self._most:,}, headers included. If you trust it, unpack it "
                "yourself and name the folder in data.source"
            )
