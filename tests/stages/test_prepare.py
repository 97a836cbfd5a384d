"""The stage as a person runs it: splits kept and drawn anew, around what was moved by hand."""

import json

import pandas as pd
import pytest
from projects import Project

from databoost.data.files import read_json, write_text
from databoost.data.tablefiles import read_table
from databoost.data.tables import MANIFEST, RAW_INDEX
from databoost.layout import Layout


def manifest(project: Project) -> pd.DataFrame:
    return read_table(Layout(project.folder).round("r00").manifest, MANIFEST)


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
