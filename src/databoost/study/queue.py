"""A queue of processes, several at a time: one that fails stops only those that need it."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PAUSE = 0.2


@dataclass(frozen=True)
class Task:
    """A process to run.

    Attributes
    ----------
    command
        Program and arguments. Its standard input stays open as long as the queue lives.
    log
        Takes what it says.
    needs
        Names of the tasks that must be done before it.
    environment
        Variables that it has besides those of this process.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def run_queue(tasks: Sequence[Task], n_workers: int, watch: Callable[[], None]) -> dict[str, str]:
    """Run tasks, the first in order first, each when those that it needs are done.

    Parameters
    ----------
    tasks
        A need that is not among them is taken for done.
    n_workers
        Processes at a time.
    watch
        Called several times a second, and once after the last one.

    Returns
    -------
    dict
        Why a task failed, by its name; empty if none did.
    """
    names = {task.name for task in tasks}
    waiting = list(tasks)
    running: dict[str, subprocess.Popen[bytes]] = {}
    logs = {task.name: task.log for task in tasks}
    done: set[str] = set()
    failed: dict[str, str] = {}
    try:
        while waiting or running:
            for task in list(waiting):
                needs = set(task.needs) & names
                if needs & failed.keys():
                    failed[task.name] = f"needs {sorted(needs & failed.keys())[0]}, which failed"
                    waiting.remove(task)
                elif needs <= done and len(running) < n_workers:
                    running[task.name] = _start(task)
                    waiting.remove(task)
            time.sleep(_PAUSE)
            for name, process in list(running.items()):
                status = process.poll()
                if status is not None:
                    del running[name]
                    _close(process)
                    if status == 0:
                        done.add(name)
                    else:
                        failed[name] = f"{_reason(logs[name], status)} (see {logs[name]})"
            watch()
    finally:
        for process in running.values():
            process.terminate()
            _close(process)  # before it is waited for: one that ignores the signal ends by this
        for process in running.values():
            process.wait()
    return failed


def _start(task: Task) -> "subprocess.Popen[bytes]":
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("wb") as log:
        return subprocess.Popen(
            task.command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=os.environ | task.environment,
        )


def _close(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it may have ended before
        process.stdin.close()


def _reason(log: Path, status: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line for line in lines if line.strip()]
    last = said[-1].rpartition("\r")[2].strip() if said else ""
    if status >= 0:
        return last or f"ended with status {status}"
    # The last line is then of no error, but of what it was at.
    hint = " (out of memory? try fewer --workers)" if status == -signal.SIGKILL else ""
    return f"killed by {_signal_name(-status)}{hint}{f', after: {last}' if last else ''}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # those between the first and the last real-time signal have no name
        return f"signal {number}"
