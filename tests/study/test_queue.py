"""The queue of processes: order, failure, and what becomes of them when it ends."""

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from databoost.study.queue import Task, run_queue


def python(folder: Path, name: str, code: str, *needs: str) -> Task:
    start = f"from pathlib import Path; folder = Path({str(folder)!r})\n"
    command = (sys.executable, "-S", "-c", start + code)
    return Task(name, command, folder / f"{name}.log", needs)


def test_tasks_run_when_what_they_need_is_done(tmp_path: Path) -> None:
    write = "(folder / 'order').open('a').write({!r})"
    tasks = [
        python(tmp_path, "last", write.format("c"), "middle", "already done"),
        python(tmp_path, "middle", write.format("b"), "first"),
        python(tmp_path, "first", write.format("a")),
    ]
    seen: list[int] = []
    assert run_queue(tasks, 3, lambda: seen.append(1)) == {}
    assert (tmp_path / "order").read_text() == "abc"
    assert seen


def test_no_more_tasks_run_at_a_time_than_there_are_workers(tmp_path: Path) -> None:
    alone = "(folder / 'here').mkdir(); import time; time.sleep(0.05); (folder / 'here').rmdir()"
    tasks = [python(tmp_path, name, alone) for name in "abc"]
    assert run_queue(tasks, 1, lambda: None) == {}


def test_a_failure_stops_only_those_that_need_it(tmp_path: Path) -> None:
    fail = "print('first'); print('50%\\rerror: no room'); print(); raise SystemExit(1)"
    tasks = [
        python(tmp_path, "bad", fail),
        python(tmp_path, "mute", "raise SystemExit(7)"),
        python(tmp_path, "after", "pass", "bad"),
        python(tmp_path, "long after", "pass", "after"),
        python(tmp_path, "good", "(folder / 'good').touch()"),
    ]
    log = tmp_path / "bad.log"
    log.write_text("what an earlier run said")
    failed = run_queue(tasks, 2, lambda: None)
    assert failed == {
        "bad": f"error: no room (see {log})",
        "mute": f"ended with status 7 (see {tmp_path / 'mute.log'})",
        "after": "needs bad, which failed",
        "long after": "needs after, which failed",
    }
    assert (tmp_path / "good").exists()
    assert "earlier" not in log.read_text()


def test_a_task_has_its_environment(tmp_path: Path) -> None:
    code = "import os; (folder / 'told').write_text(os.environ['OMP_NUM_THREADS'])"
    task = replace(python(tmp_path, "a", code), environment={"OMP_NUM_THREADS": "7"})
    assert run_queue([task], 1, lambda: None) == {}
    assert (tmp_path / "told").read_text() == "7"


def test_a_killed_process_is_told_apart_from_one_that_failed(tmp_path: Path) -> None:
    kill = "import os; os.kill(os.getpid(), {})"
    tasks = [
        python(tmp_path, "large", "print('50%', flush=True); " + kill.format(9)),
        python(tmp_path, "mute", kill.format(15)),
        python(tmp_path, "odd", kill.format("__import__('signal').SIGRTMIN + 1")),
    ]
    hint = "killed by SIGKILL (out of memory? try fewer --workers), after: 50%"
    assert run_queue(tasks, 3, lambda: None) == {
        "large": f"{hint} (see {tmp_path / 'large.log'})",
        "mute": f"killed by SIGTERM (see {tmp_path / 'mute.log'})",
        "odd": f"killed by signal {signal.SIGRTMIN + 1} (see {tmp_path / 'odd.log'})",
    }


def test_a_process_that_ignores_the_signal_ends_with_its_input(tmp_path: Path) -> None:
    code = "import signal, sys; signal.signal(15, signal.SIG_IGN)\n"
    code += "(folder / 'started').touch()\nsys.stdin.read()\n(folder / 'over').touch()"

    def interrupt() -> None:
        if (tmp_path / "started").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_queue([python(tmp_path, "deaf", code)], 1, interrupt)
    assert (tmp_path / "over").exists()


def test_an_interrupted_queue_ends_its_processes(tmp_path: Path) -> None:
    code = "import sys\n(folder / 'started').touch()\nsys.stdin.read()\n(folder / 'over').touch()"

    def interrupt() -> None:
        if (tmp_path / "started").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_queue([python(tmp_path, "endless", code)], 1, interrupt)
    time.sleep(0.1)
    assert not (tmp_path / "over").exists()
