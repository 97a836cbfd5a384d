"""The candidates stage: the same files from either engine, and what a kill leaves of it."""

import json

import pytest
from projects import REPOSITORY, Project
from ruamel.yaml import YAML

from databoost.data.files import sha256_of
from databoost.layout import Layout
from databoost.sections import CandidatesParams

STAGES = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]


def test_dvc_runs_the_stage_again_for_every_key_but_the_engine():
    listed = [key for key in STAGES["candidates"]["params"] if key.startswith("candidates")]
    assert listed == [f"candidates.{key}" for key in CandidatesParams.model_fields][:-1]
    assert list(CandidatesParams.model_fields)[-1] == "engine"
    # Where the policy changes, so do the recipes, on which a boost depends.
    assert "data/candidates" in STAGES["boost"]["do"]["deps"]


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
