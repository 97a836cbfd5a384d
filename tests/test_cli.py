"""The command line: help, errors, and what each command calls."""

import errno
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from handmade_rounds import lay_round
from projects import REPOSITORY, written_by
from ruamel.yaml import YAML

from databoost.cli import main
from databoost.cli_corrections import corrections
from databoost.errors import SourceError
from databoost.layout import Layout
from databoost.params import read_params

STAGES = [
    *("ingest", "prepare", "audit", "train", "evaluate", "scores", "candidates", "boost"),
    *("attribute", "map", "report"),
]
NEXT = "`dvc repro` makes what depends on it\n"
HEAVY = ("torch", "torchvision", "mlflow", "pandas", "numpy", "PIL", "annoy", "dvc", "umap")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project folder to run in."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def databoost(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="databoost")


def refusal(*arguments: str) -> str:
    """Run a command that must fail with one message, and give the message."""
    result = databoost(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert isinstance(result.exception, SystemExit)
    return result.stderr.removeprefix("error: ").removesuffix("\n")


@pytest.mark.parametrize("command", list(main.commands))
def test_every_command_explains_itself_by_an_example(command: str) -> None:
    result = databoost(command, "--help")
    assert result.exit_code == 0
    _, _, examples = result.stdout.partition("Example")
    assert f"  databoost {command}" in examples
    assert databoost(command, "-h").stdout == result.stdout


def test_help_lists_the_commands_in_the_order_of_their_use() -> None:
    result = databoost("--help")
    assert result.exit_code == 0
    _, _, listing = result.stdout.partition("Commands:\n")
    names = [line.split()[0] for line in listing.splitlines()]
    assert names[: len(STAGES)] == STAGES
    assert set(names) == set(main.commands)
    assert "databoost run" in result.stdout


@pytest.mark.parametrize("group", [main, corrections], ids=lambda group: str(group.name))
def test_lists_of_commands_break_nothing_off(group: click.Group) -> None:
    for command in group.commands.values():
        short = command.get_short_help_str(60)  # what a terminal of 80 columns has room for
        assert short.endswith(".")
        assert not short.endswith("...")
        assert (command.help or "").startswith(short)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_its_inputs_and_outputs_as_dvc_does(stage: str) -> None:
    declared = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]
    declared = declared.get("do", declared)
    told = " ".join((main.commands[stage].help or "").split())
    found = re.search(r"`dvc repro` runs it\. Reads (.+); writes (.+)\. \x08 Example", told)
    assert found
    for text, paths in zip(found.groups(), [declared["deps"], written_by(declared)], strict=True):
        named = re.findall(r"(?:data|reports)/[\w./]+|embedding\.weights", text)
        meant = [re.sub(r"\$\{(?:item|key)\}", "ROUND", path) for path in paths]
        meant = [re.sub(r"\$\{item\.previous\}", "PREVIOUS", path) for path in meant]
        meant = [re.sub(r"\$\{rounds\[-1\]\}", "LAST", path) for path in meant]
        meant = [path.strip("${}") for path in meant if not path.startswith("src/")]
        for one in meant:
            assert any(f"{one}/".startswith(f"{name}/") for name in named), one
        for name in named:
            assert any(f"{one}/".startswith(f"{name}/") for one in meant), name


