"""Files that are written whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from databoost.errors import TableError

# Of a disk that is full, or is only read.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    TableError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"{path} does not exist") from None
    except ValueError as error:
        raise TableError(f"{path} is not readable JSON: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented, keys in the order given; whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file with Unix line ends; whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, making its folder; a power cut does no harm either.

    It takes some milliseconds, since it waits for the disk: thousands of files are better written
    plainly into a :func:`whole_folder`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # a name must not outlive a power cut that its bytes do not
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def is_refusal(error: BaseException) -> bool:
    """Tell whether the operating system refused a file: a full disk, or no right to it.

    >>> is_refusal(PermissionError(errno.EACCES, "Permission denied")), is_refusal(OSError("late"))
    (True, False)
    """
    # By the class, since errors of TLS bear the number of EPERM, too.
    is_disk = isinstance(error, OSError) and error.errno in _DISK
    return is_disk or isinstance(error, PermissionError)


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `folder` when the block ends well.

    When the block raises, what was filled is removed and `folder` stays as it was. What was filled
    is on the disk before it takes the name: after a power cut, a folder that is there is whole.

    >>> with whole_folder(Path("model")) as part:  # doctest: +SKIP
    ...     write_text(part / "curve.csv", "epoch")
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    os.sync()
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
