"""The loop over rounds, with DVC stubbed out."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY

from databoost import rounds
from databoost.data.files import write_json, write_text
from databoost.errors import DataboostError, DatasetError, ParamsError
from databoost.layout import Layout
from databoost.params import edit_params, read_params
from databoost.rounds import declare_rounds, plateau, run_rounds, stop_after


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    layout = Layout(tmp_path)
    declare_rounds(layout, "r00")
    return layout


def finish(
    layout: Layout,
    name: str,
    n_misclassified: int = 5,
    n_train: int = 100,
    stop: str | None = None,
    accuracy: float = 0.5,
) -> None:
    """Write what evaluate and boost leave behind, as far as the loop reads it."""
    here = layout.round(name)
    size = {"n_train": n_train, "n_val": 8}
    val = {"n_misclassified": n_misclassified, "accuracy": accuracy}
    write_json(here.metrics, {"val": val, "size": size})
    if name != "r00":
        write_json(here.boost, {"stop": stop})


@pytest.fixture
def dvc(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """Stand in for DVC: each call finishes every declared round as told, and notes its targets."""

    def install(**told: dict[str, Any]) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []

        def reproduce(layout: Layout, *targets: str) -> None:
            declared = read_params(layout.params).rounds
            calls.append(targets)
            for name in declared:
                finish(layout, name, **told.get(name, {}))

        monkeypatch.setattr(rounds, "_reproduce", reproduce)
        return calls

    return install


def test_declaring_goes_up_and_down(layout: Layout) -> None:
    params = declare_rounds(layout, "r02")
    assert params.rounds == ("r00", "r01", "r02")
    assert {name: boost.previous for name, boost in params.boosts.items()} == {
        "r01": "r00",
        "r02": "r01",
    }
    assert read_params(layout.params) == params
    assert declare_rounds(layout, "r00").boosts == {}
    with pytest.raises(ParamsError, match="'r1' is no round"):
        declare_rounds(layout, "r1")


def test_rounds_follow_until_nothing_is_misclassified(
    layout: Layout, dvc: Callable[..., list[tuple[str, ...]]]
) -> None:
    calls = dvc(r02={"n_misclassified": 0})
    assert run_rounds(layout, None) == "no validation image asks for additions (r02)"
    assert calls == [("evaluate@r00",), ("evaluate@r01",), ("evaluate@r02",), ()]
    assert read_params(layout.params).rounds == ("r00", "r01", "r02")


def test_the_number_of_new_rounds_can_be_capped(
    layout: Layout, dvc: Callable[..., list[tuple[str, ...]]]
) -> None:
    calls = dvc()
    declare_rounds(layout, "r01")
    assert run_rounds(layout, 2) == "2 new round(s), as asked (r03)"
    assert calls == [("evaluate@r01",), ("evaluate@r02",), ("evaluate@r03",), ()]


def test_an_interrupted_run_makes_no_more_rounds_when_repeated(
    layout: Layout, dvc: Callable[..., list[tuple[str, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc()
    declare_rounds(layout, "r01")
    whole, n_calls = rounds._reproduce, 0

    def killed(layout: Layout, *targets: str) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls in (2, 4):  # of r02, and of r03 when the command was repeated
            raise KeyboardInterrupt
        whole(layout, *targets)

    monkeypatch.setattr(rounds, "_reproduce", killed)
    for last in ("r02", "r03"):
        with pytest.raises(KeyboardInterrupt):
            run_rounds(layout, 2)
        assert read_params(layout.params).rounds[-1] == last
    assert run_rounds(layout, 2) == "2 new round(s), as asked (r03)"
    assert run_rounds(layout, 2) == "2 new round(s), as asked (r05)"


@pytest.mark.parametrize(("back", "again", "last"), [("r00", 2, "r02"), ("r02", 3, "r05")])
def test_another_run_than_the_interrupted_one_counts_from_its_own_start(
    layout: Layout,
    dvc: Callable[..., list[tuple[str, ...]]],
    monkeypatch: pytest.MonkeyPatch,
    back: str,
    again: int,
    last: str,
) -> None:
    dvc()
    declare_rounds(layout, "r01")
    with monkeypatch.context() as patch:
        patch.setattr(rounds, "_reproduce", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_rounds(layout, 2)
    declare_rounds(layout, back)
    assert run_rounds(layout, again) == f"{again} new round(s), as asked ({last})"


def test_a_run_without_a_cap_forgets_an_interrupted_one(
    layout: Layout, dvc: Callable[..., list[tuple[str, ...]]]
) -> None:
    dvc(r01={"stop": "limit"})
    write_json(layout.run_aim, {"max_rounds": 5, "from": 1})
    assert run_rounds(layout, None).endswith("(r01)")
    assert not layout.run_aim.exists()


def test_a_finished_boost_declares_nothing(
    layout: Layout, dvc: Callable[..., list[tuple[str, ...]]]
) -> None:
    calls = dvc(r01={"stop": "nothing_new"})
    reason = "the strategy takes none of the candidates that are left (r01)"
    assert [run_rounds(layout, None) for _ in range(2)] == [reason, reason]
    assert calls == [("evaluate@r00",), ("evaluate@r01",), (), ("evaluate@r01",), ()]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, None),
        ({"stop": "limit"}, "the size limit is reached"),
        ({"stop": "no_queries"}, "no validation image asks for additions"),
        ({"stop": "nothing_new"}, "the strategy takes none of the candidates that are left"),
        ({"n_misclassified": 0}, "no validation image asks for additions"),
        ({"n_train": 9991}, None),  # 9991 + 8 = 9999: one more fits
        ({"n_train": 9992}, "the size limit is reached"),  # 10,000
        ({"n_train": 9993}, "the size limit is reached"),  # 10,001, counted as 10,008
    ],
)
def test_stop_rule(layout: Layout, told: dict[str, Any], reason: str | None) -> None:
    declare_rounds(layout, "r01")
    finish(layout, "r01", **told)
    assert stop_after(layout, read_params(layout.params)) == reason


@pytest.mark.parametrize(
    ("changes", "goes_on"),
    [
        ({}, False),
        ({"boost.max_margin": 0.1}, True),  # images that are barely right may ask
        ({"boost.strategy": "random"}, False),  # as many as the neighbours would have been
        ({"boost.strategy": "random", "boost.additions": 5}, True),
        ({"boost.strategy": "failing", "boost.additions": 5}, False),
        ({"boost.strategy": "none"}, True),  # and the next round says why it adds nothing
    ],
)
def test_rounds_may_follow_without_a_failure_where_none_is_needed(
    layout: Layout, changes: dict[str, Any], goes_on: bool
) -> None:
    finish(layout, "r00", n_misclassified=0)
    reason = stop_after(layout, edit_params(layout.params, changes))
    assert reason == (None if goes_on else "no validation image asks for additions")


def test_without_a_size_limit_size_stops_nothing(layout: Layout) -> None:
    finish(layout, "r00", n_train=1_000_000)
    assert stop_after(layout, edit_params(layout.params, {"boost.size_limit": 0})) is None


def test_a_round_that_is_not_complete_is_no_reason(layout: Layout) -> None:
    with pytest.raises(DatasetError, match=r"r00 is not complete: .*metrics\.json is missing; run"):
        stop_after(layout, read_params(layout.params))


def test_dvc_runs_in_the_project_and_its_failure_is_told(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_dvc(layout, monkeypatch, 'echo "$@" > called; exit 1')
    with pytest.raises(DataboostError, match="dvc repro failed, see above; what it completed is"):
        run_rounds(layout, None)
    assert (layout.root / "called").read_text() == "repro evaluate@r00\n"
    assert read_params(layout.params).rounds == ("r00",)


@pytest.mark.parametrize("is_another_there", [True, False])
def test_dvc_finds_the_databoost_of_this_python(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, is_another_there: bool
) -> None:
    other = layout.root / "elsewhere"
    monkeypatch.delenv("PATH")
    if is_another_there:
        lay_script(other / "databoost", "echo another > called")
        monkeypatch.setenv("PATH", str(other))
    lay_dvc(layout, monkeypatch, 'databoost; echo "$PATH" > path; exit 1')
    ours = layout.root / "bin"
    lay_script(ours / "databoost", "echo this > called")
    with pytest.raises(DataboostError, match="dvc repro failed"):
        run_rounds(layout, None)
    assert (layout.root / "called").read_text() == "this\n"
    rest = other if is_another_there else os.defpath
    assert (layout.root / "path").read_text() == f"{ours}:{rest}\n"


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_is_raised_once_dvc_has_ended(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python kills what `subprocess.run` started a quarter of a second after Ctrl-C.
    interrupts = "trap '' INT; sleep 0.1; kill -INT $PPID; sleep 0.05; kill -INT $PPID"
    lay_dvc(layout, monkeypatch, f"{interrupts}; sleep 0.4; echo > ended")
    with pytest.raises(KeyboardInterrupt):
        run_rounds(layout, None)
    assert (layout.root / "ended").exists()


def lay_dvc(layout: Layout, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Lay a shell script where the `dvc` of this Python is looked for."""
    command = layout.root / "bin" / "dvc"
    lay_script(command, script)
    monkeypatch.setattr(sys, "executable", str(command.with_name("python")))


def lay_script(path: Path, script: str) -> None:
    write_text(path, f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_plateau_ends_the_rounds(
    layout: Layout, dvc: Callable[..., list[tuple[str, ...]]]
) -> None:
    accuracies = {"r00": 0.5, "r01": 0.75, "r02": 0.625, "r03": 0.75, "r04": 0.875}
    calls = dvc(**{name: {"accuracy": value} for name, value in accuracies.items()})
    assert run_rounds(layout, None, patience=2) == (
        "no better validation accuracy in 2 round(s) than r01's 0.750 (r03)"
    )
    assert calls[-2:] == [("evaluate@r03",), ()]
    assert run_rounds(layout, 1, patience=3) == "1 new round(s), as asked (r04)"


def test_no_plateau_without_a_round_before_it(layout: Layout) -> None:
    finish(layout, "r00")
    finish(layout, "r01", accuracy=0.25)
    params = declare_rounds(layout, "r01")
    assert plateau(layout, params, 2) is None
    assert plateau(layout, params, 1) == (
        "no better validation accuracy in 1 round(s) than r00's 0.500"
    )
    with pytest.raises(DatasetError, match="r02 is not complete"):
        plateau(layout, declare_rounds(layout, "r02"), 1)
