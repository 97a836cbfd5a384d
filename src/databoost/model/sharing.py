"""Several processes on one GPU side by side, by NVIDIA's Multi-Process Service (MPS).

Left to itself a GPU serves processes in turn, and one that trains the fixed model leaves most of it
idle. MPS comes with NVIDIA's driver and belongs to whoever starts it: ours serves our own processes
for as long as they run, and no setting of the card is touched.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

_CONTROL = "nvidia-cuda-mps-control"
_PIPES, _LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
#: Seconds that the service may take to answer.
_PATIENCE = 10.0
#: Bytes of a GPU's memory for each process: CUDA's own, a network, and its batches.
_MEMORY = 2**31


@contextmanager
def shared_gpu(device: torch.device) -> Iterator[dict[str, str]]:
    """Let the processes that are started within share a GPU.

    Yields
    ------
    dict
        Variables for the environment of these processes. Empty where there is nothing to share, or
        no MPS (the driver's tools are not installed, a container forbids it), and where somebody's
        own runs already, which is inherited.
    """
    control, tied = shutil.which(_CONTROL), shutil.which("setpriv")
    if device.type != "cuda" or control is None or tied is None or _PIPES in os.environ:
        yield {}
        return
    # Sockets lie in it, whose paths may have no more than some hundred characters.
    with tempfile.TemporaryDirectory(
        prefix="mps-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        environment = {_PIPES: folder, _LOGS: folder}
        # It ends with this process, however that ends, and Ctrl-C is not for it.
        with subprocess.Popen(
            [tied, "--pdeathsig", "TERM", control, "-f"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
            start_new_session=True,
        ) as service:
            try:
                yield environment if _serves(control, environment, service) else {}
            finally:
                _ask(control, environment, "quit")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    service.wait(_PATIENCE)
                service.kill()


def is_shared(environment: Mapping[str, str]) -> bool:
    """Whether processes with these variables besides our own are served side by side."""
    return _PIPES in environment or _PIPES in os.environ


def most_processes(device: torch.device) -> int:
    """Count the processes that a GPU's memory has room for, at least 1."""
    memory: int = torch.cuda.get_device_properties(device).total_memory
    return max(1, memory // _MEMORY)


def _serves(
    control: str, environment: Mapping[str, str], service: "subprocess.Popen[bytes]"
) -> bool:
    """Have the server started, which the first process that comes would wait for, and look."""
    last = time.monotonic() + _PATIENCE
    while service.poll() is None and time.monotonic() < last:
        _ask(control, environment, f"start_server -uid {os.getuid()}")
        if (_ask(control, environment, "get_server_list") or "").strip():
            return True
        time.sleep(0.1)
    return False


def _ask(control: str, environment: Mapping[str, str], request: str) -> str | None:
    """Put a request to the service; None if it does not answer."""
    try:
        done = subprocess.run(
            [control],
            input=f"{request}\n",
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=_PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
