"""databoost's own code, as far as a result depends on it."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from databoost.errors import DataboostError

_SOURCE = Path(__file__).parent


@cache
def code_digest(*packages: str) -> str:
    """Give a SHA-256 of parts of databoost's source, 64 hex digits.

    Parameters
    ----------
    packages
        Names below databoost, of packages (``model``, with all below it) or modules
        (``data.images``), in any order.
    """
    files: set[Path] = set()
    for name in packages:
        path = _SOURCE.joinpath(*name.split("."))
        files |= set(path.rglob("*.py")) if path.is_dir() else {path.with_suffix(".py")}
    return _digest_of(_SOURCE, files)


def check_own_code(root: Path) -> None:
    """Refuse to work in a project whose code is another: DVC records that one.

    So it is in DVC's temporary copies of a project that was edited since, in a second clone, and
    in a ``git worktree``, which all call the databoost that is installed.

    Raises
    ------
    DataboostError
        If the project has ``src/databoost``, and it differs from what runs.
    """
    own = root.resolve() / "src" / "databoost"
    if not own.is_dir() or own == _SOURCE.resolve():
        return
    if folder_digest(own) != folder_digest(_SOURCE):
        raise DataboostError(
            "the databoost that is installed here is not this project's own, which DVC records: "
            "say `export PYTHONPATH=src`, or use an environment of this folder (`make setup`)"
        )


def folder_digest(folder: Path) -> str:
    """Give a SHA-256 of the Python files below a folder, 64 hex digits."""
    return _digest_of(folder, folder.rglob("*.py"))


def _digest_of(source: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(source).as_posix()} {content}\n".encode())
    return digest.hexdigest()