def test_version_is_the_packages() -> None:
    result = databoost("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("databoost, version ")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["publish", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from databoost.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        f"print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gets_the_layout_the_params_and_its_round(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    calls: list[tuple[Any, ...]] = []

    def called(*arguments: Any) -> None:
        calls.append(arguments)

    monkeypatch.setitem(
        sys.modules, f"databoost.stages.{stage}", SimpleNamespace(**{stage: called})
    )
    rounds = ["r01"] if stage in ("train", "evaluate", "boost", "attribute") else []
    result = databoost(stage, *rounds)
    assert result.exit_code == 0, result.output
    assert calls == [(Layout(Path()), read_params(folder / "params.yaml"), *rounds)]
    if rounds:
        declared = ", ".join(read_params(folder / "params.yaml").rounds)
        assert refusal(stage, "r77") == (
            f"'r77' is no declared round; declared are {declared} (`databoost declare` adds one)"
        )
        assert len(calls) == 1


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*arguments: Any) -> None:
        raise error

    return fail


def test_an_error_is_one_line_without_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = SimpleNamespace(ingest=failing(SourceError("photos.zip does not exist")))
    monkeypatch.setitem(sys.modules, "databoost.stages.ingest", stage)
    assert refusal("ingest") == "photos.zip does not exist"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "a/b.csv"), "a/b.csv: Permission denied"),
        (
            OSError(errno.EISDIR, "Is a directory", "a.part", None, "a"),
            "a: Is a directory",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line_without_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    stage = SimpleNamespace(ingest=failing(error))
    monkeypatch.setitem(sys.modules, "databoost.stages.ingest", stage)
    assert refusal("ingest") == message


def test_a_file_that_cannot_be_written_is_named(folder: Path) -> None:
    before = (folder / "params.yaml").read_bytes()
    (folder / "params.yaml.part").mkdir()
    assert refusal("set", "train.epochs=1") == "params.yaml.part: Is a directory"
    assert (folder / "params.yaml").read_bytes() == before


def test_a_closed_pipe_is_no_error_to_tell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = SimpleNamespace(ingest=failing(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    monkeypatch.setitem(sys.modules, "databoost.stages.ingest", stage)
    result = databoost("ingest")
    assert (result.exit_code, result.output) == (1, "")


def test_a_library_error_without_a_number_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = SimpleNamespace(ingest=failing(OSError("cannot identify image file")))
    monkeypatch.setitem(sys.modules, "databoost.stages.ingest", stage)
    assert isinstance(databoost("ingest").exception, OSError)


def test_a_defect_keeps_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = SimpleNamespace(ingest=failing(ZeroDivisionError("a defect")))
    monkeypatch.setitem(sys.modules, "databoost.stages.ingest", stage)
    assert isinstance(databoost("ingest").exception, ZeroDivisionError)


def test_an_interruption_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = SimpleNamespace(ingest=failing(KeyboardInterrupt()))
    monkeypatch.setitem(sys.modules, "databoost.stages.ingest", stage)
    result = databoost("ingest")
    assert result.exit_code == 130
    assert result.stderr == "\ninterrupted; the same command goes on from here\n"


@pytest.mark.parametrize(
    "arguments",
    [
        *([stage] for stage in ("ingest", "prepare", "candidates")),
        *([stage, "r00"] for stage in ("train", "evaluate", "boost", "attribute")),
        *(["run"], ["declare", "r01"], ["params"], ["set", "train.epochs=1"], ["publish"]),
        ["source", "synthetic"],
    ],
)
def test_outside_of_a_project_every_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(*arguments) == (
        "params.yaml does not exist; run databoost in a project folder, the one with params.yaml"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_first_round_is_neither_boosted_nor_attributed(folder: Path) -> None:
    made = ", ".join(read_params(folder / "params.yaml").boosts)
    assert refusal("boost", "r00") == (
        "r00 is the cleaned dataset, which `databoost prepare` writes; boost makes the rounds "
        f"after it: {made}"
    )
    assert refusal("attribute", "r00") == (
        "r00 is the cleaned dataset, which `databoost prepare` writes; attribute looks at the "
        f"rounds after it: {made}"
    )


def test_wrong_usage_is_clicks_own_error(folder: Path) -> None:
    for arguments in (["train"], ["fly"], ["run", "--max-rounds", "0"], ["set"]):
        result = databoost(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("Usage: ")


def test_run_tells_why_it_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Layout, int | None, int | None]] = []

    def run_rounds(layout: Layout, max_rounds: int | None, patience: int | None) -> str:
        calls.append((layout, max_rounds, patience))
        return "the size limit is reached (r04)"

    monkeypatch.setattr("databoost.rounds.run_rounds", run_rounds)
    assert databoost("run").stdout == "stopped: the size limit is reached (r04)\n"
    assert databoost("run", "--max-rounds", "2").exit_code == 0
    assert databoost("run", "--patience", "3").exit_code == 0
    here = Layout(Path())
    assert calls == [(here, None, None), (here, 2, None), (here, None, 3)]


def test_declare_writes_params(folder: Path) -> None:
    assert databoost("declare", "r03").stdout == "declared: r00, r01, r02, r03\n"
    assert read_params(folder / "params.yaml").rounds == ("r00", "r01", "r02", "r03")
    assert databoost("declare", "r00").stdout == "declared: r00\n"
    for name in ("r00", "r03", "r02"):
        Layout(folder).round(name).root.mkdir(parents=True)
    assert databoost("declare", "r01").stdout == (
        "declared: r00, r01\nmap and report still depend on rounds that lie beside them, and a "
        "clone will not have them: rm -r data/rounds/r02 data/rounds/r03\nOnce declared again, "
        "`dvc repro` has them back from DVC's cache\n"
    )
    assert "is no round; rounds are called r00, r01" in refusal("declare", "3")


def test_params_prints_what_set_takes(folder: Path) -> None:
    assert databoost("declare", "r01").exit_code == 0
    lines = databoost("params").stdout.splitlines()
    assert f"train.epochs = {read_params(folder / 'params.yaml').train.epochs}" in lines
    assert "rounds = ['r00', 'r01']" in lines
    assert "boosts.r01 = {'previous': 'r00'}" in lines
    result = databoost(
        "set", "train.epochs=100", "boost.strategy=random", "candidates.mirror={iv: vi}"
    )
    assert result.stdout == (
        f"train.epochs=100\nboost.strategy=random\ncandidates.mirror={{iv: vi}}\n{NEXT}"
    )
    lines = databoost("params").stdout.splitlines()
    assert "train.epochs = 100" in lines
    assert "boost.strategy = random" in lines
    assert "candidates.mirror = {'iv': 'vi'}" in lines


def test_params_lists_every_fault(folder: Path) -> None:
    path = folder / "params.yaml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"count: \d+", "count: 0", text)
    text = text.replace("  neighbors: 10         # cand", "  neighbours: 10         # cand")
    path.write_text(text, encoding="utf-8")
    message = refusal("params")
    assert message.startswith("params.yaml has 3 bad value(s):\n")
    for key in ("candidates.count: ", "boost.neighbors: ", "boost.neighbours: "):
        assert f"\n  - {key}" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epochs=0", "params.yaml (after the change) has 1 bad value(s):\n  - train.epochs"),
        ("train.speed=1", "params.yaml has no key 'train.speed'; `databoost params` lists all"),
        ("=1", "params.yaml has no key ''; `databoost params` lists all"),
        ("train.epochs", "'train.epochs' is no KEY=VALUE; train.epochs=100 is one"),
        ("train.epochs=[", "'train.epochs=[' holds no YAML value: "),
        ("tracking.boost=2024-13-45", "'tracking.boost=2024-13-45' holds no YAML value: month"),
        ("tracking.boost=", "params.yaml (after the change) has 1 bad value(s):\n  - tracking"),
    ],
)
def test_a_refused_set_leaves_the_file_alone(folder: Path, change: str, message: str) -> None:
    before = (folder / "params.yaml").read_bytes()
    assert refusal("set", "train.batch_size=4", change).startswith(message)
    assert (folder / "params.yaml").read_bytes() == before


def test_a_value_may_be_empty_or_hold_an_equals_sign(folder: Path) -> None:
    assert databoost("set", "data.sha256=", "tracking.boost=lr=1e-4").exit_code == 0
    params = read_params(folder / "params.yaml")
    assert (params.data.sha256, params.tracking.boost) == ("", "lr=1e-4")


def test_source_notes_what_a_folder_holds(folder: Path) -> None:
    (folder / "photos" / "cat").mkdir(parents=True)
    picture = folder / "photos" / "cat" / "1.png"
    picture.write_bytes(b"one")
    assert databoost("source", "photos").stdout == f"data.source: photos\n{NEXT}"
    first = read_params(folder / "params.yaml").data
    assert first.source == "photos"
    assert len(first.sha256) == 64
    for given in (first.sha256, f" {first.sha256.upper()} "):  # as PowerShell prints it
        assert databoost("source", "photos", "--sha256", given).exit_code == 0
    picture.write_bytes(b"two")
    assert databoost("source", "photos").exit_code == 0
    second = read_params(folder / "params.yaml").data.sha256
    assert second != first.sha256
    refused = databoost("source", "photos", "--sha256", first.sha256)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1] == (  # the lines before are a progress bar
        f"error: photos has the SHA-256 {second}, not {first.sha256}; without --sha256 it is "
        "taken as it is"
    )
    assert read_params(folder / "params.yaml").data.sha256 == second


