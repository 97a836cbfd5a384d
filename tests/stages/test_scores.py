"""The scores stage: what it looks at, its folds of few images, what its state is named by."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from projects import REPOSITORY

from databoost.audit.near_duplicates import fingerprint
from databoost.data.files import write_text
from databoost.data.images import ImageFiles, Pixels, write_png
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import MANIFEST, SCORES
from databoost.layout import Layout
from databoost.params import Params, read_params
from databoost.stages import scores as stage
from databoost.stages.scores import scores


def small_params(**train: Any) -> Params:
    params = read_params(REPOSITORY / "params.yaml")
    settings = {"epochs": 1, "folds": 2, "batch_size": 8}
    used = {"accelerator": "cpu", "threads": 1} | train
    return params.model_copy(
        update={
            "scores": params.scores.model_copy(update=settings),
            "train": params.train.model_copy(update=used),
        }
    )


def bar(number: int) -> Pixels:
    """One of three drawings, which differ by more than two near-duplicates do."""
    page = np.full((40, 40, 1), 255, dtype=np.uint8)
    rows, columns = ((slice(5, 35), slice(5, 9)), (slice(5, 9), slice(5, 35)))[number % 2]
    page[rows, columns] = 0
    if number == 2:
        page[18:22, 5:35] = 0
        page[30:34, 5:35] = 0
    return page


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Twelve images: four copies of each of three drawings, every copy a shade lighter."""
    layout = Layout(tmp_path)
    r00 = layout.round("r00")
    values: dict[str, list[Any]] = {name: [] for name in MANIFEST.columns}
    for number in range(12):
        split, label = ("val" if number % 4 == 3 else "train"), "iv"[number % 2]
        path = f"{split}/{label}/{number:02}.png"
        image_id = write_png(
            r00.dataset / path, np.maximum(bar(number % 3), number // 3).astype(np.uint8)
        )
        row = {"image_id": image_id, "path": path, "split": split, "label": label, "origin": "raw"}
        row |= {"round_added": "r00", "similarity": np.nan}
        for name in MANIFEST.columns:
            values[name].append(row.get(name, ""))
    write_table(r00.manifest, MANIFEST.frame(values), MANIFEST)
    write_text(layout.classes, "label\ni\nv\n")
    return layout


def test_many_copies_of_few_drawings_are_scored(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt = []
    deal = stage.stratified_folds

    def spy(labels: Any, n_folds: int, seed: int, groups: Any) -> Any:
        dealt.append((len(labels), n_folds, len(set(groups))))
        return deal(labels, n_folds, seed, groups)

    monkeypatch.setattr(stage, "stratified_folds", spy)
    scores(layout, small_params())
    assert dealt == [(12, 3, 3)]
    table = read_table(layout.scores, SCORES)
    assert sorted(table["path"].str[-6:-4]) == [f"{number:02}" for number in range(12)]
    kept = {path.name for path in layout.unfinished("scores").glob("*/*")}
    monkeypatch.setattr(stage, "stratified_folds", deal)
    first = layout.scores.read_bytes()
    layout.scores.unlink()
    scores(layout, small_params())  # until it is forgotten, the result is had again at once
    assert {path.name for path in layout.unfinished("scores").glob("*/*")} == kept
    assert layout.scores.read_bytes() == first


def test_a_class_of_one_image_is_not_judged(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    r00 = layout.round("r00")
    manifest = read_table(r00.manifest, MANIFEST)
    manifest.loc[5, "label"] = "x"
    write_table(r00.manifest, manifest, MANIFEST)
    write_text(layout.classes, "label\ni\nv\nx\n")
    scores(layout, small_params())
    table = read_table(layout.scores, SCORES).set_index("image_id")
    row = table.loc[manifest.loc[5, "image_id"]]
    assert (row["label_score"], row["suggested_label"], row["is_label_issue"]) == (0.5, "x", False)
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith("1 label(s) could not be judged: all images of their class (x) lie")


def test_each_label_stands_with_the_image_of_its_row(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def note_prints(prints: Any, rules: Any) -> Any:
        seen["prints"] = prints
        return find_pairs(prints, rules)

    def note_examples(examples: Any, *others: Any, **options: Any) -> None:
        seen["examples"] = examples
        raise KeyboardInterrupt

    find_pairs = stage.find_pairs
    monkeypatch.setattr(stage, "find_pairs", note_prints)
    monkeypatch.setattr(stage, "cross_validate", note_examples)
    params = small_params()
    with pytest.raises(KeyboardInterrupt):
        scores(layout, params)
    r00 = layout.round("r00")
    manifest = read_table(r00.manifest, MANIFEST)
    files = ImageFiles([r00.dataset / path for path in manifest["path"]])
    images = TapStore(files, params.model.image_size)
    assert torch.equal(seen["examples"].images.taps, images.taps)
    assert ["iv"[label] for label in seen["examples"].labels] == manifest["label"].to_list()
    prints = fingerprint(files)
    assert np.array_equal(seen["prints"].hashes, prints.hashes)
    assert np.array_equal(seen["prints"].strokes, prints.strokes)


def test_finished_folds_are_those_of_one_machine(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []

    def note(*arguments: Any, **options: Any) -> None:
        states.append(arguments[4])
        raise KeyboardInterrupt

    def start(**train: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            scores(layout, small_params(**train))

    monkeypatch.setattr(stage, "cross_validate", note)
    start()
    start(threads=2)
    monkeypatch.setattr(stage, "pick_device", lambda settings: torch.device("cuda"))
    start()
    monkeypatch.setattr(torch, "__version__", "9.9")
    start()
    assert len(set(states)) == 4
    start()
    assert states[4] == states[3]
    monkeypatch.setattr(stage, "code_digest", lambda *packages: "of other code")
    start()
    assert states[5] not in states[:5]
