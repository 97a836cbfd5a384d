"""Fixtures shared by all tests."""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a small project outside git and DVC, for single stages."""
    return make_project(tmp_path / "project")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise as it does in a terminal; what runs in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with many slow tests first, so that two workers end at about the same time."""
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])
