"""What Lightning costs: the fixed training through `train_model` against bare PyTorch loops.

    python benchmarks/training_loop.py
    python benchmarks/training_loop.py --repetitions 9 --threads 2

Every repetition trains each variant on the same random images, in turn, and the turns change, since
a machine's speed drifts; a variant's cost is the processor time of its later epochs (start-up
cancels out as the difference of two lengths). The bare loops do the same work: shuffle, batches
from memory, Adam, validation, and the weights of the first best epoch kept. One of them must end
with the very weights that `train_model` ends with.
"""

import argparse
import copy
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from databoost.data.resizing import TapStore
from databoost.model.architectures import Classifier, build_model
from databoost.model.batches import Examples, epoch_order
from databoost.model.processor import use_cpu
from databoost.model.training import train_model
from databoost.sections import ModelParams, TrainParams

N_CLASSES = 10
Weights = dict[str, torch.Tensor]


def settings(epochs: int, threads: int) -> TrainParams:
    """Give the competition's training, shortened."""
    return TrainParams(
        epochs=epochs, batch_size=8, learning_rate=1e-4, epsilon=1e-7, weight_decay=0.0, seed=0,
        threads=threads, accelerator="cpu", devices=1, strategy="auto", cuda_graph=True,
        precision="32-true",
    )  # fmt: skip


def random_examples(n: int, seed: int) -> Examples:
    """Draw n grey images of noise, and labels."""
    generator = np.random.default_rng(seed)
    images = [generator.integers(0, 256, (200, 200, 1), dtype=np.uint8) for _ in range(n)]
    return Examples(
        TapStore(images, 32), torch.from_numpy(generator.integers(0, N_CLASSES, n, dtype=np.int64))
    )


def lightning(train: Examples, val: Examples, epochs: int) -> Weights:
    """Train as the stage does, checkpoints included."""
    with tempfile.TemporaryDirectory() as state:
        trained = train_model(
            train, val, [str(label) for label in range(N_CLASSES)],
            ModelParams(architecture="fixed", image_size=32),
            settings(epochs, torch.get_num_threads()), Path(state),
        )  # fmt: skip
    return trained.checkpoint.weights


def bare(train: Examples, val: Examples, epochs: int, layout: str, fused: bool) -> Weights:
    """Train in a loop of our own, with Adam fused or not, images channels last or first."""
    wanted = settings(epochs, torch.get_num_threads())
    model = build_model("fixed", N_CLASSES, wanted.seed)
    if layout == "channels first":
        model = model.to(memory_format=torch.contiguous_format)
        model.features = lambda images: model.body(images.flip(1) - model.mean)  # type: ignore[method-assign]
    optimiser = torch.optim.Adam(
        model.parameters(), lr=wanted.learning_rate, eps=wanted.epsilon, fused=fused
    )
    best, kept = -1.0, model.state_dict()
    for epoch in range(epochs):
        model.train()
        for which in epoch_order(len(train), wanted.seed, epoch).split(wanted.batch_size):
            loss = cross_entropy(model(train.images.batch(which)), train.labels[which])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        accuracy = validate(model, val)
        if accuracy > best:
            best, kept = accuracy, copy.deepcopy(model.state_dict())
    return kept


def validate(model: Classifier, val: Examples) -> float:
    """Give the share of the images that the model gets right."""
    model.eval()
    with torch.inference_mode():
        hits = [
            (model(val.images.batch(which)).argmax(dim=1) == val.labels[which]).sum()
            for which in torch.arange(len(val)).split(64)
        ]
    return float(sum(hits)) / len(val)


def cost(
    variant: Callable[[int], Weights], short: int, long: int, n_steps: int
) -> tuple[float, Weights]:
    """Processor milliseconds a step of a variant's later epochs, and the weights it ends with."""
    started = time.process_time()
    variant(short)
    between = time.process_time()
    weights = variant(long)
    seconds = (time.process_time() - between) - (between - started)
    return 1000 * seconds / ((long - short) * n_steps), weights


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=800, help="training images")
    parser.add_argument("--epochs", type=int, default=4, help="epochs that count")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    use_cpu(given.threads)  # as the stages do; the bare loops have it too
    train, val = random_examples(given.images, 0), random_examples(given.images // 4, 1)
    variants: dict[str, Callable[[int], Weights]] = {
        "train_model (Lightning)": lambda epochs: lightning(train, val, epochs),
        "bare, channels last, fused Adam": lambda epochs: bare(train, val, epochs, "last", True),
        "bare, channels last": lambda epochs: bare(train, val, epochs, "last", False),
        "bare, channels first": lambda epochs: bare(train, val, epochs, "channels first", False),
    }
    costs: dict[str, list[float]] = {name: [] for name in variants}
    ends: dict[str, Weights] = {}
    names = list(variants)
    n_steps = -(-given.images // 8)
    for number in range(given.repetitions):
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            spent, ends[name] = cost(variants[name], 1, 1 + given.epochs, n_steps)
            costs[name].append(spent)
            print(f"  repetition {number}, {name}: {spent:.2f} ms a step", flush=True)
    first, second = (ends[name] for name in names[:2])
    same = all(torch.equal(first[name], second[name]) for name in first)
    print(f"\n{platform.machine()}, torch {torch.__version__}, {given.threads} thread(s), batch 8")
    print(f"{'variant':34}{'ms a step':>10}{'ratio':>8}  range of the ratio")
    reference = costs["bare, channels last, fused Adam"]
    for name, spent in costs.items():
        ratios = [one / other for one, other in zip(spent, reference, strict=True)]
        print(
            f"{name:34}{statistics.median(spent):10.2f}{statistics.median(ratios):8.3f}"
            f"  {min(ratios):.3f} to {max(ratios):.3f}"
        )
    print(f"train_model and the bare loop end with the same weights: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
