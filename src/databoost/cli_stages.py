"""One command a stage: it reads the parameters and calls ``stages.<name>.<name>``."""

import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from databoost.errors import ParamsError
from databoost.project import open_project

if TYPE_CHECKING:
    from databoost.params import Params


def stage_command(name: str, summary: str, round_name: str = "") -> click.Command:
    """Make the command of a stage.

    Parameters
    ----------
    summary
        What it does, in one sentence.
    round_name
        A round for the example, if the stage runs for one; empty: it runs for the project.
    """

    def run(**arguments: str) -> None:
        layout, params = open_project()
        stage: Callable[..., None] = getattr(import_module(f"databoost.stages.{name}"), name)
        for chosen in arguments.values():
            _check_round(name, chosen, params)
        started = time.monotonic()
        stage(layout, params, *arguments.values())
        words = " ".join([name, *arguments.values()])
        click.echo(f"{words}: {time.monotonic() - started:.1f} s")

    example = f"databoost {name} {round_name}".rstrip()
    decorated: Any = click.argument("round_name", metavar="ROUND")(run) if round_name else run
    command: click.Command = click.command(name, help=f"{summary}\n\n\b\nExample:\n  {example}")(
        decorated
    )
    return command


#: Stages that the first round does not have, and what they do with the others.
_AFTER_THE_FIRST = {"boost": "makes", "attribute": "looks at"}


def _check_round(stage: str, name: str, params: "Params") -> None:
    if stage in _AFTER_THE_FIRST and name == params.rounds[0]:
        raise ParamsError(
            f"{name} is the cleaned dataset, which `databoost prepare` writes; {stage} "
            f"{_AFTER_THE_FIRST[stage]} the rounds after it: "
            f"{', '.join(params.boosts) or 'none is declared'}"
        )
    if name not in params.rounds:
        raise ParamsError(
            f"{name!r} is no declared round; declared are {', '.join(params.rounds)} "
            "(`databoost declare` adds one)"
        )


#: In the order in which a run goes through them.
STAGE_COMMANDS = (
    stage_command("ingest", "Bring the images of data.source to data/raw."),
    stage_command("prepare", "Apply corrections, resolve duplicates, write the r00 snapshot."),
    stage_command("audit", "List duplicates, leaks, blank and odd images; compare train with val."),
    stage_command(
        "train", "Train the fixed model on a round's snapshot; resumes a killed training.", "r00"
    ),
    stage_command(
        "evaluate", "Write a round's image sheet, metrics and pictures, and log them to MLflow.",
        "r00",
    ),
    stage_command(
        "scores",
        "Score the labels of r00 by models that never saw the image; resumes finished folds.",
    ),
    stage_command(
        "candidates",
        "Draw the candidates' recipes, embed them and build the index; resumes a killed run.",
    ),
    stage_command(
        "boost", "Make a round's snapshot from the failures of the round before.", "r01"
    ),
    stage_command(
        "attribute", "Trace what a round fixed and broke to its additions, by nearness.", "r01"
    ),
    stage_command("map", "Lay the images of all rounds out by their looks, reports/map.html."),
    stage_command(
        "report", "Write the page that shows all rounds, reports/index.html; log it to MLflow."
    ),
)  # fmt: skip
