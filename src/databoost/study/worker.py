"""The process that does one job: ``python -m databoost.study.worker ORDER``.

It ends when its standard input does, which whoever started it holds open: so nothing goes on
working after a study that was killed.
"""

import os
import sys
import threading
from pathlib import Path

from databoost.errors import DataboostError
from databoost.study.jobs import read_order
from databoost.study.work import do_job


def main(order: Path) -> int:
    """Do the job that a file describes; gives the exit status."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        do_job(read_order(order))
    except DataboostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _end_with_input() -> None:
    # Not through sys.stdin: Python cannot end while a thread waits inside of its buffer.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
