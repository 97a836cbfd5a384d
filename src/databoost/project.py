"""The project that a command runs in: the folder with ``params.yaml``."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from databoost.layout import Layout
    from databoost.params import Params


def open_project() -> "tuple[Layout, Params]":
    """Read the parameters of the project in the working folder.

    Raises
    ------
    ParamsError
        If there is no ``params.yaml``, or it holds bad values.
    """
    # It loads pydantic, which `--help` does without.
    from databoost.params import read_params

    layout = project_layout()
    return layout, read_params(layout.params)


def project_layout() -> "Layout":
    """Give the places of files of the project in the working folder."""
    from databoost.layout import Layout

    return Layout(Path())
