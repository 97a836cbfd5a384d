"""A study of several rounds, broken off, extended and moved, equals one that ran through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from projects import Project

from databoost.layout import Layout
from databoost.params import read_params
from databoost.study import work
from databoost.study.jobs import Job
from databoost.study.places import StudyPlaces
from databoost.study.plan import read_study
from databoost.study.planner import Plan, plan_jobs
from databoost.study.results import Results

pytestmark = pytest.mark.slow

STUDY = """
rounds: {rounds}
additions: {additions}
seeds: [0]
params: {{train.epochs: 3}}
arms:
  newest: {{"embedding.weights": "data/rounds/{{previous}}/model/best.ckpt"}}
"""


class Killed(BaseException):
    """Stands for the end of the process."""


def planned(project: Project, folder: str, *additions: int) -> Plan:
    layout = Layout(project.folder)
    params = read_params(layout.params)
    path = project.folder / "study.yaml"
    path.write_text(STUDY.format(rounds=len(additions), additions=list(additions)))
    return plan_jobs(layout, params, read_study(path, params), StudyPlaces(project.folder / folder))


def done(plan: Plan) -> Plan:
    for job in plan.jobs.values():
        work.do_job(job)
    return plan


def found(plan: Plan) -> pd.DataFrame:
    results = Results(plan.chains)
    results.look()
    return results.rounds()


def killing(stage: Callable[..., None], at: str) -> Callable[..., None]:
    def killed(layout: Layout, params: object, name: str, **options: Any) -> None:
        if name == at:
            raise Killed
        stage(layout, params, name, **options)

    return killed


def test_a_study_broken_off_extended_and_moved_equals_one_that_ran_through(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run_stages("ingest", "prepare")
    plan = planned(project, "broken", 6, 4)
    (chain,) = plan.chains
    _, first, second = chain.jobs
    with monkeypatch.context() as patch:  # r01's model is there, its late epochs are not judged
        patch.setattr(work, "judge_late_epochs", killing(work.judge_late_epochs, "r01"))
        with pytest.raises(Killed):
            done(plan)
    assert len(list(first.layout.late_weights("r01").iterdir())) == 2
    with monkeypatch.context() as patch:  # r01's model is there, and its evaluation is not
        patch.setattr(work, "evaluate", killing(work.evaluate, "r01"))
        with pytest.raises(Killed):
            done(plan)
    checkpoint = first.layout.round("r01").checkpoint
    assert checkpoint.exists()
    with monkeypatch.context() as patch:  # the candidates as r01's model sees them are there
        patch.setattr(work, "boost", killing(work.boost, "r02"))
        with pytest.raises(Killed):
            done(plan)
    mined = Layout(second.root / "mined")
    assert mined.embeddings.exists()
    trained_at = checkpoint.stat().st_mtime_ns
    assert first.layout.round("r01").late.exists()
    with monkeypatch.context() as patch:
        patch.setattr(work, "candidates", lambda *_: pytest.fail("embedded twice"))
        patch.setattr(work, "train", killing(work.train, "r02"))
        with pytest.raises(Killed):
            done(plan)
    assert not mined.root.exists()
    mined.embeddings.parent.mkdir(parents=True)  # as a kill leaves it that comes after the boost
    done(plan)
    assert not mined.root.exists()
    assert checkpoint.stat().st_mtime_ns == trained_at
    assert not found(plan)["n_lacking"].any()
    assert not list(plan.chains[0].jobs[-1].root.rglob("late/r*"))
    assert unshared(second) == 4  # what r01 holds too lies on the disk once

    project.folder.joinpath("broken").rename(project.folder / "moved")
    moved = planned(project, "moved", 6, 4)
    assert list(moved.jobs) == list(plan.jobs)
    assert all(job.is_done() for job in moved.jobs.values())
    assert not any(path.readlink().is_absolute() for path in links(project.folder / "moved"))
    extended = planned(project, "moved", 6, 4, 9)
    assert [job.is_done() for job in extended.jobs.values()] == [True, True, True, True, False]
    done(extended)

    straight = done(planned(project, "straight", 6, 4, 9))
    rounds = found(extended)
    assert rounds["round"].tolist() == ["r00", "r01", "r02", "r03"]
    assert rounds["n_added"].tolist() == [0, 6, 4, 9]
    pd.testing.assert_frame_equal(rounds, found(straight))
    for name in ("r01", "r02", "r03"):
        one, other = (plan.chains[0].jobs[-1].layout.round(name) for plan in (extended, straight))
        for path in ("additions", "manifest", "checkpoint", "late", "sheet"):
            assert getattr(one, path).read_bytes() == getattr(other, path).read_bytes()


def unshared(job: Job) -> int:
    """Count a snapshot's images that no other snapshot has on the same place of the disk."""
    files = [path for path in job.layout.round(job.round).dataset.rglob("*") if path.is_file()]
    return sum(path.stat().st_nlink == 1 for path in files)


def links(folder: Path) -> list[Path]:
    every = [path for path in folder.rglob("*") if path.is_symlink()]
    assert every
    return every
