"""What is gathered from a round's outputs, and what its key depends on."""

import hashlib
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from handmade_rounds import declared, edit_json, lay_round
from projects import REPOSITORY

from databoost import provenance
from databoost.boosting import Stop
from databoost.data.files import write_bytes, write_json, write_text
from databoost.layout import Layout
from databoost.outcomes import (
    STOP_REASONS,
    Outcome,
    flat_params,
    missing_outputs,
    read_outcomes,
    rounds_table,
    shown_files,
)
from databoost.params import Params
from databoost.yamlfile import read_yaml


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    lay_round(layout, "r00")
    lay_round(layout, "r01", accuracy=1.0, stop="no_queries")
    return layout


def outcomes(layout: Layout, params: Params | None = None) -> list[Outcome]:
    return read_outcomes(layout, params or declared(), ("r00", "r01"))


def test_every_stop_has_a_reason() -> None:
    assert tuple(STOP_REASONS) == get_args(Stop)


def test_metrics_of_the_first_round(layout: Layout) -> None:
    first = outcomes(layout)[0]
    assert first.metrics == {
        "n_train": 2, "n_val": 2, "padded_size": 16, "best_epoch": 1, "n_epochs": 2,
        "n_additions": 0, "split/auc_before": 0.75, "split/auc_after": 0.5,
        "train/accuracy": 1.0, "train/loss": 0.25, "train/n_images": 2,
        "train/n_misclassified": 0, "train/class/i": 1.0, "train/class/v": 1.0,
        "val/accuracy": 0.5, "val/late_accuracy": 0.5, "val/loss": 1.5, "val/n_images": 2,
        "val/n_misclassified": 1, "val/class/i": 1.0, "val/class/v": 0.0,
        "label_book/accuracy": 0.5, "label_book/loss": 0.75, "label_book/n_images": 2,
        "label_book/n_misclassified": 1, "label_book/class/i": 1.0, "label_book/class/v": 0.0,
    }  # fmt: skip
    assert (first.step, first.stop) == (0, "")
    assert first.snapshot == hashlib.sha256(layout.round("r00").manifest.read_bytes()).hexdigest()
    assert first.curve["val_accuracy"].tolist() == [0.0, 0.5]


def test_late_epochs_are_those_of_the_last_half(layout: Layout) -> None:
    header = "epoch,train_loss,train_accuracy,val_loss,val_accuracy\n"
    rows = "".join(f"{epoch},1.0,0.5,1.0,{epoch / 8}\n" for epoch in range(5))
    write_text(layout.round("r00").curve, header + rows)
    assert outcomes(layout)[0].metrics["val/late_accuracy"] == 3 / 8  # of epochs 2, 3 and 4


def test_late_epochs_that_saw_half_of_val_are_not_told_beside_all_of_it(layout: Layout) -> None:
    half = outcomes(layout, declared(boost={"mine_on": "half"}))
    assert "val/late_accuracy" not in half[0].metrics
    assert half[0].metrics["val/accuracy"] == 0.5
    assert "late_val" not in rounds_table(half).columns
    assert rounds_table(outcomes(layout))["late_val"].tolist() == [0.5, 1.0]


def test_a_boosted_round_also_tells_of_its_boost(layout: Layout) -> None:
    second = outcomes(layout)[1]
    boost = ("n_queries", "n_additions", "search_recall", "mean_similarity")
    assert {name: second.metrics[name] for name in boost} == {
        "n_queries": 1,
        "n_additions": 1,
        "search_recall": 0.875,
        "mean_similarity": 0.75,
    }
    assert (second.step, second.stop) == (1, "no_queries")
    assert second.progress == {
        "train/accuracy": 1.0, "train/n_misclassified": 0,
        "val/accuracy": 1.0, "val/late_accuracy": 1.0, "val/n_misclassified": 0,
        "label_book/accuracy": 0.5, "label_book/n_misclassified": 1,
        "n_train": 3, "n_additions": 1,
    }  # fmt: skip


def test_a_recall_that_was_not_measured_is_left_out(layout: Layout) -> None:
    edit_json(layout.round("r01").boost, recall=None, mean_similarity=None)
    metrics = outcomes(layout)[1].metrics
    assert "search_recall" not in metrics
    assert "mean_similarity" not in metrics


def test_classes_with_awkward_names_get_names_that_mlflow_takes(layout: Layout) -> None:
    from mlflow.utils.validation import _validate_metric_name

    labels = ["a&b", "a+b", "größe 7", "..", ".hidden", "x.", "()", "l" * 255]
    edit_json(
        layout.round("r00").metrics,
        val={"accuracy": 0.5, "per_class_accuracy": dict.fromkeys(labels, 0.5)},
    )
    names = [name for name in outcomes(layout)[0].metrics if name.startswith("val/class/")]
    assert names[:4] == [
        "val/class/a_26_b",
        "val/class/a_2b_b",
        "val/class/größe 7",
        "val/class/_2e_.",
    ]
    assert len(names) == len(labels)
    for name in names:
        _validate_metric_name(name)
        assert len(name) <= 250


def test_incomplete_rounds_are_left_out(layout: Layout) -> None:
    here = layout.round("r01")
    assert missing_outputs(here) == []
    here.boost.unlink()
    assert missing_outputs(here) == [here.boost]
    assert [outcome.files.name for outcome in outcomes(layout)] == ["r00"]
    assert missing_outputs(layout.round("r02"))[0] == layout.round("r02").manifest


