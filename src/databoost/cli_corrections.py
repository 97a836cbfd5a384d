"""``databoost sheet`` and ``databoost corrections``: see the images, and correct them."""

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from databoost.errors import CorrectionError, DatasetError, ParamsError
from databoost.project import open_project

if TYPE_CHECKING:
    import pandas as pd

    from databoost.layout import Layout
    from databoost.ledger_edits import Change

#: Rows of a sheet, with three pictures each: more open slowly in a spreadsheet program.
_WORST = 3000
_FILE = click.Path(path_type=Path)
_NO_FOLDER = click.Path(path_type=Path, dir_okay=False)
#: A file that is no text in UTF-8 holds unknown ids, which are listed, instead of raising.
_IDS = click.File(encoding="utf-8-sig", errors="replace")
_NEXT = (
    "`dvc repro` rebuilds the dataset with it; `databoost corrections undo --last` takes it back"
)


@click.command()
@click.argument("round_name", metavar="ROUND")
@click.option("-o", "--output", type=_NO_FOLDER, help="The file; sheets/ROUND.xlsx if not given.")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["train", "val"]),
    help="Show only images of this split; may be given twice.",
)
@click.option("--ids", type=_IDS, help="Show only the images whose ids the file holds.")
@click.option(
    "--worst",
    type=click.IntRange(1),
    default=_WORST,
    show_default=True,
    help="Show so many of them, the worst, if there are more.",
)
@click.option("--overwrite", is_flag=True, help="Replace a sheet that may hold edits.")
def sheet(
    round_name: str,
    output: Path | None,
    splits: tuple[str, ...],
    ids: "TextIO | None",
    worst: int,
    *,
    overwrite: bool,
) -> None:
    """Write the images of a ROUND as an XLSX sheet to fill in.

    The worst stand first. It opens in LibreOffice and Excel: for each image its picture as it is
    stored and as the model sees it, its labels, scores and the nearest training image. Choose an
    action where something is wrong, save as XLSX, and take it over with `databoost corrections
    import`.

    Ids are separated by blanks, commas or line ends; - reads them from the terminal. Held-out
    images are never corrected, and left out.

    \b
    Examples:
      databoost sheet r00
      databoost sheet r00 --worst 500
      databoost sheet r00 --split val -o val.xlsx
      databoost sheet r02 --ids lasso.txt
    """
    from databoost.data.files import write_bytes
    from databoost.layout import SNAPSHOT_SPLITS
    from databoost.views.sheet_contents import choose_rows, sheet_of_round

    layout, params = open_project()
    if round_name not in params.rounds:
        raise ParamsError(
            f"{round_name!r} is no declared round; declared are {', '.join(params.rounds)}"
        )
    target = output or layout.sheets / f"{round_name}.xlsx"
    if target.exists() and not overwrite:
        raise DatasetError(f"{target} exists and may hold edits; --overwrite, or -o another file")
    image_ids = None if ids is None else ids.read().replace(",", " ").split()
    rows = choose_rows(layout, round_name, splits or SNAPSHOT_SPLITS, image_ids)
    write_bytes(target, sheet_of_round(layout, params, round_name, rows, worst))
    n_left_out = max(len(rows) - worst, 0)
    more = f" ({n_left_out} better ones are left out: --worst)" if n_left_out else ""
    click.echo(
        f"{target}: {len(rows) - n_left_out} image(s), worst first{more}; fill in action, value "
        f"and note, then\n  databoost corrections import {target}"
    )


@click.group()
def corrections() -> None:
    """Keep the ledger data/corrections.csv.

    \b
    Examples:
      databoost corrections import sheets/r00.xlsx --dry-run
      databoost corrections import sheets/r00.xlsx
      databoost corrections list
      databoost corrections undo --last
      databoost corrections diff r00 r01
    """


@corrections.command("import")
@click.argument("path", metavar="SHEET", type=_FILE)
@click.option("--dry-run", is_flag=True, help="Show the difference and write nothing.")
def import_sheet(path: Path, *, dry_run: bool) -> None:
    """Take the edits of a filled-in SHEET over into the ledger.

    All of them are taken over, or none.

    keep withdraws the lines that came after the sheet was made, and leaves the others; delete
    takes the place of other lines. relabel to the class that an image was given as takes its line
    out, and so does move to the split that it was given in, unless split.strategy draws the splits
    anew: then the line keeps it there. Rows without an action stay as they are. The sheet may have
    been sorted and filtered.

    \b
    Examples:
      databoost corrections import sheets/r00.xlsx --dry-run
      databoost corrections import sheets/r00.xlsx
    """
    from databoost.data.datasets import read_classes
    from databoost.ledger_history import change_ledger
    from databoost.views.sheet_edits import edits_of, loose_notes, read_sheet

    layout, params = open_project()
    filled = read_sheet(path)
    _check_snapshot(layout, path, filled.about.round_name, filled.about.snapshot)
    edits = edits_of(filled, read_classes(layout.classes))
    splits_again = params.split.strategy != "given"
    changes = change_ledger(layout, edits, filled.shown, splits_again=splits_again, dry_run=dry_run)
    _tell(changes)
    n_same = len(edits) - len(changes)
    if n_same:
        click.echo(f"{n_same} edit(s) change nothing: the ledger or the image says so already")
    n_loose = loose_notes(filled)
    if n_loose:
        click.echo(f"{n_loose} note(s) without an action stay in the sheet only")
    if changes:
        click.echo(
            f"dry run: {layout.corrections} is as it was"
            if dry_run
            else f"{layout.corrections}: {len(changes)} image(s) changed; {_NEXT}"
        )


