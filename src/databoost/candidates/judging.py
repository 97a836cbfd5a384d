"""What a model says of candidates that nobody has stored: rendered, judged and forgotten."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from databoost.candidates.shards import render_some
from databoost.model.checkpoints import Checkpoint
from databoost.model.evaluation import Probabilities
from databoost.sections import CandidatesParams

_BATCH = 256


def judge_candidates(
    recipes: pd.DataFrame,
    files: Mapping[str, Path | bytes],
    policy: CandidatesParams,
    checkpoint: Checkpoint,
    device: torch.device,
    seen: Callable[[Path, bytes], object] | None = None,
) -> Probabilities:
    """Predict the classes of candidates as they would be seen in training.

    Parameters
    ----------
    recipes
        n rows of ``RECIPES``.
    files
        Image file of each parent by its id: a path, or the file's bytes.
    seen
        Is told the path and the bytes of every file that is read.

    Returns
    -------
    numpy.ndarray
        (n, n_classes) float64 log-probabilities (natural logarithm), in the order of `recipes`.

    Raises
    ------
    ParamsError
        If the recipes were drawn under another policy.
    ImageError
        If the file of a parent is no readable image.
    """
    model = checkpoint.model().eval().to(device)
    found = np.empty((len(recipes), len(checkpoint.classes)))
    size = checkpoint.image_size
    for rows, images in render_some(recipes, files, policy, size, _BATCH, seen, device):
        with torch.inference_mode():
            logits = model(images.to(device))
        found[rows] = logits.double().log_softmax(dim=1).cpu().numpy()
    return found
