"""The stage on drawn images and on the real ones, whose leaks are known."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from projects import REPOSITORY, Project

from databoost.audit.regions import Region
from databoost.data.files import read_json
from databoost.data.images import write_png
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import FINDINGS, MANIFEST, RAW_INDEX, TRUTH, UNREADABLE
from databoost.layout import Layout
from databoost.params import read_params
from databoost.stages import audit as stage
from databoost.stages.audit import audit

PARAMS = read_params(REPOSITORY / "params.yaml")


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


class Frames:
    """Frames of one scene, each a shade lighter, as raw images and as r00."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self._raw: list[tuple[str, ...]] = []
        self._r00: list[tuple[str, ...]] = []

    def add(self, shade: int, *places: str, r00: str) -> str:
        """Put a frame to raw ``split/label`` places and one of r00."""
        page = np.full((40, 40, 1), 255, dtype=np.uint8)
        page[5:9, 5:35] = page[18:22, 5:35] = page[5:35, 20:24] = shade
        for place in places:
            image_id = write_png(self.layout.raw / place / f"{shade}.png", page)
            self._raw.append((image_id, f"{place}/{shade}.png", *place.split("/")))
        write_png(self.layout.round("r00").dataset / r00 / f"{image_id}.png", page)
        self._r00.append((image_id, f"{r00}/{image_id}.png", *r00.split("/")))
        return image_id

    def findings(self) -> pd.DataFrame:
        """Run the stage."""
        names = ("image_id", "path", "split", "label")
        raw = RAW_INDEX.frame(dict(zip(names, zip(*self._raw, strict=True), strict=True)))
        write_table(self.layout.raw_index, raw, RAW_INDEX)
        write_table(self.layout.unreadable, UNREADABLE.empty(), UNREADABLE)
        values: dict[str, Any] = {name: [""] * len(self._r00) for name in MANIFEST.columns}
        values |= dict(zip(names, zip(*self._r00, strict=True), strict=True))
        values["similarity"] = [np.nan] * len(self._r00)
        write_table(self.layout.round("r00").manifest, MANIFEST.frame(values), MANIFEST)
        audit(self.layout, PARAMS)
        return read_table(self.layout.findings, FINDINGS)


def test_a_near_leak_is_told_of_the_copy_that_prepare_keeps(tmp_path: Path) -> None:
    frames = Frames(tmp_path)
    copied = frames.add(0, "train/i", "val/v", r00="val/v")
    other = frames.add(1, "train/i", r00="train/i")
    tested = frames.add(2, "test/i", "train/v", "val/v", r00="train/i")
    findings = frames.findings()
    near = findings[findings["finding"] == "near leak"]
    columns = ["image_id", "split", "label", "other_id", "other_split", "other_label"]
    told = {
        frozenset([tuple(row[:3]), tuple(row[3:])]) for row in near[columns].itertuples(index=False)
    }
    val, train, test = (copied, "val", "v"), (other, "train", "i"), (tested, "test", "i")
    assert told == {frozenset([val, train]), frozenset([val, test]), frozenset([train, test])}
    assert not (findings["finding"] == "near-duplicate").any()


def test_many_frames_of_one_scene_are_listed_a_few_times_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = Frames(tmp_path)
    for shade in range(30):
        place = "val/i" if shade % 5 == 0 else "train/i"
        frames.add(shade, place, r00=place)
    findings = frames.findings()
    assert 15 <= findings["finding"].isin(["near leak", "near-duplicate"]).sum() <= 60
    assert read_json(frames.layout.audit_summary)["n_near_duplicate_pairs"] == 435
    assert "of 435 pairs of near-duplicates the most similar of" in capsys.readouterr().out


def test_regions_are_told_with_the_split_and_label_of_r00(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = Frames(tmp_path)
    moved = frames.add(0, "val/i", r00="train/v")
    region = Region(0, 1, 0, 0.5, "v", 0.01, (moved,))
    monkeypatch.setattr(stage, "_compare", lambda *_: ([region], None))
    (row,) = frames.findings().to_dict("records")
    told = [row[name] for name in ("finding", "path", "split", "label")]
    assert told == ["uneven region", "val/i/0.png", "train", "v"]


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
