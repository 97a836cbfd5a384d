"""No stage opens an image file twice: counted by Python's own audit of every ``open``."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from projects import Project

from databoost.data.tablefiles import read_table
from databoost.data.tables import ADDITIONS, MANIFEST, SHEET
from databoost.drawing import Contents
from databoost.layout import Layout
from databoost.params import read_params

pytestmark = pytest.mark.slow

COUNT = """
import collections, json, os, sys
from databoost.cli import main

opened = collections.Counter()
folders = (
    "source", ".databoost/source/unpacked",
    "data/raw", "data/heldout", "data/rounds/r00/data", "data/rounds/r01/data",
)

def note(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, os.PathLike)):
        return
    path, mode, flags = arguments
    is_read = "r" in mode if mode else not flags & (os.O_WRONLY | os.O_RDWR)
    name = os.path.relpath(path)
    if is_read and name.startswith(folders) and name.endswith(".png"):
        opened[name] += 1

sys.addaudithook(note)
counts = {}
for stage in sys.argv[1:]:
    opened.clear()
    main(stage.split(), standalone_mode=False)
    counts[stage] = dict(opened)
print(json.dumps(counts))
"""


def counted(project: Project, *stages: str) -> dict[str, dict[str, int]]:
    """Run stages in one process; gives how often each opened each image file to read it."""
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    told = project.run(sys.executable, "-c", COUNT, *stages, **nowhere).stdout
    counts: dict[str, dict[str, int]] = json.loads(told.splitlines()[-1])
    return counts


def test_no_stage_reads_an_image_twice(project: Project) -> None:
    layout = Layout(project.folder)
    project.run_stages("ingest")
    shutil.copytree(layout.raw, project.folder / "source")
    # With its SHA-256, as `make repro DATA=` takes a source.
    project.run("databoost", "source", "source")
    assert len(read_params(layout.params).data.sha256) == 64
    counts = counted(
        project, "ingest", "prepare", "audit", "train r00", "evaluate r00", "scores", "candidates",
        "boost r01", "train r01", "evaluate r01", "attribute r01", "map", "report",
    )  # fmt: skip
    for stage, opened in counts.items():
        twice = {name: n for name, n in opened.items() if n > 1}
        assert not twice, f"{stage} reads {len(twice)} of {len(opened)} images twice: {twice}"
    snapshots = [len(read_table(layout.round(name).manifest, MANIFEST)) for name in ("r00", "r01")]
    heldout = len(read_table(layout.heldout_manifest, MANIFEST))
    sheet = read_table(layout.round("r00").sheet, SHEET)
    assert sheet["is_misclassified"].any()
    every = {stage: len(opened) for stage, opened in counts.items()}
    n_raw = sum(1 for path in layout.raw.rglob("*.png"))
    assert every["ingest"] == 2 * n_raw  # the source's, and those in place: were they altered?
    assert every["prepare"] == every["evaluate r00"] == snapshots[0] + heldout
    assert every["train r00"] == every["scores"] == snapshots[0]
    assert every["boost r01"] == snapshots[0]
    assert every["train r01"] == snapshots[1]
    assert every["evaluate r01"] == every["map"] == snapshots[1] + heldout
    assert 0 < every["candidates"] < snapshots[0]
    assert 0 < every["report"] <= every["map"]
    wrong = {
        image
        for name in ("r00", "r01")
        for image in read_table(layout.round(name).sheet, SHEET).query(
            "split == 'val' and is_misclassified"
        )["image_id"]
    }
    added = set(read_table(layout.round("r01").additions, ADDITIONS)["image_id"])
    assert {Path(name).stem for name in counts["attribute r01"]} == wrong | added
    for strategy in ("random", "diverse", "hardest"):
        project.set(boost__strategy=strategy)
        opened = counted(project, "boost r01")["boost r01"]
        assert len(opened) == snapshots[0]
        assert set(opened.values()) == {1}, strategy


def test_images_of_an_archive_are_read_once_when_they_are_unpacked(project: Project) -> None:
    project.run_stages("ingest")
    raw = Layout(project.folder).raw
    shutil.make_archive(str(project.folder / "photos"), "zip", raw)
    project.run("databoost", "source", "photos.zip")
    opened = counted(project, "ingest")["ingest"]
    names = [path.relative_to(raw) for path in raw.rglob("*.png")]
    folders = (".databoost/source/unpacked", "data/raw")  # of which the second may be altered
    assert opened == {f"{folder}/{name}": 1 for folder in folders for name in names}


def test_a_new_split_reads_no_image_twice(project: Project) -> None:
    project.set(split__strategy="stratified")
    counts = counted(project, "ingest", "prepare")["prepare"]
    layout = Layout(project.folder)
    assert set(counts.values()) == {1}
    manifests = (layout.round("r00").manifest, layout.heldout_manifest)
    assert len(counts) == sum(len(read_table(path, MANIFEST)) for path in manifests)


def test_a_boost_keeps_what_it_has_read_as_long_as_there_is_room(tmp_path: Path) -> None:
    contents = Contents(tmp_path / "scratch")
    contents.room = 5
    for name, content in (("a", b"123"), ("b", b"456"), ("c", b"78"), ("d", b"")):
        contents.keep(Path("train") / "i" / f"{name}.png", content)
    assert dict(contents) == {"a": b"123", "c": b"78", "d": b""}
    assert not (tmp_path / "scratch").exists()
