"""How a study runs its jobs; its folder belongs to one command at a time."""

import fcntl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from handmade_rounds import declared, lay_round

from databoost import cli, cli_study
from databoost.data.files import write_text
from databoost.errors import DataboostError
from databoost.layout import Layout
from databoost.outcomes import Outcome
from databoost.params import Params
from databoost.sections import TrainParams
from databoost.study import running
from databoost.study.jobs import Chain, Job
from databoost.study.places import StudyPlaces
from databoost.study.plan import Study
from databoost.study.planner import Plan
from databoost.study.running import run_study, usual_workers


def test_two_studies_do_not_work_in_one_folder(tmp_path: Path) -> None:
    study = Study.model_validate({"rounds": 1, "additions": 1, "seeds": [0], "arms": {"a": {}}})
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataboostError, match="another databoost study works in"):
            run_study(Layout(tmp_path), declared(), study, tmp_path, 1)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    study = Study.model_validate({"rounds": 1, "additions": 1, "seeds": [0], "arms": {"a": {}}})
    (tmp_path / "rounds.csv").write_text("a report's")
    with pytest.raises(DataboostError, match="holds other files, and no study; choose a new fold"):
        run_study(Layout(tmp_path), declared(), study, tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["rounds.csv"]


@pytest.mark.parametrize("own", [None, "/study.png\n"])
def test_git_takes_the_results_of_a_study_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    places = StudyPlaces(tmp_path / "results" / "first")
    results = [places.rounds, places.arms, places.verdicts, places.picture]
    spare = places.rounds.with_name("rounds.csv.part")  # as a kill leaves it

    def plan(*_: object) -> Plan:
        others = [places.order("a"), places.log("a"), places.job("a") / "data" / "best.ckpt"]
        others += [places.start("b") / "made_with.json", places.scores("c")]
        for path in (*results, *others, spare):
            write_text(path, "something")
        return Plan({}, ())

    study = Study.model_validate({"rounds": 1, "additions": 1, "seeds": [0], "arms": {"a": {}}})
    monkeypatch.setattr(running, "plan_jobs", plan)
    ignored = places.root / ".gitignore"
    if own:
        write_text(places.lock, "")
        write_text(ignored, own)
    for _ in range(2):  # the second time, it is a study's folder
        run_study(Layout(tmp_path), declared(), study, places.root, 1)
    assert ignored.read_text() == (own or "/jobs/\n/start/\n/lock\n/*.part\n")

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    git("init")
    git("add", ".")
    taken = {tmp_path / name for name in git("ls-files", "-z").split("\0") if name}
    if own is None:
        assert taken == {ignored, *results}
    else:
        assert places.picture not in taken
        assert places.log("a") in taken


def job(accelerator: str) -> Job:
    params = declared(train={"accelerator": accelerator, "threads": 3})
    return Job("job", "r00", Path("job"), Path("start"), params, "a", 0)


def test_jobs_on_a_gpu_are_as_many_as_can_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def device(settings: TrainParams) -> torch.device | None:
        return None if settings.accelerator == "nowhere" else torch.device(settings.accelerator)

    monkeypatch.setattr(running, "device_of", device)
    monkeypatch.setattr(running, "room_for", lambda device, memory: {"cuda": 12}[device.type])
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(32)))
    assert usual_workers([job("cpu"), job("nowhere")], is_shared=True) == 32
    assert usual_workers([job("cpu"), job("cuda")], is_shared=True) == 12
    assert usual_workers([job("cpu"), job("cuda")], is_shared=False) == 2
    monkeypatch.setattr(running, "room_for", lambda device, memory: 70)
    assert usual_workers([job("nowhere"), job("cuda")], is_shared=True) == 16
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert usual_workers([job("cuda")], is_shared=True) == 1
    assert usual_workers([job("cuda")], is_shared=False) == 1


