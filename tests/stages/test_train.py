"""The train stage: what a killed training is resumed by, and what it picks the epoch on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from projects import REPOSITORY
from ruamel.yaml import YAML

from databoost.data.datasets import read_classes
from databoost.data.files import write_json, write_text
from databoost.data.halves import in_mining_half
from databoost.data.images import write_png
from databoost.data.tablefiles import write_table
from databoost.data.tables import MANIFEST
from databoost.errors import ParamsError
from databoost.layout import Layout
from databoost.model import training
from databoost.params import Params, read_params
from databoost.stages import train as stage
from databoost.stages.train import train, training_key

# By databoost.data.halves, the first two lie in the half that is mined.
MINED = ["0af255a41ffbc91b", "224495eeffe3d9d3"]


def params_that_mine(mine_on: str) -> Params:
    params = read_params(REPOSITORY / "params.yaml")
    boost = params.boost.model_copy(update={"mine_on": mine_on})
    used = params.train.model_copy(update={"accelerator": "cpu", "threads": 1})
    return params.model_copy(update={"boost": boost, "train": used})


def lay_snapshot(layout: Layout, val_ids: list[str], classes: str = "iv") -> None:
    """A snapshot of two training images and some validation images, the latter by shade."""
    here = layout.round("r00")
    ids = ["a1", "a2", *val_ids]
    splits = ["train"] * 2 + ["val"] * len(val_ids)
    labels = ["iv"[number % 2] for number in range(len(ids))]
    paths = [f"{s}/{n}/{i}.png" for s, n, i in zip(splits, labels, ids, strict=True)]
    for shade, path in enumerate(paths):
        write_png(here.dataset / path, np.full((8, 8, 1), shade, dtype=np.uint8))
    rows: dict[str, list[object]] = {name: [""] * len(ids) for name in MANIFEST.columns}
    rows |= {"image_id": ids, "path": paths, "split": splits, "label": labels}
    rows |= {"origin": ["raw"] * len(ids), "round_added": ["r00"] * len(ids)}
    rows["similarity"] = [np.nan] * len(ids)
    write_table(here.manifest, MANIFEST.frame(rows), MANIFEST)
    write_text(layout.classes, "\n".join(["label", *classes, ""]))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Note what trainings are started with, and let them break off."""
    started: list[tuple[Any, ...]] = []

    def note(*arguments: Any, **options: Any) -> None:
        started.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train_model", note)
    return started


def start(layout: Layout, params: Params) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(layout, params, "r00")


def test_only_the_same_training_of_the_same_classes_is_resumed(
    tmp_path: Path, trainings: list[tuple[Any, ...]]
) -> None:
    layout = Layout(tmp_path)
    for classes, mine_on in (("iv", "val"), ("vi", "val"), ("ivx", "val"), ("iv", "half")):
        lay_snapshot(layout, [*MINED, "b3"], classes)
        start(layout, params_that_mine(mine_on))
    states = [state for *_, state in trainings]
    assert len(set(states)) == 4
    start(layout, params_that_mine("half"))
    assert trainings[4][-1] == states[3]


def test_a_training_is_not_resumed_by_other_code(
    tmp_path: Path, trainings: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, params = Layout(tmp_path), params_that_mine("val")
    lay_snapshot(layout, ["b1", "b2"])
    start(layout, params)
    monkeypatch.setattr(training, "code_digest", lambda *packages: "of the model")
    start(layout, params)
    monkeypatch.setattr(stage, "code_digest", lambda *packages: "of the stage")
    start(layout, params)
    states = [state for *_, state in trainings]
    assert len(set(states)) == 3
    assert {state.parent for state in states} == {layout.unfinished("train", "r00")}


def test_the_model_of_the_same_snapshot_is_taken_over(tmp_path: Path) -> None:
    layout, params = Layout(tmp_path), params_that_mine("val")
    lay_snapshot(layout, ["b1", "b2"])
    first, second = layout.round("r00"), layout.round("r01")
    shutil.copytree(first.root, second.root)
    key = training_key(first.manifest, params, read_classes(layout.classes))
    write_json(first.model_metrics, {"key": key})
    train(layout, params, "r01")
    assert second.model_metrics.read_bytes() == first.model_metrics.read_bytes()


def test_a_model_of_other_classes_is_not_taken_over(
    tmp_path: Path, trainings: list[tuple[Any, ...]]
) -> None:
    layout, params = Layout(tmp_path), params_that_mine("val")
    lay_snapshot(layout, ["b1", "b2"])
    first, second = layout.round("r00"), layout.round("r01")
    shutil.copytree(first.root, second.root)
    classes = read_classes(layout.classes)
    key = training_key(first.manifest, params, classes)
    write_json(first.model_metrics, {"key": key})
    write_text(layout.classes, "\n".join(["label", *classes, "another", ""]))
    with pytest.raises(KeyboardInterrupt):
        train(layout, params, "r01")
    assert len(trainings) == 1


def test_the_code_that_dvc_trains_anew_for_is_what_names_unfinished_work(
    tmp_path: Path, trainings: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []

    def note(*packages: str) -> str:
        counted.extend(f"src/databoost/{name.replace('.', '/')}" for name in packages)
        return "digest"

    for module in (stage, training):
        monkeypatch.setattr(module, "code_digest", note)
    layout = Layout(tmp_path)
    lay_snapshot(layout, ["b1", "b2"])
    start(layout, params_that_mine("val"))
    declared = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]["train"]["do"]["deps"]
    files = [path for path in declared if path.startswith("src/")]
    assert files
    for path in files:
        assert path.startswith(tuple(f"{name}{end}" for name in counted for end in ("/", ".py")))


def test_the_epoch_is_picked_on_the_half_that_is_not_mined(
    tmp_path: Path, trainings: list[tuple[Any, ...]]
) -> None:
    layout = Layout(tmp_path)
    ids = [MINED[0], "b1", "b2", MINED[1], "b3"]
    kept = [number for number, is_mined in enumerate(in_mining_half(ids)) if not is_mined]
    assert 0 < len(kept) < len(ids)
    lay_snapshot(layout, ids)
    for mine_on in ("val", "half"):
        start(layout, params_that_mine(mine_on))
    shades = [
        [int(image[0, 0, 0]) for image in examples.images.batch(slice(None))]
        for started in trainings
        for examples in started[:2]
    ]
    assert shades == [[0, 1], [2, 3, 4, 5, 6], [0, 1], [number + 2 for number in kept]]
    assert trainings[1][1].labels.tolist() == [number % 2 for number in kept]


def test_a_validation_that_is_all_mined_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    lay_snapshot(layout, MINED)
    with pytest.raises(
        ParamsError, match=r"mine_on is 'half', and all 2 validation image\(s\) lie"
    ):
        train(layout, params_that_mine("half"), "r00")
