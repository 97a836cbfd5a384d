"""Compare the fixed training with what Keras reaches on the competition's raw images.

Trains on train/ as it is, wrong labels and leaks included, keeps the first best epoch on val/, and
prints a row a seed as it ends. Keras itself reached 0.662 with this model and loop.

    python benchmarks/keras_reference.py ../roman-numerals --seeds 3
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
from databoost.model.batches import Examples
from databoost.model.training import train_model
from databoost.params import read_params

KERAS = 0.662


def read_split(folder: Path, image_size: int) -> Examples:
    """Read ``<class>/*.png`` of one split, in the order of the paths."""
    paths = sorted(folder.glob("*/*.png"))
    labels = [NUMERALS.index(path.parent.name) for path in paths]
    images = TapStore([read_image(path) for path in paths], image_size)
    return Examples(images, torch.tensor(labels, dtype=torch.int64))


def main() -> None:
    """Train one seed after another, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with train/ and val/ of the competition")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()
    params = read_params(Path(__file__).parents[1] / "params.yaml")
    found = []
    print("seed  best epoch  val accuracy  of Keras'  ms a step")
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        train, val = (
            read_split(arguments.data / split, params.model.image_size)
            for split in ("train", "val")
        )
        settings = params.train.model_copy(update={"seed": seed, "epochs": arguments.epochs})
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as state:
            trained = train_model(train, val, list(NUMERALS), params.model, settings, Path(state))
        n_steps = arguments.epochs * -(-len(train) // settings.batch_size)
        step = (time.monotonic() - started) / n_steps * 1000
        accuracy = float(trained.curve["val_accuracy"].max())
        found.append(accuracy)
        print(
            f"{seed:4}  {trained.checkpoint.epoch:10}  {accuracy:12.3f}  {accuracy / KERAS:9.3f}"
            f"  {step:9.1f}",
            flush=True,
        )
    if len(found) > 1:
        print(
            f"mean {statistics.mean(found):.3f}, standard deviation {statistics.stdev(found):.3f}"
        )


if __name__ == "__main__":
    main()
