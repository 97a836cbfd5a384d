"""Threads, memory and float32: what every stage that runs a model sets first."""

import ctypes
import subprocess
import sys

import pytest
import torch

from databoost.model import processor

#: Frees large tensors over and over, as the layers of a model do, and counts the pages mapped anew.
FAULTS = """
import resource, sys
import torch
from databoost.model.processor import use_cpu
if sys.argv[1] == "keep":
    use_cpu(1)
torch.set_num_threads(1)

def layer():
    torch.ones(16_000_000).add_(1.0)  # 64 MB, above what the C library ever keeps by itself

for _ in range(6):  # until the heap has room for it
    layer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    layer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_threads_are_taken():
    before = torch.get_num_threads()
    processor.use_cpu(2)
    assert torch.get_num_threads() == 2
    processor.use_cpu(before)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's malloc"
)
def test_memory_that_is_freed_is_kept():
    assert faults("keep") * 20 < faults("as it is")


def test_a_library_without_that_option_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    processor.use_cpu(torch.get_num_threads())


def test_float32_is_float32_on_a_gpu_too():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    processor.use_float32()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
