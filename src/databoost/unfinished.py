"""A stage's unfinished work in ``.databoost``: who is at it, and when it may go."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from databoost.errors import DataboostError
from databoost.layout import Layout

#: Set for the processes that help with a training on several devices: they are of one stage.
_HELPER = "LOCAL_RANK"


@contextmanager
def alone(layout: Layout, stage: str, round_name: str = "") -> Iterator[None]:
    """Let one process at a time do a stage, for the length of the block.

    DVC leaves a stage running if it is ended by a signal itself; a second one would work in the
    same folders.

    Raises
    ------
    DataboostError
        If another process is at it.
    """
    words = f"{stage} {round_name}".rstrip()
    path = layout.state / "locks" / words.replace(" ", "-")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        if _HELPER not in os.environ:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise DataboostError(
                    f"another `databoost {words}` is at work in this project (process "
                    f"{lock.read().strip()}); wait for it, or end it: `kill` of `dvc repro` leaves "
                    "its stage running"
                ) from error
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
        yield


def forget_unfinished(layout: Layout, stage: str, round_name: str = "") -> None:
    """Remove what a stage has begun, now and before under other settings or by other code.

    Its result has to be there, and has to be one that DVC may record: else the work is resumed.
    """
    shutil.rmtree(layout.unfinished(stage, round_name), ignore_errors=True)