def test_a_split_that_was_kept_has_no_figures(layout: Layout) -> None:
    write_json(layout.round("r00").split, {"strategy": "given"})
    assert not [name for name in outcomes(layout)[0].metrics if name.startswith("split/")]


def test_the_first_round_has_no_files_of_a_boost(layout: Layout) -> None:
    first = [path.name for path in shown_files(layout.round("r00"))]
    assert first == [
        "manifest.csv", "best.ckpt", "curve.csv", "sheet.csv", "confusion.csv", "confusion.png",
        "misclassified.png", "split.json",
    ]  # fmt: skip
    second = [path.name for path in shown_files(layout.round("r01"))]
    assert second == [*first[:-1], "additions.csv", "boost.json"]


def test_params_are_flat_texts_without_the_names_of_rounds_and_runs() -> None:
    params = flat_params(
        declared(
            data={"classes": ["i", "v"]},
            train={"epochs": 7},
            candidates={"mirror": {"i": "v"}, "rotation": [-15, 15]},
        )
    )
    assert params["train.epochs"] == "7"
    assert params["boost.strategy"] == "nearest"
    assert params["data.sha256"] == ""
    assert params["data.classes"] == '["i", "v"]'
    assert params["candidates.mirror"] == '{"i": "v"}'
    assert params["candidates.rotation"] == "[-15.0, 15.0]"
    sections = {name.partition(".")[0] for name in params}
    assert sections == {
        "data", "synthetic", "split", "model", "train", "evaluate", "candidates", "embedding",
        "search", "boost", "audit",
    }  # fmt: skip
    assert "audit.max_bits" in params
    assert {"audit.odd_size", "audit.seed", "candidates.engine"}.isdisjoint(params)


def test_the_params_of_a_round_are_those_that_dvc_gives_to_its_stages() -> None:
    every = declared().model_dump()
    named: set[str] = set()
    for stage in provenance._ONE_FOR_ALL_ROUNDS + provenance._ONE_A_ROUND:
        declaration = read_yaml(REPOSITORY / "dvc.yaml")["stages"][stage]
        for key in declaration.get("do", declaration)["params"]:
            section, dot, _ = key.partition(".")
            named |= {key} if dot else {f"{section}.{name}" for name in every[section]}
    assert set(flat_params(declared())) == named


def test_keys_are_hashes_that_differ_between_rounds(layout: Layout) -> None:
    first, second = outcomes(layout)
    keys = {first.key, first.boost_key, second.key, second.boost_key}
    assert len(keys) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def test_keys_do_not_depend_on_the_folder_or_on_names_in_mlflow(
    layout: Layout, tmp_path: Path
) -> None:
    other = Layout(tmp_path / "other")
    lay_round(other, "r00")
    renamed = declared(tracking={"experiment": "another"})
    here, there = outcomes(layout)[0], outcomes(other, renamed)[0]
    assert (here.key, here.boost_key) == (there.key, there.boost_key)


@pytest.mark.parametrize("output", ["manifest", "checkpoint", "sheet", "additions"])
def test_a_changed_output_changes_the_key(layout: Layout, output: str) -> None:
    before = outcomes(layout)[1]
    path: Path = getattr(layout.round("r01"), output)
    write_bytes(path, path.read_bytes() + b" ")
    assert outcomes(layout)[1].key != before.key


@pytest.mark.parametrize(
    ("output", "change"),
    [("metrics", {"size": {"n_train": 9, "n_val": 2, "padded": 16}}), ("boost", {"stop": None})],
)
def test_a_changed_result_changes_the_key(
    layout: Layout, output: str, change: dict[str, Any]
) -> None:
    before = outcomes(layout)[1]
    edit_json(getattr(layout.round("r01"), output), **change)
    assert outcomes(layout)[1].key != before.key


def test_changed_params_change_every_key(layout: Layout) -> None:
    before = outcomes(layout)[0]
    after = outcomes(layout, declared(boost={"neighbors": 4}))[0]
    assert after.key != before.key
    assert after.boost_key != before.boost_key


def test_params_that_change_no_round_change_no_key(layout: Layout) -> None:
    before = outcomes(layout)[0]
    other = declared(audit={"odd_size": 9.0, "seed": 1}, candidates={"engine": "ray"})
    assert outcomes(layout, other)[0].key == before.key
    assert outcomes(layout, declared(audit={"max_bits": 3}))[0].key != before.key


def test_label_scores_count_where_they_decide_who_asks(layout: Layout) -> None:
    folds = {"folds": 5}
    assert outcomes(layout, declared(scores=folds))[0].key == outcomes(layout)[0].key
    skipping = {"suspects": "skip"}
    before = outcomes(layout, declared(boost=skipping))[0]
    after = outcomes(layout, declared(boost=skipping, scores=folds))[0]
    assert after.key != before.key
    assert after.settings["scores.folds"] == "5"


def test_a_changed_sheet_leaves_the_key_of_the_boost(layout: Layout) -> None:
    before = outcomes(layout)[0]
    write_bytes(layout.round("r00").sheet, b"evaluated anew")
    assert outcomes(layout)[0].boost_key == before.boost_key
