"""Compare a step of the fixed training with Keras' own: the same model, data and settings.

    python benchmarks/keras_speed.py
    python benchmarks/keras_speed.py --threads 2 --repetitions 9

Keras lives in an environment of its own (`--environment`, made on the first run, some 250 MB to
download), and trains the reference model of ``keras_reference_model.py`` there: batches of 8 from
memory in a new order every epoch, Adam 1e-4 (eps 1e-7), validation, and the weights of the best
epoch kept, as `train_model` does. Its model has the variables that the test oracle holds, one by
one. Both trainings run in turn, each with `--threads` threads, and each is measured as the
difference of a long and a short training, so that start-up cancels out.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_loop import N_CLASSES, lightning, random_examples

from databoost.model.batches import Examples
from databoost.model.processor import use_cpu

BENCHMARKS = Path(__file__).parent
#: Keras' own numbers of the fixed model; its variables are listed there.
ORACLE = BENCHMARKS.parent / "tests" / "model" / "keras_fixed_model.npz"
TENSORFLOW = "tensorflow-cpu==2.20.0"
KERAS = "keras==3.15.1"
#: Processor and wall milliseconds.
Cost = tuple[float, float]


class Keras:
    """The reference training in another process, which waits while it is not asked."""

    def __init__(self, python: Path, examples: Path, threads: int) -> None:
        self.process = subprocess.Popen(
            [python, BENCHMARKS / "keras_reference_model.py", examples, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.told: dict[str, Any] = self._answer()

    def train(self, epochs: int) -> Cost:
        """Train for some epochs; gives processor and wall seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{epochs}\n")
        self.process.stdin.flush()
        processor, wall = self._answer()
        return processor, wall

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the Keras process ended; its message stands above")
        return json.loads(line)


def make_environment(folder: Path) -> Path:
    """Make the environment with TensorFlow unless it is there; gives its Python."""
    python = folder / "bin" / "python"
    mark = folder / "installed"
    if not mark.exists():
        print(f"{folder}: installing {TENSORFLOW}, {KERAS}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", TENSORFLOW, KERAS], check=True)
        mark.touch()
    return python


def check_variables(found: dict[str, list[int]]) -> None:
    """Refuse a reference that has other variables, or of other shapes, than the oracle."""
    with np.load(ORACLE) as arrays:
        expected = {
            name.removeprefix("weights/"): list(arrays[name].shape)
            for name in arrays
            if name.startswith("weights/")
        }
    if found != expected:
        every = sorted(found | expected)
        differ = [name for name in every if found.get(name) != expected.get(name)]
        raise SystemExit(f"the Keras model is not the oracle's; these differ: {differ}")


def write_examples(path: Path, train: Examples, val: Examples) -> None:
    """Write the resized images as Keras takes them, (n, 32, 32, 3) float32, and the labels."""
    arrays = {}
    for name, examples in (("train", train), ("val", val)):
        images = examples.images.batch(slice(None)).permute(0, 2, 3, 1)
        arrays[f"{name}_images"] = np.ascontiguousarray(images.numpy())
        arrays[f"{name}_labels"] = examples.labels.numpy()
    np.savez(path, **arrays)


def cost(train: Callable[[int], Cost], short: int, long: int, n_steps: int) -> Cost:
    """Processor and wall milliseconds of a step of the later epochs."""
    before, after = train(short), train(long)
    n = (long - short) * n_steps
    return 1000 * (after[0] - before[0]) / n, 1000 * (after[1] - before[1]) / n


def measure(train: Callable[[int], object], epochs: int) -> Cost:
    """Processor and wall seconds of a training in this process."""
    processor, wall = time.process_time(), time.perf_counter()
    train(epochs)
    return time.process_time() - processor, time.perf_counter() - wall


def tell(costs: dict[str, list[Cost]]) -> None:
    """Print the table: medians, and how often Keras' the fixed training's cost is, pair by pair."""
    ours, keras = costs.values()
    print(f"{'ms a step':26}{'wall':>8}{'from':>8}{'to':>8}{'processor':>11}")
    for name, spent in costs.items():
        processor, wall = zip(*spent, strict=True)
        print(
            f"{name:26}{statistics.median(wall):8.2f}{min(wall):8.2f}{max(wall):8.2f}"
            f"{statistics.median(processor):11.2f}"
        )
    for which, name in ((1, "wall"), (0, "processor")):
        ratios = [other[which] / one[which] for one, other in zip(ours, keras, strict=True)]
        print(
            f"Keras takes {statistics.median(ratios):.2f} times as long ({name}; "
            f"{min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=800, help="training images")
    parser.add_argument("--epochs", type=int, default=4, help="epochs that count")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--environment", type=Path, default=Path(".venv-keras"))
    given = parser.parse_args()
    use_cpu(given.threads)
    train, val = random_examples(given.images, 0), random_examples(given.images // 4, 1)
    n_steps = -(-given.images // 8)
    with tempfile.TemporaryDirectory() as scratch:
        examples = Path(scratch) / "examples.npz"
        write_examples(examples, train, val)
        keras = Keras(make_environment(given.environment), examples, given.threads)
        check_variables(keras.told["variables"])
        keras.train(1)  # TensorFlow traces the step, once
        variants: dict[str, Callable[[int], Cost]] = {
            "train_model (Lightning)": lambda n: measure(lambda e: lightning(train, val, e), n),
            "Keras": keras.train,
        }
        costs: dict[str, list[Cost]] = {name: [] for name in variants}
        for number in range(given.repetitions):
            for name, variant in variants.items():
                costs[name].append(cost(variant, 1, 1 + given.epochs, n_steps))
                print(f"  repetition {number}, {name}: {costs[name][-1][1]:.2f} ms", flush=True)
        keras.close()
    print(
        f"\n{platform.machine()}, torch {torch.__version__}, TensorFlow "
        f"{keras.told['tensorflow']}, Keras {keras.told['version']}, {given.threads} thread(s), "
        f"batch 8, {N_CLASSES} classes"
    )
    tell(costs)


if __name__ == "__main__":
    main()
