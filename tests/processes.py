"""Waiting for processes of others."""

import os
import select


def wait_until_gone(pid: int) -> None:
    """Wait until a process, of whomever it is, is no more."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([process], [], [])
    finally:
        os.close(process)
