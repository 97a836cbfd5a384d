"""Several processes on one GPU side by side, by NVIDIA's Multi-Process Service (MPS).

Left to itself a GPU serves processes in turn, and one that trains the fixed model leaves most of it
idle. MPS comes with NVIDIA's driver and belongs to whoever starts it: ours serves our own processes
for as long as they run, and no setting of the card is touched.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

_CONTROL = "nvidia-cuda-mps-control"
_PIPES, _LOGS, _VISIBLE = (
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_MPS_LOG_DIRECTORY",
    "CUDA_VISIBLE_DEVICES",
)
#: Seconds that the service may take to answer, and its first process to begin.
_PATIENCE = 20.0
#: Characters of a folder's path, at most: the service's sockets, which lie in it, may have 107.
_LONGEST = 80
#: Uses the GPU as a process of the service: its status tells whether it could.
_FIRST_PROCESS = """
import ctypes
cuda, n_devices = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
raise SystemExit(cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(n_devices)) or not n_devices)
"""


@dataclass(frozen=True)
class Sharing:
    """Whether processes share a GPU, and what their environment needs for it."""

    is_on: bool
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def shared_gpu(device: torch.device) -> Iterator[Sharing]:
    """Let the processes that are started within share a GPU.

    Where somebody's own service answers, at the place that ``CUDA_MPS_PIPE_DIRECTORY`` names or at
    the usual one, it serves them, and is left running. Where none can be had they do without: the
    driver's tools are not installed, a container forbids it, or ``CUDA_VISIBLE_DEVICES`` picks
    among several GPUs, whose numbers a service would change.
    """
    control, setpriv = shutil.which(_CONTROL), shutil.which("setpriv")
    if device.type != "cuda" or control is None:
        yield Sharing(False)
    elif _answers(control, {}):
        yield Sharing(True)
    elif setpriv is None or _PIPES in os.environ or os.environ.get(_VISIBLE, "0") != "0":
        yield Sharing(False)
    else:
        with _folder() as folder:
            if folder is None:
                yield Sharing(False)
            else:
                environment = {_PIPES: folder, _LOGS: folder}
                with _service(setpriv, control, environment) as is_there:
                    yield Sharing(True, environment) if is_there else Sharing(False)


@contextmanager
def _folder() -> Iterator[str | None]:
    try:
        folder = tempfile.mkdtemp(prefix="mps-")
    except OSError:
        yield None
        return
    try:
        yield folder if len(folder) <= _LONGEST else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _service(setpriv: str, control: str, environment: Mapping[str, str]) -> Iterator[bool]:
    """Run the service; gives whether a process could use it.

    It ends with the thread that started it, the main one, however that ends, and hears no Ctrl-C.
    """
    with subprocess.Popen(
        [setpriv, "--pdeathsig", "TERM", control, "-f"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
        start_new_session=True,
    ) as service:
        try:
            yield _serves(control, environment, service)
        finally:
            _ask(control, environment, "quit")
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.wait(_PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(service.pid, signal.SIGKILL)


def _serves(
    control: str, environment: Mapping[str, str], service: "subprocess.Popen[bytes]"
) -> bool:
    while not _answers(control, environment):
        try:
            service.wait(0.1)
        except subprocess.TimeoutExpired:  # it is still beginning
            continue
        return False
    first = [sys.executable, "-c", _FIRST_PROCESS]
    return _output(first, "", environment) is not None


def _answers(control: str, environment: Mapping[str, str]) -> bool:
    """Whether there is a service; it answers this question by a number of per cent."""
    said = _ask(control, environment, "get_default_active_thread_percentage") or ""
    try:
        return float(said.split()[-1]) > 0
    except (IndexError, ValueError):
        return False


def _ask(control: str, environment: Mapping[str, str], request: str) -> str | None:
    """Put a request to the service; None if it does not answer."""
    return _output([control], f"{request}\n", environment)


def _output(command: list[str], text: str, environment: Mapping[str, str]) -> str | None:
    """Run a program with a text as its input; None if it fails."""
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=_PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def room_for(device: torch.device, memory: int) -> int:
    """Count the processes that a GPU has room for now, of `memory` bytes each; at least 1."""
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, free // memory)
