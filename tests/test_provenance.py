"""Parameters that have changed since the outputs were made."""

from pathlib import Path

import pytest
from handmade_rounds import declared

from databoost.data.files import write_text
from databoost.errors import ParamsError
from databoost.layout import Layout
from databoost.provenance import EditedInputs, changed_params, stages_of

LOCK = """\
schema: '2.0'
stages:
  prepare:
    cmd: databoost prepare
    params:
      params.yaml:
        split:
          strategy: given
          seed: 0
  train@r00: &train
    cmd: databoost train r00
    params:
      params.yaml:
        train:
          epochs: 100
          epsilon: 1.0e-07
  train@r01: *train
  evaluate@r01:
    cmd: databoost evaluate r01
    params:
      params.yaml:
        train.batch_size: 8
        evaluate:
          grid_images: 40
  train@r02:
    cmd: databoost train r02
    params:
      params.yaml:
        train:
          epochs: 7
"""
PARAMS = """\
split: {strategy: given, seed: 0}
train: {epochs: 100, epsilon: 1.0e-7, batch_size: 8}
evaluate: {grid_images: 40}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    write_text(layout.params, PARAMS)
    return layout


def stages(*names: str) -> list[str]:
    return stages_of(declared(), names)


def test_agreeing_params(layout):
    write_text(
        layout.lock, LOCK.replace("epsilon: 1.0e-07", "epsilon: 1.0e-07\n          batch_size: 8")
    )
    assert changed_params(layout, stages("r00", "r01")) == []


def test_every_difference_is_told_once(layout):
    write_text(layout.lock, LOCK)
    write_text(
        layout.params,
        "split: {strategy: stratified, seed: 0, val_fraction: 0.2}\n"
        "train: {epochs: 20, epsilon: 1.0e-7, batch_size: 16}\n",
    )
    assert changed_params(layout, stages("r00", "r01")) == [
        "evaluate: {'grid_images': 40} then, None now",
        "split.strategy: given then, stratified now",
        "split.val_fraction: None then, 0.2 now",
        "train.batch_size: 8 then, 16 now",
        "train.batch_size: None then, 16 now",
        "train.epochs: 100 then, 20 now",
    ]


def test_other_rounds_do_not_count(layout):
    write_text(layout.lock, LOCK)
    assert changed_params(layout, stages()) == []
    assert "train.epochs: 7 then, 100 now" in changed_params(layout, stages("r02"))


def test_label_scores_count_where_they_decide_who_asks(layout):
    assert "scores" not in stages("r00")
    assert "scores" in stages_of(declared(boost={"suspects": "skip"}), ["r00"])


def test_without_a_record_nothing_differs(layout):
    assert changed_params(layout, stages("r00")) == []
    write_text(layout.lock, "")
    assert changed_params(layout, stages("r00")) == []


def test_a_damaged_record(layout):
    write_text(layout.lock, "stages: [")
    with pytest.raises(ParamsError, match=r"dvc\.lock is not readable YAML"):
        changed_params(layout, stages("r00"))


PIPELINE = """\
stages:
  prepare:
    cmd: databoost prepare
    deps: [src, data/corrections.csv]
    params: [split]
  train:
    foreach: ${rounds}
    do:
      cmd: databoost train ${item}
      deps: [src]
      params: [train.epochs, train.batch_size]
"""


def test_what_is_edited_while_a_stage_runs_is_noticed(layout):
    write_text(layout.pipeline, PIPELINE)
    write_text(layout.corrections, "one")
    prepare, train = (EditedInputs(layout, name) for name in ("prepare", "train"))
    assert prepare.changed() == train.changed() == []
    write_text(
        layout.params, PARAMS.replace("epochs: 100", "epochs: 20").replace("seed: 0", "seed: 1")
    )
    assert prepare.changed() == ["split.seed: 0 then, 1 now"]
    assert train.changed() == ["train.epochs: 100 then, 20 now"]
    write_text(layout.corrections, "two")
    assert prepare.changed() == ["data/corrections.csv", "split.seed: 0 then, 1 now"]
    write_text(layout.params, PARAMS)
    assert train.changed() == []
    layout.corrections.unlink()
    assert prepare.changed() == ["data/corrections.csv"]
    write_text(layout.params, "{")
    with pytest.raises(ParamsError, match="not readable YAML"):
        train.changed()


def test_code_and_weights_are_inputs_too(layout):
    write_text(layout.params, "embedding: {weights: data/weights/encoder.onnx}\n")
    write_text(
        layout.pipeline,
        "stages: {candidates: {deps: [src/a, src/b.py, data/rounds, '${embedding.weights}']}}",
    )
    written = [layout.root / path for path in ("src/a/b/c.py", "src/b.py", "data/rounds/r00.csv")]
    weights = layout.root / "data/weights/encoder.onnx"
    for path in (*written, weights):
        write_text(path, "one")
    inputs = EditedInputs(layout, "candidates")
    assert inputs.changed() == []
    for path in written:
        write_text(path, "two")
    assert inputs.changed() == ["src/a", "src/b.py"]
    weights.unlink()
    assert inputs.changed() == ["data/weights/encoder.onnx", "src/a", "src/b.py"]


def test_without_a_pipeline_nothing_is_compared(layout):
    inputs = EditedInputs(layout, "train")
    write_text(layout.params, "train: {epochs: 1}")
    assert inputs.changed() == []
    write_text(layout.pipeline, PIPELINE)
    assert EditedInputs(layout, "ingest").changed() == []
