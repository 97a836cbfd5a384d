"""Held-out images are reported, never used: by Python's own audit of every ``open``."""

import json
import shutil
import sys

import pytest
from projects import Project

from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import SHEET
from databoost.layout import Layout

pytestmark = pytest.mark.slow

NOTE = """
import json, os, sys
from databoost.cli import main

opened = set()

def note(event, arguments):
    is_look = event in ("open", "os.listdir", "os.scandir")
    if is_look and isinstance(arguments[0], (str, os.PathLike)):
        name = os.path.relpath(os.path.realpath(arguments[0]))
        if name.startswith("data/heldout"):
            opened.add(name)

sys.addaudithook(note)
told = {}
for stage in sys.argv[1:]:
    opened.clear()
    main(stage.split(), standalone_mode=False)
    told[stage] = sorted(opened)
print(json.dumps(told))
"""

CHOOSE = """
import json, sys
from pathlib import Path
from databoost.cli import main

told = {}
for choice in sys.argv[1:]:
    main(["set", *choice.split()], standalone_mode=False)
    main(["boost", "r01"], standalone_mode=False)
    told[choice] = Path("data/rounds/r01/additions.csv").read_text()
print(json.dumps(told))
"""
#: Each sets all that another sets, since they are set one after another.
CHOICES = [
    f"boost.strategy={strategy} boost.additions={n} boost.suspects={suspects} "
    f"boost.max_margin={margin}"
    for strategy, n, suspects, margin in (
        ("nearest", 7, "skip", 0.0),
        ("random", 7, "skip", 0.0),
        ("balanced", 7, "skip", 0.0),
        ("hardest", 7, "skip", 0.0),
        ("diverse", 7, "skip", 0.0),
        ("nearest", 0, "skip", 0.0),
        ("random", 0, "skip", 0.0),
        ("nearest", 0, "ask", 0.5),
    )
]


def test_no_stage_that_trains_selects_or_mines_reads_held_out_images(project: Project) -> None:
    layout = Layout(project.folder)
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    project.run_stages("ingest", "prepare")
    project.set(boost__suspects="skip")
    using = ("scores", "train r00", "candidates", "boost r01", "train r01")
    stages = [*using[:2], "evaluate r00", *using[2:], "evaluate r01", "attribute r01"]
    told = json.loads(
        project.run(sys.executable, "-c", NOTE, *stages, **nowhere).stdout.splitlines()[-1]
    )
    assert len(told["evaluate r00"]) == 21  # 20 images and their manifest
    using = (*using, "attribute r01")
    assert {stage: told[stage] for stage in using} == {stage: [] for stage in using}

    # The sheet holds what the model says of test images: turned round, it changes no addition.
    first = additions(project)
    sheet = read_table(layout.round("r00").sheet, SHEET)
    is_test = sheet["split"] == "test"
    assert is_test.sum() == 20
    sheet.loc[is_test, "is_misclassified"] = ~sheet.loc[is_test, "is_misclassified"]
    sheet.loc[is_test, ["margin", "loss"]] = [-0.9, 9.0]
    write_table(layout.round("r00").sheet, sheet, SHEET)
    shutil.rmtree(layout.heldout)  # what is not there cannot be read
    assert additions(project) == first
    assert [first[choice].count("\n") for choice in CHOICES[:5]] == [8] * 5
    assert len(set(first.values())) == len(CHOICES)


def additions(project: Project) -> dict[str, str]:
    """Give what each choice adds to r00."""
    told = project.run(sys.executable, "-c", CHOOSE, *CHOICES).stdout.splitlines()[-1]
    found: dict[str, str] = json.loads(told)
    return found
