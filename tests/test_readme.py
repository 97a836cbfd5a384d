"""README and docs name only commands, targets and keys that there are, and every command."""

import re

import click
import pytest
from projects import REPOSITORY
from test_cli import STAGES

from databoost.cli import main
from databoost.data.corrections import ACTIONS
from databoost.params import Params, read_params

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
TEXT = "\n".join([README, *(path.read_text(encoding="utf-8") for path in DOCS)])
#: What is typed: code blocks, and code within a line.
CODE = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", TEXT, re.DOTALL)
TYPED = "\n".join(block or inline for block, inline in CODE)


def keys() -> set[str]:
    sections = read_params(REPOSITORY / "params.yaml").model_dump(exclude={"rounds", "boosts"})
    return {f"{section}.{key}" for section, values in sections.items() for key in values}


def test_every_command_is_named_and_exists() -> None:
    assert isinstance(main, click.Group)
    named = set(re.findall(r"\bdataboost ([a-z]+)\b", TYPED))
    assert named <= set(main.commands)
    assert set(main.commands) - set(STAGES) <= named, "README and docs lack a command"


def test_every_target_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z]{2,})\b", TYPED)) <= set(targets)


def test_every_key_exists() -> None:
    sections = "|".join(set(Params.model_fields) - {"rounds", "boosts"})
    named = set(re.findall(rf"(?<![\w/.])((?:{sections})\.[a-z_]+)\b", TYPED))
    named = {key for key in named if not key.endswith((".csv", ".html", ".json", ".png"))}  # files
    assert len(named) > 8
    assert named <= keys()


@pytest.mark.parametrize("line", re.findall(r"databoost set ([^\n`#&]+)", TEXT))
def test_every_change_of_a_key_is_one_that_set_takes(line: str) -> None:
    assert {change.partition("=")[0] for change in line.split()} <= keys()


def test_the_ledger_is_one() -> None:
    (lines,) = re.findall(r"```csv\n(.*?)```", README, re.DOTALL)
    header, *corrections = lines.splitlines()
    assert header == (REPOSITORY / "data" / "corrections.csv").read_text().splitlines()[0]
    assert {line.split(",")[1] for line in corrections} == set(ACTIONS)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)\s]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    name, _, title = link.partition("#")
    target = REPOSITORY / (name or "README.md")
    assert target.exists()
    if title:
        titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert title in {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in titles}
