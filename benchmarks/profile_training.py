"""Where a training step's time goes: the ten operators that take most, and what is no operator.

    python benchmarks/profile_training.py
    python benchmarks/profile_training.py --images 800 --threads 2

`train_model` trains the fixed model on random images under PyTorch's profiler. An operator's time
is its own, without that of the operators it calls. What is left is Python, Lightning, and the
profiler itself, which adds some microseconds to every operator. Times are by the clock: leave the
machine idle.
"""

import argparse
import time

import torch
from torch.profiler import ProfilerActivity, profile
from training_loop import lightning, random_examples

from databoost.model.processor import use_cpu

_SHOWN = 10


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=400, help="training images")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    use_cpu(given.threads)
    train, val = random_examples(given.images, 0), random_examples(8, 1)
    lightning(train, val, 1)  # what is loaded and compiled once
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        started = time.perf_counter()
        lightning(train, val, 1)
        whole = time.perf_counter() - started
    n_steps = -(-given.images // 8)
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in watched.key_averages()}
    calls = {event.key: event.count for event in watched.key_averages()}
    print(f"torch {torch.__version__}, {given.threads} thread(s), {n_steps} steps of batch 8")
    print(f"{'operator':44}{'calls a step':>13}{'ms a step':>11}{'share':>8}")
    most = sorted(spent, key=lambda name: -spent[name])[:_SHOWN]
    for name in most:
        seconds = spent[name]
        print(
            f"{name[:43]:44}{calls[name] / n_steps:13.1f}"
            f"{1000 * seconds / n_steps:11.2f}{seconds / whole:8.1%}"
        )
    others = sum(spent.values()) - sum(spent[name] for name in most)
    for name, seconds in (
        (f"the other {len(spent) - len(most)} operators", others),
        ("no operator", whole - sum(spent.values())),
        ("all", whole),
    ):
        print(f"{name:57}{1000 * seconds / n_steps:11.2f}{seconds / whole:8.1%}")


if __name__ == "__main__":
    main()
