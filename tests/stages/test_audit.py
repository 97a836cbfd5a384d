"""The stage on drawn images and on the real ones, whose leaks are known."""

import os
from pathlib import Path

import pytest
from projects import Project

from databoost.data.files import read_json
from databoost.data.tablefiles import read_table
from databoost.data.tables import FINDINGS, TRUTH
from databoost.layout import Layout


def test_planted_leaks_and_a_broken_file_are_found(project: Project) -> None:
    layout = Layout(project.folder)
    project.run_stages("ingest", "prepare")
    told = project.run_stages("audit")
    findings = read_table(layout.findings, FINDINGS)
    truth = read_table(layout.truth, TRUTH)
    planted = set(truth.loc[truth["fault"] == "leak", "image_id"])
    leaks = findings[findings["finding"] == "exact leak"]
    assert set(leaks["image_id"]) == planted
    assert planted
    assert f"{len(planted):7,}  exact leak" in told
    assert "0.5 is no difference" in told
    summary = read_json(layout.audit_summary)
    assert summary["findings"]["exact leak"] == len(planted)
    assert summary["n_images"] == truth["split"].value_counts().to_dict()
    before = layout.findings.read_bytes(), layout.audit_summary.read_bytes()
    project.run_stages("audit")
    assert (layout.findings.read_bytes(), layout.audit_summary.read_bytes()) == before


def test_what_cannot_be_compared_is_left_out(project: Project) -> None:
    """One class alone in train and another in val: nothing to compare, everything else listed."""
    layout = Layout(project.folder)
    project.run_stages("ingest", "prepare")
    manifest = layout.round("r00").manifest
    lines = manifest.read_text().splitlines(keepends=True)
    rows = [line for line in lines[1:] if ("/i/" in line) == (",train,i," in line)]
    manifest.write_text("".join([lines[0], *(row for row in rows if ",val,i," not in row)]))
    val = [row for row in rows if ",val," in row]
    train = [row for row in rows if ",train,i," in row]
    manifest.write_text("".join([lines[0], *train, *val]))
    told = project.run_stages("audit")
    assert "train and val of r00 could not be compared" in told
    assert "train_val_difference" not in read_json(layout.audit_summary)


@pytest.mark.skipif(
    "DATABOOST_ROMAN" not in os.environ, reason="DATABOOST_ROMAN names no folder of real images"
)
@pytest.mark.slow
def test_all_leaks_of_the_real_images(project: Project) -> None:
    """42 files lie in train and val, and one validation image is in the label book."""
    layout = Layout(project.folder)
    project.set(data__source=str(Path(os.environ["DATABOOST_ROMAN"]).resolve()))
    project.run_stages("ingest", "prepare", "audit")
    findings = read_table(layout.findings, FINDINGS)
    leaks = findings[findings["finding"] == "exact leak"]
    assert leaks.groupby(["split", "other_split"]).size().to_dict() == {
        ("train", "val"): 42,
        ("val", "label_book"): 1,
    }
    copies = findings[findings["finding"].isin(["near-duplicate", "near leak"])]
    assert len(copies) == 9
    difference = read_json(layout.audit_summary)["train_val_difference"]
    assert difference["low"] > 0.6
