"""``databoost source``, ``params`` and ``set``: what ``params.yaml`` says."""

from typing import TYPE_CHECKING, Any

import click

from databoost.errors import ParamsError
from databoost.project import open_project

if TYPE_CHECKING:
    from databoost.layout import Layout

_NEXT = "`dvc repro` makes what depends on it"


@click.command()
@click.argument("source")
@click.option("--sha256", default="", help="SHA-256 that the source must have.")
def source(source: str, sha256: str) -> None:
    """Choose where the images come from.

    SOURCE is synthetic, a folder, an archive or a URL. Writes data.source and data.sha256 to
    params.yaml. For a folder or an archive the digest of its content is computed, so that
    `dvc repro` sees when the images have changed: give the same SOURCE again after a change. A
    URL is downloaded once; `dvc repro --force ingest` does so again.

    \b
    Examples:
      databoost source ../photos
      databoost source photos.zip
      databoost source https://example.org/photos.tar.gz --sha256 9f86d081...
      databoost source synthetic
    """
    from databoost.data.sources import check_no_output, is_remote, source_digest

    layout, _ = open_project()
    check_no_output(source, layout)  # before its files are read
    digest = sha256 = sha256.strip().lower()
    if source != "synthetic" and not is_remote(source):
        digest = source_digest(source, layout.root)
        if sha256 and sha256 != digest:
            raise ParamsError(
                f"{source} has the SHA-256 {digest}, not {sha256}; without --sha256 it is taken "
                "as it is"
            )
    _edit(layout, {"data.source": source, "data.sha256": digest})
    click.echo(f"data.source: {source}\n{_NEXT}")
    if is_remote(source) and not digest:
        click.echo("this address is not looked at again later; `dvc repro --force ingest` does so")


@click.command("params")
def show_params() -> None:
    """Check params.yaml and print every key with its value.

    \b
    Example:
      databoost params
    """
    _, params = open_project()
    for section, values in params.model_dump(mode="json").items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        for key, value in pairs:
            click.echo(f"{section}{'.' if key else ''}{key} = {value}")


@click.command("set")
@click.argument("changes", metavar="KEY=VALUE...", nargs=-1, required=True)
def set_params(changes: tuple[str, ...]) -> None:
    """Edit params.yaml, keeping its comments.

    Nothing is written if any value is bad.

    \b
    Examples:
      databoost set train.epochs=100
      databoost set boost.strategy=random boost.seed=1
      databoost set "candidates.mirror={iv: vi, vi: iv}"
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    layout, _ = open_project()
    values: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        try:
            values[key] = YAML(typ="safe").load(text) if text else ""
        except (YAMLError, ValueError) as error:  # ValueError: a date like 2024-13-45
            raise ParamsError(f"{change!r} holds no YAML value: {error}") from error
        if not equals:
            raise ParamsError(f"{change!r} is no KEY=VALUE; train.epochs=100 is one")
    _edit(layout, values)
    click.echo("\n".join([*changes, _NEXT]))


def _edit(layout: "Layout", changes: dict[str, Any]) -> None:
    from databoost.data.sources import check_no_output
    from databoost.params import edit_params

    edit_params(layout.params, changes, lambda params: check_no_output(params.data.source, layout))
