"""A queue of processes, several at a time: one that fails stops only those that need it."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """

    name: str
    command: tuple[str, ...]
    log: Path
    needs: tuple[str, ...] = ()


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
                        failed[name] = f"{_last_line(logs[name], status)} (see {logs[name]})"
            watch()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
            _close(process)
    return failed


def _start(task: Task) -> "subprocess.Popen[bytes]":
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("wb") as log:
        return subprocess.Popen(task.command, stdin=subprocess.PIPE, stdout=log, stderr=log)


def _close(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it may have ended before
        process.stdin.close()


def _last_line(log: Path, status: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line for line in lines if line.strip()]
    return said[-1].rpartition("\r")[2].strip() if said else f"ended with status {status}"
