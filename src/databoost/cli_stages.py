"""One command a stage: it reads the parameters and calls ``stages.<name>.<name>``."""

import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from databoost.errors import ParamsError, listed
from databoost.project import open_project, project_layout

if TYPE_CHECKING:
    from databoost.params import Params


def stage_command(
    name: str, summary: str, *, reads: str, writes: str, round_name: str = ""
) -> click.Command:
    """Make the command of a stage.

    Parameters
    ----------
    summary
        What it does; the first sentence stands in the list of commands.
    reads, writes
        Its inputs and outputs beside the parameters, as ``dvc.yaml`` names them; ROUND and
        PREVIOUS stand for its round and the one before.
    round_name
        A round for the example, if the stage runs for one; empty: it runs for the project.
    """

    def run(**arguments: str) -> None:
        from databoost.code import check_own_code
        from databoost.provenance import EditedInputs
        from databoost.unfinished import alone, forget_unfinished

        words = " ".join([name, *arguments.values()])
        check_own_code(project_layout().root)
        inputs = EditedInputs(project_layout(), name)
        layout, params = open_project()
        stage: Callable[..., None] = getattr(import_module(f"databoost.stages.{name}"), name)
        for chosen in arguments.values():
            _check_round(name, chosen, params)
        started = time.monotonic()
        with alone(layout, name, *arguments.values()):
            stage(layout, params, *arguments.values())
            changed = inputs.changed()
            if changed:  # as a failure DVC does not record it
                raise ParamsError(
                    f"edited while {words} ran, which worked with what was there before; `dvc "
                    f"repro` runs it again:{listed(changed)}"
                )
            forget_unfinished(layout, name, *arguments.values())
        click.echo(f"{words}: {time.monotonic() - started:.1f} s")

    example = f"databoost {name} {round_name}".rstrip()
    told = f"{summary}\n\n`dvc repro` runs it. Reads {reads}; writes {writes}."
    decorated: Any = click.argument("round_name", metavar="ROUND")(run) if round_name else run
    command: click.Command = click.command(name, help=f"{told}\n\n\b\nExample:\n  {example}")(
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
    stage_command(
        "ingest",
        "Bring the images of data.source to data/raw.",
        reads="data.source",
        writes="data/raw and data/ingest",
    ),
    stage_command(
        "prepare",
        "Write the r00 snapshot: corrections, duplicates, split.",
        reads="data/corrections.csv, data/raw and data/ingest",
        writes="data/rounds/r00/manifest.csv, data/rounds/r00/dataset, "
        "data/rounds/r00/duplicates.csv, data/rounds/r00/split.json and data/heldout",
    ),
    stage_command(
        "audit",
        "List duplicates, leaks, blank and odd images. Compares train with val, too.",
        reads="data/raw, data/ingest and data/rounds/r00/manifest.csv",
        writes="data/audit",
    ),
    stage_command(
        "train",
        "Train the fixed model on a round's snapshot. Resumes a killed training.",
        reads="data/ingest/classes.csv, data/rounds/ROUND/manifest.csv and "
        "data/rounds/ROUND/dataset",
        writes="data/rounds/ROUND/model",
        round_name="r00",
    ),
    stage_command(
        "evaluate",
        "Write a round's image sheet, metrics and pictures. Logs them to MLflow.",
        reads="data/heldout, data/rounds/ROUND/manifest.csv, data/rounds/ROUND/dataset and "
        "data/rounds/ROUND/model",
        writes="data/rounds/ROUND/evaluation",
        round_name="r00",
    ),
    stage_command(
        "scores",
        "Score the labels of r00 by models that never saw the image. Resumes finished folds.",
        reads="data/ingest/classes.csv, data/rounds/r00/manifest.csv and data/rounds/r00/dataset",
        writes="data/rounds/r00/scores.csv",
    ),
    stage_command(
        "candidates",
        "Draw candidates, embed them and build the index. Resumes a killed run.",
        reads="data/ingest/classes.csv, data/rounds/r00/manifest.csv, data/rounds/r00/dataset and "
        "embedding.weights",
        writes="data/candidates",
    ),
    stage_command(
        "boost",
        "Make a round's snapshot from the failures before it.",
        reads="data/candidates, embedding.weights, data/ingest/classes.csv, "
        "data/rounds/r00/scores.csv and, of the round before, "
        "data/rounds/PREVIOUS/manifest.csv, data/rounds/PREVIOUS/dataset, "
        "data/rounds/PREVIOUS/evaluation/sheet.csv and data/rounds/PREVIOUS/model",
        writes="data/rounds/ROUND/manifest.csv, data/rounds/ROUND/dataset, "
        "data/rounds/ROUND/additions.csv and data/rounds/ROUND/boost.json",
        round_name="r01",
    ),
    stage_command(
        "attribute",
        "Trace what a round fixed and broke to its additions. By nearness: no proof of cause.",
        reads="embedding.weights, data/rounds/PREVIOUS/evaluation/sheet.csv, "
        "data/rounds/ROUND/manifest.csv, data/rounds/ROUND/dataset, "
        "data/rounds/ROUND/additions.csv and data/rounds/ROUND/evaluation/sheet.csv",
        writes="data/rounds/ROUND/attribution",
        round_name="r01",
    ),
    stage_command(
        "map",
        "Lay out the images of all rounds by their looks.",
        reads="embedding.weights, data/heldout, data/ingest/classes.csv, "
        "data/rounds/r00/evaluation/sheet.csv, data/rounds/r00/scores.csv and, of the last round, "
        "data/rounds/LAST/manifest.csv, data/rounds/LAST/dataset and "
        "data/rounds/LAST/evaluation/sheet.csv",
        writes="data/map/points.csv, reports/map.png and reports/map.html",
    ),
    stage_command(
        "report",
        "Write the page that shows all rounds. Logs it to MLflow.",
        reads="data/audit, data/control.csv, data/heldout, data/ingest/classes.csv, data/rounds "
        "and reports/map.png",
        writes="reports/index.html, reports/rounds.csv, reports/curves.csv and "
        "reports/confusion.csv",
    ),
)
