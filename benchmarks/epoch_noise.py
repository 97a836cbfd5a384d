"""What picking one epoch by validation costs: test accuracy after every epoch of a training.

    python benchmarks/epoch_noise.py --epochs 40 --seeds 0 1 --output epochs.csv
    python benchmarks/epoch_noise.py --round r01 --epochs 100

Trains the fixed model on a round's snapshot, an epoch at a time (a training that is resumed is the
one that was never broken off), and looks at `test` after each: what no stage of the project does,
and what no choice may be made by. The table gets a row an epoch as soon as it is there. Printed for
each seed, and as means: test accuracy of the epoch that is kept, the first of the best validation
accuracy; the mean over the epochs of the last half; that of the last epoch; the best of all, which
nobody could have known; by how much test accuracy spreads from epoch to epoch in the last half
(standard deviation), and its correlation with validation accuracy there. More numbers of epochs
than one look at the same training, cut off.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from databoost.data.datasets import label_positions, read_classes, read_manifest
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.model.architectures import build_model
from databoost.model.batches import Examples
from databoost.model.evaluation import predict
from databoost.model.processor import pick_device
from databoost.model.training import train_model
from databoost.params import Params
from databoost.project import open_project

COLUMNS = ["seed", "epoch", "val_accuracy", "test_accuracy"]


def train_and_look(
    splits: dict[str, Examples], classes: list[str], params: Params, n_epochs: int
) -> Iterator[tuple[int, float, float]]:
    """Train an epoch at a time; give its number from 0, validation and test accuracy."""
    device = pick_device(params.train)
    with tempfile.TemporaryDirectory() as name:
        for epoch in range(n_epochs):
            settings = params.train.model_copy(update={"epochs": epoch + 1})
            trained = train_model(
                splits["train"], splits["val"], classes, params.model, settings, Path(name),
                title=f"seed {settings.seed}",
            )  # fmt: skip
            last = torch.load(Path(name) / "last.ckpt", map_location="cpu", weights_only=True)
            weights = {key.removeprefix("model."): w for key, w in last["state_dict"].items()}
            model = build_model(params.model.architecture, len(classes), settings.seed)
            model.load_state_dict(weights)
            labels = splits["test"].labels.numpy()
            found = predict(model, splits["test"].images, device).argmax(axis=1)
            val = float(trained.curve["val_accuracy"].iloc[-1])
            yield epoch, val, float((found == labels).mean())


def summary(rows: pd.DataFrame, n_epochs: int) -> list[float]:
    """Say what picking an epoch made of the first `n_epochs` of one seed's training."""
    rows = rows[rows["epoch"] < n_epochs]
    late = rows[rows["epoch"] >= n_epochs // 2]
    test = rows["test_accuracy"].to_numpy()
    picked = int(rows["val_accuracy"].to_numpy().argmax())
    return [
        picked + 1, test[picked], late["test_accuracy"].mean(), test[-1], test.max(),
        late["test_accuracy"].std(), late["test_accuracy"].corr(late["val_accuracy"]),
    ]  # fmt: skip


def main() -> None:
    """Train, write the table, print what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--round", default="r00", help="whose snapshot is trained on")
    parser.add_argument("--epochs", type=int, nargs="+", default=[40])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, help="table; rows of finished seeds are kept")
    given = parser.parse_args()
    layout, params = open_project()
    here, classes = layout.round(given.round), read_classes(layout.classes)
    manifest = read_manifest(here.manifest, here.dataset)
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    splits = {}
    for split in ("train", "val", "test"):
        table, folder = (heldout, layout.heldout) if split == "test" else (manifest, here.dataset)
        rows = table[table["split"] == split]
        images = TapStore(
            ImageFiles([folder / path for path in rows["path"]]), params.model.image_size
        )
        splits[split] = Examples(images, torch.from_numpy(label_positions(rows["label"], classes)))
    n_epochs = max(given.epochs)
    table = pd.DataFrame(columns=COLUMNS)
    if given.output and given.output.exists():
        table = pd.read_csv(given.output)
    for seed in given.seeds:
        if (table["seed"] == seed).sum() >= n_epochs:
            continue
        table = table[table["seed"] != seed].reset_index(drop=True)
        seeded = params.model_copy(update={"train": params.train.model_copy(update={"seed": seed})})
        for row in train_and_look(splits, classes, seeded, n_epochs):
            table.loc[len(table)] = [seed, *row]
            if given.output:
                table.to_csv(given.output, index=False)
    print(f"{given.round}: {len(splits['train'])} training images")
    print(
        f"{'epochs':>6}{'seed':>6}{'kept':>6}{'test':>8}{'late':>8}{'last':>8}{'best':>8}{'spread':>8}{'corr.':>8}"
    )
    for count in given.epochs:
        found = []
        for seed in given.seeds:
            found.append(summary(table[table["seed"] == seed], count))
            kept, *others = found[-1]
            print(f"{count:6}{seed:6}{kept:6}" + "".join(f"{value:8.3f}" for value in others))
        kept, *others = np.mean(found, axis=0)
        print(f"{count:6}{'mean':>6}{kept:6.0f}" + "".join(f"{value:8.3f}" for value in others))


if __name__ == "__main__":
    main()
