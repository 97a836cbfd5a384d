"""A study from its file to its verdicts: killed, resumed, with an arm that fails."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import Project

from databoost.data.tablefiles import read_table
from databoost.data.tables import STUDY_ARMS, STUDY_ROUNDS, VERDICTS
from databoost.study.places import StudyPlaces

pytestmark = pytest.mark.slow

STUDY = """
rounds: 1
additions: 12
seeds: [0, 1]
params: {train.epochs: 1}
control: random
arms:
  random: {boost.strategy: random}
  none: {boost.strategy: none}
"""
COMMAND = ("databoost", "study", "small.yaml", "--workers", "2", "--output", "study")
NOWHERE = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}


def killed_after_its_first_training(project: Project, places: StudyPlaces) -> int:
    """Start the study and kill it; gives how many trainings were finished."""
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | NOWHERE | {
        "PATH": scripts + os.pathsep + os.environ["PATH"], "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    study = subprocess.Popen(
        COMMAND, cwd=project.folder, env=environment, stdout=subprocess.DEVNULL
    )
    while study.poll() is None and not trained(places):
        time.sleep(0.1)
    study.send_signal(signal.SIGKILL)
    study.wait()
    return len(trained(places))


def trained(places: StudyPlaces) -> list[Path]:
    """Checkpoints that are there, each once: jobs have links to what they share."""
    found = places.root.glob("jobs/*/data/rounds/*/model/best.ckpt")
    return sorted({path.resolve() for path in found})


def test_a_study_survives_a_kill_and_ends_in_verdicts(project: Project) -> None:
    project.run_stages("ingest", "prepare")
    (project.folder / "small.yaml").write_text(STUDY)
    places = StudyPlaces(project.folder / "study")
    assert killed_after_its_first_training(project, places) >= 1
    before = {path: path.stat().st_mtime_ns for path in trained(places)}

    told = project.run(*COMMAND, **NOWHERE)
    assert re.match(
        r"\d job\(s\) to do, 2 at a time; .* study/jobs/r00-\S+\.log first\n", told.stdout
    )
    assert "[8/8]" in told.stdout
    assert "paired differences of test accuracy" in told.stdout
    assert "`databoost study` logs every round" in told.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # r00 of both seeds, r01 of random; the arm without additions takes r00's models over.
    logs = "".join(log.read_text() for log in places.root.glob("jobs/*.log"))
    assert logs.count("nothing was added since r00; its model is taken over") == 2
    assert len(trained(places)) == 6

    rounds = read_table(places.rounds, STUDY_ROUNDS)
    assert rounds[["arm", "seed", "round"]].to_numpy().tolist() == [
        [arm, seed, name]
        for arm in ("random", "none")
        for seed in (0, 1)
        for name in ("r00", "r01")
    ]
    n_train = int(rounds["n_train"].iat[0])
    assert rounds["n_train"].tolist() == [n_train, n_train + 12] * 2 + [n_train] * 4
    assert rounds["n_added"].tolist() == [0, 12, 0, 12, 0, 0, 0, 0]
    assert set(rounds["n_lacking"]) == {0}
    drawn = places.root.glob("jobs/*/data/candidates/*")  # recipes alone, and of one arm alone
    assert (
        sorted((path.parts[-4][:10], path.name) for path in drawn)
        == [("random-r01", "recipes.parquet")] * 2
    )
    same = rounds[rounds["round"] == "r00"].drop(columns=["arm", "label_book_accuracy"])
    assert rounds["label_book_accuracy"].isna().all()  # the dataset has none
    assert same.iloc[:2].to_numpy().tolist() == same.iloc[2:].to_numpy().tolist()
    unchanged = rounds[rounds["arm"] == "none"]
    assert not unchanged[["n_failures_fixed", "n_images_broken"]].to_numpy().any()

    arms = read_table(places.arms, STUDY_ARMS)
    assert arms["n_seeds"].tolist() == [2] * 8
    verdict, late = read_table(places.verdicts, VERDICTS).to_dict("records")
    assert (verdict["arm"], verdict["other_arm"], verdict["n_images"]) == ("random", "none", 20)
    last = rounds[rounds["round"] == "r01"].groupby("arm")["test_accuracy"].mean()
    assert verdict["difference"] == pytest.approx(last["random"] - last["none"], abs=1e-5)
    assert places.picture.read_bytes().startswith(b"\x89PNG")
    # Of one epoch, the late one is the one that is kept.
    assert (verdict.pop("measure"), late.pop("measure")) == ("kept", "late")
    assert late == verdict
    for split in ("val", "test"):
        assert rounds[f"late_{split}_accuracy"].tolist() == rounds[f"{split}_accuracy"].tolist()
    assert not list(places.root.glob("jobs/*/.databoost/late/*"))

    results = [places.rounds, places.arms, places.verdicts, places.picture]
    written = [path.read_bytes() for path in results]
    again = project.run(*COMMAND, **NOWHERE)  # everything is there: nothing is started
    assert [path.read_bytes() for path in results] == written
    assert "paired differences" in again.stdout
    assert "to do" not in again.stdout


def test_an_arm_that_fails_is_told_at_the_end_and_the_others_are_kept(project: Project) -> None:
    project.run_stages("ingest", "prepare")
    arms = "  bad: {boost.strategy: random, model.architecture: resnet18, model.image_size: 8,\n"
    arms += "        train.accelerator: nowhere}\n"
    arms += "  short: {boost.strategy: random, boost.max_additions: 3}\n"
    (project.folder / "small.yaml").write_text(STUDY.replace("[0, 1]", "[0]") + arms)
    places = StudyPlaces(project.folder / "study")
    done = project.run(*COMMAND, check=False, **NOWHERE)
    assert done.returncode == 1
    assert "error: 2 of 6 jobs failed; the same command tries them again" in done.stderr
    assert re.search(r"r00-0-\w+: .*train\.accelerator (is )?'nowhere'", done.stderr)
    assert "which failed" in done.stderr
    rounds = read_table(places.rounds, STUDY_ROUNDS)
    assert set(rounds["arm"]) == {"random", "none", "short"}
    (short,) = rounds[(rounds["arm"] == "short") & (rounds["round"] == "r01")].to_dict("records")
    assert (short["n_added"], short["n_lacking"]) == (3, 9)
    assert "9 fewer than wanted" in done.stdout
    verdicts = read_table(places.verdicts, VERDICTS)
    n_train = int(rounds["n_train"].min())
    told = verdicts[["arm", "other_arm", "n_train", "other_n_train"]].to_numpy().tolist()
    assert told == 2 * [
        ["random", "none", n_train + 12, n_train],
        ["random", "short", n_train + 12, n_train + 3],
        ["none", "short", n_train, n_train + 3],
    ]
    assert not verdicts["is_equal_size"].any()
    assert not verdicts["is_more_than_noise"].any()  # one seed
    assert places.picture.exists()
