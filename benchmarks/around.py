"""Measure what stands around the training: start, nothing to do, a snapshot, an evaluation.

    python benchmarks/around.py
    python benchmarks/around.py --images 2000 --keep ../around

Lays a project with built-in images of about 200 x 200 pixels, 9 in 10 of them for training, in a
folder of its own (or in `--keep`, where what is finished is not done again), and lets DVC make r00
and r01 once, with models of one epoch; some minutes. Then it measures, in seconds of wall time:

help      `databoost --help`, beside Python's own start
nothing   `dvc repro` with nothing to do, beside DVC's own start, `dvc stage list`
snapshot  the writing of r01's dataset, and what DVC adds to that: `dvc add` of a folder whose
          files it has never seen
evaluate  PNG files to image sheet; below it, where the stage spends its time
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from projects import Project, make_project

from databoost.data.files import read_json
from databoost.layout import Layout

#: What was measured, its seconds, and the target in seconds (0: none).
Row = tuple[str, float, float]

#: Runs a stage and tells how long each function took that the stage's module calls.
STAGE = """
import inspect, json, sys, time
began = time.perf_counter()
from importlib import import_module
from databoost.project import open_project
name, *rest = sys.argv[1].split()
stage = import_module(f"databoost.stages.{name}")
layout, params = open_project()
spent, open_calls = {"imports": time.perf_counter() - began}, []

def timed(name, function):
    def run(*arguments, **named):
        started = time.perf_counter()
        open_calls.append(name)
        try:
            return function(*arguments, **named)
        finally:
            open_calls.pop()
            if not open_calls:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
    return run

for key, value in list(vars(stage).items()):
    if inspect.isfunction(value) and key != name:
        setattr(stage, key, timed(key, value))
started = time.perf_counter()
getattr(stage, name)(layout, params, *rest)
spent["whole stage"] = time.perf_counter() - started
print(json.dumps(spent))
"""


def lay(folder: Path, n_images: int, threads: int) -> Project:
    """Lay the project, and let DVC make what is not made yet."""
    project = Project(folder)
    if not (folder / ".dvc").exists():
        project = make_project(folder)
        project.set(
            synthetic__n_train=n_images * 9 // 10, synthetic__n_val=n_images // 10,
            synthetic__n_test=0, synthetic__leaks=0, synthetic__image_size=200,
            train__threads=threads, train__epochs=1, train__batch_size=64,
            scores__batch_size=64, scores__epochs=1,
            boost__size_limit=0, boost__max_additions=50, map__max_points=300,
        )  # fmt: skip
        project.run("git", "init", "--quiet")
        project.run("dvc", "init", "--quiet")
    started = time.perf_counter()
    project.run("dvc", "repro", "--quiet", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    print(f"the project stands ({time.perf_counter() - started:.0f} s)", flush=True)
    return project


def wall(project: Project, *command: str, repetitions: int = 3) -> float:
    """Median seconds of a command."""
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        project.run(*command)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def stage_times(project: Project, stage: str) -> dict[str, float]:
    """Seconds of a stage, run for itself, and of the functions that it calls."""
    told = project.run(
        sys.executable, "-c", STAGE, stage, MLFLOW_TRACKING_URI="http://127.0.0.1:9"
    ).stdout
    spent: dict[str, float] = json.loads(told.splitlines()[-1])
    return spent


def start_rows(project: Project) -> list[Row]:
    """Measure the command line's start, and DVC's."""
    bare = wall(project, sys.executable, "-c", "pass", repetitions=9)
    own = wall(project, "dvc", "stage", "list", "--name-only")
    nothing = wall(project, "dvc", "repro")
    return [
        ("python -c pass", bare, 0),
        ("databoost --help", wall(project, "databoost", "--help", repetitions=9), 0.5),
        ("dvc --version", wall(project, "dvc", "--version"), 0),
        ("dvc stage list: DVC's own start", own, 0),
        ("dvc status, nothing to do", wall(project, "dvc", "status"), 0),
        ("dvc repro, nothing to do", nothing, 0),
        ("  beyond DVC's own start", nothing - own, 5),
    ]


def snapshot_rows(project: Project) -> list[Row]:
    """Measure writing r01's dataset, and versioning one that DVC has never seen."""
    boost = stage_times(project, "boost r01")
    dataset = Layout(project.folder).round("r01").dataset
    with tempfile.TemporaryDirectory() as other:
        second = Project(Path(other))
        second.run("git", "init", "--quiet")
        second.run("dvc", "init", "--quiet")
        shutil.copytree(dataset, second.folder / "dataset")
        added = wall(second, "dvc", "add", "--quiet", "dataset", repetitions=1)
    committed = wall(project, "dvc", "commit", "--force", "--quiet", "boost@r01", repetitions=1)
    return [
        ("boost r01, the whole stage", boost["whole stage"], 0),
        ("  of it the dataset written", boost["write_dataset"], 0),
        ("dvc add, all files new", added, 0),
        ("dvc commit, files known from r00", committed, 0),
        ("a snapshot, written and versioned", boost["write_dataset"] + added, 10),
    ]


def evaluate_rows(project: Project) -> list[Row]:
    """Measure an evaluation and its parts."""
    spent = stage_times(project, "evaluate r00")
    imports, stage = spent.pop("imports"), spent.pop("whole stage")
    parts = sorted(spent.items(), key=lambda part: -part[1])
    return [
        ("evaluate r00, imports included", imports + stage, 20),
        ("  imports", imports, 0),
        *((f"  {name.lstrip('_')}", seconds, 0) for name, seconds in parts if seconds >= 0.05),
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch's, in every stage")
    parser.add_argument("--keep", type=Path, help="the project's folder; it stays there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = (given.keep or Path(scratch) / "project").resolve()
        project = lay(place, given.images, given.threads)
        rows = start_rows(project) + snapshot_rows(project) + evaluate_rows(project)
        size = read_json(Layout(project.folder).round("r00").metrics)["size"]
    print(
        f"\n{platform.machine()}, {os.cpu_count()} CPUs, {given.threads} thread(s); r00: "
        f"{size['n_train']} training and {size['n_val']} validation images"
    )
    print(f"{'':36}{'seconds':>8}{'target':>8}{'ratio':>7}")
    for name, seconds, target in rows:
        goal = f"{target:8.1f}{seconds / target:7.2f}" if target else ""
        print(f"{name:36}{seconds:8.2f}{goal}")


if __name__ == "__main__":
    main()
