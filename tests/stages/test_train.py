"""The train stage: what a killed training is resumed by."""

from pathlib import Path

from databoost.layout import Layout
from databoost.stages.train import state_folder


def test_only_the_same_training_of_the_same_classes_is_resumed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    names = [
        state_folder(layout, "key", ["i", "v"]),
        state_folder(layout, "key", ["v", "i"]),
        state_folder(layout, "key", ["i", "v", "x"]),
        state_folder(layout, "other", ["i", "v"]),
        state_folder(Layout(tmp_path / "moved"), "key", ["i", "v"]),
    ]
    assert len({path.name for path in names}) == len(names)
    assert state_folder(layout, "key", ["i", "v"]) == names[0]
