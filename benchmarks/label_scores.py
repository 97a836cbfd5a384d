"""How well label scores rank known faults, beside cleanlab's default and plain loss.

    python benchmarks/label_scores.py synthetic --seeds 2
    python benchmarks/label_scores.py ../roman-numerals --flips uniform --share 0.1 --seeds 2
    python benchmarks/label_scores.py ../roman-numerals --flips confusable --share 0.1 --seeds 2

``synthetic`` draws the built-in dataset (another one a seed), whose wrong labels and pictures of
nothing are known. From a folder with train/ and val/ exact copies are taken out, and a share of the
labels is changed: to any other class, or to the class that it is most easily taken for. What was
wrong in the folder before counts as right, so precision on real images is a lower bound.

All methods see the same images and labels. `label_score`, its two parts and cleanlab share the
predictions of the same fold models; the loss is that of a model trained on train/ as the project's
stage does, which has seen the labels that it judges.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from cleanlab.outlier import OutOfDistribution
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score

from databoost.audit.crossvalidation import cross_validate, dynamics, stratified_folds
from databoost.audit.gradients import gradient_descriptors
from databoost.audit.label_scores import kernel_scores, neighbour_similarity, score_labels
from databoost.data.images import ImageFiles, image_id
from databoost.data.resizing import TapStore
from databoost.data.synthetic import write_synthetic
from databoost.data.tables import MANIFEST
from databoost.model.batches import Examples
from databoost.model.evaluation import predict
from databoost.model.processor import pick_device
from databoost.model.training import train_model
from databoost.params import Params, read_params

Numbers = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """Images with faults that are known.

    ``labels`` as given, (N,) int64; ``is_val`` (N,); ``faults`` by kind, (N,) bool each.
    """

    name: str
    files: ImageFiles
    labels: npt.NDArray[np.int64]
    classes: list[str]
    is_val: Truths
    faults: dict[str, Truths]


def synthetic_case(folder: Path, seed: int, params: Params) -> Case:
    """Draw the built-in dataset; its truth table tells the faults."""
    settings = params.synthetic.model_copy(update={"seed": seed, "n_test": 0})
    truth = write_synthetic(settings, folder, progress=False)
    truth = truth.drop_duplicates("image_id")
    truth = truth[truth["split"].isin(["train", "val"])].sort_values(["split", "label", "path"])
    classes = sorted(set(truth["label"]))
    return Case(
        f"synthetic {settings.n_train}+{settings.n_val}, seed {seed}",
        ImageFiles([folder / path for path in truth["path"]]),
        np.array([classes.index(label) for label in truth["label"]]),
        classes,
        (truth["split"] == "val").to_numpy(),
        {
            "wrong label": (truth["fault"] == "wrong_label").to_numpy(),
            "no numeral": (truth["fault"] == "not_numeral").to_numpy(),
        },
    )


def flipped_case(folder: Path, kind: str, share: float, seed: int) -> Case:
    """Change a share of the labels of a folder with train/ and val/."""
    found = [path for split in ("val", "train") for path in folder.glob(f"{split}/*/*.*")]
    first: dict[str, Path] = {}
    for path in sorted(found, key=lambda path: (path.parts[-3] != "val", path)):
        first.setdefault(image_id(path.read_bytes()), path)
    paths = sorted(first.values(), key=lambda path: path.parts[-3:])
    classes = sorted({path.parent.name for path in paths})
    labels = np.array([classes.index(path.parent.name) for path in paths])
    files = ImageFiles(paths)
    generator = np.random.default_rng(seed)
    which = np.sort(generator.choice(len(paths), round(share * len(paths)), replace=False))
    if kind == "uniform":
        others = (labels[which] + generator.integers(1, len(classes), len(which))) % len(classes)
    else:
        others = _most_confusable(gradient_descriptors(files), labels, len(classes))[labels[which]]
    labels = labels.copy()
    labels[which] = others
    is_val = np.array([path.parts[-3] == "val" for path in paths])
    is_flipped = np.isin(np.arange(len(paths)), which)
    name = f"{folder.name}, {share:.0%} {kind} flips, seed {seed}"
    return Case(name, files, labels, classes, is_val, {"flipped": is_flipped})


def _most_confusable(
    looks: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], n_classes: int
) -> npt.NDArray[np.int64]:
    """For each class the other one that its images' nearest neighbours have most often."""
    similarity = looks @ looks.T
    np.fill_diagonal(similarity, -1)
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (labels, labels[similarity.argmax(axis=1)]), 1)
    np.fill_diagonal(counts, -1)
    confusable: npt.NDArray[np.int64] = counts.argmax(axis=1)
    return confusable


