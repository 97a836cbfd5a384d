"""The train stage: what a killed training is resumed by, and what it picks the epoch on."""

from pathlib import Path

import pytest
from projects import REPOSITORY

from databoost.data.tables import MANIFEST
from databoost.errors import ParamsError
from databoost.layout import Layout
from databoost.params import read_params
from databoost.stages import train as module
from databoost.stages.train import state_folder


def test_only_the_same_training_of_the_same_classes_is_resumed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    names = [
        state_folder(layout, "key", ["i", "v"], "cpu"),
        state_folder(layout, "key", ["v", "i"], "cpu"),
        state_folder(layout, "key", ["i", "v", "x"], "cpu"),
        state_folder(layout, "other", ["i", "v"], "cpu"),
        state_folder(layout, "key", ["i", "v"], "cuda"),
        state_folder(Layout(tmp_path / "moved"), "key", ["i", "v"], "cpu"),
    ]
    assert len({path.name for path in names}) == len(names)
    assert state_folder(layout, "key", ["i", "v"], "cpu") == names[0]


def test_a_validation_that_is_all_mined_is_refused(tmp_path: Path) -> None:
    params = read_params(REPOSITORY / "params.yaml")
    boost = params.boost.model_copy(update={"mine_on": "half"})
    params = params.model_copy(update={"boost": boost})
    ids = ["0af255a41ffbc91b", "224495eeffe3d9d3"]  # both lie in the half that is mined
    rows: dict[str, list[object]] = {name: [""] * 2 for name in MANIFEST.columns}
    rows |= {"image_id": ids, "split": ["val"] * 2, "label": ["i"] * 2, "similarity": [0.0] * 2}
    here = Layout(tmp_path).round("r00")
    with pytest.raises(
        ParamsError, match=r"mine_on is 'half', and all 2 validation image\(s\) lie"
    ):
        module._examples(MANIFEST.frame(rows), "val", here, params, ["i"])
