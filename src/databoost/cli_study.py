"""``databoost study``: arms x seeds, compared."""

from pathlib import Path

import click

from databoost.project import open_project


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Jobs at a time; default: one a core this process may use, with a GPU at most 16, or 2 "
    "where NVIDIA's MPS is missing.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the study; default: .databoost/studies/<name of FILE>.",
)
def study(file: Path, workers: int | None, output: Path | None) -> None:
    """Compare strategies over arms and seeds.

    Runs the arms of FILE with each of its seeds, from the project's r00. FILE names what differs
    from params.yaml:

    \b
      rounds: 3                         # after r00
      additions: 400                    # of every arm in every round
      seeds: [0, 1, 2]
      params: {train.epochs: 40}        # of every arm
      control: random                   # the plot compares with it
      arms:
        none: {boost.strategy: none}
        random: {boost.strategy: random}
        nearest: {boost.strategy: nearest, boost.labels: any}
        newest: {"embedding.weights": "data/rounds/{previous}/model/best.ckpt"}

    Writes rounds.csv, arms.csv, verdicts.csv and study.png, and logs every arm and seed to an
    MLflow experiment of the study's own, `<tracking.experiment> <name of the study's folder>`.
    Whatever was interrupted goes on with the same command; a changed FILE redoes what it changes.

    Accuracy jumps from epoch to epoch. So every training is judged twice: by the epoch that
    validation picks, which is what a round is worth (measure `kept`), and by the mean over the
    epochs of its last half, 20 at most, which takes those jumps out (`late`). Decide beforehand
    which of the two your question is about.

    Intervals are 95%, over seeds and test images; those of one seed are over images alone. More
    than noise is a difference of two seeds or more whose interval leaves 0 out, and with which a
    sign test over the images (of late epochs, one by random signs) agrees. That holds for one
    comparison each: of 20 between arms that do not differ, at most 1 is expected to look like more
    than noise. Few seeds find only what is large: with two hardly anything, with five and 300 test
    images a difference of 5 points in about every second study.

    \b
    Examples:
      databoost study study.yaml
      databoost study study.yaml --workers 4 --output results/first
    """
    from databoost.study.plan import read_study
    from databoost.study.running import run_study

    layout, params = open_project()
    folder = output or layout.state / "studies" / file.stem
    plan = read_study(file, params)
    click.echo(run_study(layout, params, plan, folder, workers))
    click.echo(f"results: {folder}")
