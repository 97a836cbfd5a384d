"""The digest of databoost's code changes with the parts that are named, and with no others."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from databoost import code
from databoost.code import check_own_code, code_digest
from databoost.errors import DataboostError


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Source files in the place of databoost's own."""
    for name in ("errors.py", "model/__init__.py", "model/loop.py", "model/deep/a.py", "data/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n", encoding="utf-8")
    monkeypatch.setattr(code, "_SOURCE", tmp_path)
    return tmp_path


def digest(*packages: str) -> str:
    """Of the files as they are now; within a process one digest stands."""
    code_digest.cache_clear()
    found = code_digest(*packages)
    code_digest.cache_clear()
    return found


def test_the_digest_counts_the_files_that_are_named_and_no_others(source: Path) -> None:
    first, other = digest("model", "data.b"), digest("errors")
    (source / "errors.py").write_text("# another\n")
    (source / "model" / "notes.txt").write_text("no code\n")
    assert digest("model", "data.b") == digest("data.b", "model", "model.loop") == first
    assert digest("errors") != other
    seen = {first}
    for name in ("model/loop.py", "model/deep/a.py", "data/b.py"):
        (source / name).write_text("# another\n")
        seen.add(digest("model", "data.b"))
    (source / "model" / "loop.py").rename(source / "model" / "turns.py")
    seen.add(digest("model", "data.b"))
    assert len(seen) == 5


def test_the_digest_is_that_of_one_process(source: Path) -> None:
    code_digest.cache_clear()
    first = code_digest("model")
    (source / "model" / "loop.py").write_text("# edited meanwhile\n")
    assert code_digest("model") == first
    code_digest.cache_clear()


def test_a_name_that_is_no_part_of_databoost_is_no_digest(source: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.py"):
        digest("nothing")


def test_a_project_of_other_code_is_refused(source: Path, tmp_path_factory: Any) -> None:
    project = tmp_path_factory.mktemp("project")
    check_own_code(project)  # one without code of its own
    own = project / "src" / "databoost"
    shutil.copytree(source, own)
    check_own_code(project)
    (own / "model" / "notes.txt").write_text("no code\n")
    check_own_code(project)
    (own / "model" / "loop.py").write_text("# another\n")
    with pytest.raises(DataboostError, match=r"not this project's own.*`export PYTHONPATH=src`"):
        check_own_code(project)


def test_databoosts_own_parts_have_digests() -> None:
    digests = {digest(name) for name in ("candidates", "model", "data", "data.images")}
    assert len(digests) == 4
    assert all(len(found) == 64 and int(found, 16) for found in digests)
