"""The machine as every stage that runs a model uses it: device, threads, memory, and float32."""

import ctypes
import sys

import torch

from databoost.errors import ParamsError
from databoost.sections import TrainParams

# Of glibc's malloc.h. The largest thresholds: nothing freed goes back to the system before the end.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ALL = 2**31 - 1


def pick_device(settings: TrainParams) -> torch.device:
    """Choose the one device for work outside the training loop, and take the CPU threads.

    Parameters
    ----------
    settings
        ``accelerator`` is Lightning's name: ``auto`` (a GPU where there is one), ``cpu``, ``gpu``,
        ``cuda``; of the GPUs that ``devices`` names it is the first; ``threads`` is what PyTorch
        runs with from now on.

    Raises
    ------
    ParamsError
        If there is no such device here.
    """
    use_cpu(settings.threads)
    use_float32()
    accelerator, has_gpu = settings.accelerator, torch.cuda.is_available()
    if accelerator in ("auto", "gpu", "cuda") and has_gpu:
        return _first_gpu(settings.devices)
    if accelerator in ("auto", "cpu"):
        return torch.device("cpu")
    here = ", ".join(["auto", "cpu", *(["cuda"] if has_gpu else [])])
    raise ParamsError(f"train.accelerator is {accelerator!r}; available here are {here}")


def lack_of_memory(error: torch.OutOfMemoryError) -> str:
    """Say what did not fit into a GPU's memory, without PyTorch's advice to programmers."""
    return ". ".join(str(error).split(". ")[:2])


def use_float32() -> None:
    """Let a GPU compute in float32 where float32 is asked for.

    By default cuDNN's convolutions take TF32 for it, which has bfloat16's range of error and a few
    bits more; nothing that is compared between machines could be.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def use_cpu(threads: int) -> None:
    """Let PyTorch run with this many CPU threads, and keep the memory that it frees.

    A layer's output is a fresh tensor of some hundred kilobytes or more, which the C library by
    default takes from the system and gives back: each time, every page of it is mapped and
    cleared anew. Kept, it is there for the next layer. Results do not depend on it.
    """
    torch.set_num_threads(threads)
    if sys.platform == "linux":
        keep = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if keep is not None:
            for option, value in (
                (_M_ARENA_MAX, 1),  # the arenas of other threads ignore the thresholds
                (_M_MMAP_THRESHOLD, _ALL),
                (_M_TRIM_THRESHOLD, _ALL),
            ):
                keep(option, value)


def _first_gpu(devices: int | str | tuple[int, ...]) -> torch.device:
    """Give the first GPU that ``train.devices`` names, as Lightning reads it: ``[1]`` or ``1,``."""
    names: list[int] = []
    if isinstance(devices, tuple):
        names = list(devices)
    elif isinstance(devices, str) and "," in devices:
        names = [int(name) for name in devices.split(",") if name.strip().isdecimal()]
    if not names:  # "auto", or how many
        return torch.device("cuda")
    here = range(torch.cuda.device_count())
    if names[0] not in here:
        raise ParamsError(
            f"train.devices is {devices!r}; the GPUs here are {', '.join(map(str, here))}"
        )
    return torch.device("cuda", names[0])
