"""Do a study's job by calling the stages; what is finished is left alone.

Every output is written whole or not at all, so that a job may be killed at any time, and goes on
where it was.
"""

import os
import shutil
from pathlib import Path

from databoost.data.datasets import read_classes
from databoost.data.files import whole_folder
from databoost.data.tablefiles import read_table, write_recipes
from databoost.data.tables import MANIFEST
from databoost.layout import Layout
from databoost.params import Params, round_number
from databoost.stages.boost import boost
from databoost.stages.candidates import candidates, draw_recipes
from databoost.stages.evaluate import evaluate
from databoost.stages.train import train
from databoost.study.jobs import Job
from databoost.study.late import LateWeights, judge_late_epochs
from databoost.study.plan import FIRST, ROUNDS
from databoost.unfinished import forget_unfinished

#: What a later round reads of an earlier one.
_READ_LATER = ("manifest", "dataset", "additions", "boost", "model", "late", "evaluation")


def do_job(job: Job) -> None:
    """Do what is left of a job."""
    if job.is_done():
        return
    if job.kind == "r00":
        _link_start(job)
        here, there = job.layout.round(FIRST), Layout(job.start).round(FIRST)
        for name in ("manifest", "dataset"):
            _link(getattr(here, name), getattr(there, name))
        _train_and_evaluate(job)
    elif job.kind == "candidates":
        assert job.base is not None
        _embed(job.root, job.start, job.base, job.params)
    else:
        _do_round(job)


def _do_round(job: Job) -> None:
    assert job.base is not None
    layout, before = job.layout, Layout(job.base)
    _link_start(job)
    for name in job.params.rounds[: round_number(job.round)]:
        here, there = layout.round(name), before.round(name)
        for item in _READ_LATER:
            if getattr(there, item).exists():
                _link(getattr(here, item), getattr(there, item))
    if job.scores is not None:
        _link(layout.scores, job.scores)
    if not layout.round(job.round).boost.exists():
        _boost(job)
    shutil.rmtree(_mined(job), ignore_errors=True)
    _share_images(layout, job.params.boosts[job.round].previous, job.round)
    _train_and_evaluate(job)


def _boost(job: Job) -> None:
    layout = job.layout
    mined = job.candidates
    if mined is None and job.params.boost.strategy != "none":  # recipes are all that it needs
        with whole_folder(layout.candidates) as part:
            write_recipes(part / layout.recipes.name, draw_recipes(layout, job.params))
    elif mined is not None:
        weights = job.params.embedding.weights
        if weights.startswith(ROUNDS) and layout.root / weights != layout.round(FIRST).checkpoint:
            mined = _mined(job)
            if not Layout(mined).candidates.exists():
                _embed(mined, job.start, job.root, job.params)
        _link(layout.candidates, Layout(mined).candidates)
    boost(layout, job.params, job.round)


def _mined(job: Job) -> Path:
    """Project of the candidates as a later round's own model sees them, until it is boosted."""
    return job.root / "mined"


def _share_images(layout: Layout, previous: str, name: str) -> None:
    """Have images that a round took over lie on the disk once: a study has many snapshots."""
    before, here = layout.round(previous), layout.round(name)
    for path in read_table(before.manifest, MANIFEST)["path"]:
        ours, theirs = here.dataset / path, before.dataset / path
        if not ours.samefile(theirs):
            spare = ours.with_name(f"{ours.name}.part")
            spare.unlink(missing_ok=True)
            try:
                os.link(theirs, spare)
            except OSError:  # a file system without such links: the copy stays
                return
            spare.replace(ours)


def _train_and_evaluate(job: Job) -> None:
    here = job.layout.round(job.round)
    if not here.model.exists():
        folder = job.layout.late_weights(job.round)
        classes = read_classes(job.layout.classes)
        looking_on = LateWeights(folder, job.params, classes)
        train(job.layout, job.params, job.round, callbacks=[looking_on])
    forget_unfinished(job.layout, "train", job.round)
    judge_late_epochs(job.layout, job.params, job.round)
    if not here.evaluation.exists():
        evaluate(job.layout, job.params, job.round, is_logged=False)


def _embed(root: Path, start: Path, owner: Path, params: Params) -> None:
    """Embed the candidates with a model of `owner`'s rounds, or with a file."""
    layout = Layout(root)
    _link(layout.ingest, Layout(start).ingest)
    _link(layout.round("r00").root.parent, Layout(owner).round("r00").root.parent)
    candidates(layout, params, most_processes=1)  # other jobs share the GPU
    forget_unfinished(layout, "candidates")


def _link_start(job: Job) -> None:
    for name in ("ingest", "heldout"):
        _link(getattr(job.layout, name), getattr(Layout(job.start), name))


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    # Relative, so that a study's folder can be moved and copied.
    path.symlink_to(os.path.relpath(target.resolve(), path.parent.resolve()))
