"""Device, threads, memory and float32: what every stage that runs a model sets first."""

import ctypes
import subprocess
import sys
from typing import Any

import pytest
import torch
from trainings import make_settings

from databoost.errors import ParamsError
from databoost.model import processor
from databoost.model.processor import pick_device

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


def device_of(accelerator: str, **changes: Any) -> torch.device:
    return pick_device(make_settings(accelerator=accelerator, **changes))


def test_devices_that_are_there_are_picked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    for name in ("gpu", "cuda", "mps", "abacus"):
        with pytest.raises(ParamsError, match=rf"'{name}'; available here are auto, cpu$"):
            device_of(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto") == device_of("gpu") == device_of("cuda")
    assert device_of("auto") == torch.device("cuda")
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(ParamsError, match=r"'mps'; available here are auto, cpu, cuda$"):
        device_of("mps")


def test_of_the_gpus_that_are_named_the_first_is_picked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for devices in ("auto", 1, 2, "2", "-1", ()):
        assert device_of("cuda", devices=devices) == torch.device("cuda")
    for devices in ((1,), (1, 0), "1,", "1, 2", " 1 ,0"):
        for accelerator in ("auto", "gpu", "cuda"):
            assert device_of(accelerator, devices=devices) == torch.device("cuda", 1)
        assert device_of("cpu", devices=devices) == torch.device("cpu")
    for devices in ((3,), "3,", (-1,)):
        with pytest.raises(ParamsError, match=r"train\.devices is .*; the GPUs here are 0, 1, 2$"):
            device_of("cuda", devices=devices)


def test_the_number_of_threads_is_the_parameter():
    before = torch.get_num_threads()
    try:
        for threads in (3, 1):
            device_of("cpu", threads=threads)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


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
