"""The candidates stage: the same files from either engine, and what a kill leaves of it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from handmade_rounds import declared
from projects import REPOSITORY, Project
from ruamel.yaml import YAML
from sheet_project import lay_sheet_project

from databoost.candidates import production
from databoost.candidates import shards as shards_module
from databoost.candidates.embedding import load_embedder
from databoost.candidates.production import embed_candidates
from databoost.data.files import sha256_of
from databoost.data.tablefiles import read_recipes
from databoost.errors import ParamsError
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


def test_a_killed_run_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert states[0].parent == layout.unfinished("candidates")


def test_finished_shards_are_gone_on_with_until_the_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = lay_sheet_project(tmp_path / "project")
    params = declared(candidates={"count": 16}, train={"accelerator": "cpu", "threads": 1})
    monkeypatch.setattr(shards_module, "SHARD_SIZE", 4)
    n_shards: list[int] = []

    def killed_at_the_end(*arguments: Any) -> None:
        n_shards.append(embed_candidates(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "embed_candidates", killed_at_the_end)
        for digest in ("the code", "the code", "other code"):
            patch.setattr(production, "code_digest", lambda *packages, digest=digest: digest)
            with pytest.raises(KeyboardInterrupt):
                candidates(layout, params)
    assert n_shards == [4, 0, 4]
    assert len(list(layout.unfinished("candidates").iterdir())) == 2


def test_the_embedder_has_one_thread_however_many_workers_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = lay_sheet_project(tmp_path / "project")
    params = declared(candidates={"count": 3}, train={"accelerator": "cpu", "threads": 2})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    told: list[int] = []
    for function in (load_embedder, embed_candidates):

        def spy(*arguments: Any, function: Any = function) -> Any:
            told.append(torch.get_num_threads())
            return function(*arguments)

        monkeypatch.setattr(stage, function.__name__, spy)
    candidates(layout, params)
    told.append(torch.get_num_threads())
    torch.set_num_threads(before)
    assert told == [1, 1, 1]


@pytest.mark.parametrize(
    ("count", "n_cores", "n_fit", "most", "expected"),
    [
        (1_000_000, 16, 70, 8, ("processes", 8)),
        (1_000_000, 4, 70, 8, ("processes", 4)),
        (1_000_000, 16, 3, 8, ("processes", 3)),
        (350_000, 16, 70, 8, ("processes", 3)),
        (199_999, 16, 70, 8, ("threads", 2)),
        (1_000_000, 1, 70, 8, ("threads", 2)),
        (1_000_000, 16, 70, 1, ("threads", 2)),
    ],
)
def test_on_a_gpu_there_are_processes_where_they_pay(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    n_cores: int,
    n_fit: int,
    most: int,
    expected: tuple[str, int],
) -> None:
    params = declared(candidates={"count": count}, train={"accelerator": "auto", "threads": 1})
    settings = params.embedding.model_copy(update={"batch_size": 256})
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(n_cores)))
    # 256 images of 64 x 64 pixels, 256 bytes each, beside what every process takes.
    monkeypatch.setattr(stage, "room_for", lambda *given: {(cuda, 3 * 2**29 + 2**28): n_fit}[given])

    def processes(*given: object) -> tuple[str, object]:
        assert given[:-1] == (params.candidates, settings, tmp_path, cuda)
        return "processes", given[-1]

    def threads(*given: object) -> tuple[str, object]:
        assert given[:-1] == (params.candidates, embedder, 256)
        return "threads", given[-1]

    monkeypatch.setattr(stage, "process_engine", processes)
    monkeypatch.setattr(stage, "local_engine", threads)
    embedder = SimpleNamespace(device=cuda, image_size=64)
    assert stage._engine(Layout(tmp_path), params, settings, embedder, cuda, most) == expected
    # An ONNX file runs on the CPU beside a GPU.
    embedder = SimpleNamespace(device=cpu, image_size=64)
    assert stage._engine(Layout(tmp_path), params, settings, embedder, cuda, most)[1] == 1


def test_a_gpu_whose_memory_is_full_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a")

    monkeypatch.setattr(stage, "embed_candidates", fail)
    layout = lay_sheet_project(tmp_path / "project")
    params = declared(candidates={"count": 3}, train={"accelerator": "cpu", "threads": 1})
    message = r"\(CUDA out of memory\. Tried to allocate 2\.00 GiB\), with embedding.batch_size"
    with pytest.raises(ParamsError, match=message):
        candidates(layout, params)
    assert not layout.candidates.exists()


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
