"""The command of a stage: what is edited while it runs must not be recorded as what it used."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from projects import REPOSITORY

from databoost import cli
from databoost.layout import Layout
from databoost.params import Params
from databoost.stages import ingest


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("n_train: ", "  - synthetic.n_train: 900 then, 1900 now"),
        ("neighbors: ", ""),  # of no part in this stage
    ],
)
def test_a_stage_fails_if_its_parameters_are_edited_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, line: str
) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)

    def edited(layout: Layout, params: Params) -> None:
        assert params.synthetic.n_train == 900
        text = layout.params.read_text()
        assert key in text
        layout.params.write_text(text.replace(key, f"{key}1"))

    monkeypatch.setattr(ingest, "ingest", edited)
    done = CliRunner().invoke(cli.main, ["ingest"])
    assert done.exit_code == (1 if line else 0)
    if line:
        message = "error: edited while ingest ran, which worked with what was there before; `dvc"
        assert done.output.startswith(message)
        assert done.output.splitlines()[1:] == [line]
    else:
        assert done.output.startswith("ingest: ")
