"""A job's process ends with whoever started it."""

import subprocess
import sys

STOPPED = """
import time
from databoost.study import worker

def work(job):
    print("started", flush=True)
    time.sleep(600)

worker.read_order = lambda path: path
worker.do_job = work
worker.main("order")
"""


def test_a_process_ends_when_its_input_does() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"started\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=60) == 1