@corrections.command("list")
def list_corrections() -> None:
    """List the lines of the ledger.

    \b
    Example:
      databoost corrections list
    """
    from databoost.data.corrections import read_corrections

    layout, _ = open_project()
    ledger = read_corrections(layout.corrections)
    for row in ledger.itertuples():
        reason = str(row.reason).strip()
        words = f"{row.action} {row.value}".rstrip()
        click.echo(f"{row.image_id}  {words}{f'  ({reason})' if reason else ''}")
    click.echo(f"{len(ledger)} line(s) in {layout.corrections}", err=True)


@corrections.command()
@click.argument("image_ids", metavar="[ID]...", nargs=-1)
@click.option("--last", is_flag=True, help="Take back the last import or undo.")
@click.option("--gone", is_flag=True, help="Take out the lines of all images that are gone.")
def undo(image_ids: tuple[str, ...], *, last: bool, gone: bool) -> None:
    """Take corrections back.

    Either every line of the images named; or with --last the last change by a command; or with
    --gone every line whose image is no longer among the raw images.

    \b
    Examples:
      databoost corrections undo 0af255a41ffbc91b
      databoost corrections undo --last
      databoost corrections undo --gone
    """
    from databoost.ledger_history import undo_gone, undo_images, undo_last

    layout, _ = open_project()
    if [bool(image_ids), last, gone].count(True) != 1:
        raise CorrectionError(
            "name the images to take back, or --last, or --gone: one of the three; `databoost "
            "corrections list` shows the ids"
        )
    if last:
        _tell(undo_last(layout))
    elif gone:
        _tell(undo_gone(layout))
    else:
        _tell(undo_images(layout, list(image_ids)))


@corrections.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
def diff(before: str, after: str) -> None:
    """Show what differs between two snapshots.

    Labels, splits, deletions, and additions by class.

    A and B are rounds, or manifest files, such as that of an earlier commit.

    \b
    Examples:
      databoost corrections diff r00 r01
      dvc get . data/rounds/r00/manifest.csv --rev HEAD~1 --out before.csv
      databoost corrections diff before.csv r00
    """
    from databoost.data.differences import manifest_differences, told

    layout, _ = open_project()
    first, second = _manifest(layout, before), _manifest(layout, after)
    click.echo(f"{before} -> {after}: {len(first)} -> {len(second)} images")
    click.echo(told(manifest_differences(first, second)))


def _manifest(layout: "Layout", name: str) -> "pd.DataFrame":
    import re

    from databoost.data.tablefiles import read_table
    from databoost.data.tables import MANIFEST

    is_round = re.fullmatch(r"r[0-9]{2,}", name)
    return read_table(layout.round(name).manifest if is_round else Path(name), MANIFEST)


def _check_snapshot(layout: "Layout", path: Path, round_name: str, snapshot: str) -> None:
    from databoost.data.files import sha256_of
    from databoost.params import round_number
    from databoost.views.sheet_edits import how_to_renew

    round_number(round_name)  # a sheet names no path
    manifest = layout.round(round_name).manifest
    if not manifest.exists():
        raise CorrectionError(
            f"{path} is a sheet of {round_name}, and {manifest} does not exist; `dvc repro` or "
            "`dvc pull` makes it"
        )
    if sha256_of(manifest) != snapshot:
        raise CorrectionError(
            f"{path} is a sheet of another snapshot of {round_name} ({snapshot[:12]}) than lies "
            f"here ({sha256_of(manifest)[:12]}); {how_to_renew(path, round_name)}"
        )


def _tell(changes: "list[Change]") -> None:
    counts = dict.fromkeys(("added", "changed", "removed"), 0)
    for change in changes:
        counts[change.kind] += 1
        click.echo(str(change))
    click.echo(", ".join(f"{n} {kind}" for kind, n in counts.items()))
