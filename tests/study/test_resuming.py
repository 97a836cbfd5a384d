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
from databoost.study.jobs import Job, plan_jobs
from databoost.study.places import StudyPlaces
from databoost.study.plan import read_study
from databoost.study.results import Results

pytestmark = pytest.mark.slow

STUDY = """
rounds: {rounds}
additions: 6
seeds: [0]
params: {{train.epochs: 1}}
arms:
  newest: {{"embedding.weights": "data/rounds/{{previous}}/model/best.ckpt"}}
"""


class Killed(BaseException):
    """Stands for the end of the process."""


def planned(project: Project, folder: str, rounds: int) -> list[Job]:
    layout = Layout(project.folder)
    params = read_params(layout.params)
    path = project.folder / "study.yaml"
    path.write_text(STUDY.format(rounds=rounds))
    return plan_jobs(layout, params, read_study(path, params), StudyPlaces(project.folder / folder))


def done(jobs: list[Job]) -> list[Job]:
    for job in jobs:
        work.do_job(job)
    return jobs


def found(jobs: list[Job]) -> pd.DataFrame:
    results = Results([job for job in jobs if job.kind == "cell"])
    results.look()
    return results.rounds()


def killing(stage: Callable[..., None], at: str) -> Callable[..., None]:
    def killed(layout: Layout, params: object, name: str, **options: Any) -> None:
        if name == at:
            raise Killed
        stage(layout, params, name, **options)

    return killed


def times(paths: list[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}


def test_a_study_broken_off_extended_and_moved_equals_one_that_ran_through(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run_stages("ingest", "prepare")
    jobs = planned(project, "broken", rounds=2)
    cell = jobs[-1]
    with monkeypatch.context() as patch:  # r01's model is there, and its evaluation is not
        patch.setattr(work, "evaluate", killing(work.evaluate, "r01"))
        with pytest.raises(Killed):
            done(jobs)
    assert cell.layout.round("r01").checkpoint.exists()
    with monkeypatch.context() as patch:  # the candidates as r01's model sees them are there
        patch.setattr(work, "boost", killing(work.boost, "r02"))
        with pytest.raises(Killed):
            done(jobs)
    mined = Layout(cell.root / "mined" / "r02").embeddings
    first = [cell.layout.round("r01").checkpoint, mined]
    before = times(first)
    embed = work.candidates
    with monkeypatch.context() as patch:
        patch.setattr(work, "candidates", lambda *_: pytest.fail("embedded twice"))
        done(jobs)
    assert not mined.exists()
    assert times(first[:1]) == {first[0]: before[first[0]]}
    assert work.candidates is embed
    assert not found(jobs)["n_lacking"].any()

    project.folder.joinpath("broken").rename(project.folder / "moved")
    moved = planned(project, "moved", rounds=2)
    assert [job.name for job in moved] == [job.name for job in jobs]
    assert all(job.is_done() for job in moved)
    assert not any(path.readlink().is_absolute() for path in links(project.folder / "moved"))
    extended = planned(project, "moved", rounds=3)
    assert [job.is_done() for job in extended] == [True, True, False]
    done(extended)

    straight = done(planned(project, "straight", rounds=3))
    rounds = found(extended)
    assert rounds["round"].tolist() == ["r00", "r01", "r02", "r03"]
    assert rounds["n_added"].tolist() == [0, 6, 6, 6]
    pd.testing.assert_frame_equal(rounds, found(straight))
    for name in ("r01", "r02", "r03"):
        one, other = (jobs[-1].layout.round(name) for jobs in (extended, straight))
        for path in ("additions", "manifest", "checkpoint", "sheet"):
            assert getattr(one, path).read_bytes() == getattr(other, path).read_bytes()


def links(folder: Path) -> list[Path]:
    every = [path for path in folder.rglob("*") if path.is_symlink()]
    assert every
    return every
