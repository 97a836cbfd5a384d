"""A job's process ends with whoever started it."""

import subprocess
import sys

STOPPED = """
import time
from databoost.study import worker
worker.read_order = lambda path: path
worker.do_job = lambda job: time.sleep(600)
worker.main("order")
"""


def test_a_process_ends_when_its_input_does() -> None:
    process = subprocess.Popen([sys.executable, "-c", STOPPED], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait() == 1
