"""The attribute stage on outputs written by hand, with an embedder that gives one vector."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from handmade_rounds import declared, lay_round

from databoost.data.files import sha256_of, write_text
from databoost.data.images import write_png
from databoost.data.tablefiles import read_table
from databoost.data.tables import CREDITS, TRACES
from databoost.errors import DatasetError
from databoost.layout import Layout
from databoost.stages import attribute as stage
from databoost.stages.attribute import attribute
from databoost.tracing import is_current

SHEET = (
    "image_id,path,split,label,predicted_label,p_label,p_predicted,margin,loss,is_misclassified,"
    "origin,round_added\n"
    "b2,val/v/b2.png,val,v,{first},0.5,0.5,0,2,{is_first_wrong},raw,r00\n"
    "b1,val/i/b1.png,val,i,{second},0.5,0.5,0,0.5,{is_second_wrong},raw,r00\n"
    "h1,test/i/h1.png,test,i,v,0.5,0.5,0,0.5,True,raw,r00\n"
)
ADDITIONS_HEADER = (
    "image_id,candidate_id,label,parent_id,recipe,strategy,query_id,query_label,"
    "query_predicted_label,similarity,rank\n"
)
ADDITION = "c1,2,v,a2,7,nearest,b2,v,i,0.75,1\n"


def sheet(first: str, second: str) -> str:
    wrong = {"is_first_wrong": first != "v", "is_second_wrong": second != "i"}
    return SHEET.format(first=first, second=second, **wrong)


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """r00 has b2 wrong; r01 has b1 wrong instead. Nobody listens where MLflow should be."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    layout = Layout(tmp_path)
    for name, predicted in (("r00", ("i", "i")), ("r01", ("v", "v"))):
        lay_round(layout, name)
        write_text(layout.round(name).sheet, sheet(*predicted))
    write_text(layout.round("r01").additions, ADDITIONS_HEADER + ADDITION)
    for path, grey in (("val/i/b1.png", 9), ("val/v/b2.png", 9), ("train/v/c1.png", 200)):
        pixels = np.full((8, 8, 1), grey, dtype=np.uint8)
        write_png(layout.round("r01").dataset / path, pixels)
    embedder = SimpleNamespace(
        image_size=8,
        embed=lambda batch: np.array(
            [[1, 0] if image.max() > 100 else [0.6, 0.8] for image in batch], dtype=np.float32
        ),
    )
    monkeypatch.setattr(stage, "load_exact_embedder", lambda settings, root, device: embedder)
    return layout


def test_tables_and_counts(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    attribute(layout, declared(), "r01")
    here = layout.round("r01")
    assert sorted(path.name for path in here.attribution.iterdir()) == [
        "credits.csv", "inputs.json", "metrics.json", "traces.csv",
    ]  # fmt: skip
    assert here.traces.read_text().splitlines()[1:] == [
        "b2,fixed,v,i,v,c1,v,a2,b2,True,True,0.6,label",
        "b1,newly wrong,i,i,v,c1,v,a2,b2,False,True,0.6,prediction",
    ]
    assert here.credits.read_text().splitlines()[1:] == [
        "class,v,1,1,1", "parent,a2,1,1,1", "query,b2,1,1,1",
    ]  # fmt: skip
    assert json.loads(here.attribution_metrics.read_text()) == {
        "n_fixed": 1, "n_still_wrong": 0, "n_newly_wrong": 1,
        "n_fixed_traced": 1, "n_still_wrong_traced": 0, "n_newly_wrong_traced": 1,
    }  # fmt: skip
    assert json.loads(here.attribution_inputs.read_text()) == {
        "sheet": sha256_of(here.sheet),
        "previous_sheet": sha256_of(layout.round("r00").sheet),
        "additions": sha256_of(here.additions),
    }
    assert is_current(here)
    told = capsys.readouterr()
    assert told.out == (
        "r01: traced to additions that speak for the outcome: 1 of 1 fixed, 0 of 0 still wrong, "
        "1 of 1 newly wrong\n"
    )
    assert told.err.startswith("warning: not logged to MLflow")


def test_the_same_bytes_again(layout: Layout) -> None:
    here = layout.round("r01")
    written = []
    for _ in range(2):
        attribute(layout, declared(), "r01")
        written.append([path.read_bytes() for path in sorted(here.attribution.iterdir())])
    assert written[0] == written[1]


def test_a_round_without_additions_needs_no_images(layout: Layout) -> None:
    shutil.rmtree(layout.round("r01").dataset)
    write_text(layout.round("r01").additions, ADDITIONS_HEADER)
    write_text(layout.round("r01").sheet, sheet("i", "i"))
    attribute(layout, declared(), "r01")
    here = layout.round("r01")
    assert read_table(here.traces, TRACES).empty
    assert read_table(here.credits, CREDITS).empty
    counts = json.loads(here.attribution_metrics.read_text())
    assert {name for name, n in counts.items() if n} == {"n_still_wrong"}


def test_held_out_images_are_not_looked_at(layout: Layout) -> None:
    attribute(layout, declared(), "r01")
    here = layout.round("r01")
    first = here.traces.read_text()
    assert "h1" not in first
    turned = here.sheet.read_text().replace("test,i,v,0.5,0.5,0,0.5,True", "test,i,i,0,0,9,9,False")
    assert turned != here.sheet.read_text()
    write_text(here.sheet, turned)
    attribute(layout, declared(), "r01")
    assert here.traces.read_text() == first


def test_rounds_of_different_validation_images_are_refused(layout: Layout) -> None:
    write_text(layout.round("r01").sheet, "".join(sheet("v", "v").splitlines(keepends=True)[:2]))
    with pytest.raises(DatasetError, match=r"r00 and r01 were validated on different images"):
        attribute(layout, declared(), "r01")
    assert not layout.round("r01").attribution.exists()


def test_additions_that_the_snapshot_lacks_are_refused(layout: Layout) -> None:
    other = ADDITION + ADDITION.replace("c1", "c2")
    write_text(layout.round("r01").additions, ADDITIONS_HEADER + other)
    with pytest.raises(DatasetError, match=r"manifest\.csv lacks 1 of the 2 images of additions"):
        attribute(layout, declared(), "r01")
    assert not layout.round("r01").attribution.exists()