def test_source_notes_what_a_file_url_holds(folder: Path) -> None:
    archive = folder / "my photos.zip"
    url = archive.as_uri()
    digests = []
    for content in (b"one", b"two"):
        archive.write_bytes(content)
        assert databoost("source", url).stdout == f"data.source: {url}\n{NEXT}"
        data = read_params(folder / "params.yaml").data
        assert (data.source, data.sha256) == (url, hashlib.sha256(content).hexdigest())
        digests.append(data.sha256)
    assert refusal("source", url, "--sha256", digests[0]) == (
        f"{url} has the SHA-256 {digests[1]}, not {digests[0]}; without --sha256 it is taken as "
        "it is"
    )
    assert "does not exist" in refusal("source", "file:///no/such/photos.zip")


def test_source_takes_urls_unseen_and_synthetic_back(folder: Path) -> None:
    digest = "a" * 64
    url = "https://example.org/photos.zip"
    assert databoost("source", url).stdout == (
        f"data.source: {url}\n{NEXT}this address is not looked at again later; "
        "`dvc repro --force ingest` does so\n"
    )
    told = databoost("source", url, "--sha256", digest)
    assert told.stdout == f"data.source: {url}\n{NEXT}"
    data = read_params(folder / "params.yaml").data
    assert (data.source, data.sha256) == (url, digest)
    assert "data.sha256: String should match pattern" in refusal("source", url, "--sha256", "abc")
    assert databoost("source", "synthetic").exit_code == 0
    data = read_params(folder / "params.yaml").data
    assert (data.source, data.sha256) == ("synthetic", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("source", "data/raw"),
        ("source", "data/raw/photos.zip"),
        ("source", "data/rounds/r02/dataset", "--sha256", "a" * 64),
        ("set", "train.epochs=9", "data.source=data/raw"),
        ("set", "data={source: data/ingest, sha256: '', classes: [], val_fraction: 0.5, seed: 0}"),
    ],
)
def test_what_a_stage_writes_becomes_no_source(folder: Path, arguments: tuple[str, ...]) -> None:
    for output in ("data/raw", "data/rounds/r02/dataset"):
        (folder / output).mkdir(parents=True)
    (folder / "data/raw/photos.zip").write_bytes(b"PK")
    before = (folder / "params.yaml").read_bytes()
    told = refusal(*arguments)
    assert told.endswith("removed and written anew; copy the images to a folder of their own")
    assert (folder / "params.yaml").read_bytes() == before


