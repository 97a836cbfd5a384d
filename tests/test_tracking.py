"""The rounds in MLflow, in real SQLite stores, and what happens when none answers."""

import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from handmade_rounds import declared, edit_json, lay_round
from handmade_traces import make_current

from databoost import tracking
from databoost.data.files import write_bytes, write_text
from databoost.errors import DatasetError, ParamsError, TrackingError
from databoost.layout import Layout
from databoost.outcomes import flat_params, read_outcomes
from databoost.params import parse_params
from databoost.publishing import publish, publish_outcomes, publish_report, publish_round
from databoost.stores import tracking_uri


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tables and nothing else; making the tables takes seconds, so this is copied."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with tracking._quiet_mlflow():
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def layout(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project with r00, r01 and an empty store, in a folder whose name needs care."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    layout = Layout(tmp_path / "my pröject #1")
    lay_round(layout, "r00")
    lay_round(layout, "r01", accuracy=1.0, stop="no_queries")
    shutil.copy(empty_store, layout.root / "mlflow.db")
    return layout


class Seen:
    """What a store holds, read by MLflow's own client."""

    def __init__(self, layout: Layout, experiment: str = "databoost") -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=tracking_uri(layout))
        self.experiment = self.client.get_experiment_by_name(experiment)
        runs = self.client.search_runs([self.experiment.experiment_id], order_by=["start_time"])
        self.parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        self.children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]

    def points(self, run: Any) -> dict[str, list[tuple[int, float]]]:
        histories = {
            name: self.client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
        }
        return {name: [(p.step, p.value) for p in history] for name, history in histories.items()}

    def everything(self) -> list[object]:
        """Ids, ends, params, tags and every metric's history, to compare two states of a store."""
        return [
            (run.info.run_id, run.info.end_time, run.data.params, run.data.tags, self.points(run))
            for run in [*self.parents, *self.children]
        ]


def test_a_boost_is_one_parent_and_a_child_for_each_round(layout: Layout) -> None:
    params = declared()
    assert publish(layout, params) == ["r00", "r01"]
    seen = Seen(layout)
    (parent,) = seen.parents
    assert parent.info.run_name == "boost nearest 10"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == flat_params(params)
    assert [run.info.run_name for run in seen.children] == ["r00", "r01"]
    assert seen.experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert seen.points(parent) == {
        "train/accuracy": [(0, 1.0), (1, 1.0)],
        "train/n_misclassified": [(0, 0), (1, 0)],
        "val/accuracy": [(0, 0.5), (1, 1.0)],
        "val/late_accuracy": [(0, 0.5), (1, 1.0)],
        "val/n_misclassified": [(0, 1), (1, 0)],
        "label_book/accuracy": [(0, 0.5), (1, 0.5)],
        "label_book/n_misclassified": [(0, 1), (1, 1)],
        "n_train": [(0, 2), (1, 3)],
        "n_additions": [(0, 0), (1, 1)],
    }


def test_a_child_holds_what_the_outputs_of_its_round_hold(layout: Layout) -> None:
    params = declared()
    publish(layout, params)
    seen = Seen(layout)
    outcome = read_outcomes(layout, params, ["r01"])[0]
    run = seen.children[1]
    assert run.info.status == "FINISHED"
    assert run.data.params == flat_params(params)
    assert {name: run.data.metrics[name] for name in outcome.metrics} == outcome.metrics
    curves = {name: p for name, p in seen.points(run).items() if name not in outcome.metrics}
    assert curves == {
        "curve/train_loss": [(0, 2.0), (1, 1.0)],
        "curve/train_accuracy": [(0, 0.25), (1, 0.5)],
        "curve/val_loss": [(0, 2.5), (1, 1.5)],
        "curve/val_accuracy": [(0, 0.0), (1, 1.0)],
    }
    assert run.data.metrics["search_recall"] == 0.875
    snapshot = hashlib.sha256(layout.round("r01").manifest.read_bytes()).hexdigest()
    assert run.data.tags == {
        "databoost.key": outcome.key,
        "databoost.round": "r01",
        "databoost.snapshot": snapshot,
        "databoost.stop": "no_queries",
        "mlflow.parentRunId": seen.parents[0].info.run_id,
        "mlflow.runName": "r01",
        "mlflow.source.name": "databoost",
        "mlflow.source.type": "LOCAL",
    }


