"""The machine as every stage that runs a model uses it: threads, memory, and what float32 is."""

import ctypes
import sys

import torch

# Of glibc's malloc.h. The largest thresholds: nothing freed goes back to the system before the end.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ALL = 2**31 - 1


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
