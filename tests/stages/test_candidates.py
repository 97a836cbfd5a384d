"""The candidates stage: the same files from either engine, and what a kill leaves of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from handmade_rounds import declared
from projects import REPOSITORY, Project
from ruamel.yaml import YAML
from sheet_project import lay_sheet_project

from databoost.data.files import sha256_of
from databoost.data.tablefiles import read_recipes
from databoost.layout import Layout
from databoost.sections import CandidatesParams
from databoost.stages import candidates as stage
from databoost.stages.candidates import candidates

STAGES = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]


def test_dvc_runs_the_stage_again_for_every_key_but_the_engine():
    listed = [key for key in STAGES["candidates"]["params"] if key.startswith("candidates")]
    assert listed == [f"candidates.{key}" for key in CandidatesParams.model_fields][:-1]
    assert list(CandidatesParams.model_fields)[-1] == "engine"
    # Where the policy changes, so do the recipes, on which a boost depends.
    assert "data/candidates" in STAGES["boost"]["do"]["deps"]


def test_a_killed_run_is_gone_on_with_and_a_finished_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = lay_sheet_project(tmp_path / "project")
    params = declared(candidates={"count": 3}, train={"accelerator": "cpu", "threads": 1})
    states: list[Path] = []

    def break_off(*arguments: Any) -> None:
        *_, state = arguments
        states.append(state)
        state.mkdir(parents=True, exist_ok=True)
        (state / f"of run {len(states)}").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "embed_candidates", break_off)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                candidates(layout, params)
    assert states[0] == states[1]
    assert {path.name for path in states[0].iterdir()} == {"of run 1", "of run 2"}
    assert not layout.candidates.exists()
    candidates(layout, params)
    assert len(read_recipes(layout.recipes)) == 3
    assert not states[0].exists()


@pytest.mark.slow
def test_both_engines_write_the_same_files(project: Project) -> None:
    project.run_stages("ingest", "prepare", "train r00", "candidates")
    folder = project.folder / "data" / "candidates"
    local = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(local) == {"recipes.parquet", "embeddings.npy", "embedder.json", "index.ann"}
    weights = sha256_of(Layout(project.folder).round("r00").checkpoint)
    assert json.loads(local["embedder.json"])["weights"] == weights
    project.set(candidates__engine="ray")
    assert "300 candidates of" in project.run_stages("candidates")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == local
    assert list((project.folder / "data" / "candidates").glob("*.part")) == []
