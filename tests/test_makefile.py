"""The environment that `make` sets up belongs to one folder."""

import shutil
import subprocess
from pathlib import Path

import pytest
from projects import REPOSITORY


@pytest.mark.parametrize("is_moved", [False, True])
def test_an_environment_of_another_folder_is_made_anew(tmp_path: Path, is_moved: bool) -> None:
    for name in ("requirements.lock", "pyproject.toml", "Makefile"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    mark = tmp_path / ".venv" / "installed"
    mark.parent.mkdir()
    mark.write_text(f"{'/elsewhere' if is_moved else tmp_path}\n")
    done = subprocess.run(
        ["make", "--dry-run", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ("-m venv" in done.stdout) == is_moved
    assert ("Nothing to be done" in done.stdout) != is_moved
    assert mark.exists() != is_moved
