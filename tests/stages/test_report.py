"""The report stage on outputs written by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from handmade_rounds import MANIFEST_HEADER, declared, lay_round
from handmade_traces import make_current

from databoost.data.files import write_json, write_text
from databoost.data.images import write_png
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import CREDITS, ROUNDS, TRACES
from databoost.errors import DatasetError, TableError
from databoost.layout import Layout
from databoost.stages.report import control_doubts, report

SHEET_HEADER = (
    "image_id,path,split,label,predicted_label,p_label,p_predicted,margin,loss,is_misclassified,"
    "origin,round_added\n"
)
ADDITIONS = (
    "image_id,candidate_id,label,parent_id,recipe,strategy,query_id,query_label,"
    "query_predicted_label,similarity,rank\n"
    "c1,7,v,a2,7,nearest,b2,v,i,0.75,1\n"
)


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Two rounds, in the first of which b2 is wrong; nobody listens where MLflow should be."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    layout = Layout(tmp_path)
    write_text(layout.classes, "label\ni\nv\n")
    write_text(layout.control, ",".join(ROUNDS.columns) + "\n")
    write_text(layout.heldout_manifest, MANIFEST_HEADER)
    for name, predicted in (("r00", "i"), ("r01", "v")):
        lay_round(layout, name, accuracy=0.5 if name == "r00" else 1.0)
        here = layout.round(name)
        write_text(
            here.sheet,
            f"{SHEET_HEADER}b2,val/v/b2.png,val,v,{predicted},0.5,0.5,0,1,{name == 'r00'},raw,r00\n"
            "b1,val/i/b1.png,val,i,i,0.5,0.5,0,0.5,False,raw,r00\n",
        )
        write_text(
            here.confusion,
            f"split,label,predicted_label,n_images\nval,i,i,1\nval,v,{predicted},1\n",
        )
        for path in ("train/i/a1", "train/v/a2", "val/i/b1", "val/v/b2", "train/v/c1"):
            if path[-2:] != "c1" or name == "r01":
                grey = np.full((8, 8, 1), ord(path[-1]), dtype=np.uint8)
                write_png(here.dataset / f"{path}.png", grey)
    write_text(layout.round("r01").additions, ADDITIONS)
    return layout


def test_page_and_tables(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    report(layout, declared())
    page = layout.report.read_text(encoding="utf-8")
    assert "1 fixed" in page
    assert "added: v c1" in page
    assert "(no picture)" not in page
    rows = read_table(layout.round_progress, ROUNDS)
    val = rows[rows["split"] == "val"]
    assert val[["round", "strategy", "accuracy", "n_train"]].to_numpy().tolist() == [
        ["r00", "nearest", 0.5, 2],
        ["r01", "nearest", 1.0, 3],
    ]
    assert layout.curves.read_text().splitlines()[0] == (
        "round,epoch,train_loss,train_accuracy,val_loss,val_accuracy"
    )
    assert layout.confusions.read_text().splitlines()[1:] == [
        "r00,val,i,i,1",
        "r00,val,v,i,1",
        "r01,val,i,i,1",
        "r01,val,v,v,1",
    ]
    assert capsys.readouterr().out.endswith("2 rounds, 0.0 MB\n")


def test_the_same_bytes_again(layout: Layout) -> None:
    report(layout, declared())
    first = [path.read_bytes() for path in sorted(layout.reports.iterdir())]
    report(layout, declared())
    assert [path.read_bytes() for path in sorted(layout.reports.iterdir())] == first
    assert len(first) == 4


def test_control_audit_and_scores_are_shown_where_they_exist(layout: Layout) -> None:
    report(layout, declared())
    control = layout.round_progress.read_text().replace("nearest", "random")
    write_text(layout.control, control)
    write_json(layout.audit_summary, {"n_leaks": 3})
    finding = "leak,a1,train/i/a1.png,train,i,0,b1,val,i,same file\n"
    columns = "finding,image_id,path,split,label,value,other_id,other_split,other_label,detail\n"
    write_text(layout.findings, columns + finding)
    scored = "a2,train/v/a2.png,train,v,i,0.25,True,0.5,False\n"
    columns = (
        "image_id,path,split,label,suggested_label,label_score,is_label_issue,outlier_score,"
        "is_outlier_issue\n"
    )
    write_text(layout.scores, columns + scored)
    write_png(layout.map_picture, np.zeros((4, 4, 1), dtype=np.uint8))
    report(layout, declared())
    page = layout.report.read_text(encoding="utf-8")
    for words in ("control (random)", "n_leaks", "same file", "pictures of no class", "map.html"):
        assert words in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"strategy": "random", "accuracy": 0.0, "n_additions": 9}, []),
        (
            {("r00", "val"): {"n_images": 7}},
            ["(r00: val 1 of 7 wrong, here 1 of 2 wrong); make it"],
        ),
        ({("r00", "val"): {"n_misclassified": 2}}, ["val 2 of 2 wrong, here 1 of 2 wrong"]),
        ({("r00", "train"): {"n_train": 1700}}, ["(r00: training images 1,700, here 2); make it"]),
        (
            {("r00", "val"): {"split": "test"}},
            ["val -, here 1 of 2 wrong; test 1 of 2 wrong, here -"],
        ),
        ({"round": "r01"}, ["r00: training images -, here 2"]),
        ({("r01", "train"): {"n_train": 1900}}, ["(r01 1,900 training images, here 3), so that"]),
        ({("r01", "train"): {"round": "r05"}}, []),
    ],
)
def test_a_control_of_other_images_or_sizes_is_called_so(
    layout: Layout, capsys: pytest.CaptureFixture[str], changes: Any, told: list[str]
) -> None:
    report(layout, declared())
    control = read_table(layout.round_progress, ROUNDS)
    for where, change in changes.items():
        if isinstance(where, str):
            control[where] = change
        else:
            is_meant = (control["round"] == where[0]) & (control["split"] == where[1])
            control.loc[is_meant, list(change)] = list(change.values())
    write_table(layout.control, control, ROUNDS)
    capsys.readouterr()
    report(layout, declared())
    page = layout.report.read_text(encoding="utf-8")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(told)
    for words in told:
        assert lines[0].startswith(f"{layout.control.as_posix()}: the control")
        assert words in lines[0]
        assert words in page
    assert page.count('<p class="bad">') == len(told)


def test_of_many_rounds_of_other_sizes_some_are_named() -> None:
    names = [f"r{number:02d}" for number in range(9)]
    values = {"round": names, "split": "train", "n_train": range(9), "n_images": 1}
    rounds = pd.DataFrame(values | {"n_misclassified": 0})
    (doubt,) = control_doubts(rounds, rounds.assign(n_train=[0, *range(101, 109)]))
    assert "r03 103 training images, here 3; 5 more)" in doubt


def test_a_round_says_why_none_can_follow(layout: Layout) -> None:
    lay_round(layout, "r01", stop="limit")
    write_text(layout.round("r01").sheet, layout.round("r00").sheet.read_text())
    write_text(layout.round("r01").confusion, layout.round("r00").confusion.read_text())
    write_text(layout.round("r01").additions, ADDITIONS)
    report(layout, declared())
    assert "1 additions (the size limit is reached);" in layout.report.read_text(encoding="utf-8")


def test_traces_are_shown_once_they_are_there(layout: Layout) -> None:
    here = layout.round("r01")
    trace = "b2,fixed,v,i,v,c1,v,a2,b2,True,True,0.75,label\n"
    write_text(here.traces, ",".join(TRACES.columns) + "\n" + trace)
    write_text(here.credits, ",".join(CREDITS.columns) + "\nparent,a2,1,1,0\n")
    report(layout, declared())
    assert "traced" not in layout.report.read_text(encoding="utf-8")  # a part is none
    make_current(here)
    report(layout, declared())
    page = layout.report.read_text(encoding="utf-8")
    assert '<td>1 <span class="faint">100.0%</span></td>' in page
    assert "Training images that the additions were drawn from" in page
    assert "(no picture)" not in page
    write_text(here.traces, "image_id\nb2\n")
    with pytest.raises(TableError, match=r"traces\.csv lacks column outcome"):
        report(layout, declared())


def test_stale_traces_are_left_out(layout: Layout) -> None:
    report(layout, declared())
    without = layout.report.read_bytes()
    here = layout.round("r01")
    trace = "b2,fixed,v,i,v,c1,v,gone,b2,True,True,0.75,label\n"
    write_text(here.traces, ",".join(TRACES.columns) + "\n" + trace)
    write_text(here.credits, ",".join(CREDITS.columns) + "\nparent,gone,1,1,0\nquery,old,1,1,0\n")
    write_text(here.additions, ADDITIONS.replace(",a2,", ",gone,"))
    make_current(here)
    write_text(here.additions, ADDITIONS)  # as boost alone would
    report(layout, declared())
    assert layout.report.read_bytes() == without


@pytest.mark.parametrize("parent", ["a1", "gone"])
def test_a_parent_is_shown_with_its_own_label(layout: Layout, parent: str) -> None:
    """The addition is of class v: of a1, which is of class i, a mirrored one."""
    here = layout.round("r01")
    write_text(here.additions, ADDITIONS.replace(",a2,", f",{parent},"))
    write_text(here.credits, ",".join(CREDITS.columns) + f"\nparent,{parent},1,1,0\n")
    make_current(here)
    report(layout, declared())
    page = layout.report.read_text(encoding="utf-8")
    label = "i" if parent == "a1" else ""
    assert f"<figcaption><b>{label}</b> 1 added<br>" in page
    assert f'aria-label="parent: {label} {parent}' in page


def test_rounds_that_are_not_complete_are_refused(layout: Layout) -> None:
    layout.round("r01").curve.unlink()
    with pytest.raises(DatasetError, match=r"r01 is not complete, .*curve\.csv is missing"):
        report(layout, declared())


def test_a_control_that_is_no_table_of_rounds_is_refused(layout: Layout) -> None:
    write_text(layout.control, "round,accuracy\nr00,0.5\n")
    with pytest.raises(TableError, match=r"control\.csv lacks column strategy"):
        report(layout, declared())
