"""Do a study's job by calling the stages; what is finished is left alone.

Every output is written whole or not at all, so that a job may be killed at any time, and goes on
where it was.
"""

import os
import shutil
from pathlib import Path

from databoost.layout import Layout
from databoost.params import Params
from databoost.stages.boost import boost
from databoost.stages.candidates import candidates
from databoost.stages.evaluate import evaluate
from databoost.stages.train import train
from databoost.study.jobs import Job, with_round


def do_job(job: Job) -> None:
    """Do what is left of a job."""
    if job.is_done():
        return
    if job.kind == "r00":
        _link_start(job)
        here, there = job.layout.round("r00"), Layout(job.start).round("r00")
        for name in ("manifest", "dataset"):
            _link(getattr(here, name), getattr(there, name))
        _train_and_evaluate(job.layout, job.params, "r00")
    elif job.kind == "candidates":
        assert job.base is not None
        _embed(job.root, job.start, job.base, with_round(job, "r00"))
    else:
        _do_cell(job)


def _do_cell(job: Job) -> None:
    assert job.base is not None
    layout = job.layout
    _link_start(job)
    r00, shared = layout.round("r00"), Layout(job.base).round("r00")
    for name in ("manifest", "dataset", "model", "evaluation"):
        _link(getattr(r00, name), getattr(shared, name))
    if job.scores is not None:
        _link(layout.scores, job.scores)
    for name, made in job.params.boosts.items():
        here, before = layout.round(name), layout.round(made.previous)
        params = with_round(job, made.previous)
        if not here.evaluation.exists():
            if not here.boost.exists():
                _boost(job, params, name)
            _train_and_evaluate(layout, params, name)
        if made.previous != "r00":
            # Only the last snapshot is needed to go on, and a study has many.
            shutil.rmtree(before.dataset, ignore_errors=True)


def _boost(job: Job, params: Params, name: str) -> None:
    layout = job.layout
    if job.candidates is None:
        boost(layout, params, name)
        return
    mined = job.candidates
    if params.embedding.weights != with_round(job, "r00").embedding.weights:
        mined = job.root / "mined" / name
        if not Layout(mined).candidates.exists():
            _embed(mined, job.start, job.root, params)
    _link(layout.candidates, Layout(mined).candidates)
    boost(layout, params, name)
    if mined != job.candidates:
        shutil.rmtree(mined)


def _train_and_evaluate(layout: Layout, params: Params, name: str) -> None:
    here = layout.round(name)
    if not here.model.exists():
        train(layout, params, name)
    if not here.evaluation.exists():
        evaluate(layout, params, name, is_logged=False)


def _embed(root: Path, start: Path, owner: Path, params: Params) -> None:
    """Embed the candidates with a model of `owner`'s rounds, or with a file."""
    layout = Layout(root)
    _link(layout.ingest, Layout(start).ingest)
    _link(layout.round("r00").root.parent, Layout(owner).round("r00").root.parent)
    candidates(layout, params)


def _link_start(job: Job) -> None:
    for name in ("ingest", "heldout"):
        _link(getattr(job.layout, name), getattr(Layout(job.start), name))


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    # Relative, so that a study's folder can be moved and copied.
    path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()))
