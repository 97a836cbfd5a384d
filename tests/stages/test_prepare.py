"""The stage as a person runs it: splits kept and drawn anew, around what was moved by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from projects import REPOSITORY, Project

from databoost.data.files import read_json, write_text
from databoost.data.tablefiles import read_table
from databoost.data.tables import DUPLICATES, MANIFEST, RAW_INDEX
from databoost.errors import DatasetError
from databoost.layout import Layout
from databoost.params import Params, parse_params
from databoost.stages.ingest import ingest
from databoost.stages.prepare import prepare
from databoost.yamlfile import read_yaml


def manifest(project: Project) -> pd.DataFrame:
    return read_table(Layout(project.folder).round("r00").manifest, MANIFEST)


def photos(folder: Path, **numbers: list[int]) -> None:
    """Draw an image for each number, the same for the same number, into a folder of its class."""
    for label, seeds in numbers.items():
        (folder / label).mkdir(parents=True)
        for seed in seeds:
            pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{seed}.png")


def params_of(source: str, strategy: str = "given") -> Params:
    values = read_yaml(REPOSITORY / "params.yaml")
    values["data"] |= {"source": source, "sha256": "", "classes": []}
    values["split"] |= {"strategy": strategy}
    return parse_params(values)


def correct(layout: Layout, *lines: str) -> None:
    layout.corrections.parent.mkdir(exist_ok=True)
    text = "image_id,action,value,reason\n" + "".join(f"{line},\n" for line in lines)
    write_text(layout.corrections, text)


def validation(layout: Layout) -> dict[str, set[str]]:
    rows = read_table(layout.round("r00").manifest, MANIFEST)
    rows = rows[rows["split"] == "val"]
    return rows.groupby("label")["image_id"].agg(set).to_dict()


def test_a_folder_of_copies_is_refused_and_what_was_there_before_stays(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    photos(tmp_path / "good", cat=[1, 2, 3], dog=[4, 5, 6])
    photos(tmp_path / "bad", cat=[1, 2, 3], copy=[1, 2, 3], dog=[4, 5, 6])
    correct(layout)
    ingest(layout, params_of("good"))
    prepare(layout, params_of("good"))
    r00 = layout.round("r00")
    before = r00.manifest.read_bytes(), sorted(r00.dataset.rglob("*"))
    assert len(read_table(layout.duplicates, DUPLICATES)) == 0
    ingest(layout, params_of("bad"))
    with pytest.raises(DatasetError, match=r"'copy' had 3 .*: 3 in both 'cat' and 'copy'"):
        prepare(layout, params_of("bad"))
    listed = read_table(layout.duplicates, DUPLICATES)
    assert listed["outcome"].tolist() == ["dropped: two labels"] * 6
    assert (r00.manifest.read_bytes(), sorted(r00.dataset.rglob("*"))) == before


def test_a_class_that_the_ledger_empties_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout, params = Layout(tmp_path), params_of("photos")
    photos(tmp_path / "photos", cat=[1, 2], dog=[3, 4], fox=[5, 6])
    ingest(layout, params)
    raw = read_table(layout.raw_index, RAW_INDEX)
    correct(layout, *(f"{image_id},delete," for image_id in raw[raw["label"] == "cat"]["image_id"]))
    capsys.readouterr()
    prepare(layout, params)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "6 raw images, 2 correction(s) -> 2 train, 2 val",
        "a class is empty now: 'cat' had 2 image(s): 2 deleted by data/corrections.csv",
    ]


@pytest.mark.parametrize("strategy", ["stratified", "matched"])
def test_a_corrected_label_leaves_the_validation_images_of_other_classes(
    tmp_path: Path, strategy: str
) -> None:
    layout, params = Layout(tmp_path), params_of("photos", strategy)
    numbers = np.arange(80).reshape(4, 20).tolist()
    photos(tmp_path / "photos", **dict(zip("abcd", numbers, strict=True)))
    correct(layout)
    ingest(layout, params)
    prepare(layout, params)
    before = validation(layout)
    raw = read_table(layout.raw_index, RAW_INDEX)
    of_a = raw[raw["label"] == "a"]["image_id"]
    for line in (f"{of_a.iloc[0]},relabel,b", f"{of_a.iloc[1]},delete,"):
        correct(layout, line)
        prepare(layout, params)
        after = validation(layout)
        assert [after[label] == before[label] for label in "cd"] == [True, True]
        assert all(len(before[label] - after[label]) <= 2 for label in "ab")


def test_a_given_split_is_kept_and_no_image_is_compared(project: Project) -> None:
    told = project.run_stages("ingest", "prepare")
    assert "told apart" not in told
    assert read_json(Layout(project.folder).round("r00").split) == {"strategy": "given"}


def test_a_new_split_that_cannot_be_trained_on_does_not_advise_itself(project: Project) -> None:
    project.run_stages("ingest")
    raw = read_table(Layout(project.folder).raw_index, RAW_INDEX)
    ours = raw[raw["split"].isin(["train", "val"]) & (raw["label"] == "i")]
    lines = [f"{image_id},move,val,\n" for image_id in sorted(set(ours["image_id"]))]
    ledger = "image_id,action,value,reason\n" + "".join(lines)
    write_text(Layout(project.folder).corrections, ledger)
    project.set(split__strategy="stratified")
    told = project.run("databoost", "prepare", check=False).stderr
    assert "validation has classes that training lacks: i; give more images" in told


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["stratified", "matched"])
def test_a_new_split_tells_what_it_changed(project: Project, strategy: str) -> None:
    layout = Layout(project.folder)
    project.run_stages("ingest", "prepare")
    given = manifest(project)
    moved = given[given["split"] == "train"].iloc[:3]
    kept = given[given["split"] == "val"].iloc[:2]
    lines = [f"{image_id},move,val,\n" for image_id in moved["image_id"]]
    lines += [f"{image_id},move,val,\n" for image_id in kept["image_id"]]
    write_text(layout.corrections, "image_id,action,value,reason\n" + "".join(lines))
    project.set(split__strategy=strategy, split__val_fraction=0.3)
    told = project.run_stages("prepare")
    again = manifest(project)
    assert sorted(again["image_id"]) == sorted(given["image_id"])
    sides = again.set_index("image_id")["split"]
    assert (sides[list(moved["image_id"]) + list(kept["image_id"])] == "val").all()
    assert (again["path"].str.split("/").str[0] == again["split"]).all()
    n_val = int((again["split"] == "val").sum())
    assert n_val == pytest.approx(0.3 * len(again), abs=5)
    assert f"split {strategy}: train and val are told apart with an AUC of 0." in told
    summary = read_json(layout.round("r00").split)
    assert summary["strategy"] == strategy
    assert summary["n_pinned"] == 5
    assert 0 <= summary["after"]["low"] <= summary["after"]["auc"] <= summary["after"]["high"] <= 1
    before = layout.round("r00").manifest.read_bytes(), json.dumps(summary)
    project.run_stages("prepare")
    after = read_json(layout.round("r00").split)
    assert (layout.round("r00").manifest.read_bytes(), json.dumps(after)) == before
