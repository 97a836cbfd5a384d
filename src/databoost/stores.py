"""Where MLflow's store is, and whether it answers: found out in seconds, without mlflow."""

import os
import re
import socket
import sqlite3
import threading
from contextlib import closing
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from databoost.errors import TrackingError
from databoost.layout import Layout

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_SECONDS = 2.0
_LOCK_SECONDS = 5.0


def tracking_uri(layout: Layout) -> str:
    """Say which MLflow store is used.

    Returns
    -------
    str
        ``MLFLOW_TRACKING_URI`` if it is set, else ``mlflow.db`` in the project folder.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or own_store(layout)


def own_store(layout: Layout) -> str:
    """Give the URI of the store in the project folder."""
    return f"sqlite:///{layout.root.resolve().as_posix()}/mlflow.db"


def artifact_folder(layout: Layout) -> str | None:
    """Give the URI of the folder that the project's own store keeps files in.

    Returns
    -------
    str or None
        None if the store is another one, which then chooses for itself.
    """
    if tracking_uri(layout) != own_store(layout):
        return None
    return (layout.root.resolve() / "mlartifacts").as_uri()


def shown_uri(uri: str) -> str:
    """Give a URI, or a text that quotes some, without the names and passwords that they hold.

    >>> shown_uri("https://ada:secret@example.org/mlflow")
    'https://example.org/mlflow'
    """
    return re.sub(r"(?<=://)[^/\s]*@", "", uri)


def check_answers(uri: str) -> None:
    """Find out in about two seconds what MLflow's clients find out in minutes.

    Raises
    ------
    TrackingError
        If nobody listens at the address, or the SQLite file cannot be written.
    """
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme in _PORTS and parts.hostname:
        if scheme in getproxies() and not proxy_bypass(parts.hostname):
            return  # only the proxy knows
        _check_port(uri, parts.hostname, parts.port or _PORTS[scheme])


def _check_sqlite(uri: str) -> None:
    path = uri.partition(":///")[2].partition("?")[0]
    try:
        with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            store.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise TrackingError(
            f"MLflow's store {uri} cannot be written: {error}; close what locks it, or delete the "
            "file: `databoost publish` fills a new one"
        ) from error


def _check_port(uri: str, host: str, port: int) -> None:
    problems: list[str] = [f"no answer in {_CONNECT_SECONDS:g} seconds"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
            problems.clear()
        except OSError as error:
            problems[0] = str(error)

    # In a thread because a name look-up has no time limit of its own.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(_CONNECT_SECONDS)
    if problems:
        raise TrackingError(
            f"no MLflow server answers at {shown_uri(uri)} ({problems[0]}); start it or correct "
            "MLFLOW_TRACKING_URI (without it, the store is mlflow.db in the project)"
        )
