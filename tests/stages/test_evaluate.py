"""The evaluate stage: every prediction, and every picture of the grid, is of its own image."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from handmade_rounds import MANIFEST_HEADER, declared, lay_round

from databoost.data.files import write_text
from databoost.data.images import Pixels, write_png
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_table
from databoost.data.tables import SHEET
from databoost.layout import Layout
from databoost.model.evaluation import Probabilities
from databoost.stages import evaluate as stage
from databoost.stages.evaluate import evaluate

HELDOUT_ROWS = "h1,test/i/h1.png,test,i,raw,,,r00,,\nh2,test/v/h2.png,test,v,raw,,,r00,,\n"
#: In 256ths, the probability of "v" that the model here sees in an image: both of val are wrong.
GREYS = {
    "train/i/a1.png": 16, "train/v/a2.png": 192, "val/i/b1.png": 144, "val/v/b2.png": 64,
    "test/i/h1.png": 96, "test/v/h2.png": 224,
}  # fmt: skip


def by_grey(model: Any, images: TapStore, device: torch.device) -> Probabilities:
    share = images.batch(slice(None)).double().mean(dim=(1, 2, 3)).numpy() / 256
    return np.log(np.stack([1 - share, share], axis=1))


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """r00 of handmade rounds with two held-out images, each image of its own grey."""
    layout = Layout(tmp_path)
    lay_round(layout, "r00")
    write_text(layout.heldout_manifest, MANIFEST_HEADER + HELDOUT_ROWS)
    for path, grey in GREYS.items():
        folder = layout.heldout if path.startswith("test") else layout.round("r00").dataset
        write_png(folder / path, np.full((8, 8, 1), grey, dtype=np.uint8))
    checkpoint = SimpleNamespace(classes=["i", "v"], image_size=8, model=lambda: None)
    monkeypatch.setattr(stage, "load_checkpoint", lambda path: checkpoint)
    monkeypatch.setattr(stage, "predict", by_grey)
    monkeypatch.setattr(stage, "BATCH", 4)
    return layout


def test_predictions_and_pictures_are_of_their_own_images(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = []

    def note(rows: pd.DataFrame, images: list[Pixels], title: str) -> bytes:
        greys = [int(image[0, 0, 0]) for image in images]
        grids.append(list(zip(rows["path"], greys, strict=True)))
        return b"picture"

    monkeypatch.setattr(stage, "misclassified_grid", note)
    params = declared(train={"accelerator": "cpu", "threads": 1})
    evaluate(layout, params, "r00", is_logged=False)
    here = layout.round("r00")
    sheet = read_table(here.sheet, SHEET)
    assert dict(zip(sheet["path"], sheet["p_label"], strict=True)) == {
        path: (grey if "/v/" in path else 256 - grey) / 256 for path, grey in GREYS.items()
    }
    assert grids == [[("val/v/b2.png", 64), ("val/i/b1.png", 144)]]
    metrics = json.loads(here.metrics.read_text())
    accuracies = {split: metrics[split]["accuracy"] for split in ("train", "val", "test")}
    assert accuracies == {"train": 1, "val": 0, "test": 1}
    # Not the limit: another one would evaluate every round again.
    assert metrics["size"] == {"n_train": 2, "n_val": 2, "padded": 16}
