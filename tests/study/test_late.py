"""How many late epochs get an image right: counted by hand, and taken over with a model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from handmade_rounds import declared

from databoost.data.files import write_json, write_text
from databoost.data.images import write_png
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import LATE, MANIFEST
from databoost.layout import Layout
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, save_checkpoint
from databoost.study import late as module
from databoost.study.late import judge_late_epochs, late_table, late_weights

PARAMS = declared(train={"accelerator": "cpu", "threads": 1})
CLASSES = ["i", "v"]


def lay_images(table: Path, folder: Path, images: dict[str, tuple[str, str, int]]) -> None:
    """Write images of one shade by id: their split, label and shade."""
    rows: dict[str, list[object]] = {name: [""] * len(images) for name in MANIFEST.columns}
    splits, labels, shades = zip(*images.values(), strict=True)
    paths = [f"{s}/{n}/{i}.png" for i, s, n in zip(images, splits, labels, strict=True)]
    for path, shade in zip(paths, shades, strict=True):
        write_png(folder / path, np.full((8, 8, 1), shade, dtype=np.uint8))
    rows |= {"image_id": list(images), "path": paths, "split": list(splits), "label": list(labels)}
    write_table(
        table, MANIFEST.frame(rows | {"similarity": [float("nan")] * len(images)}), MANIFEST
    )


def model_that_says(place: int, epoch: int) -> Checkpoint:
    """Give a model that takes every image for the same class."""
    weights = build_model("fixed", 2, seed=0).state_dict()
    weights["head.weight"] = torch.zeros_like(weights["head.weight"])
    weights["head.bias"] = torch.eye(2)[place]
    return Checkpoint("fixed", 32, CLASSES, epoch, weights)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    here = layout.round("r00")
    lay_images(
        here.manifest, here.dataset,
        {"a": ("train", "i", 0), "c": ("val", "v", 9), "b": ("val", "i", 8)},
    )  # fmt: skip
    lay_images(
        layout.heldout_manifest, layout.heldout,
        {"e": ("test", "i", 1), "d": ("test", "v", 2), "f": ("label_book", "v", 3)},
    )  # fmt: skip
    return layout


def test_the_epochs_that_are_right_are_counted(layout: Layout, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)  # more than one part of the images
    folder = late_weights(layout, "r00")
    for epoch, place in enumerate((0, 1, 1), 5):
        save_checkpoint(folder / f"{epoch:05d}.ckpt", model_that_says(place, epoch))
    judge_late_epochs(layout, PARAMS, "r00")
    found = read_table(late_table(layout, "r00"), LATE)
    assert found.to_numpy().tolist() == [
        ["c", "val", 2, 3],
        ["b", "val", 1, 3],
        ["e", "test", 1, 3],
        ["d", "test", 2, 3],
        ["f", "label_book", 2, 3],
    ]
    assert not folder.exists()


def test_a_model_that_was_taken_over_has_the_table_of_its_training(layout: Layout) -> None:
    for name, key, n_right in (("r00", "one", 1), ("r01", "other", 2), ("r02", "other", 3)):
        write_json(layout.round(name).model_metrics, {"key": key})
        rows = {"image_id": ["a"], "split": ["val"], "n_right": [n_right], "n_epochs": [4]}
        if name != "r02":
            write_table(late_table(layout, name), LATE.frame(rows), LATE)
    judge_late_epochs(layout, PARAMS, "r02")
    found = read_table(late_table(layout, "r02"), LATE)
    pd.testing.assert_frame_equal(found, read_table(late_table(layout, "r01"), LATE))


def test_weights_stay_until_the_table_is_written(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = late_weights(layout, "r00")
    save_checkpoint(folder / "00001.ckpt", model_that_says(0, 1))
    write_text(folder / "note.txt", "no checkpoint")

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_table", full)
        with pytest.raises(OSError, match="no space"):
            judge_late_epochs(layout, PARAMS, "r00")
    judge_late_epochs(layout, PARAMS, "r00")
    found = read_table(late_table(layout, "r00"), LATE)
    assert found["n_right"].tolist() == [0, 1, 1, 0, 0]
    assert set(found["n_epochs"]) == {1}
