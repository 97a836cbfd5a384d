"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
from projects import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a small project outside git and DVC, for single stages."""
    return make_project(tmp_path / "project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the one long file, so that two workers end at about the same time."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")
