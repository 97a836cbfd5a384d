"""A stage's unfinished work: one process at a time is at it, and it goes when it has served."""

import os
from pathlib import Path

import pytest

from databoost.errors import DataboostError
from databoost.layout import Layout
from databoost.unfinished import alone, forget_unfinished


def test_one_process_at_a_time_does_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path)
    message = (
        rf"^another `databoost train r00` is at work in this project \(process {os.getpid()}\); "
        "wait for it, or end it: `kill` of `dvc repro` leaves its stage running$"
    )
    for _ in range(2):  # what a first one has left does not matter
        with alone(layout, "train", "r00"):
            with pytest.raises(DataboostError, match=message), alone(layout, "train", "r00"):
                pass
            with alone(layout, "train", "r01"), alone(layout, "ingest"):
                pass
            monkeypatch.setenv("LOCAL_RANK", "1")  # a helper of the same training
            with alone(layout, "train", "r00"):
                pass
            monkeypatch.delenv("LOCAL_RANK")


def test_what_one_stage_has_begun_is_forgotten_and_no_other(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    begun = [layout.unfinished(*words) for words in (("train", "r00"), ("train", "r01"))]
    begun.append(layout.unfinished("scores"))
    for folder in begun:
        for name in ("of old code", "of this"):
            (folder / name).mkdir(parents=True)
    for _ in range(2):
        forget_unfinished(layout, "train", "r00")
        assert [folder.exists() for folder in begun] == [False, True, True]
    forget_unfinished(layout, "scores")
    assert [folder.exists() for folder in begun] == [False, True, False]
