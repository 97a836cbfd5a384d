"""The loop over rounds: declare the next one, have DVC reproduce it, see whether to stop."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from databoost.additions import needs_queries
from databoost.data.datasets import room_left
from databoost.data.files import read_json, write_json
from databoost.errors import DataboostError, DatasetError
from databoost.layout import Layout, RoundLayout
from databoost.outcomes import STOP_REASONS
from databoost.params import Params, edit_params, read_params, round_name, round_number


def declare_rounds(layout: Layout, last: str) -> Params:
    """Declare the rounds r00 to `last` in ``params.yaml``.

    Raises
    ------
    ParamsError
        If `last` is no name of a round.
    """
    names = [round_name(number) for number in range(round_number(last) + 1)]
    boosts = {name: {"previous": previous} for previous, name in itertools.pairwise(names)}
    return edit_params(layout.params, {"rounds": names, "boosts": boosts})


def undeclared_rounds(layout: Layout, params: Params) -> list[Path]:
    """List folders of rounds that are declared no more; what reads all rounds still sees them."""
    folders = layout.round("r00").root.parent.glob("r[0-9]*")
    return sorted(folder for folder in folders if folder.name not in params.rounds)


def run_rounds(layout: Layout, max_rounds: int | None, patience: int | None = None) -> str:
    """Reproduce the declared rounds, then declare and reproduce one more after another.

    Parameters
    ----------
    max_rounds
        New rounds at most, those among them that an interrupted run with the same number has
        declared; None for no cap.
    patience
        As many rounds in a row without a better validation accuracy end it; None: they do not.

    Returns
    -------
    str
        Why it stopped, for a person.

    Raises
    ------
    DataboostError
        If ``dvc repro`` fails; the rounds that it completed are kept.
    """
    aim = _aim(layout, max_rounds)
    while True:
        params = read_params(layout.params)
        last = params.rounds[-1]
        _reproduce(layout, f"evaluate@{last}")
        reason = stop_after(layout, params) or (patience and plateau(layout, params, patience))
        if not reason and last == aim:
            reason = f"{max_rounds} new round(s), as asked"
        if reason:
            layout.run_aim.unlink(missing_ok=True)
            _reproduce(layout)  # map and report show all rounds: they are made once, at the end
            return f"{reason} ({last})"
        declare_rounds(layout, round_name(len(params.rounds)))


def _aim(layout: Layout, max_rounds: int | None) -> str | None:
    """Name the last round to make; noted, so that the same command goes on to it when repeated."""
    if max_rounds is None:
        layout.run_aim.unlink(missing_ok=True)
        return None
    n = len(read_params(layout.params).rounds)
    noted = read_json(layout.run_aim) if layout.run_aim.exists() else {}
    if (
        noted.get("max_rounds") != max_rounds
        or not noted["from"] <= n <= noted["from"] + max_rounds
    ):
        noted = {"max_rounds": max_rounds, "from": n}
        write_json(layout.run_aim, noted)
    return round_name(noted["from"] + max_rounds - 1)


def stop_after(layout: Layout, params: Params) -> str | None:
    """Say why no round can follow the last declared one, or None if one may.

    Which images ask is known once the next round is made, so that one may follow that adds
    nothing; but none that is misclassified asks where there is none.

    Raises
    ------
    DatasetError
        If the last declared round is not complete.
    """
    here = layout.round(params.rounds[-1])
    metrics = _metrics_of(here)
    if here.boost.exists() and (stop := read_json(here.boost)["stop"]):
        return STOP_REASONS[stop]
    boost = params.boost
    if metrics["val"]["n_misclassified"] == 0 and needs_queries(boost) and boost.max_margin == 0:
        return STOP_REASONS["no_queries"]
    size = metrics["size"]
    room = room_left(size["n_train"], size["n_val"], params.train.batch_size, boost.size_limit)
    return STOP_REASONS["limit"] if room == 0 else None


def plateau(layout: Layout, params: Params, patience: int) -> str | None:
    """Say that none of the last `patience` rounds is better on validation than one before them.

    Returns
    -------
    str or None
        None if one is, or there are no more rounds than that.

    Raises
    ------
    DatasetError
        If a declared round is not complete.
    """
    metrics = [_metrics_of(layout.round(name)) for name in params.rounds]
    accuracies = [float(told["val"]["accuracy"]) for told in metrics]
    earlier = accuracies[:-patience]
    if not earlier or max(accuracies[-patience:]) > max(earlier):
        return None
    best = params.rounds[earlier.index(max(earlier))]
    return f"no better validation accuracy in {patience} round(s) than {best}'s {max(earlier):.3f}"


def _metrics_of(here: RoundLayout) -> Any:
    if not here.metrics.exists():
        raise DatasetError(f"{here.name} is not complete: {here.metrics} is missing; run dvc repro")
    return read_json(here.metrics)


def _reproduce(layout: Layout, *targets: str) -> None:
    dvc = Path(sys.executable).with_name("dvc")
    command = [str(dvc) if dvc.exists() else "dvc", "repro", *targets]
    # The shell that DVC starts looks for `databoost` itself: it must find this environment's,
    # which need not be activated.
    path = f"{dvc.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = os.environ | {"PATH": path}
    with subprocess.Popen(command, cwd=layout.root, env=environment) as process:
        status = _wait_for(process)
    if status:
        raise DataboostError(
            "dvc repro failed, see above; what it completed is kept, and `databoost run` goes on "
            "from there"
        )


def _wait_for(process: subprocess.Popen[bytes]) -> int:
    """Wait for the exit status; Ctrl-C, which the process gets too, is raised once it has ended.

    DVC ends after its stage, which Ctrl-C stops: what is left before then works on unattended.
    """
    interrupt = None
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt as error:
            interrupt = error
        else:
            break
    if interrupt is not None:
        raise interrupt
    return status
