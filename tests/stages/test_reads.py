"""What stages open, by Python's own audit of every ``open``: no image twice, nothing undeclared."""

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
from databoost import publishing
from databoost.cli import main

opened, logged = collections.Counter(), collections.Counter()
folders = ("source/", ".databoost/source/unpacked/", "data/", "reports/")

def note(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, os.PathLike)):
        return
    path, mode, flags = arguments
    is_read = "r" in mode if mode else not flags & (os.O_WRONLY | os.O_RDWR)
    name = os.path.relpath(path)
    if is_read and name.startswith(folders):
        opened[name] += 1

def apart(publish):
    def run(*arguments, **named):
        before = opened.copy()
        published = publish(*arguments, **named)
        logged.update(opened - before)
        opened.clear()
        opened.update(before)
        return published
    return run

for name in ("publish_round", "publish_report"):
    setattr(publishing, name, apart(getattr(publishing, name)))
sys.addaudithook(note)
counts = {}
for stage in sys.argv[1:]:
    opened.clear()
    main(stage.split(), standalone_mode=False)
    counts[stage] = dict(opened)
print(json.dumps(counts | {"MLflow": dict(logged)}))
"""
#: Where a source's files lie, which its SHA-256 in params.yaml stands for.
SOURCES = ("source", ".databoost/source/unpacked")
#: Where images of a dataset lie.
IMAGES = (
    *SOURCES, "data/raw", "data/heldout", "data/rounds/r00/dataset", "data/rounds/r01/dataset"
)  # fmt: skip


def opened_by(project: Project, *stages: str) -> dict[str, dict[str, int]]:
    """Run stages in one process; gives how often each opened each file of data to read it.

    Under ``MLflow`` stands what they opened only to log it.
    """
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    told = project.run(sys.executable, "-c", COUNT, *stages, **nowhere).stdout
    counts: dict[str, dict[str, int]] = json.loads(told.splitlines()[-1])
    return counts


def images_of(opened: dict[str, int]) -> dict[str, int]:
    """Give those of opened files that are images of a dataset."""
    return {
        name: n for name, n in opened.items() if name.startswith(IMAGES) and name.endswith(".png")
    }


def test_no_stage_reads_an_image_twice_or_what_dvc_does_not_know_of(project: Project) -> None:
    layout = Layout(project.folder)
    project.run_stages("ingest")
    shutil.copytree(layout.raw, project.folder / "source")
    # With its SHA-256, as `make repro DATA=` takes a source.
    project.run("databoost", "source", "source")
    assert len(read_params(layout.params).data.sha256) == 64
    files = opened_by(
        project, "ingest", "prepare", "audit", "train r00", "evaluate r00", "scores", "candidates",
        "boost r01", "train r01", "evaluate r01", "attribute r01", "map", "report",
    )  # fmt: skip
    known = project.known_to_dvc()
    assert known.keys() == files.keys() - {"MLflow"}
    unknown = {
        f"{stage}: {name}"
        for stage in known
        for name in files[stage]
        if not any(
            f"{name.replace('.part/', '/')}/".startswith(f"{path}/")
            for path in (*known[stage], *(SOURCES if stage == "ingest" else ()))
        )
    }
    # Where nothing was added, an earlier round's model is taken over: to the same bytes.
    assert unknown == {"train r01: data/rounds/r00/model/metrics.json"}
    assert not images_of(files.pop("MLflow"))
    counts = {stage: images_of(opened) for stage, opened in files.items()}
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
        opened = images_of(opened_by(project, "boost r01")["boost r01"])
        assert len(opened) == snapshots[0]
        assert set(opened.values()) == {1}, strategy


def test_images_of_an_archive_are_read_once_when_they_are_unpacked(project: Project) -> None:
    project.run_stages("ingest")
    raw = Layout(project.folder).raw
    shutil.make_archive(str(project.folder / "photos"), "zip", raw)
    project.run("databoost", "source", "photos.zip")
    opened = images_of(opened_by(project, "ingest")["ingest"])
    names = [path.relative_to(raw) for path in raw.rglob("*.png")]
    folders = (SOURCES[1], "data/raw")  # of which the second may be altered
    assert opened == {f"{folder}/{name}": 1 for folder in folders for name in names}


def test_a_new_split_reads_no_image_twice(project: Project) -> None:
    project.set(split__strategy="stratified")
    counts = images_of(opened_by(project, "ingest", "prepare")["prepare"])
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