def test_files_and_dataset_of_a_child(layout: Layout) -> None:
    publish(layout, declared())
    seen = Seen(layout)
    of_making = ({"split.json"}, {"additions.csv", "boost.json"})
    for run, name, more in zip(seen.children, ("r00", "r01"), of_making, strict=True):
        files = {file.path for file in seen.client.list_artifacts(run.info.run_id)}
        assert files == more | {
            "manifest.csv", "best.ckpt", "curve.csv", "sheet.csv", "confusion.csv",
            "confusion.png", "misclassified.png",
        }  # fmt: skip
        kept = layout.root / "mlartifacts" / run.info.run_id / "artifacts"
        assert (kept / "best.ckpt").read_bytes() == f"weights {name}".encode()
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.name == name
        assert used.dataset.digest == run.data.tags["databoost.snapshot"][:36]
        assert json.loads(used.dataset.source) == {"uri": f"data/rounds/{name}/manifest.csv"}
        assert json.loads(used.dataset.profile)["num_rows"] == (4 if name == "r00" else 5)
        assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]


def test_a_manifest_that_dvc_links_to_its_cache_is_named_by_its_place(
    layout: Layout, tmp_path: Path
) -> None:
    manifest, cached = layout.round("r00").manifest, tmp_path / "cache" / "ab12"
    cached.parent.mkdir()
    manifest.rename(cached)
    manifest.symlink_to(cached)
    assert publish_round(layout, declared(), "r00")
    (used,) = Seen(layout).children[0].inputs.dataset_inputs
    assert json.loads(used.dataset.source) == {"uri": "data/rounds/r00/manifest.csv"}