def test_a_job_has_no_more_threads_than_its_parameters_say(tmp_path: Path) -> None:
    task = running._task(job("cpu"), StudyPlaces(tmp_path), {"CUDA_MPS_PIPE_DIRECTORY": "there"})
    assert task.environment == {
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "CUDA_MPS_PIPE_DIRECTORY": "there",
    }


def test_every_round_is_told_with_its_own_additions(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    lay_round(layout, "r00")
    lay_round(layout, "r01")

    def told(*additions: int, name: str = "a-r01") -> list[Outcome]:
        first = replace(
            job("cpu"), root=tmp_path, params=declared(boost={"additions": additions[0]})
        )
        later = [
            replace(
                first,
                name=name,
                round=f"r0{number}",
                params=declared(boost={"additions": n_additions}),
            )
            for number, n_additions in enumerate(additions, 1)
        ]
        return running._outcomes(Chain("a", 0, (first, *later)))

    one = told(4)
    assert [outcome.files.name for outcome in one] == ["r00", "r01"]
    assert one[1].settings["boost.additions"] == "4"
    other, another, longer = told(4, 9), told(4, 12), told(4, 4)
    assert len({one[0].boost_key, other[0].boost_key, another[0].boost_key}) == 3
    assert longer[0].boost_key == one[0].boost_key
    # Another arm is another run, although its first round has the same parameters.
    assert told(4, name="b-r01")[0].boost_key != one[0].boost_key


def test_what_is_done_is_written_when_a_study_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> dict[str, str]:
        raise KeyboardInterrupt

    study = Study.model_validate({"rounds": 1, "additions": 1, "seeds": [0], "arms": {"a": {}}})
    monkeypatch.setattr(running, "plan_jobs", lambda *_: Plan({}, ()))
    monkeypatch.setattr(running, "run_queue", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(Layout(tmp_path), declared(), study, tmp_path / "study", 1)
    places = StudyPlaces(tmp_path / "study")
    assert places.rounds.exists()
    assert places.arms.exists()
    assert places.verdicts.exists()


def test_runs_are_logged_to_an_experiment_of_the_study_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.model_validate({"rounds": 1, "additions": 1, "seeds": [0], "arms": {"a": {}}})
    first = job("cpu")
    chain = Chain("a", 0, (first, replace(first, round="r01")))
    logged: list[tuple[str, list[Outcome], str]] = []
    monkeypatch.setattr(running, "plan_jobs", lambda *_: Plan({}, (chain,)))
    monkeypatch.setattr(running, "_tell", lambda *_: None)
    monkeypatch.setattr(running, "_finish", lambda *_: "the tables")
    monkeypatch.setattr(running, "_outcomes", lambda _: [])
    monkeypatch.setattr(Job, "is_done", lambda _: True)

    def publish(_: Layout, params: Params, outcomes: list[Outcome], command: str) -> None:
        logged.append((params.tracking.experiment, outcomes, command))

    monkeypatch.setattr(running, "publish_outcomes", publish)
    folder = tmp_path / "sizes"
    assert run_study(Layout(tmp_path), declared(), study, folder, 1) == "the tables"
    assert logged == [("databoost sizes", [], "databoost study")]


@pytest.mark.parametrize(
    ("options", "expected"), [([], ".databoost/studies/first"), (["--output", "x/y"], "x/y")]
)
def test_a_study_lies_in_a_folder_of_its_name_unless_told(
    monkeypatch: pytest.MonkeyPatch, options: list[str], expected: str
) -> None:
    folders: list[Path] = []

    def run(layout: Layout, params: Params, plan: object, folder: Path, workers: object) -> str:
        folders.append(folder)
        return "the tables"

    monkeypatch.setattr(cli_study, "open_project", lambda: (Layout(Path()), declared()))
    monkeypatch.setattr("databoost.study.plan.read_study", lambda *_: None)
    monkeypatch.setattr("databoost.study.running.run_study", run)
    done = CliRunner().invoke(cli.main, ["study", "studies/first.yaml", *options])
    assert done.output == f"the tables\nresults: {expected}\n"
    assert folders == [Path(expected)]
