"""``databoost``: one verb a stage, and the tools around them.

Heavy libraries load inside the command that needs them, so that ``--help`` answers at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from databoost.cli_corrections import corrections, sheet
from databoost.cli_settings import set_params, show_params, source
from databoost.cli_stages import STAGE_COMMANDS
from databoost.cli_study import study
from databoost.errors import DataboostError
from databoost.project import open_project

if TYPE_CHECKING:
    from databoost.params import Params


class _Group(click.Group):
    """Commands in the order of their use; errors that a user can mend come without a traceback.

    These are databoost's own, and what the operating system refuses: a full disk, a folder that may
    not be written to.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DataboostError as error:
            _fail(str(error))
        except OSError as error:
            # Without a number it is a library's, and a defect; a closed pipe is click's to handle.
            if error.errno is None or isinstance(error, BrokenPipeError):
                raise
            # Of a file that was to take another one's place, that place says more.
            place = error.filename2 or error.filename
            _fail(f"{place}: {error.strerror}" if place else str(error.strerror))
        except KeyboardInterrupt:
            click.secho("\ninterrupted; the same command goes on from here", fg="yellow", err=True)
            sys.exit(130)


def _fail(message: str) -> NoReturn:
    click.secho(f"error: {message}", fg="red", err=True)
    sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="databoost")
def main() -> None:
    """Boost data: a fixed model, a messy image dataset, a better dataset every round.

    \b
    Examples:
      dvc repro                           reproduce the rounds that params.yaml declares
      databoost source photos.zip         take the images from there from now on
      databoost set boost.neighbors=5     edit params.yaml, checked
      databoost run                       round after round, until the limit
      databoost rounds                    accuracy and failures, round by round
      databoost study study.yaml          strategies compared: arms, seeds, intervals
      databoost image 0af255a41ffbc91b    one image, from its file through the rounds
      databoost preview                   see what candidates look like
      databoost sheet r00                 see the images, worst first, and say what is wrong
      databoost corrections import sheets/r00.xlsx
      databoost publish                   fill MLflow from DVC's outputs

    Run it in the project folder, the one that holds params.yaml.
    """


for command in STAGE_COMMANDS:
    main.add_command(command)


@main.command()
@click.option("--max-rounds", type=click.IntRange(1), help="Stop after so many new rounds.")
@click.option(
    "--patience",
    type=click.IntRange(1),
    help="Stop after so many rounds in a row without a better validation accuracy.",
)
def run(max_rounds: int | None, patience: int | None) -> None:
    """Make one more round after another until the stop rule holds.

    Each is declared in params.yaml and then reproduced, as `dvc repro` would.

    \b
    Examples:
      databoost run                  until the size limit, or none asks or is left to add
      databoost run --max-rounds 2   two more rounds at most
      databoost run --patience 3     until three rounds are no better on validation
    """
    from databoost.rounds import run_rounds

    layout, _ = open_project()
    reason = run_rounds(layout, max_rounds, patience)
    click.echo(f"stopped: {reason}")


@main.command()
@click.argument("round_name", metavar="ROUND")
def declare(round_name: str) -> None:
    """Declare all rounds up to ROUND in params.yaml.

    `dvc repro` makes them. Earlier rounds stay as they are. A lower ROUND takes the rounds after it
    out again.

    \b
    Example:
      databoost declare r03
    """
    from databoost.rounds import declare_rounds, undeclared_rounds

    layout, _ = open_project()
    params = declare_rounds(layout, round_name)
    click.echo(f"declared: {', '.join(params.rounds)}")
    if left := undeclared_rounds(layout, params):
        click.echo(
            "map and report still depend on rounds that lie beside them, and a clone will not have "
            f"them: rm -r {' '.join(map(str, left))}\nOnce declared again, `dvc repro` has them "
            "back from DVC's cache"
        )


main.add_command(study)