def test_publishing_twice_changes_nothing(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(layout.root)
    publish(Layout(Path()), declared())
    before = Seen(layout).everything()
    assert publish(layout, declared()) == []
    assert publish_round(layout, declared(), "r01")
    assert Seen(layout).everything() == before


def test_outputs_of_other_parameters_are_not_published(layout: Layout) -> None:
    write_text(layout.params, "train: {epochs: 20}\n")
    recorded = "{params: {params.yaml: {train: {epochs: 100}}}}"
    write_text(layout.lock, f"stages: {{train@r01: {recorded}}}\n")
    with pytest.raises(ParamsError, match=r"other parameters(.|\n)*train.epochs: 100 then, 20 now"):
        publish(layout, declared())


def test_params_edited_during_a_run_are_not_logged_with_it(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    record = "{params: {params.yaml: {boost: {neighbors: %d}}}}"
    stages = f"boost@r01: {record % 10}, evaluate@r01: {record % 7}"
    write_text(layout.lock, f"stages: {{{stages}}}\n")
    write_text(layout.params, "boost: {neighbors: 5}\n")
    write_text(layout.report, "<p>first</p>")
    empty = (layout.root / "mlflow.db").read_bytes()
    for publishing in (
        lambda: publish_round(layout, declared(), "r01"),
        lambda: publish_round(layout, declared(), "r01", with_attribution=True),
        lambda: publish_report(layout, declared()),
    ):
        assert not publishing()
        assert "boost.neighbors: 10 then, 5 now" in capsys.readouterr().err
    assert (layout.root / "mlflow.db").read_bytes() == empty
    write_text(layout.params, "boost: {neighbors: 10}\n")
    assert publish_round(layout, declared(), "r01")  # its own record is that of its last run
    assert not publish_round(layout, declared(), "r01", with_attribution=True)


def test_rounds_published_one_by_one_end_like_all_at_once(layout: Layout) -> None:
    assert publish_round(layout, declared(), "r00")
    seen = Seen(layout)
    assert [run.info.run_name for run in seen.children] == ["r00"]
    assert seen.parents[0].info.status == "FINISHED"
    assert seen.points(seen.parents[0])["val/accuracy"] == [(0, 0.5)]
    assert publish_round(layout, declared(), "r01")
    seen = Seen(layout)
    assert len(seen.parents) == 1
    assert [run.info.run_name for run in seen.children] == ["r00", "r01"]
    assert seen.points(seen.parents[0])["val/accuracy"] == [(0, 0.5), (1, 1.0)]
    assert publish(layout, declared()) == []


def test_the_report_is_an_artifact_of_the_parent(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(layout.report, "<p>first</p>")
    assert publish_report(layout, declared())
    seen = Seen(layout)
    (parent,) = seen.parents
    (file,) = seen.client.list_artifacts(parent.info.run_id, "reports")
    assert file.path == "reports/index.html"
    assert "`reports/index.html`" in parent.data.tags["mlflow.note.content"]
    assert len(seen.children) == 2
    assert publish(layout, declared()) == []
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert publish_report(layout, declared())
    assert Seen(layout).everything() == seen.everything()
    write_text(layout.report, "<p>second</p>")
    assert publish(layout, declared()) == ["report"]
    path = seen.client.download_artifacts(parent.info.run_id, "reports/index.html")
    assert Path(path).read_text() == "<p>second</p>"


COUNTS = {"n_fixed": 3, "n_newly_wrong": 1, "n_fixed_traced": 2}


def lay_attribution(layout: Layout, **counts: int) -> None:
    here = layout.round("r01")
    write_text(here.traces, "traces\n")
    write_text(here.credits, "credits\n")
    write_text(here.attribution_metrics, json.dumps(COUNTS | counts))
    make_current(here)


def attribution_of(seen: Seen, run: Any) -> tuple[set[str], dict[str, list[tuple[int, float]]]]:
    """Give the files and the points of a run's attribution."""
    files = {file.path for file in seen.client.list_artifacts(run.info.run_id, "attribution")}
    points = {name: p for name, p in seen.points(run).items() if name.startswith("attribution/")}
    return files, points


def test_the_attribution_follows_its_round(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert publish_round(layout, declared(), "r01", with_attribution=True)  # there is none yet
    seen = Seen(layout)
    assert attribution_of(seen, seen.children[1]) == (set(), {})
    lay_attribution(layout)
    assert publish_round(layout, declared(), "r01")  # after evaluate, where it would be an old one
    assert Seen(layout).everything() == seen.everything()
    assert publish_round(layout, declared(), "r01", with_attribution=True)
    seen = Seen(layout)
    assert [run.info.run_name for run in seen.children] == ["r00", "r01"]
    assert attribution_of(seen, seen.children[0]) == (set(), {})
    assert attribution_of(seen, seen.children[1]) == (
        {"attribution/traces.csv", "attribution/credits.csv", "attribution/metrics.json"},
        {f"attribution/{name}": [(0, float(n))] for name, n in COUNTS.items()},
    )
    assert {run.info.status for run in [*seen.parents, *seen.children]} == {"FINISHED"}
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert publish_round(layout, declared(), "r01", with_attribution=True)
    assert publish(layout, declared()) == []
    assert Seen(layout).everything() == seen.everything()


def test_publish_logs_an_attribution_that_is_missing_or_another(layout: Layout) -> None:
    publish(layout, declared())
    lay_attribution(layout)
    layout.round("r01").credits.unlink()
    assert publish(layout, declared()) == []  # a part is none
    lay_attribution(layout)
    assert publish(layout, declared()) == ["attribution of r01"]
    lay_attribution(layout, n_fixed=4)
    assert publish(layout, declared()) == ["attribution of r01"]
    run = Seen(layout).children[1]
    assert run.data.metrics["attribution/n_fixed"] == 4
    assert publish(layout, declared()) == []


@pytest.mark.parametrize("name", ["sheet", "additions"])
def test_an_attribution_of_another_sheet_or_additions_is_not_logged(
    layout: Layout, name: str
) -> None:
    lay_attribution(layout)
    write_text(getattr(layout.round("r01"), name), "another\n")
    assert publish(layout, declared()) == ["r00", "r01"]
    assert publish_round(layout, declared(), "r01", with_attribution=True)
    seen = Seen(layout)
    assert attribution_of(seen, seen.children[1]) == (set(), {})
    make_current(layout.round("r01"))
    assert publish(layout, declared()) == ["attribution of r01"]


def test_publish_logs_a_round_with_its_attribution_at_once(layout: Layout) -> None:
    lay_attribution(layout)
    assert publish(layout, declared()) == ["r00", "r01"]
    seen = Seen(layout)
    assert len(attribution_of(seen, seen.children[1])[0]) == 3


def test_an_attribution_that_was_cut_short_is_logged_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    publish(layout, declared())
    lay_attribution(layout)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(layout, declared())
    assert publish(layout, declared()) == ["attribution of r01"]
    assert publish(layout, declared()) == []


def test_the_report_brings_the_attribution_with_it(layout: Layout) -> None:
    lay_attribution(layout)
    write_text(layout.report, "<p>first</p>")
    assert publish_report(layout, declared())
    assert Seen(layout).children[1].data.metrics["attribution/n_fixed"] == 3


def test_a_report_that_is_missing_is_an_error(layout: Layout) -> None:
    with pytest.raises(DatasetError, match=r"index.html is missing; `dvc repro report` makes it"):
        publish_report(layout, declared())


def test_an_unreachable_server_costs_the_report_a_warning(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    write_text(layout.report, "<p>first</p>")
    assert not publish_report(layout, declared())
    assert "warning" in capsys.readouterr().err.lower()


def test_changed_params_make_a_parent_of_their_own_with_every_round(layout: Layout) -> None:
    publish(layout, declared())
    assert publish_round(layout, declared(boost={"strategy": "random"}), "r01")
    seen = Seen(layout)
    assert [run.info.run_name for run in seen.parents] == ["boost nearest 10", "boost random 10"]
    assert [run.info.run_name for run in seen.children] == ["r00", "r01"] * 2
    assert seen.points(seen.parents[1])["val/accuracy"] == [(0, 0.5), (1, 1.0)]


def test_rounds_made_anew_of_the_same_parameters_are_another_boost(layout: Layout) -> None:
    lay_round(layout, "r02", accuracy=0.75)
    boosts = {"r01": {"previous": "r00"}, "r02": {"previous": "r01"}}
    three = parse_params(
        declared().model_dump(mode="json") | {"rounds": ["r00", "r01", "r02"], "boosts": boosts}
    )
    publish(layout, three)
    lay_round(layout, "r01", accuracy=0.5)  # by another embedder's file, say
    assert publish_round(layout, declared(), "r01")
    seen = Seen(layout)
    assert [run.info.run_name for run in seen.parents] == ["boost nearest 10"] * 2
    assert [run.info.run_name for run in seen.children] == ["r00", "r01", "r02", "r00", "r01"]
    told = [seen.points(parent)["val/accuracy"] for parent in seen.parents]
    assert told == [[(0, 0.5), (1, 1.0), (2, 0.75)], [(0, 0.5), (1, 0.5)]]
    before = seen.everything()
    lay_round(layout, "r01", accuracy=1.0, stop="no_queries")  # what was first, again
    assert publish(layout, three) == []
    assert Seen(layout).everything() == before


@pytest.mark.parametrize(
    ("boost", "name"),
    [
        ({"strategy": "random"}, "boost random 10"),
        ({"additions": 400}, "boost nearest 400 a round"),
        ({"strategy": "none"}, "boost none"),
    ],
)
def test_a_boost_is_named_by_what_it_adds(layout: Layout, boost: dict[str, Any], name: str) -> None:
    publish(layout, declared(boost=boost))
    assert [run.info.run_name for run in Seen(layout).parents] == [name]


def test_files_have_time_to_be_stored(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    seen: dict[str, set[str]] = {"log_artifact": set(), "log_batch": set()}
    for call, timeouts in seen.items():
        original = getattr(MlflowClient, call)

        def note(*given: Any, _log: Any = original, _to: set[str] = timeouts, **more: Any) -> Any:
            _to.add(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"])
            return _log(*given, **more)

        monkeypatch.setattr(MlflowClient, call, note)
    publish(layout, declared())
    assert seen == {"log_artifact": {"600"}, "log_batch": {"10"}}
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
    lay_round(layout, "r01", accuracy=0.5)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    publish(layout, declared())
    assert seen == {"log_artifact": {"600", "7"}, "log_batch": {"10", "7"}}
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"


def test_an_experiment_in_a_temporary_copy_is_logged_in_the_project(
    layout: Layout, tmp_path: Path
) -> None:
    own = layout.root / ".dvc/tmp/exps/standalone/tmpabc"
    shutil.copytree(layout.root / "data", own / "data")
    assert publish(Layout(own), declared()) == ["r00", "r01"]
    assert [run.info.run_name for run in Seen(layout).parents] == ["boost nearest 10"]
    artifacts = Path(layout.root / "mlartifacts")
    assert len(list(artifacts.rglob("best.ckpt"))) == 2
    assert not (own / "mlflow.db").exists()


@pytest.mark.parametrize("call", ["log_batch", "log_artifact", "set_terminated"])
def test_what_a_killed_publish_left_is_done_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    from mlflow import MlflowClient

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, call, killed)
        with pytest.raises(KeyboardInterrupt):
            publish(layout, declared())
    assert Seen(layout).parents[0].info.status == "RUNNING"
    assert publish(layout, declared()) == ["r00", "r01"]
    seen = Seen(layout)
    assert [run.info.status for run in seen.parents] == ["FINISHED"]
    assert seen.parents[0].data.params == flat_params(declared())
    assert [run.info.status for run in seen.children] == ["FINISHED"] * 2
    assert seen.points(seen.parents[0])["val/accuracy"] == [(0, 0.5), (1, 1.0)]


def test_long_values_and_many_classes_fit_into_mlflow(layout: Layout) -> None:
    labels = [f"class number {number}" for number in range(1200)]
    for name in ("r00", "r01"):
        per_class = dict.fromkeys(labels, 0.5)
        edit_json(
            layout.round(name).metrics, val={"accuracy": 0.5, "per_class_accuracy": per_class}
        )
    params = declared(data={"classes": labels})
    assert publish(layout, params) == ["r00", "r01"]
    run = Seen(layout).children[0]
    assert run.data.params["data.classes"] == json.dumps(labels)[:6000]
    assert run.data.metrics["val/class/class number 1199"] == 0.5


def test_incomplete_rounds_are_left_out(layout: Layout) -> None:
    layout.round("r01").additions.unlink()
    assert publish(layout, declared()) == ["r00"]


@pytest.mark.parametrize("missing", ["r00", "r01"])
def test_a_round_that_is_not_complete_is_an_error(layout: Layout, missing: str) -> None:
    layout.round(missing).checkpoint.unlink()
    with pytest.raises(DatasetError, match=f"{missing} is not complete, .*best.ckpt is missing; "):
        publish_round(layout, declared(), "r01")


def test_nothing_complete_is_an_error(layout: Layout) -> None:
    layout.round("r00").sheet.unlink()
    with pytest.raises(DatasetError, match=r"sheet.csv is missing; `dvc pull` fetches"):
        publish(layout, declared())


def test_git_commit_and_whether_the_checkout_differs(layout: Layout) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        command = ["git", "-C", str(layout.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    for name in ("params.yaml", "dvc.lock"):
        write_bytes(layout.root / name, b"{}")
    git("init", "--quiet")
    git("add", "params.yaml", "dvc.lock")
    git("commit", "--quiet", "--message=start")
    write_bytes(layout.root / "dvc.lock", b"stages: {}")
    publish_round(layout, declared(), "r00")
    write_bytes(layout.root / "params.yaml", b"# second")
    publish_round(layout, declared(), "r01")
    seen = Seen(layout)
    for run, dirty in zip([*seen.parents, *seen.children], ("false", "false", "true"), strict=True):
        assert run.data.tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
        assert run.data.tags["databoost.dirty"] == dirty


def test_a_deleted_experiment_is_taken_up_again(layout: Layout) -> None:
    publish(layout, declared())
    seen = Seen(layout)
    seen.client.delete_experiment(seen.experiment.experiment_id)
    publish(layout, declared())
    seen = Seen(layout)
    assert seen.experiment.lifecycle_stage == "active"
    assert [run.info.run_name for run in seen.children] == ["r00", "r01"]


def test_a_copied_project_does_not_write_into_the_first_ones_folder(layout: Layout) -> None:
    publish(layout, declared())
    copy = Layout(layout.root.with_name("copy"))
    shutil.copytree(layout.root, copy.root)
    with pytest.raises(TrackingError, match=r"was moved or copied; move mlflow.db away, and"):
        publish(copy, declared())


def test_another_store_is_filled_if_the_environment_names_one(
    layout: Layout, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path / "other.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert publish(layout, declared(tracking={"experiment": "numerals"})) == ["r00", "r01"]
    assert len(Seen(layout, "numerals").children) == 2
    assert not (layout.root / "mlartifacts").exists()


def test_mlflow_stays_quiet_and_no_global_state_is_changed(
    layout: Layout, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import mlflow

    before = dict(os.environ), mlflow.get_tracking_uri(), logging.root.manager.disable
    publish(layout, declared())
    assert (dict(os.environ), mlflow.get_tracking_uri(), logging.root.manager.disable) == before
    assert mlflow.active_run() is None
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_settings_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "90")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with tracking.environment(tracking._FIRST_ANSWER):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "90"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "90"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


@contextmanager
def silent_server() -> Iterator[str]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://ada:secret@127.0.0.1:{server.getsockname()[1]}"


def closed_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_an_unreachable_server_costs_a_round_one_warning(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = closed_address()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert not publish_round(layout, declared(), "r00")
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: not logged to MLflow at {address}: no MLflow server")
    assert warning.endswith("`databoost publish` logs every round once it works again\n")
    assert warning.count("\n") == 1
    assert not publish_round(layout, declared(), "r01")
    assert capsys.readouterr().err == ""


def test_it_warns_again_in_another_process_group_of_another_store_and_much_later(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def n_warnings() -> int:
        assert not publish_round(layout, declared(), "r00")
        return capsys.readouterr().err.count("warning: ")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_address())
    assert [n_warnings(), n_warnings()] == [1, 0]
    monkeypatch.setattr(os, "getpgrp", lambda: 123456789)
    assert [n_warnings(), n_warnings()] == [1, 0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_address().replace("127.0.0.1", "127.0.0.2"))
    assert [n_warnings(), n_warnings()] == [1, 0]
    mark = layout.state / "tracking_warning.json"
    os.utime(mark, (0, 0))
    assert [n_warnings(), n_warnings()] == [1, 0]
    write_bytes(mark, b"{damaged")
    assert [n_warnings(), n_warnings()] == [1, 0]


def test_it_warns_again_once_the_store_had_answered(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_address())
    for _ in range(2):
        assert not publish_round(layout, declared(), "r00")
        assert capsys.readouterr().err.count("warning: ") == 1
        with monkeypatch.context() as patched:
            patched.delenv("MLFLOW_TRACKING_URI")
            assert publish_round(layout, declared(), "r00")
        assert capsys.readouterr().err == ""


def test_a_warning_that_cannot_be_remembered_is_still_only_a_warning(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bytes(layout.state, b"a file where a folder should be")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_address())
    assert not publish_round(layout, declared(), "r00")
    assert "warning: " in capsys.readouterr().err


def test_a_server_that_accepts_and_stays_silent_is_given_up(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(tracking._FIRST_ANSWER, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with silent_server() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert not publish_round(layout, declared(), "r00")
        warning = capsys.readouterr().err
        assert "MlflowException: API request to http://127.0.0.1:" in warning
        assert "secret" not in warning
        assert warning.count("\n") == 1
        with pytest.raises(TrackingError, match=r"MLflow at http://127.0.0.1:\d+ failed: .*once"):
            publish(layout, declared())


def test_publish_says_when_nobody_listens(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", closed_address())
    with pytest.raises(TrackingError, match=r"no MLflow server answers at .*start it or correct"):
        publish(layout, declared())


def test_a_damaged_store_never_fails_a_round(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    (layout.root / "mlflow.db").write_bytes(b"no database at all" * 100)
    assert not publish_round(layout, declared(), "r00")
    assert "cannot be written: file is not a database" in capsys.readouterr().err


def test_the_module_does_not_load_mlflow_before_it_is_needed() -> None:
    command = "import sys, databoost.publishing; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


def test_rounds_that_lie_outside_the_project_are_named_from_it(layout: Layout) -> None:
    study = Layout(layout.root.parent / "study" / "jobs" / "near")
    lay_round(study, "r00")
    outcomes = read_outcomes(study, declared(), ["r00"])
    assert publish_outcomes(layout, declared(), outcomes)
    (run,) = Seen(layout).children
    (used,) = run.inputs.dataset_inputs
    assert json.loads(used.dataset.source) == {
        "uri": "../study/jobs/near/data/rounds/r00/manifest.csv"
    }
