"""Where MLflow's store is, whether it answers, and the one warning if it does not.

Found out in seconds, without mlflow.
"""

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from databoost.data.files import read_json, write_json
from databoost.errors import DataboostError, TrackingError
from databoost.layout import Layout

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_SECONDS = 2.0
_LOCK_SECONDS = 5.0
# A process group is taken for the same `dvc repro` if it last warned no longer ago than this.
_SAME_REPRO_SECONDS = 6 * 3600.0
_LONGEST_LINE = 300


def tracking_uri(layout: Layout) -> str:
    """Say which MLflow store is used.

    Returns
    -------
    str
        ``MLFLOW_TRACKING_URI`` if it is set, else ``mlflow.db`` in the project folder: of an
        experiment in a temporary copy, too, which DVC removes with all that is in it.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or own_store(layout)


def own_store(layout: Layout) -> str:
    """Give the URI of the store in the project folder."""
    return f"sqlite:///{layout.home().as_posix()}/mlflow.db"


def artifact_folder(layout: Layout) -> str | None:
    """Give the URI of the folder that the project's own store keeps files in.

    Returns
    -------
    str or None
        None if the store is another one, which then chooses for itself.
    """
    if tracking_uri(layout) != own_store(layout):
        return None
    return (layout.home() / "mlartifacts").as_uri()


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


def warn_once(
    layout: Layout, uri: str, error: Exception, command: str = "databoost publish"
) -> None:
    """Say on stderr that a round was not logged, once for a process group and a store.

    A process group stands for one ``dvc repro``; :func:`forget_warning` starts anew.
    """
    mark = {"process_group": os.getpgrp(), "store": shown_uri(uri)}
    file = _warning_file(layout)
    with suppress(OSError, DataboostError):
        is_recent = time.time() - file.stat().st_mtime < _SAME_REPRO_SECONDS
        if is_recent and read_json(file) == mark:
            file.touch()
            return
    what = str(error) if isinstance(error, TrackingError) else f"{type(error).__name__}: {error}"
    print(
        f"warning: not logged to MLflow at {mark['store']}: {in_one_line(what)}. Nothing is lost: "
        f"`{command}` logs every round once it works again",
        file=sys.stderr,
    )
    with suppress(OSError):
        write_json(file, mark)


def forget_warning(layout: Layout) -> None:
    """Have the next failure warned of again: the store has answered."""
    with suppress(OSError):
        _warning_file(layout).unlink(missing_ok=True)


def in_one_line(message: object) -> str:
    """Give a message in one line of bearable length, without passwords.

    >>> in_one_line("no answer   from http://ada:secret@example.org")
    'no answer from http://example.org'
    """
    text = shown_uri(" ".join(str(message).split()))  # requests' errors quote the address
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."


def _warning_file(layout: Layout) -> Path:
    return layout.state / "tracking_warning.json"


def _check_sqlite(uri: str) -> None:
    path = uri.partition(":///")[2].partition("?")[0]
    try:
        with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            store.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise TrackingError(
            f"MLflow's store {uri} cannot be written: {error}; close what locks it or, if it is "
            "damaged, move it away: `databoost publish` fills a new one"
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


def source_tags(root: Path) -> dict[str, str]:
    """Give the tags of a run that tell what code it came from; git may be absent."""
    tags = {"mlflow.source.name": "databoost", "mlflow.source.type": "LOCAL"}
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        # DVC writes dvc.lock while stages run, which makes no difference to what was run.
        changes = _git(root, "status", "--porcelain", "-uno", "--", ".", ":(exclude)dvc.lock")
        tags["databoost.dirty"] = str(changes != "").lower()
    return tags


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None  # no git, no repository, or no commit yet
    return done.stdout.strip()


@contextmanager
def environment(values: dict[str, str], over: Collection[str] = ()) -> Iterator[None]:
    """Set environment variables for the length of the block, except those that the user set.

    `over` names those that a block around this one has set.
    """
    before = {name: os.environ.get(name) for name in values}
    new = {name for name, value in before.items() if value is None or name in over}
    os.environ.update({name: values[name] for name in new})
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
        os.environ.update({name: value for name in new if (value := before[name]) is not None})
