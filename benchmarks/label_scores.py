"""How well label scores rank planted wrong labels, beside cleanlab's default on the same folds.

Flips a share of the given labels of a folder with train/ and val/ uniformly, scores all images and
prints average precision and precision in the first 100 and 300. What was wrong before counts as
right here, so on real images the precision is a lower bound.

    python benchmarks/label_scores.py data/raw --flips 0.1 --seeds 1
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score

from databoost.audit.crossvalidation import cross_validate, dynamics, stratified_folds
from databoost.audit.gradients import gradient_descriptors
from databoost.audit.label_scores import kernel_scores, neighbour_similarity, score_labels
from databoost.data.images import image_id, read_image
from databoost.data.resizing import TapStore
from databoost.data.tables import MANIFEST
from databoost.model.evaluation import pick_device
from databoost.model.training import Examples
from databoost.params import Params, read_params

Numbers = npt.NDArray[np.float64]


def measure(paths: list[Path], share: float, seed: int, params: Params) -> None:
    """Flip labels, score the images, and print a line a method."""
    classes = sorted({path.parent.name for path in paths})
    labels = np.array([classes.index(path.parent.name) for path in paths])
    rng = np.random.default_rng(seed)
    flipped = rng.choice(len(paths), round(share * len(paths)), replace=False)
    shifts = rng.integers(1, len(classes), len(flipped))
    labels[flipped] = (labels[flipped] + shifts) % len(classes)
    is_wrong = np.isin(np.arange(len(paths)), flipped)
    images = [read_image(path) for path in paths]
    examples = Examples(TapStore(images, params.model.image_size), torch.from_numpy(labels))
    settings = params.scores.model_copy(update={"seed": seed})
    with tempfile.TemporaryDirectory() as state:
        folds = cross_validate(
            examples, len(classes), params.model, settings, Path(state),
            device=pick_device("auto"), progress=True,
        )  # fmt: skip
    said = dynamics(folds)
    descriptors = gradient_descriptors(images)
    kernel = kernel_scores(descriptors, labels, len(classes), stratified_folds(labels, 10, seed))
    columns = {name: [""] * len(paths) for name in MANIFEST.columns}
    columns["image_id"] = [str(number) for number in range(len(paths))]
    columns["label"] = [classes[label] for label in labels]
    columns["similarity"] = [np.nan] * len(paths)
    manifest = MANIFEST.frame(columns)
    similarity = neighbour_similarity(descriptors, settings.neighbors)
    table = score_labels(manifest, classes, said, kernel, similarity)
    ours = table.set_index(table["image_id"].astype(int)).sort_index()
    cleanlab = get_label_quality_scores(labels, np.exp(said[-1].astype(np.float64)))
    for name, scores in (
        ("label_score", ours["label_score"]),
        ("network_margin", ours["network_margin"]),
        ("kernel_margin", ours["kernel_margin"]),
        ("cleanlab", cleanlab),
    ):
        _row(f"{name}, seed {seed}", np.asarray(scores, dtype=np.float64), is_wrong)


def _row(name: str, scores: Numbers, is_wrong: npt.NDArray[np.bool_]) -> None:
    order = np.argsort(scores, kind="stable")
    precision = average_precision_score(is_wrong, -scores)
    first, more = is_wrong[order[:100]].mean(), is_wrong[order[:300]].mean()
    print(f"{name:32}{precision:8.3f}{first:8.2f}{more:8.2f}", flush=True)


def main() -> None:
    """Measure seed after seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with train/ and val/")
    parser.add_argument("--flips", type=float, default=0.1, help="share of flipped labels")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    arguments = parser.parse_args()
    params = read_params(Path(__file__).parents[1] / "params.yaml")
    files = [path for split in ("val", "train") for path in arguments.data.glob(f"{split}/*/*.png")]
    first = {image_id(path.read_bytes()): path for path in sorted(files)}
    print(f"{'method':32}{'AP':>8}{'P@100':>8}{'P@300':>8}")
    for seed in range(arguments.seeds):
        measure(list(first.values()), arguments.flips, seed, params)


if __name__ == "__main__":
    main()
