"""The tables of a study: what is printed, and what is never overwritten."""

from pathlib import Path

import pandas as pd
import pytest
from handmade_rounds import declared

from databoost.data.files import write_json
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import LATE, SHEET, STUDY_ARMS, STUDY_ROUNDS, VERDICTS
from databoost.layout import Layout
from databoost.study import results as module
from databoost.study.jobs import Chain, Job
from databoost.study.places import StudyPlaces
from databoost.study.results import Results, shown_tables
from databoost.study.verdicts import Correct


def tables(*equal: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the tables of two arms, and a verdict in r01 and on for each of the truths given."""
    names = [f"r{number + 1:02d}" for number in range(len(equal))]
    arms = STUDY_ARMS.frame(
        {
            "arm": ["a", "b"] * 2, "round": [names[-1]] * 4, "n_seeds": [2] * 4,
            "measure": ["kept", "kept", "late", "late"],
            "n_train": [1675.0, 1700.5] * 2, "val_accuracy": [0.5] * 4,
            "test_accuracy": [0.5, 0.6, 0.9, 0.8], "low": [0.25] * 4, "high": [0.75] * 4,
        }
    )  # fmt: skip
    numbers = dict.fromkeys(
        ("difference", "low", "high", "bootstrap_low", "bootstrap_high", "sign_test"),
        [0.25] * len(equal),
    )
    counts = {"n_seeds": 2, "n_images": 9, "n_train": 1675.0, "other_n_train": 1700.5}
    verdicts = VERDICTS.frame(
        numbers
        | {name: [value] * len(equal) for name, value in counts.items()}
        | {"arm": ["a"] * len(equal), "other_arm": ["b"] * len(equal), "round": names}
        | {"measure": ["kept"] * len(equal)}
        | {"is_equal_size": list(equal), "is_more_than_noise": [False] * len(equal)}
    )
    return arms, verdicts


def test_sizes_and_the_number_of_comparisons_are_printed() -> None:
    lines = shown_tables(*tables(True, False)).splitlines()
    head = next(line for line in lines if "other_arm" in line)
    row = dict(zip(head.split(), lines[lines.index(head) + 1].split(), strict=True))
    assert (row["n_train"], row["other_n_train"]) == ("1,675.0", "1,700.5")
    assert row["is_equal_size"] == "False"
    assert lines[-2].startswith("1 comparison(s) in r02, 2 in all rounds, by either measure: of")
    assert lines[-1] == "arms of unequal size may differ by their size alone"
    assert "unequal" not in shown_tables(*tables(False, True))
    arms, verdicts = tables(True)
    assert "comparison" not in shown_tables(arms, verdicts.iloc[:0])


def test_the_best_arm_is_printed_first() -> None:
    lines = shown_tables(*tables(True)).splitlines()
    shown = [line.split()[:2] for line in lines[1:6]]
    assert shown == [["arm", "measure"], ["b", "kept"], ["a", "kept"], ["a", "late"], ["b", "late"]]


def job(arm: str, name: str) -> Job:
    return Job(f"{arm}-{name}", "round", Path("job"), Path("start"), declared(), arm, 0, name)


def test_arms_are_compared_in_their_order_whichever_ends_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended: set[str] = set()

    def read(job: Job) -> tuple[dict[str, object], dict[str, Correct]]:
        row: dict[str, object] = dict.fromkeys(STUDY_ROUNDS.columns, 0)
        is_right = pd.Series([job.arm == "long", True], index=["t1", "t2"])
        row |= {"arm": job.arm, "round": job.round, "stop": ""}
        return row, {"kept": is_right, "late": is_right * 0.5}

    monkeypatch.setattr(module, "_read", read)
    monkeypatch.setattr(Job, "is_done", lambda self: self.name in ended)
    chains = [Chain(arm, 0, (job(arm, "r00"), job(arm, "r01"))) for arm in ("long", "short")]
    results = Results(chains)
    ended |= {"short-r00", "short-r01"}
    assert len(results.look()) == 2
    ended |= {"long-r00", "long-r01"}
    assert len(results.look()) == 2
    assert list(results.correct()) == [
        (arm, name) for arm in ("long", "short") for name in ("r00", "r01")
    ]
    (verdict,) = module.verdict_rows(results.rounds(), results.correct()).to_dict("records")
    assert (verdict["arm"], verdict["other_arm"], verdict["difference"]) == ("long", "short", 0.5)
    arms, verdicts = results.write(StudyPlaces(tmp_path))
    assert verdicts[["measure", "difference"]].to_numpy().tolist() == [
        ["kept", 0.5],
        ["late", 0.25],
    ]
    of_long = arms[(arms["arm"] == "long") & (arms["round"] == "r01")]
    assert of_long["measure"].tolist() == ["kept", "late"]
    assert of_long["test_accuracy"].tolist() == [1, 0.5]
    assert read_table(StudyPlaces(tmp_path).verdicts, VERDICTS).equals(verdicts)


def test_late_epochs_are_read_beside_the_one_that_is_kept(tmp_path: Path) -> None:
    here = Layout(tmp_path).round("r00")
    sheet = {"image_id": ["b", "a", "c"], "split": ["test", "test", "val"]}
    rows: dict[str, object] = {
        name: [0 if kind == "integer" else 0.0 if kind == "number" else ""] * 3
        for name, kind in SHEET.columns.items()
    }
    write_table(
        here.sheet, SHEET.frame(rows | sheet | {"is_misclassified": [True, False, True]}), SHEET
    )
    late = {"split": ["val", "test", "test"], "n_right": [3, 1, 4], "n_epochs": [4] * 3}
    write_table(here.late, LATE.frame({"image_id": ["c", "a", "b"]} | late), LATE)
    accuracies = {split: {"accuracy": value} for split, value in (("val", 0.0), ("test", 0.5))}
    write_json(here.metrics, accuracies | {"size": {"n_train": 7}})
    write_json(here.model_metrics, {"best_epoch": 2})
    first = Job("r00", "r00", tmp_path, Path("start"), declared(), "a", 0)
    row, correct = module._read(first)
    assert (row["val_accuracy"], row["test_accuracy"]) == (0, 0.5)
    assert (row["late_val_accuracy"], row["late_test_accuracy"]) == (0.75, 0.625)
    assert correct["kept"].to_dict() == {"a": True, "b": False}
    assert correct["late"].to_dict() == {"a": 0.25, "b": 1.0}


def test_without_a_finished_round_the_tables_stay_as_they_are(tmp_path: Path) -> None:
    places = StudyPlaces(tmp_path)
    arms, verdicts = Results([]).write(places)
    assert arms.empty
    assert verdicts.empty
    assert read_table(places.rounds, STUDY_ROUNDS).empty
    written = (places.rounds, places.arms, places.verdicts)
    for path in written:
        path.write_text("what took a week")
    Results([]).write(places)
    assert {path.read_text() for path in written} == {"what took a week"}
