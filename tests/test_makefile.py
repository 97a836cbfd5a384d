"""The environment that `make` sets up belongs to one folder, and is kept where one is there."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from projects import REPOSITORY

VENV = "-m venv .venv"
LOCK = "-m pip install --quiet --require-hashes -r requirements.lock"
EDITABLE = "-m pip install --quiet --no-deps --no-build-isolation --editable ."
#: Notes what it is asked for, installs nothing, and fails at what `BREAKING` holds.
PYTHON = """#!/bin/sh
case "$*" in *"${BREAKING:-no such call}"*) exit 1;; "-c "*) exit;; esac
echo "$*" >> calls
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a project without an environment, beside Pythons that install nothing."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("requirements.lock", "pyproject.toml", "Makefile"):
        shutil.copy(REPOSITORY / name, folder / name)
    for name in ("python3.12", "python3.11", "python3"):  # all that the Makefile looks for
        python = tmp_path / "bin" / name
        python.parent.mkdir(exist_ok=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
    return folder


def set_up(folder: Path, breaking: str = "") -> tuple[list[str], str]:
    """Run `make setup`; gives what Python was asked for, and all that was said.

    After one that ended well all files are old, the mark the newest: what a test touches is newer.
    """
    calls = folder / "calls"
    calls.write_text("")
    done = subprocess.run(
        ["make", "setup", "PYTHON="],
        cwd=folder,
        env=os.environ
        | {"PATH": f"{folder.parent / 'bin'}:{os.environ['PATH']}", "BREAKING": breaking},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == bool(breaking), done.stdout
    if not breaking:
        for age, name in enumerate((".venv/installed", "pyproject.toml", "requirements.lock")):
            os.utime(folder / name, (1_000_000_000 - age,) * 2)
    return calls.read_text().splitlines(), done.stdout


def installed_beside(folder: Path) -> Path:
    """Lay a file that is lost when the environment is made from nothing."""
    beside = folder / ".venv" / "dvc_s3.py"
    beside.touch()
    return beside


def change(path: Path) -> None:
    path.write_text(path.read_text() + "# another\n")


@pytest.mark.parametrize("is_moved", [False, True])
def test_an_environment_of_another_folder_is_made_anew(folder: Path, is_moved: bool) -> None:
    mark = folder / ".venv" / "installed"
    mark.parent.mkdir()
    mark.write_text(f"{'/elsewhere' if is_moved else folder}\n")
    done = subprocess.run(
        ["make", "--dry-run", "setup"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert ("-m venv" in done.stdout) == is_moved
    assert ("Nothing to be done" in done.stdout) != is_moved
    assert mark.exists() != is_moved


def test_an_environment_is_made_once_and_again_where_the_folder_was_moved(folder: Path) -> None:
    assert set_up(folder)[0] == [VENV, LOCK, EDITABLE]
    assert (folder / ".venv" / "installed").read_text() == f"{folder}\n"
    calls, said = set_up(folder)
    assert calls == []
    assert "Nothing to be done" in said
    moved = folder.rename(folder.with_name("moved"))
    beside = installed_beside(moved)
    assert set_up(moved)[0] == [VENV, LOCK, EDITABLE]
    assert not beside.exists()
    assert (moved / ".venv" / "installed").read_text() == f"{moved}\n"


@pytest.mark.parametrize(
    ("touched", "changed", "expected"),
    [
        (["requirements.lock"], [], []),
        ([], ["requirements.lock"], [LOCK]),
        (["pyproject.toml"], [], [EDITABLE]),
        (["requirements.lock", "pyproject.toml"], [], [EDITABLE]),
        ([], ["requirements.lock", "pyproject.toml"], [LOCK, EDITABLE]),
    ],
)
def test_an_environment_that_is_there_is_brought_up_to_date_in_place(
    folder: Path, touched: list[str], changed: list[str], expected: list[str]
) -> None:
    set_up(folder)
    beside = installed_beside(folder)
    for name in touched:
        (folder / name).touch()
    for name in changed:
        change(folder / name)
    assert set_up(folder)[0] == expected
    assert beside.exists()
    assert (folder / ".venv" / "installed").read_text() == f"{folder}\n"
    assert "Nothing to be done" in set_up(folder)[1]
    (folder / "requirements.lock").touch()  # what was installed is known by its content
    assert set_up(folder)[0] == []


def test_one_that_does_not_say_what_was_installed_is_kept(folder: Path) -> None:
    set_up(folder)
    beside = installed_beside(folder)
    digest = folder / ".venv" / "requirements.sha256"
    content = digest.read_text()
    lock = folder / "requirements.lock"
    assert content == f"{hashlib.sha256(lock.read_bytes()).hexdigest()}  requirements.lock\n"
    digest.unlink()
    lock.touch()
    assert set_up(folder)[0] == [LOCK]
    assert beside.exists()
    assert digest.read_text() == content


@pytest.mark.parametrize(("breaking", "expected"), [(LOCK, [VENV]), (EDITABLE, [VENV, LOCK])])
def test_a_set_up_that_broke_off_is_done_again(
    folder: Path, breaking: str, expected: list[str]
) -> None:
    assert set_up(folder, breaking)[0] == expected
    assert not (folder / ".venv" / "installed").exists()
    beside = installed_beside(folder)
    assert set_up(folder)[0] == [VENV, LOCK, EDITABLE]
    assert not beside.exists()


def test_an_update_that_broke_off_is_done_again_in_place(folder: Path) -> None:
    set_up(folder)
    beside = installed_beside(folder)
    lock, project = folder / "requirements.lock", folder / "pyproject.toml"
    before = lock.read_bytes()
    change(lock)
    assert set_up(folder, breaking=LOCK)[0] == []
    assert (folder / ".venv" / "installed").exists()
    lock.write_bytes(before)  # it was half replaced all the same
    assert set_up(folder)[0] == [LOCK]
    change(lock)
    change(project)
    assert set_up(folder, breaking=EDITABLE)[0] == [LOCK]
    assert set_up(folder)[0] == [EDITABLE]
    assert beside.exists()


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        ("-m venv", "apt install python3-venv python3-dev"),
        ("Python.h", "apt install python3-dev"),
        ("version_info", "databoost needs Python 3.11 or 3.12"),
    ],
)
def test_what_an_environment_needs_is_named(folder: Path, breaking: str, message: str) -> None:
    calls, said = set_up(folder, breaking)
    assert message in said
    assert LOCK not in calls
    assert not (folder / ".venv").exists()
