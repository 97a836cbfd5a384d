"""The examples in docstrings are run."""

import doctest
import importlib
from pathlib import Path

import pytest
from projects import REPOSITORY

SOURCE = REPOSITORY / "src"


def modules_with_examples() -> list[str]:
    return sorted(
        ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for path in SOURCE.rglob("*.py")
        if ">>> " in path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_of_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_packages_hold_examples() -> None:
    assert len(modules_with_examples()) >= 4
