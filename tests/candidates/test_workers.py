"""Worker processes: the local engine's bytes, its errors, and nothing left behind by a kill."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from processes import wait_until_gone
from projects import REPOSITORY

from databoost.candidates import shards as module
from databoost.candidates.embedding import load_embedder
from databoost.candidates.production import (
    Engine,
    embed_candidates,
    local_engine,
    write_embeddings,
)
from databoost.candidates.recipes import make_recipes
from databoost.candidates.shards import Shards
from databoost.candidates.workers import process_engine
from databoost.data.files import write_text
from databoost.data.images import write_png
from databoost.errors import DataboostError, ImageError
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, save_checkpoint
from databoost.params import read_params
from databoost.sections import EmbeddingParams

PARAMS = read_params(REPOSITORY / "params.yaml")
POLICY = PARAMS.candidates
SETTINGS = PARAMS.embedding.model_copy(
    update={"architecture": "model", "weights": "model.ckpt", "image_size": 32, "batch_size": 8}
    | {"precision": "float32"}
)
CPU = torch.device("cpu")
N, SIZE = 240, 16  # 15 parents, a shard each


def prepare(folder: Path) -> Shards:
    """Write 15 parents and an untrained model's checkpoint into a folder."""
    weights = build_model("fixed", 2, seed=0).state_dict()
    save_checkpoint(folder / "model.ckpt", Checkpoint("fixed", 32, ["x", "y"], 0, weights))
    random = np.random.default_rng(0)
    files = {f"{number:02d}": folder / f"{number:02d}.png" for number in range(15)}
    for width, path in enumerate(files.values(), 30):
        write_png(path, random.integers(0, 256, (31, width, 1), np.uint8))
    rows = pd.DataFrame({"image_id": list(files), "label": "x"})
    return Shards(make_recipes(0, N, rows, POLICY, ["x", "y"]), files)


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shards:
    monkeypatch.setattr(module, "SHARD_SIZE", SIZE)
    return prepare(tmp_path)


def written(folder: Path, name: str, shards: Shards, engine: Engine) -> bytes:
    embed_candidates(shards, 256, engine, folder / f"{name}-state")
    write_embeddings(folder / f"{name}.npy", shards, 256, folder / f"{name}-state")
    return (folder / f"{name}.npy").read_bytes()


def threads(folder: Path, settings: EmbeddingParams = SETTINGS) -> Engine:
    return local_engine(POLICY, load_embedder(settings, folder, CPU), settings.batch_size, 1)


def test_processes_write_what_threads_do_and_end(tmp_path, shards, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The root may be relative, where a process is started elsewhere.
    engine = process_engine(POLICY, SETTINGS, Path(), CPU, 2)
    found = written(tmp_path, "processes", shards, engine)
    assert found == written(tmp_path, "threads", shards, threads(tmp_path))
    assert not multiprocessing.active_children()


def test_ctrl_c_is_left_to_the_main_process(tmp_path, shards):
    before = signal.getsignal(signal.SIGINT)
    finished = process_engine(POLICY, SETTINGS, tmp_path, CPU, 2)(shards)
    next(finished)
    ignored = [
        re.search(r"SigIgn:\t(\w+)", Path(f"/proc/{worker.pid}/status").read_text())
        for worker in multiprocessing.active_children()
    ]
    finished.close()
    assert [bool(int(found[1], 16) >> signal.SIGINT - 1 & 1) for found in ignored] == [True] * 2
    assert signal.getsignal(signal.SIGINT) == before


def test_what_a_worker_refuses_is_told_as_by_threads(tmp_path, shards):
    write_text(tmp_path / "07.png", "no image")
    with pytest.raises(ImageError) as expected:
        embed_candidates(shards, 256, threads(tmp_path), tmp_path / "threads-state")
    engine = process_engine(POLICY, SETTINGS, tmp_path, CPU, 1)
    with pytest.raises(ImageError) as found:
        embed_candidates(shards, 256, engine, tmp_path / "processes-state")
    assert str(found.value) == str(expected.value)
    assert "07.png" in str(found.value)


@pytest.mark.slow
def test_a_killed_worker_is_told_and_what_is_finished_is_kept(tmp_path, shards):
    processes = process_engine(POLICY, SETTINGS, tmp_path, CPU, 1)

    def deadly(wanted):
        for number, finished in enumerate(processes(wanted)):
            if number == 1:
                (worker,) = multiprocessing.active_children()
                os.kill(worker.pid, signal.SIGKILL)
                wait_until_gone(worker.pid)
            yield finished

    state = tmp_path / "state"
    with pytest.raises(DataboostError, match=r"one of 1 worker processes ended, killed"):
        embed_candidates(shards, 256, deadly, state)
    n_kept = len(list(state.iterdir()))
    assert 2 <= n_kept < 15
    assert embed_candidates(shards, 256, processes, state) == 15 - n_kept
    write_embeddings(tmp_path / "found.npy", shards, 256, state)
    expected = written(tmp_path, "threads", shards, threads(tmp_path))
    assert (tmp_path / "found.npy").read_bytes() == expected


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path):
    """Else they would hold the GPU's memory, and nobody would know."""
    script = tmp_path / "start.py"
    write_text(
        script,
        f"""
import multiprocessing, sys
from pathlib import Path

sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
import test_workers as tests

if __name__ == "__main__":
    folder = Path({str(tmp_path)!r})
    engine = tests.process_engine(tests.POLICY, tests.SETTINGS, folder, tests.CPU, 2)
    tests.module.SHARD_SIZE = tests.SIZE
    shards = engine(tests.prepare(folder))
    next(shards)
    print(*[worker.pid for worker in multiprocessing.active_children()], flush=True)
    sys.stdin.read()
""",
    )
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        workers = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert len(workers) == 2
    for worker in workers:
        wait_until_gone(worker)