def test_set_takes_another_source(folder: Path) -> None:
    assert databoost("set", "data.source=../photos").exit_code == 0
    assert read_params(folder / "params.yaml").data.source == "../photos"
    assert "has 1 bad value(s)" in refusal("set", "data.source=")


def test_publish_tells_the_rounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["r00", "r01"], []]
    module = SimpleNamespace(publish=lambda layout, params: answers.pop(0))
    monkeypatch.setitem(sys.modules, "databoost.publishing", module)
    assert databoost("publish").stdout == "published: r00, r01\n"
    again = databoost("publish")
    assert again.stdout == "published: nothing new\n"
    assert again.stderr == "not complete: r00, r01, r02 (`dvc repro` makes them)\n"


def test_rounds_stand_side_by_side(folder: Path) -> None:
    layout = Layout(Path())
    lay_round(layout, "r00")
    lay_round(layout, "r01", accuracy=1.0)
    shown = databoost("rounds")
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["round", "n_train", "n_additions", "val", "label_book", "late_val", "n_misclassified"],
        ["r00", "2", "0", "0.500", "0.500", "0.500", "1"],
        ["r01", "3", "1", "1.000", "0.500", "1.000", "0"],
    ]
    assert shown.stderr == "not complete: r02 (`dvc repro` makes them)\n"
    lay_round(layout, "r01", accuracy=1.0, stop="no_queries")
    assert databoost("rounds").stdout.splitlines()[2].split()[-1] == "no_queries"


def test_rounds_without_any(folder: Path) -> None:
    shown = databoost("rounds")
    assert (shown.stdout, shown.exit_code) == ("", 0)
    assert shown.stderr == "not complete: r00, r01, r02 (`dvc repro` makes them)\n"


def test_weights_tells_how_to_embed_with_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download_weights(architecture: str, into: Path) -> Path:
        return into / f"{architecture}.pth"

    module = SimpleNamespace(download_weights=download_weights)
    monkeypatch.setitem(sys.modules, "databoost.model.pretrained", module)
    path = "data/weights/resnet50.pth"
    lines = databoost("weights").stdout.splitlines()
    assert lines[0] == f"{path} is complete. To embed with it:"
    assert lines[2].startswith(f"  dvc add {path} ")
    assert lines[3:] == [
        "224 pixels is what most of these networks were trained at; fewer embed faster."
    ]
    # The command it prints is one that works.
    assert databoost(*lines[1].split()[1:]).exit_code == 0
    embedding = read_params(folder / "params.yaml").embedding
    assert (embedding.architecture, embedding.weights, embedding.image_size) == (
        "resnet50",
        path,
        224,
    )
    assert databoost("weights", "resnet18", "--into", "x").stdout.startswith("x/resnet18.pth is")
