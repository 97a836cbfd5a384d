"""Whether a store answers is found out in seconds."""

import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from databoost import stores
from databoost.errors import TrackingError
from databoost.layout import Layout
from databoost.stores import artifact_folder, check_answers, own_store, shown_uri, tracking_uri


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_store_is_in_the_project_wherever_it_is_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(Layout(Path())) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri(Layout(tmp_path)) == own_store(Layout(tmp_path))
    assert artifact_folder(Layout(tmp_path)) == f"file://{tmp_path}/mlartifacts"


def test_another_store_is_named_by_the_environment_and_chooses_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(Layout(tmp_path)) == "http://127.0.0.1:5000"
    assert artifact_folder(Layout(tmp_path)) is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://ada:secret@example.org/mlflow", "https://example.org/mlflow"),
        ("postgresql://ada:se@cret@db:5432/runs", "postgresql://db:5432/runs"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////folder/a@b/mlflow.db", "sqlite:////folder/a@b/mlflow.db"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert shown_uri(uri) == shown


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_a_closed_port_is_an_error_at_once(closed_port: int, scheme: str) -> None:
    message = rf"no MLflow server answers at {scheme.replace('+', '.')}://127.0.0.1:{closed_port} "
    with pytest.raises(TrackingError, match=message + r"\(.*refused\); start it or correct"):
        check_answers(f"{scheme}://ada:secret@127.0.0.1:{closed_port}")


def test_an_address_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    def stall(*_: object, **__: object) -> None:
        given_up.wait()
        raise OSError("too late to matter")

    monkeypatch.setattr(stores, "_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", stall)
    with pytest.raises(TrackingError, match=r"\(no answer in 0.1 seconds\)"):
        check_answers("http://example.org")
    given_up.set()


def test_an_open_port_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_behind_a_proxy_the_address_is_not_tried(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    check_answers(f"http://127.0.0.1:{closed_port}")


def test_stores_without_an_address_are_left_to_mlflow() -> None:
    check_answers("databricks")
    check_answers("sqlite://")


def test_a_damaged_sqlite_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(TrackingError, match=r"mlflow.db cannot be written: file is not a database"):
        check_answers(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_locked_sqlite_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_LOCK_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TrackingError, match=r"database is locked; close what locks it"):
            check_answers(f"sqlite:///{tmp_path}/mlflow.db")
    check_answers(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"unable to open database file"):
        check_answers(f"sqlite:///{tmp_path}/nowhere/mlflow.db")