@main.command("rounds")
def show_rounds() -> None:
    """Show the declared rounds side by side.

    \b
    n_train          training images
    n_additions      those of them that the round added
    val, test, ...   accuracy, 0 to 1, of each split that is not trained on
    late_val         mean accuracy on val over the training's late epochs: the kept one is a lucky
                     draw, so compare rounds by this one, too (not with boost.mine_on: half)
    n_misclassified  validation images that the model gets wrong
    stop             why no round can follow, if one has stopped

    \b
    Example:
      databoost rounds
    """
    from databoost.outcomes import read_outcomes, rounds_table

    layout, params = open_project()
    outcomes = read_outcomes(layout, params, params.rounds)
    if outcomes:
        table = rounds_table(outcomes)
        if not table["stop"].any():
            table = table.drop(columns="stop")
        click.echo(table.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))
    _tell_missing(params, {outcome.files.name for outcome in outcomes})


def _tell_missing(params: "Params", found: set[str]) -> None:
    missing = [name for name in params.rounds if name not in found]
    if missing:
        click.echo(f"not complete: {', '.join(missing)} (`dvc repro` makes them)", err=True)


@main.command("image")
@click.argument("name", metavar="IMAGE")
def show_image(name: str) -> None:
    """Follow an IMAGE from its raw file through the rounds.

    IMAGE is an id or six or more of its first digits, the path of a raw file or its end, or a file
    of any snapshot. In MLflow the run of a round's model is called like the round, in the
    experiment of tracking.experiment.

    \b
    Examples:
      databoost image 0af255a41ffbc91b
      databoost image 0af255a4
      databoost image "vii/scan 3.png"
    """
    from databoost.trail import find_image, trail_of

    layout, params = open_project()
    image_id = find_image(layout, name, params.rounds)
    click.echo(image_id)
    for place, told in trail_of(layout, image_id, params.rounds):
        click.echo(f"  {place:<10}  {told}")


main.add_command(source)
main.add_command(sheet)
main.add_command(corrections)
main.add_command(show_params)
main.add_command(set_params)


@main.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture, a PNG file; sheets/candidates.png if not given.",
)
def preview(output: Path | None) -> None:
    """Draw a picture of candidates beside their parents.

    A parent is the training image that a candidate is drawn of. The picture shows the first
    candidates that the ranges of `candidates` in params.yaml give: look whether each can still be
    told for what its label says, before a round adds hundreds of them. Needs the snapshot of r00
    (`dvc repro prepare`), and no model.

    \b
    Examples:
      databoost preview
      databoost set "candidates.elastic=[0, 0.2]" && databoost preview -o bent.png
    """
    from databoost.data.files import write_bytes
    from databoost.views.preview import preview as draw_preview

    layout, params = open_project()
    target = output or layout.sheets / "candidates.png"
    write_bytes(target, draw_preview(layout, params))
    click.echo(str(target))


@main.command()
def publish() -> None:
    """Log every complete round to MLflow.

    What is there already stays untouched.

    \b
    Examples:
      databoost publish
      MLFLOW_TRACKING_URI=http://127.0.0.1:5000 databoost publish
    """
    from databoost.outcomes import missing_outputs
    from databoost.publishing import publish as publish_rounds

    layout, params = open_project()
    names = publish_rounds(layout, params)
    click.echo(f"published: {', '.join(names) or 'nothing new'}")
    _tell_missing(
        params, {name for name in params.rounds if not missing_outputs(layout.round(name))}
    )


@main.command()
@click.argument("architecture", default="resnet50")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/weights"),
    show_default=True,
    help="Folder for the weights file.",
)
def weights(architecture: str, into: Path) -> None:
    """Download torchvision's ImageNet weights.

    ARCHITECTURE is one of torchvision's classification architectures, resnet50 if not given. The
    file is checked against the SHA-256 in its name.

    \b
    Example:
      databoost weights resnet50
    """
    from databoost.model.pretrained import download_weights

    path = download_weights(architecture, into)
    click.echo(
        f"{path} is complete. To embed with it:\n"
        f"  databoost set embedding.architecture={architecture} embedding.weights={path.as_posix()}"
        " embedding.image_size=224\n"
        f"  dvc add {path.as_posix()}    # and dvc push, to share the file with the snapshots\n"
        "224 pixels is what most of these networks were trained at; fewer embed faster."
    )