def in_sample_loss(case: Case, images: TapStore, params: Params, seed: int) -> Numbers:
    """Minus the loss under a model trained on train/: low is bad."""
    labels = torch.from_numpy(case.labels)

    def examples(which: Truths) -> Examples:
        part = TapStore(case.files[:0], params.model.image_size)
        rows = torch.from_numpy(np.flatnonzero(which))
        part.taps = images.taps[rows]
        part.row_fractions = images.row_fractions[rows]
        part.column_fractions = images.column_fractions[rows]
        return Examples(part, labels[rows])

    with tempfile.TemporaryDirectory() as state:
        settings = params.train.model_copy(update={"seed": seed})
        trained = train_model(
            examples(~case.is_val), examples(case.is_val), case.classes, params.model, settings,
            Path(state),
        )  # fmt: skip
    log_p = predict(trained.checkpoint.model(), images, torch.device("cpu"))
    found: Numbers = log_p[np.arange(len(case.labels)), case.labels]
    return found


def measure(case: Case, params: Params, seed: int) -> Iterator[list[object]]:
    """Score the images of a case every way; yields a row a fault and method."""
    n_classes = len(case.classes)
    images = TapStore(case.files, params.model.image_size)
    examples = Examples(images, torch.from_numpy(case.labels))
    settings = params.scores.model_copy(update={"seed": seed})
    device = pick_device(params.train)
    with tempfile.TemporaryDirectory() as state:
        folds = cross_validate(
            examples, n_classes, params.model, settings, Path(state), device=device, progress=True
        )
    said = dynamics(folds)
    looks = gradient_descriptors(case.files)
    dealt = stratified_folds(case.labels, 10, seed)
    kernel = kernel_scores(looks, case.labels, n_classes, dealt)
    similarity = neighbour_similarity(looks, settings.neighbors)
    n = len(case.labels)
    columns: dict[str, list[object]] = {name: [""] * n for name in MANIFEST.columns}
    columns["image_id"] = [f"{number:06}" for number in range(n)]
    columns["label"] = [case.classes[label] for label in case.labels]
    columns["similarity"] = [np.nan] * n
    table = score_labels(MANIFEST.frame(columns), case.classes, said, kernel, similarity)
    table = table.sort_values("image_id")
    last = np.exp(said[-1].astype(np.float64))
    labelled = {
        "label_score": table["label_score"],
        "network margin": table["network_margin"],
        "kernel margin": table["kernel_margin"],
        "cleanlab, last epoch": get_label_quality_scores(case.labels, last),
        "cleanlab, our predictions": get_label_quality_scores(
            case.labels, _joined(said, kernel), method="self_confidence"
        ),
        "loss of the stage's model": in_sample_loss(case, images, params, seed),
    }
    odd = {
        "outlier_score": table["outlier_score"],
        "cleanlab, same descriptors": OutOfDistribution().fit_score(features=looks, verbose=False),
    }
    issues = table["is_label_issue"].to_numpy(), table["is_outlier_issue"].to_numpy()
    for fault, is_fault in case.faults.items():
        is_odd = fault == "no numeral"
        for method, scores in (odd if is_odd else labelled).items():
            yield [case.name, fault, method, *figures(np.asarray(scores, np.float64), is_fault)]
        flagged = issues[is_odd]
        hits = int((flagged & is_fault).sum())
        yield [
            case.name, fault, "flagged", "", "", "", int(is_fault.sum()),
            f"{hits} of {int(flagged.sum())} flagged",
        ]  # fmt: skip


def _joined(said: npt.NDArray[np.float32], kernel: Numbers) -> Numbers:
    """Give cleanlab the average of what both judges say."""
    averaged = said.astype(np.float64).mean(axis=0)
    both = [np.exp(v - v.max(axis=1, keepdims=True)) for v in (averaged, 6.0 * kernel)]
    shares: Numbers = sum(v / v.sum(axis=1, keepdims=True) for v in both) / 2
    return shares


def figures(scores: Numbers, is_fault: Truths) -> list[object]:
    """Average precision, precision in the first 100 and 300, number of faults."""
    order = np.argsort(scores, kind="stable")
    precision = average_precision_score(is_fault, -scores)
    first, more = is_fault[order[:100]].mean(), is_fault[order[:300]].mean()
    return [round(float(precision), 3), round(float(first), 2), round(float(more), 2),
            int(is_fault.sum()), ""]  # fmt: skip


def main() -> None:
    """Measure seed after seed; a line as soon as it is known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="synthetic, or a folder with train/ and val/")
    parser.add_argument("--flips", choices=["uniform", "confusable"], default="uniform")
    parser.add_argument("--share", type=float, default=0.1, help="share of changed labels")
    parser.add_argument("--images", type=int, default=0, help="synthetic training images")
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    params = read_params(Path(__file__).parents[1] / "params.yaml")
    threads = params.train.model_copy(update={"threads": given.threads})
    params = params.model_copy(update={"train": threads})
    if given.images:
        sizes = {"n_train": given.images, "n_val": given.images // 3}
        synthetic = params.synthetic.model_copy(update=sizes)
        params = params.model_copy(update={"synthetic": synthetic})
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["case", "fault", "method", "AP", "P@100", "P@300", "n_faults", "note"])
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            if given.data == "synthetic":
                case = synthetic_case(Path(folder), seed, params)
            else:
                case = flipped_case(Path(given.data), given.flips, given.share, seed)
            for row in measure(case, params, seed):
                rows.writerow(row)
                sys.stdout.flush()


if __name__ == "__main__":
    main()
