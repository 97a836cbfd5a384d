"""How many late epochs get an image right: counted by hand, and taken over with a model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from handmade_rounds import declared
from trainings import run, stop_in_epoch

from databoost.data.files import write_json, write_text
from databoost.data.images import write_png
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import LATE, MANIFEST
from databoost.errors import DatasetError
from databoost.layout import Layout
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from databoost.model.late_epochs import late_epochs
from databoost.study import late as module
from databoost.study.late import LateWeights, judge_late_epochs

PARAMS = declared(train={"accelerator": "cpu", "threads": 1, "epochs": 5})
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
    write_text(layout.classes, "label\ni\nv\n")
    write_json(layout.round("r00").model_metrics, {"key": "one"})
    return layout


def lay_weights(layout: Layout, *places: int) -> Path:
    """Write the weights of the late epochs: of models that take all images for one class."""
    folder = layout.late_weights("r00")
    for epoch, place in enumerate(places, 2):
        save_checkpoint(folder / f"{epoch:05d}.ckpt", model_that_says(place, epoch))
    return folder


def test_the_epochs_that_are_right_are_counted(layout: Layout) -> None:
    folder = lay_weights(layout, 0, 1, 1)
    judge_late_epochs(layout, PARAMS, "r00")
    found = read_table(layout.round("r00").late, LATE)
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
            write_table(layout.round(name).late, LATE.frame(rows), LATE)
    judge_late_epochs(layout, PARAMS, "r02")
    found = read_table(layout.round("r02").late, LATE)
    pd.testing.assert_frame_equal(found, read_table(layout.round("r01").late, LATE))


def test_weights_stay_until_the_table_is_written_and_then_go(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay_weights(layout, 0, 0, 0)

    def full(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_table", full)
        with pytest.raises(OSError, match="no space"):
            judge_late_epochs(layout, PARAMS, "r00")
    assert len(list(folder.iterdir())) == 3
    judge_late_epochs(layout, PARAMS, "r00")
    table = layout.round("r00").late.read_bytes()
    assert not folder.exists()
    lay_weights(layout, 1, 1, 1)  # as a kill leaves it that comes after the table
    judge_late_epochs(layout, PARAMS, "r00")
    assert not folder.exists()
    assert layout.round("r00").late.read_bytes() == table


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (
            ["00003.ckpt"],
            r"late/r00 lacks weights of 1 of 3 late epochs, 00003.ckpt first",
        ),
        (["00002.ckpt", "00003.ckpt", "00004.ckpt"], r"lacks weights of 3 of 3 late epochs, 00002"),
    ],
)
def test_missing_weights_are_an_error(layout: Layout, removed: list[str], message: str) -> None:
    folder = lay_weights(layout, 0, 1, 0)
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(DatasetError, match=message):
        judge_late_epochs(layout, PARAMS, "r00")
    assert not layout.round("r00").late.exists()


@pytest.mark.parametrize(
    ("n_epochs", "expected"),
    [
        (1, [0]),
        (2, [1]),
        (3, [1, 2]),
        (40, list(range(20, 40))),
        (41, [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40]),
    ],
)
def test_late_epochs_are_the_last_half_or_twenty_of_it(n_epochs: int, expected: list[int]) -> None:
    assert late_epochs(n_epochs) == expected


def test_the_weights_are_those_after_each_late_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looking_on(name: str) -> list[LateWeights]:
        model = {"architecture": "fixed", "image_size": 32}
        return [LateWeights(tmp_path / name, declared(train={"epochs": 5}, model=model), ["a"] * 3)]

    def train(state: str, epochs: int = 5, late: str = "") -> None:
        callbacks = looking_on(late) if late else []
        run(tmp_path / state, epochs=epochs, callbacks=callbacks)

    train("state", late="late")
    files = sorted(path.name for path in (tmp_path / "late").iterdir())
    assert files == ["00002.ckpt", "00003.ckpt", "00004.ckpt"]
    for epoch, name in enumerate(files, 2):  # a training of so many epochs ends with the same
        found = load_checkpoint(tmp_path / "late" / name)
        train(str(epoch), epoch + 1)
        last = torch.load(tmp_path / str(epoch) / "last.ckpt", weights_only=True)["state_dict"]
        assert found.epoch == epoch
        assert found.weights.keys() == {key.removeprefix("model.") for key in last}
        for key, value in last.items():
            assert found.weights[key.removeprefix("model.")].equal(value)
    with monkeypatch.context() as patch:
        stop_in_epoch(3, patch)
        with pytest.raises(OSError, match="power"):
            train("broken", late="again")
    train("broken", late="again")
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "late" / name).read_bytes()
