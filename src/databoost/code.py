"""databoost's own code, as far as a result depends on it."""

import hashlib
from functools import cache
from pathlib import Path

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
    digest = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(_SOURCE).as_posix()} {content}\n".encode())
    return digest.hexdigest()
