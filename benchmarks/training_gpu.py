"""One round on a GPU: steps captured as a CUDA graph beside steps as Lightning takes them.

    python benchmarks/training_gpu.py
    python benchmarks/training_gpu.py --images 2000 --epochs 10 --seeds 3

Trains the fixed model in batches of eight on drawings of the built-in dataset, nine tenths of the
images for training and the rest for validation: a few epochs both ways, on the same images and
seeds, whose weights must end equal to the last bit, then all epochs with captured steps. Prints a
row a training as it ends, and the seconds and milliseconds a step, validation and checkpoints
included.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from databoost.data.images import read_image
from databoost.data.lettering import NUMERALS
from databoost.data.resizing import TapStore
from databoost.data.synthetic import write_synthetic
from databoost.model.batches import Examples
from databoost.model.training import Trained, train_model
from databoost.sections import ModelParams, SyntheticParams, TrainParams


def drawn(n_images: int) -> tuple[Examples, Examples]:
    """Draw the built-in dataset at this size: training and validation images."""
    n_val = n_images // 10
    params = SyntheticParams(
        n_train=n_images - n_val, n_val=n_val, n_test=0, image_size=64, wrong_labels=0.06,
        not_numerals=0.03, leaks=0.0, unseen_styles=0.15, seed=0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(params, Path(folder))
        return read_split(Path(folder), "train"), read_split(Path(folder), "val")


def read_split(folder: Path, split: str) -> Examples:
    """Read ``<split>/<class>/*.png``."""
    paths = sorted(folder.glob(f"**/{split}/*/*.png"))
    labels = [NUMERALS.index(path.parent.name) for path in paths]
    return Examples(TapStore([read_image(path) for path in paths], 32), torch.tensor(labels))


def timed(
    train: Examples, val: Examples, epochs: int, seed: int, accelerator: str, *, cuda_graph: bool
) -> tuple[float, Trained]:
    """Train; gives the seconds that it took, start-up and capture included."""
    settings = TrainParams(
        epochs=epochs, batch_size=8, learning_rate=1e-4, epsilon=1e-7, weight_decay=0.0,
        seed=seed, threads=1, accelerator=accelerator, devices=1, strategy="auto",
        cuda_graph=cuda_graph, precision="32-true",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as state:
        started = time.perf_counter()
        trained = train_model(
            train, val, list(NUMERALS), ModelParams(architecture="fixed", image_size=32), settings,
            Path(state),
        )  # fmt: skip
        return time.perf_counter() - started, trained


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000, help="training and validation")
    parser.add_argument("--epochs", type=int, default=100, help="of the whole training")
    parser.add_argument("--compared-epochs", type=int, default=1, help="trained both ways")
    parser.add_argument("--seeds", type=int, default=2, help="compared")
    parser.add_argument(
        "--accelerator", default="cuda", help="cpu only tries the script: nothing is captured there"
    )
    given = parser.parse_args()
    train, val = drawn(given.images)
    n_steps = -(-len(train) // 8)

    def run(name: str, epochs: int, seed: int) -> tuple[float, Trained]:
        seconds, trained = timed(
            train, val, epochs, seed, given.accelerator, cuda_graph=name == "captured"
        )
        accuracy = trained.curve["val_accuracy"].max()
        told = f"{seconds:.1f} s, best validation accuracy {accuracy:.4f}"
        print(f"  seed {seed}, {epochs} epochs, {name}: {told}", flush=True)
        return seconds / (epochs * n_steps) * 1e3, trained

    found: dict[str, list[float]] = {"captured": [], "as Lightning takes them": []}
    run("captured", 1, 0)  # the first training of a process loads the GPU's libraries
    n_equal = 0
    for seed in range(given.seeds):
        weights = []
        for name, spent in found.items():
            step, trained = run(name, given.compared_epochs, seed)
            spent.append(step)
            weights.append(trained.checkpoint.weights)
        first, second = weights
        n_equal += all(torch.equal(first[name], second[name]) for name in first)
    step, _ = run("captured", given.epochs, 0)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"\n{device}, torch {torch.__version__}, {len(train)} + {len(val)} images, batch 8")
    for name, spent in found.items():
        print(
            f"{name}, {given.compared_epochs} epoch(s): {statistics.median(spent):.2f} ms a step "
            f"({min(spent):.2f} to {max(spent):.2f})"
        )
    ratios = [plain / captured for captured, plain in zip(*found.values(), strict=True)]
    print(f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"both end with the same weights: {n_equal} of {given.seeds} seeds")
    print(
        f"captured, {given.epochs} epochs: {step * n_steps * given.epochs / 1e3:.1f} s, "
        f"{step:.3f} ms a step"
    )


if __name__ == "__main__":
    main()
