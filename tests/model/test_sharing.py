"""Sharing a GPU: by a stand-in for NVIDIA's service on any machine, by the real one on a GPU."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from databoost.data.files import write_text
from databoost.model import sharing
from databoost.model.sharing import is_shared, most_processes, shared_gpu

CUDA, PIPES = torch.device("cuda"), "CUDA_MPS_PIPE_DIRECTORY"
#: Notes what it is asked; serves until it is told to quit, or has nothing to serve with.
STAND_IN = """#!/bin/bash
folder=$CUDA_MPS_PIPE_DIRECTORY
echo "$CUDA_MPS_LOG_DIRECTORY" > "$LOG.folder"
if [ "$1" = -f ]; then
  echo $$ >> "$LOG"
  [ "$KIND" = refuses ] && exit 1
  trap exit TERM
  touch "$folder/control"
  while [ ! -e "$folder/quit" ]; do sleep 0.05; done
  exit
fi
[ -e "$folder/control" ] || { echo "Cannot find MPS control daemon process"; exit 1; }
read -r request
echo "$request" >> "$LOG"
case $request in
  start_server*) [ "$KIND" = serves ] && touch "$folder/server";;
  get_server_list) [ -e "$folder/server" ] && echo 4711;;
  quit) touch "$folder/quit";;
esac
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in where programs are looked for; gives the file in which it takes notes."""
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    write_text(program, STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("KIND", "serves")
    monkeypatch.delenv(PIPES, raising=False)
    return tmp_path / "log"


def test_the_service_runs_for_as_long_as_the_processes(log):
    with shared_gpu(CUDA) as environment:
        folder = environment[PIPES]
        assert environment == {PIPES: folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        assert is_shared(environment)
        assert not is_shared({})
        service, *requests = log.read_text().splitlines()
        assert set(requests) == {f"start_server -uid {os.getuid()}", "get_server_list"}
        assert (log.parent / "log.folder").read_text() == f"{folder}\n"
        os.kill(int(service), 0)
    assert log.read_text().splitlines()[-1] == "quit"
    with pytest.raises(ProcessLookupError):
        os.kill(int(service), 0)
    assert not Path(folder).exists()


@pytest.mark.parametrize("kind", ["refuses", "never serves"])
def test_where_there_is_none_processes_go_on_without(log, monkeypatch, kind):
    monkeypatch.setenv("KIND", kind)
    monkeypatch.setattr(sharing, "_PATIENCE", 0.5)
    with shared_gpu(CUDA) as environment:
        assert environment == {}
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().splitlines()[0]), 0)


def test_one_that_does_not_end_is_killed(log, monkeypatch):
    monkeypatch.setenv("KIND", "serves")
    monkeypatch.setattr(sharing, "_PATIENCE", 0.5)
    with shared_gpu(CUDA) as environment:
        (Path(environment[PIPES]) / "control").unlink()  # no request reaches it
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().splitlines()[0]), 0)


def test_it_ends_with_the_process_that_started_it(log):
    script = (
        "import sys, torch; from databoost.model.sharing import shared_gpu\n"
        "with shared_gpu(torch.device('cuda')): print('shared', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"shared\n"
        process.kill()
    service = int(log.read_text().splitlines()[0])
    while Path(f"/proc/{service}/cmdline").exists() and b"mps" in _command(service):
        pass  # the signal is on its way


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_nothing_is_started_where_nothing_is_to_share(log, monkeypatch):
    with shared_gpu(torch.device("cpu")) as environment:
        assert environment == {}
    monkeypatch.setenv(PIPES, "/somebody's/own")
    with shared_gpu(CUDA) as environment:
        assert environment == {}
        assert is_shared(environment)
    monkeypatch.delenv(PIPES)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with shared_gpu(CUDA) as environment:
        assert environment == {}
        assert not is_shared(environment)
    assert not log.exists()


@pytest.mark.parametrize(("memory", "expected"), [(2**30, 1), (8 * 2**30, 4), (140 * 2**30, 70)])
def test_a_process_takes_two_gigabytes_of_a_gpu(monkeypatch, memory, expected):
    class Properties:
        total_memory = memory

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    assert most_processes(CUDA) == expected


@pytest.mark.skipif(
    not torch.cuda.is_available() or not shutil.which("nvidia-cuda-mps-control"),
    reason="needs a GPU and NVIDIA's MPS",
)
def test_processes_share_a_gpu(monkeypatch):
    monkeypatch.delenv(PIPES, raising=False)
    torch.zeros(1, device="cuda")  # this process has begun to use it, as a stage has
    command = [sys.executable, "-c", "import torch; print(torch.ones(3, device='cuda').sum())"]
    with shared_gpu(CUDA) as environment:
        assert is_shared(environment)
        running = [
            subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        said = [process.communicate()[0] for process in running]
    assert said == [b"tensor(3., device='cuda:0')\n"] * 2
