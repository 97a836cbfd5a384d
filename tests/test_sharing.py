"""Sharing a GPU: by a stand-in for NVIDIA's service on any machine, by the real one on a GPU."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from processes import wait_until_gone

from databoost import sharing
from databoost.data.files import write_text
from databoost.sharing import Sharing, room_for, shared_gpu

CUDA, PIPES = torch.device("cuda"), "CUDA_MPS_PIPE_DIRECTORY"
#: Notes what it is asked; serves until it is told to quit, or ends at once.
STAND_IN = """#!/bin/bash
folder=${CUDA_MPS_PIPE_DIRECTORY:-$USUAL}
if [ "$1" = -f ]; then
  echo $$ "$CUDA_MPS_LOG_DIRECTORY" >> "$LOG"
  [ "$KIND" = refuses ] && exit 1
  trap exit TERM
  touch "$folder/control"
  while [ ! -e "$folder/quit" ]; do sleep 0.05; done
  exit
fi
[ -e "$folder/control" ] || { echo "Cannot find MPS control daemon process"; exit $STATUS; }
read -r request
echo "$request" >> "$LOG"
case $request in
  get_default_active_thread_percentage) echo 100.0;;
  quit) touch "$folder/quit";;
esac
"""
QUESTION = "get_default_active_thread_percentage"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in where programs are looked for; gives the file in which it takes notes."""
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    write_text(program, STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    variables = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "USUAL": str(tmp_path / "usual"),
        "KIND": "serves",
        "STATUS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in (PIPES, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sharing, "_FIRST_PROCESS", "pass")
    return tmp_path / "log"


def started(log: Path) -> int:
    """Give the service's process."""
    return int(log.read_text().split()[0])


@pytest.mark.parametrize("status", ["1", "0"])  # of a question that nobody is there to answer
def test_the_service_runs_for_as_long_as_the_processes(log, monkeypatch, status):
    monkeypatch.setenv("STATUS", status)
    with shared_gpu(CUDA) as shared:
        folder = shared.environment[PIPES]
        assert shared == Sharing(True, {PIPES: folder, "CUDA_MPS_LOG_DIRECTORY": folder})
        service = started(log)
        assert log.read_text().splitlines() == [f"{service} {folder}", QUESTION]
        os.kill(service, 0)
    assert log.read_text().splitlines()[-1] == "quit"
    with pytest.raises(ProcessLookupError):
        os.kill(service, 0)
    assert not Path(folder).exists()


def test_where_it_refuses_processes_go_on_without(log, monkeypatch):
    monkeypatch.setenv("KIND", "refuses")
    with shared_gpu(CUDA) as shared:
        assert shared == Sharing(False)
    with pytest.raises(ProcessLookupError):
        os.kill(started(log), 0)


def test_where_a_process_cannot_use_it_they_go_on_without(log, monkeypatch):
    monkeypatch.setattr(sharing, "_FIRST_PROCESS", "raise SystemExit(805)")
    with shared_gpu(CUDA) as shared:
        assert shared == Sharing(False)
    assert log.read_text().splitlines()[-1] == "quit"
    with pytest.raises(ProcessLookupError):
        os.kill(started(log), 0)


def test_one_that_does_not_end_is_killed(log, monkeypatch):
    with shared_gpu(CUDA) as shared:
        monkeypatch.setattr(sharing, "_PATIENCE", 0.5)
        (Path(shared.environment[PIPES]) / "control").unlink()  # no request reaches it
    with pytest.raises(ProcessLookupError):
        os.kill(started(log), 0)


def test_it_ends_with_the_process_that_started_it(log):
    script = (
        "import sys, torch; from databoost import sharing; sharing._FIRST_PROCESS = 'pass'\n"
        "with sharing.shared_gpu(torch.device('cuda')):\n"
        "    print('shared', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"shared\n"
        process.kill()
    wait_until_gone(started(log))
    shutil.rmtree(log.read_text().split()[1])


@pytest.mark.parametrize("at", ["the usual place", "a place of its own"])
def test_somebodys_own_is_used_and_goes_on(log, tmp_path, monkeypatch, at):
    place = tmp_path / ("usual" if at == "the usual place" else "own")
    write_text(place / "control", "")
    if at != "the usual place":
        monkeypatch.setenv(PIPES, str(place))
    with shared_gpu(CUDA) as shared:
        assert shared == Sharing(True)
    assert log.read_text().splitlines() == [QUESTION]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (PIPES, "/nowhere", False),  # the way to do without
        ("CUDA_VISIBLE_DEVICES", "1", False),
        ("CUDA_VISIBLE_DEVICES", "0,1", False),
        ("CUDA_VISIBLE_DEVICES", "0", True),
    ],
)
def test_variables_that_are_set_are_heeded(log, monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    with shared_gpu(CUDA) as shared:
        assert shared.is_on == expected
    assert log.exists() == expected


def test_a_cpu_and_a_machine_without_the_program_start_nothing(log, monkeypatch):
    with shared_gpu(torch.device("cpu")) as shared:
        assert shared == Sharing(False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with shared_gpu(CUDA) as shared:
        assert shared == Sharing(False)
    assert not log.exists()


def test_without_a_place_for_its_sockets_nothing_is_started(log, tmp_path, monkeypatch):
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with shared_gpu(CUDA) as shared:
        assert shared == Sharing(False)
    assert list(deep.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with shared_gpu(CUDA) as shared:
        assert shared == Sharing(False)
    assert not log.exists()


@pytest.mark.parametrize(("free", "expected"), [(2**30, 1), (2**33 - 1, 3), (2**37, 64)])
def test_processes_have_room_in_what_is_free(monkeypatch, free, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    assert room_for(CUDA, 2**31) == expected


@pytest.mark.skipif(
    not torch.cuda.is_available() or not shutil.which("nvidia-cuda-mps-control"),
    reason="needs a GPU and NVIDIA's MPS",
)
def test_processes_share_a_gpu(monkeypatch):
    monkeypatch.delenv(PIPES, raising=False)
    torch.zeros(1, device="cuda")  # this process has begun to use it, as a stage has
    script = "import torch; print(torch.ones(3, device='cuda').sum(), flush=True); input()"
    control = ["nvidia-cuda-mps-control"]
    with shared_gpu(CUDA) as shared:
        assert shared.is_on
        environment = os.environ | shared.environment
        running = [
            subprocess.Popen(
                [sys.executable, "-c", script],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == b"tensor(3., device='cuda:0')\n"
        (server,) = subprocess.check_output(
            control, input=b"get_server_list\n", env=environment
        ).split()
        clients = subprocess.check_output(
            control, input=b"get_client_list %s\n" % server, env=environment
        ).split()
        assert {int(client) for client in clients} == {process.pid for process in running}
        for process in running:
            process.communicate(b"\n")
    wait_until_gone(int(server))
