"""The whole pipeline, with DVC for real, on a small built-in dataset in a folder of its own."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from projects import Project, make_project

from databoost.data.images import image_id
from databoost.data.tablefiles import read_table
from databoost.data.tables import ADDITIONS, CREDITS, MANIFEST, SHEET, TRACES
from databoost.layout import Layout

pytestmark = pytest.mark.slow


def make_repository(folder: Path) -> Project:
    project = make_project(folder)
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "config", "user.name", "Test")
    project.run("git", "config", "user.email", "test@example.org")
    project.run("dvc", "init", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=start")
    return project


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_repository(tmp_path_factory.mktemp("pipeline") / "project")
    project.run("dvc", "repro", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=two rounds")
    return project


def layout_of(project: Project) -> Layout:
    return Layout(project.folder)


def test_every_round_is_complete_and_follows_from_the_one_before(reproduced: Project) -> None:
    layout = layout_of(reproduced)
    before: set[str] = set()
    for name in ("r00", "r01"):
        here = layout.round(name)
        manifest = read_table(here.manifest, MANIFEST)
        files = {
            path.relative_to(here.dataset).as_posix(): image_id(path.read_bytes())
            for path in here.dataset.rglob("*.*")
        }
        assert files == dict(zip(manifest["path"], manifest["image_id"], strict=True))
        assert before <= set(manifest["image_id"])
        before = set(manifest["image_id"])
        sheet = read_table(here.sheet, SHEET)
        assert set(sheet["split"]) == {"train", "val", "test"}
        assert sheet["loss"].is_monotonic_decreasing
        metrics = json.loads(here.metrics.read_text())
        val = sheet[sheet["split"] == "val"]
        assert metrics["val"]["n_misclassified"] == val["is_misclassified"].sum()
        assert metrics["size"]["n_train"] == (manifest["split"] == "train").sum()
        told_by_training = json.loads(here.model_metrics.read_text())
        assert metrics["val"]["accuracy"] == told_by_training["val_accuracy"]
        assert metrics["val"]["loss"] == pytest.approx(told_by_training["val_loss"], abs=1e-3)


def test_additions_belong_to_failures_of_the_round_before(reproduced: Project) -> None:
    layout = layout_of(reproduced)
    sheet = read_table(layout.round("r00").sheet, SHEET)
    wrong = sheet[(sheet["split"] == "val") & sheet["is_misclassified"]]
    additions = read_table(layout.round("r01").additions, ADDITIONS)
    boost = json.loads(layout.round("r01").boost.read_text())
    assert boost["n_queries"] == len(wrong)
    assert boost["n_additions"] == len(additions) == 3 * len(wrong)
    assert boost["recall"] == 1.0
    assert set(additions["query_id"]) == set(wrong["image_id"])
    assert set(additions["rank"]) == {1, 2, 3}
    manifest = read_table(layout.round("r01").manifest, MANIFEST)
    added = manifest[manifest["round_added"] == "r01"]
    assert set(added["image_id"]) == set(additions["image_id"])
    assert set(added["split"]) == {"train"}
    train_of_r00 = manifest[(manifest["origin"] == "raw") & (manifest["split"] == "train")]
    assert set(additions["parent_id"]) <= set(train_of_r00["image_id"])


def test_what_was_fetched_for_a_failure_is_traced_to_it(reproduced: Project) -> None:
    layout = layout_of(reproduced)
    here = layout.round("r01")
    traces = read_table(here.traces, TRACES)
    additions = read_table(here.additions, ADDITIONS)
    sheets = [read_table(layout.round(name).sheet, SHEET) for name in ("r00", "r01")]
    val = [sheet[sheet["split"] == "val"].set_index("image_id") for sheet in sheets]
    wrong = [set(sheet[sheet["is_misclassified"]].index) for sheet in val]
    assert set(traces["image_id"]) == wrong[0] | wrong[1]
    asked = traces[traces["is_asked"]][["image_id", "addition_id"]]
    assert set(asked.itertuples(index=False, name=None)) == set(
        additions[["query_id", "image_id"]].itertuples(index=False, name=None)
    )
    # The stored vectors are rounded to float16; the search was settled with those of float32.
    both = traces[traces["is_asked"]].merge(
        additions, left_on="addition_id", right_on="image_id", validate="one_to_one"
    )
    assert (both["similarity_x"] - both["similarity_y"]).abs().max() < 0.01
    counts = json.loads(here.attribution_metrics.read_text())
    assert counts["n_fixed"] == len(wrong[0] - wrong[1])
    assert counts["n_still_wrong"] == len(wrong[0] & wrong[1])
    assert counts["n_newly_wrong"] == len(wrong[1] - wrong[0])
    credited = read_table(here.credits, CREDITS).groupby("by")["n_additions"].sum().to_dict()
    assert credited == dict.fromkeys(("class", "parent", "query"), len(additions))


def test_outputs_name_no_folder_of_this_machine(reproduced: Project) -> None:
    here = str(reproduced.folder).encode()
    for path in (reproduced.folder / "data").rglob("*"):
        if path.is_file():
            assert here not in path.read_bytes(), path


def test_a_second_repro_does_nothing(reproduced: Project) -> None:
    done = reproduced.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    assert "up to date" in done.stdout


def test_another_process_and_folder_give_the_same_bytes(
    reproduced: Project, tmp_path: Path
) -> None:
    other = make_project(tmp_path / "elsewhere")
    other.run_stages(
        "ingest", "prepare", "audit", "train r00", "evaluate r00", "scores", "candidates",
        "boost r01", "train r01", "evaluate r01", "attribute r01", "map", "report",
    )  # fmt: skip
    for folder in ("data", "reports"):
        assert digests(other.folder / folder) == digests(reproduced.folder / folder)


def test_run_declares_a_round_and_reruns_nothing_that_is_there(reproduced: Project) -> None:
    told = reproduced.run("databoost", "run", "--max-rounds", "1").stdout
    stages = [line.split("'")[1] for line in told.splitlines() if line.startswith("Running stage")]
    of_rounds = [stage for stage in stages if "@" in stage]  # the others show all rounds
    assert of_rounds == ["boost@r02", "train@r02", "evaluate@r02", "attribute@r02"]
    assert stages[-1] == "report"
    assert "stopped: 1 new round(s), as asked (r02)" in told
    layout = layout_of(reproduced)
    both = pd.concat(
        [read_table(layout.round(name).additions, ADDITIONS) for name in ("r01", "r02")]
    )
    assert not both["candidate_id"].duplicated().any()
    reproduced.run("git", "commit", "--all", "--quiet", "--message=one more round")


def test_a_clone_restores_everything_from_a_remote_without_training(
    reproduced: Project, tmp_path: Path
) -> None:
    reproduced.run("dvc", "remote", "add", "--default", "--local", "store", str(tmp_path / "store"))
    reproduced.run("dvc", "push", "--quiet")
    clone = tmp_path / "clone"
    reproduced.run("git", "clone", "--quiet", str(reproduced.folder), str(clone))
    second = Project(clone)
    second.run("dvc", "remote", "add", "--default", "--local", "store", str(tmp_path / "store"))
    second.run("dvc", "pull", "--quiet")
    done = second.run("dvc", "repro")
    assert "Running stage" not in done.stdout
    second.run("databoost", "publish")
    first_sheet = layout_of(reproduced).round("r02").sheet.read_bytes()
    assert layout_of(second).round("r02").sheet.read_bytes() == first_sheet


def test_a_filled_in_sheet_is_taken_over_and_taken_back(reproduced: Project) -> None:
    layout = layout_of(reproduced)
    given = layout.round("r00").manifest.read_bytes()
    boosts = boosts_in_mlflow(layout)
    reproduced.run("databoost", "sheet", "r00")
    book = openpyxl.load_workbook(layout.sheets / "r00.xlsx")
    columns = {cell.value: cell.column for cell in book["1"][1]}
    deleted, relabelled = (book["1"].cell(row, columns["image_id"]).value for row in (2, 3))
    label = "i" if book["1"].cell(3, columns["label"]).value != "i" else "v"
    book["1"].cell(2, columns["action"]).value = "delete"
    book["1"].cell(3, columns["action"]).value = "relabel"
    book["1"].cell(3, columns["value"]).value = label
    book.save(reproduced.folder / "filled.xlsx")
    reproduced.run("databoost", "corrections", "import", "filled.xlsx")
    reproduced.run("dvc", "repro", "--quiet", "evaluate@r00")
    labels = read_table(layout.round("r00").manifest, MANIFEST).set_index("image_id")["label"]
    assert deleted not in labels
    assert labels[relabelled] == label
    assert boosts_in_mlflow(layout) == boosts + 1
    reproduced.run("databoost", "corrections", "undo", "--last")
    done = reproduced.run("dvc", "repro", "evaluate@r00")
    assert "> databoost train" not in done.stdout  # restored, not trained again
    assert layout.round("r00").manifest.read_bytes() == given


def test_images_that_a_person_put_into_data_raw_stay(reproduced: Project, tmp_path: Path) -> None:
    project = make_repository(tmp_path / "project")
    photo = project.folder / "data/raw/cat/1.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"a photo")
    refused = project.run("dvc", "repro", "ingest", check=False)
    assert refused.returncode != 0
    assert "data/raw is replaced as a whole, and holds 1 file(s)" in refused.stderr
    assert photo.read_bytes() == b"a photo"
    # Nor where DVC knows what the stage gave before, and would lay that there.
    shutil.copytree(reproduced.folder / ".dvc/cache", project.folder / ".dvc/cache")
    assert project.run("dvc", "repro", "ingest", check=False).returncode != 0
    assert photo.read_bytes() == b"a photo"


def boosts_in_mlflow(layout: Layout) -> int:
    with closing(sqlite3.connect(layout.root / "mlflow.db")) as store:
        (n_runs,) = store.execute("SELECT COUNT(*) FROM runs").fetchone()
        (n_rounds,) = store.execute(
            "SELECT COUNT(*) FROM tags WHERE key = 'mlflow.parentRunId'"
        ).fetchone()
    return int(n_runs) - int(n_rounds)


def test_a_round_after_the_stop_is_complete_and_not_trained(
    reproduced: Project, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project")
    shutil.copytree(reproduced.folder / "data", project.folder / "data", dirs_exist_ok=True)
    project.set(boost__size_limit=96)
    project.run("databoost", "declare", "r02")
    told = project.run_stages(
        "boost r01", "train r01", "boost r02", "train r02", "evaluate r01", "evaluate r02"
    )
    layout = layout_of(project)
    boosts = [json.loads(layout.round(name).boost.read_text()) for name in ("r01", "r02")]
    assert [boost["stop"] for boost in boosts] == ["limit", "limit"]
    assert boosts[0]["padded"] == 96
    assert boosts[1]["n_additions"] == 0
    assert "r02: nothing was added since r01; its model is taken over" in told
    r01, r02 = layout.round("r01"), layout.round("r02")
    assert r01.checkpoint.read_bytes() == r02.checkpoint.read_bytes()
    assert r01.sheet.read_bytes() == r02.sheet.read_bytes()


def test_annoy_that_looks_far_enough_adds_the_same_images(
    reproduced: Project, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project")
    shutil.copytree(reproduced.folder / "data", project.folder / "data", dirs_exist_ok=True)
    project.set(search__method="annoy", search__search_k=100_000)
    project.run_stages("candidates", "boost r01")
    layouts = [layout_of(project), layout_of(reproduced)]
    sizes = [layout.index.stat().st_size for layout in layouts]
    assert sizes[0] > layouts[0].embeddings.stat().st_size
    assert sizes[1] == 0
    here, there = (layout.round("r01") for layout in layouts)
    assert here.additions.read_bytes() == there.additions.read_bytes()
    assert json.loads(here.boost.read_text())["recall"] == 1.0


def test_bfloat16_adds_what_float32_does(reproduced: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    shutil.copytree(reproduced.folder / "data", project.folder / "data", dirs_exist_ok=True)
    layout, added, embedded = layout_of(project), [], []
    for precision in ("float32", "bfloat16"):
        project.set(embedding__precision=precision)
        project.run_stages("candidates", "boost r01")
        added.append(read_table(layout.round("r01").additions, ADDITIONS))
        embedded.append(layout.embeddings.read_bytes())
    assert embedded[0] != embedded[1]
    assert added[0]["candidate_id"].tolist() == added[1]["candidate_id"].tolist()
    assert added[0]["query_id"].tolist() == added[1]["query_id"].tolist()


def test_the_control_adds_as_many_images(reproduced: Project, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    shutil.copytree(reproduced.folder / "data", project.folder / "data", dirs_exist_ok=True)
    project.set(boost__strategy="random")
    project.run_stages("boost r01")
    random = read_table(layout_of(project).round("r01").additions, ADDITIONS)
    nearest = read_table(layout_of(reproduced).round("r01").additions, ADDITIONS)
    assert len(random) == len(nearest)
    assert set(random["strategy"]) == {"random"}
    assert set(random["query_id"]) == {""}
    assert set(random["candidate_id"]) != set(nearest["candidate_id"])


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): image_id(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_experiment_in_a_temporary_copy_runs_its_own_code_and_is_logged_in_the_project(
    reproduced: Project,
) -> None:
    code = reproduced.folder / "src" / "databoost" / "boosting.py"
    code.write_text(f"{code.read_text()}# edited\n")
    command = ("dvc", "exp", "run", "--temp", "-S", "boost.neighbors=2", "evaluate@r01")
    refused = reproduced.run(*command, check=False)
    assert refused.returncode != 0
    assert "the databoost that is installed here is not this project's own" in refused.stderr
    reproduced.run(*command, PYTHONPATH="src")
    reproduced.run("git", "checkout", "--quiet", str(code))
    with closing(sqlite3.connect(reproduced.folder / "mlflow.db")) as store:
        names = {name for (name,) in store.execute("select name from runs")}
    assert {"boost nearest 3", "boost nearest 2"} <= names
    paths = (reproduced.folder / "mlartifacts").rglob("boost.json")
    told = [json.loads(path.read_text()) for path in paths]
    assert {boost["n_additions"] / boost["n_queries"] for boost in told} == {2, 3}
