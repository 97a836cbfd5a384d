"""The command of a stage: what is edited while it runs must not be recorded as what it used."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from projects import REPOSITORY

from databoost import cli
from databoost.data.files import write_text
from databoost.layout import Layout
from databoost.params import Params
from databoost.stages import ingest
from databoost.unfinished import alone


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

    unfinished = Layout(Path()).unfinished("ingest")

    def edited(layout: Layout, params: Params) -> None:
        assert params.synthetic.n_train == 900
        unfinished.mkdir(parents=True)
        text = layout.params.read_text()
        assert key in text
        layout.params.write_text(text.replace(key, f"{key}1"))

    monkeypatch.setattr(ingest, "ingest", edited)
    done = CliRunner().invoke(cli.main, ["ingest"])
    assert done.exit_code == (1 if line else 0)
    assert unfinished.exists() == bool(line)  # with the old value again it is gone on with
    if line:
        message = "error: edited while ingest ran, which worked with what was there before; `dvc"
        assert done.output.startswith(message)
        assert done.output.splitlines()[1:] == [line]
    else:
        assert done.output.startswith("ingest: ")


def test_a_stage_is_not_run_twice_at_a_time_nor_by_the_code_of_another_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ingest, "ingest", lambda *_: pytest.fail("it ran"))
    with alone(Layout(tmp_path), "ingest"):
        done = CliRunner().invoke(cli.main, ["ingest"])
    assert done.exit_code == 1
    assert done.output.startswith("error: another `databoost ingest` is at work in this project")
    write_text(tmp_path / "src/databoost/errors.py", "# another")
    done = CliRunner().invoke(cli.main, ["ingest"])
    assert done.exit_code == 1
    assert done.output.startswith("error: the databoost that is installed here is not this")
