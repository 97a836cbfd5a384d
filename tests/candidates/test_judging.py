"""What a model says of candidates is what it says of the images that they would become."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from handmade_rounds import declared

from databoost.candidates.augmentation import Parents, render
from databoost.candidates.judging import judge_candidates
from databoost.candidates.recipes import make_recipes
from databoost.data.images import ImageFiles, encode_png
from databoost.data.resizing import TapStore
from databoost.errors import ParamsError
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint
from databoost.model.evaluation import predict

CLASSES = ["i", "v"]


def test_candidates_are_judged_as_the_files_that_they_would_be(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    files = {}
    for number, name in enumerate("cab"):
        pixels = generator.integers(0, 256, (20 + number, 24, 1), dtype=np.uint8)
        files[name] = tmp_path / f"{name}.png"
        files[name].write_bytes(encode_png(pixels))
    policy = declared().candidates
    rows = pd.DataFrame({"image_id": list(files), "label": ["i", "v", "i"]})
    recipes = make_recipes(0, 12, rows, policy, CLASSES).iloc[[7, 2, 3, 11, 0]]
    model = build_model("fixed", 2, seed=0)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoint = Checkpoint("fixed", 32, CLASSES, 0, weights)
    cpu = torch.device("cpu")

    judged = judge_candidates(recipes, files, policy, checkpoint, cpu)

    parents = Parents(rows, ImageFiles(list(files.values())), policy)
    drawn = [render(parents, recipes.iloc[[place]]) for place in range(5)]
    expected = predict(checkpoint.model(), TapStore(drawn, 32), cpu)
    assert judged.shape == (5, 2)
    np.testing.assert_allclose(judged, expected, atol=1e-5)
    assert judge_candidates(recipes.iloc[:0], files, policy, checkpoint, cpu).shape == (0, 2)
    with pytest.raises(ParamsError, match="drawn under policy"):
        judge_candidates(recipes.assign(policy="v0-0"), files, policy, checkpoint, cpu)
