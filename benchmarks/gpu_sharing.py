"""Many trainings of the fixed model on one GPU: steps a second in all, side by side and in turn.

    python benchmarks/gpu_sharing.py
    python benchmarks/gpu_sharing.py --processes 1 8 --seconds 10

So many processes each replay captured steps, batches of eight, for the same seconds: first as
the GPU serves them by itself, one after the other, then with NVIDIA's Multi-Process Service, which
`databoost study` starts for its jobs where the driver has it.
"""

import argparse
import os
import subprocess
import sys
import time

import numpy as np
import torch

from databoost.data.resizing import TapStore
from databoost.model.architectures import build_model
from databoost.model.batches import Examples
from databoost.model.processor import use_float32
from databoost.model.steps import CapturedStep, Outcome, judge
from databoost.sharing import shared_gpu

CUDA = torch.device("cuda")
N_IMAGES = 2_000


def train(seconds: float) -> None:
    """Be one of the processes: say "ready", wait for a line, and tell the steps a second."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # as Lightning has it
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # as our trainer has it
    use_float32()
    random = np.random.default_rng(0)
    pixels = list(random.integers(0, 256, (N_IMAGES, 40, 40, 1), dtype=np.uint8))
    examples = Examples(TapStore(pixels, 32), torch.arange(N_IMAGES) % 10).to(CUDA)
    model = build_model("fixed", 10, seed=0).lay_out(torch.contiguous_format).to(CUDA)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, eps=1e-7, fused=True, capturable=True)

    def step(which: torch.Tensor) -> Outcome:
        outcome = judge(model, examples.images.batch(which), examples.labels[which])
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        return outcome._replace(loss=outcome.loss.detach())

    def state() -> list[torch.Tensor]:
        moments = [one for values in optimizer.state.values() for one in values.values()]
        return [*model.parameters(), *model.buffers(), *moments]

    captured = CapturedStep(step, state)
    batches = torch.randperm(N_IMAGES, device=CUDA).split(8)
    captured.run(batches[0])
    torch.cuda.synchronize()
    print("ready", flush=True)
    sys.stdin.readline()
    n_steps, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        for which in batches[:50]:
            captured.run(which)
        torch.cuda.synchronize()
        n_steps += 50
    print(n_steps / spent, flush=True)


def together(n_processes: int, seconds: float, environment: dict[str, str]) -> float:
    """Let so many processes train at once; gives their steps a second in all."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--one", str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        for _ in range(n_processes)
    ]
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            sys.exit("a process did not begin; its error stands above")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in processes)


def main() -> None:
    """Measure and print a row for each number of processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        train(given.one)
        return
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here")
    in_turn = [together(n, given.seconds, {}) for n in given.processes]
    side_by_side: list[float] = []
    with shared_gpu(CUDA) as sharing:
        if sharing.is_on:
            shared = dict(sharing.environment)
            side_by_side = [together(n, given.seconds, shared) for n in given.processes]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch 8")
    print(f"{'processes':>9}{'in turn':>12}{'side by side':>14}  steps/s in all")
    for number, (n, alone) in enumerate(zip(given.processes, in_turn, strict=True)):
        shared = f"{side_by_side[number]:14,.0f}" if side_by_side else f"{'no MPS here':>14}"
        print(f"{n:9}{alone:12,.0f}{shared}")


if __name__ == "__main__":
    main()
