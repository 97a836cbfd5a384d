"""Run a study: arms x seeds on the project's r00, several jobs at a time, resumed after a kill."""

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from databoost.data.files import write_bytes, write_text
from databoost.errors import DataboostError, listed
from databoost.layout import Layout
from databoost.outcomes import Outcome, read_outcomes
from databoost.params import Params
from databoost.publishing import publish_outcomes
from databoost.sharing import room_for, shared_gpu
from databoost.study.jobs import Chain, Job, write_order
from databoost.study.places import StudyPlaces
from databoost.study.plan import Study
from databoost.study.planner import device_of, plan_jobs
from databoost.study.queue import Task, run_queue
from databoost.study.results import Results, shown_tables
from databoost.views.study_picture import study_picture

#: Jobs at a time on one GPU, at most: where they share it, and where it serves them in turn, so
#: that one computes while another reads or writes.
_SHARING, _IN_TURN = 16, 2
#: Bytes of a GPU's memory for a job: CUDA's own, a network, and what embeds candidates.
_A_JOB = 2**31
#: Of a study's folder, for git: all but the results, which are small.
_IGNORED = "/jobs/\n/start/\n/lock\n/*.part\n"


def run_study(
    layout: Layout, params: Params, study: Study, folder: Path, n_workers: int | None = None
) -> str:
    """Do what is left of a study, and write its tables and plot.

    Parameters
    ----------
    layout, params
        The project, whose r00, classes and held-out images the study starts from.
    folder
        Of the study: results and all that its jobs make.
    n_workers
        Jobs at a time, each a process; None for :func:`usual_workers`.

    Returns
    -------
    str
        The last round's tables, for a person.

    Raises
    ------
    DataboostError
        If jobs failed, once all others are done; lists each with its reason. Or if the folder is
        in use by another command, or holds files and no study.
    """
    places = StudyPlaces(folder)
    with _alone(places):
        plan = plan_jobs(layout, params, study, places)
        jobs = list(plan.jobs.values())
        results = Results(plan.chains)
        _tell(results, places)
        left = [job for job in jobs if not job.is_done()]
        try:
            with shared_gpu(_gpu(left)) as sharing:
                tasks = [_task(job, places, sharing.environment) for job in left]
                at_once = n_workers or usual_workers(left, sharing.is_on)
                if tasks:
                    print(_beginning(tasks, at_once), flush=True)
                failed = run_queue(tasks, at_once, lambda: _tell(results, places))
        finally:  # also when it is interrupted: what is there can be looked at
            text = _finish(results, places, study)
        for chain in plan.chains:
            if chain.is_done():
                own = _of_study(chain, folder)
                publish_outcomes(layout, own, _outcomes(chain), "databoost study")
    if failed:
        raise DataboostError(
            f"{len(failed)} of {len(jobs)} jobs failed; the same command tries them again, and "
            f"keeps what is done:{listed(f'{name}: {why}' for name, why in failed.items())}"
        )
    return text


def usual_workers(jobs: list[Job], is_shared: bool) -> int:
    """Count the jobs that run at a time unless told otherwise.

    Parameters
    ----------
    is_shared
        Whether a GPU serves several processes side by side.

    Returns
    -------
    int
        One a core that this process may use; where a job uses a GPU, at most 16, and as many as its
        memory has room for, if they share it, else 2.
    """
    n_cores = len(os.sched_getaffinity(0))
    device = _gpu(jobs)
    if device.type != "cuda":
        return n_cores
    return min(n_cores, min(_SHARING, room_for(device, _A_JOB)) if is_shared else _IN_TURN)


def _gpu(jobs: list[Job]) -> torch.device:
    """Give the GPU that jobs use; a CPU if none does."""
    for device in (device_of(job.params.train) for job in jobs):
        if device is not None and device.type == "cuda":
            return device
    return torch.device("cpu")


def _task(job: Job, places: StudyPlaces, environment: Mapping[str, str]) -> Task:
    order = places.order(job.name)
    write_order(order, job)
    command = (sys.executable, "-m", "databoost.study.worker", str(order))
    environment = {**_environment(job), **environment}
    return Task(job.name, command, places.log(job.name), job.needs, environment)


def _beginning(tasks: list[Task], n_workers: int) -> str:
    at_once = min(n_workers, len(tasks))
    return (
        f"{len(tasks)} job(s) to do, {at_once} at a time; a line follows for each round that is "
        f"finished, and how far each job is says its log, {tasks[0].log} first"
    )


def _environment(job: Job) -> dict[str, str]:
    # Libraries that take all cores when they are loaded, whatever PyTorch is told later.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(job.params.train.threads))


def _tell(results: Results, places: StudyPlaces) -> None:
    lines = results.look()
    for line in lines:
        print(line, flush=True)
    if lines:
        results.write_rounds(places)


def _finish(results: Results, places: StudyPlaces, study: Study) -> str:
    arms, verdicts = results.write(places)
    if arms.empty:
        return "no round is finished"
    write_bytes(places.picture, study_picture(arms, verdicts, study.compared_with))
    return shown_tables(arms, verdicts)


def _outcomes(chain: Chain) -> list[Outcome]:
    """Read a chain's rounds, each with the parameters that it was made with."""
    outcomes = [
        outcome
        for job in chain.jobs
        for outcome in read_outcomes(job.layout, job.params, [job.round])
    ]
    # Another boost than others that begin with the same r00, or with rounds of other sizes.
    sizes = chain.schedule if len(set(chain.schedule)) > 1 else ()
    key = "-".join([outcomes[0].boost_key, chain.jobs[1].name, *map(str, sizes)])
    outcomes[0] = replace(outcomes[0], boost_key=key)
    return outcomes


def _of_study(chain: Chain, folder: Path) -> Params:
    """Have a study's runs in an experiment of their own, beside the project's."""
    params = chain.jobs[-1].params
    tracking = params.tracking
    named = tracking.model_copy(update={"experiment": f"{tracking.experiment} {folder.name}"})
    return params.model_copy(update={"tracking": named})


@contextmanager
def _alone(places: StudyPlaces) -> Iterator[None]:
    places.root.mkdir(parents=True, exist_ok=True)
    if not places.lock.exists() and any(places.root.iterdir()):
        raise DataboostError(
            f"{places.root} holds other files, and no study; choose a new folder with --output"
        )
    with places.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataboostError(
                f"another databoost study works in {places.root}; wait for it, or choose another "
                "--output"
            ) from error
        ignored = places.root / ".gitignore"
        if not ignored.exists():  # the folder may lie in the project: `git add .` takes it
            write_text(ignored, _IGNORED)
        yield
