"""Checkpoints: the same bytes, nothing executable, nothing foreign."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from databoost.errors import ParamsError, WeightsError
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, load_checkpoint, load_tensors, save_checkpoint


def make_checkpoint(seed: int = 0) -> Checkpoint:
    model = build_model("fixed", 3, seed)
    return Checkpoint("fixed", 32, ["i", "ii", "iii"], 7, model.state_dict())


def test_what_is_saved_is_loaded(tmp_path):
    checkpoint = make_checkpoint()
    save_checkpoint(tmp_path / "model" / "best.ckpt", checkpoint)
    loaded = load_checkpoint(tmp_path / "model" / "best.ckpt")
    assert (loaded.architecture, loaded.image_size, loaded.epoch) == ("fixed", 32, 7)
    assert loaded.classes == ["i", "ii", "iii"]
    assert loaded.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(loaded.weights[k], v) for k, v in checkpoint.weights.items())
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["best.ckpt"]


def test_model_has_the_weights_and_is_in_evaluation_mode():
    source = build_model("fixed", 3, seed=4).eval()
    model = Checkpoint("fixed", 32, ["a", "b", "c"], 0, source.state_dict()).model()
    images = torch.rand((2, 3, 32, 32)) * 255
    assert not model.training
    with torch.inference_mode():
        assert torch.equal(model(images), source(images))


def test_a_model_that_asks_which_version_saved_it_is_loaded_again(tmp_path):
    source = build_model("mnasnet0_5", 2, seed=1).eval()
    save_checkpoint(
        tmp_path / "best.ckpt", Checkpoint("mnasnet0_5", 32, ["a", "b"], 0, source.state_dict())
    )
    model = load_checkpoint(tmp_path / "best.ckpt").model()
    images = torch.rand((2, 3, 32, 32)) * 255
    with torch.inference_mode():
        assert torch.equal(model(images), source(images))


SAVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_checkpoints import make_checkpoint, save_checkpoint
save_checkpoint(Path(sys.argv[1]), make_checkpoint())
"""


@pytest.mark.slow
def test_same_weights_same_bytes_in_any_process_and_folder(tmp_path):
    paths = [tmp_path / "one.ckpt", tmp_path / "two" / "another.ckpt", tmp_path / "three.ckpt"]
    save_checkpoint(paths[0], make_checkpoint())
    again = load_checkpoint(paths[0])
    save_checkpoint(paths[1], again)
    subprocess.run(
        [sys.executable, "-c", SAVE, str(paths[2]), str(Path(__file__).parent)], check=True
    )
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1
    save_checkpoint(paths[1], make_checkpoint(seed=1))
    assert paths[1].read_bytes() != paths[0].read_bytes()


class Malicious:
    """Touches a file when it is unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    bait = tmp_path / "bait"
    torch.save({"weights": Malicious(bait)}, tmp_path / "zip.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Malicious(bait)))
    for name in ("zip.ckpt", "plain.ckpt"):
        with pytest.raises(WeightsError, match=rf"{name} is no PyTorch file .* read safely"):
            load_checkpoint(tmp_path / name)
    assert not bait.exists()


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"best\.ckpt does not exist"):
        load_checkpoint(tmp_path / "best.ckpt")


def test_truncated_empty_and_foreign_files(tmp_path):
    save_checkpoint(tmp_path / "whole.ckpt", make_checkpoint())
    content = (tmp_path / "whole.ckpt").read_bytes()
    for name, damaged in {
        "half.ckpt": content[: len(content) // 2],
        "short.ckpt": content[:-100],
        "empty.ckpt": b"",
        "text.ckpt": b"not a checkpoint",
    }.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(WeightsError, match=rf"{name} is no PyTorch file of weights"):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"state_dict": {}},
        {"architecture": "fixed", "image_size": 32, "classes": 3, "epoch": 0, "weights": {}},
    ],
)
def test_pytorch_file_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "foreign.ckpt")
    assert load_tensors(tmp_path / "foreign.ckpt") == content
    with pytest.raises(WeightsError, match=r"foreign\.ckpt is no checkpoint of databoost"):
        load_checkpoint(tmp_path / "foreign.ckpt")


def test_weights_of_another_architecture_or_class_count():
    weights = build_model("fixed", 3, seed=0).state_dict()
    with pytest.raises(WeightsError, match=r"the weights do not fit fixed: (?s:.*)head\.weight"):
        Checkpoint("fixed", 32, ["a", "b"], 0, weights).model()
    with pytest.raises(WeightsError, match="the weights do not fit resnet18"):
        Checkpoint("resnet18", 32, ["a", "b", "c"], 0, weights).model()
    with pytest.raises(ParamsError, match="architecture is 'gone'"):
        Checkpoint("gone", 32, ["a", "b", "c"], 0, weights).model()
