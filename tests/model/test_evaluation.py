"""Image sheet, metrics and confusion on numbers that can be checked by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from databoost.data.resizing import TapStore
from databoost.data.tables import CONFUSION, MANIFEST, SHEET
from databoost.model.architectures import build_model
from databoost.model.evaluation import (
    confusion_counts,
    image_sheet,
    predict,
    split_metrics,
)

CLASSES = ["v", "iv", "x"]
#: id, split, label, probabilities of v, iv, x.
IMAGES = [
    ("e", "val", "v", (0.5, 0.25, 0.25)),
    ("d", "val", "iv", (0.75, 0.125, 0.125)),
    ("c", "train", "v", (0.5, 0.25, 0.25)),
    ("b", "train", "v", (0.5, 0.5, 0.0)),
    ("a", "train", "x", (0.5, 0.0, 0.5)),
    ("f", "test", "iv", (0.0, 1.0, 0.0)),
]


def make_manifest(images: list[tuple[str, str, str, tuple[float, ...]]]) -> pd.DataFrame:
    blank = [""] * len(images)
    return MANIFEST.frame(
        {
            "image_id": [image[0] for image in images],
            "path": [f"{split}/{label}/{name}.png" for name, split, label, _ in images],
            "split": [image[1] for image in images],
            "label": [image[2] for image in images],
            "origin": ["raw"] * len(images),
            "parent_id": blank,
            "recipe": blank,
            "round_added": ["r00"] * len(images),
            "query_id": blank,
            "similarity": [float("nan")] * len(images),
        }
    )


@pytest.fixture
def sheet() -> pd.DataFrame:
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([image[3] for image in IMAGES]))
    return image_sheet(make_manifest(IMAGES), logs, CLASSES)


def test_sheet_has_exact_values_worst_first(sheet):
    expected = SHEET.frame(
        {
            "image_id": ["d", "f", "e", "a", "b", "c"],
            "path": [
                "val/iv/d.png",
                "test/iv/f.png",
                "val/v/e.png",
                "train/x/a.png",
                "train/v/b.png",
                "train/v/c.png",
            ],
            "split": ["val", "test", "val", "train", "train", "train"],
            "label": ["iv", "iv", "v", "x", "v", "v"],
            "predicted_label": ["v", "iv", "v", "v", "v", "v"],
            "p_label": [0.125, 1.0, 0.5, 0.5, 0.5, 0.5],
            "p_predicted": [0.75, 1.0, 0.5, 0.5, 0.5, 0.5],
            "margin": [-0.625, 1.0, 0.25, 0.0, 0.0, 0.25],
            "loss": [2.079442, 0.0, 0.693147, 0.693147, 0.693147, 0.693147],
            "is_misclassified": [True, False, False, True, False, False],
            "origin": ["raw"] * 6,
            "round_added": ["r00"] * 6,
        }
    )
    order = ["d", "a", "b", "c", "e", "f"]  # equal losses: by split, then by image id
    expected = expected.set_index("image_id", drop=False).loc[order].reset_index(drop=True)
    pd.testing.assert_frame_equal(sheet, expected)


def test_sheet_does_not_depend_on_the_order_of_the_images(sheet):
    turned = IMAGES[::-1]
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([image[3] for image in turned]))
    pd.testing.assert_frame_equal(image_sheet(make_manifest(turned), logs, CLASSES), sheet)


def test_no_cell_is_a_negative_zero(sheet):
    numbers = sheet[["p_label", "p_predicted", "margin", "loss"]].to_numpy()
    assert not np.signbit(numbers[numbers == 0]).any()
    logs = np.log(np.array([[0.4999999, 0.5000001, 1e-300]]))
    near = image_sheet(make_manifest(IMAGES[:1]), logs, CLASSES)
    assert near["is_misclassified"].item()
    assert (near["margin"].item(), np.signbit(near["margin"].item())) == (0.0, False)


def test_single_class_and_no_images():
    one = image_sheet(make_manifest(IMAGES[:1]), np.zeros((1, 1)), ["v"])
    assert one[["p_label", "margin", "loss"]].to_numpy().tolist() == [[1.0, 1.0, 0.0]]
    none = image_sheet(MANIFEST.empty(), np.zeros((0, 3)), CLASSES)
    pd.testing.assert_frame_equal(none, SHEET.empty())
    assert split_metrics(none, CLASSES) == {}
    pd.testing.assert_frame_equal(confusion_counts(none, CLASSES), CONFUSION.empty())


def test_metrics_by_split(sheet):
    assert split_metrics(sheet, CLASSES) == {
        "test": {
            "accuracy": 1.0,
            "loss": 0.0,
            "n_images": 1,
            "n_misclassified": 0,
            "per_class_accuracy": {"iv": 1.0},
        },
        "train": {
            "accuracy": 0.666667,
            "loss": 0.693147,
            "n_images": 3,
            "n_misclassified": 1,
            "per_class_accuracy": {"v": 1.0, "x": 0.0},
        },
        "val": {
            "accuracy": 0.5,
            "loss": 1.386294,
            "n_images": 2,
            "n_misclassified": 1,
            "per_class_accuracy": {"v": 1.0, "iv": 0.0},
        },
    }
    classes = list(split_metrics(sheet, CLASSES)["train"]["per_class_accuracy"])
    assert classes == ["v", "x"]


def test_confusion_counts_every_pair_of_classes(sheet):
    counts = confusion_counts(sheet, CLASSES)
    assert counts.columns.tolist() == list(CONFUSION.columns)
    matrices = {
        split: rows["n_images"].to_numpy().reshape(3, 3).tolist()
        for split, rows in counts.groupby("split")
    }
    assert matrices == {
        "test": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        "train": [[2, 0, 0], [0, 0, 0], [1, 0, 0]],
        "val": [[1, 0, 0], [1, 0, 0], [0, 0, 0]],
    }
    assert counts["label"].tolist()[:9] == ["v"] * 3 + ["iv"] * 3 + ["x"] * 3
    assert counts["predicted_label"].tolist()[:3] == CLASSES


def all_wrong(n_classes: int) -> tuple[list[str], pd.DataFrame]:
    """Classes, and counts of three images, all wrong: one of train, two alike of val."""
    classes = [f"c{number:03d}" for number in range(n_classes)]
    images = [("train", "c005", "c001"), ("val", "c003", "c007"), ("val", "c003", "c007")]
    columns = ["split", "label", "predicted_label"]
    return classes, confusion_counts(pd.DataFrame(images, columns=columns), classes)


def test_confusion_counts_of_up_to_100_classes_hold_every_zero():
    classes, counts = all_wrong(100)
    assert counts[["split", "label", "predicted_label"]].to_numpy().tolist() == [
        [split, label, other]
        for split in ("train", "val")
        for label in classes
        for other in classes
    ]
    assert counts[counts["n_images"] > 0].to_numpy().tolist() == [
        ["train", "c005", "c001", 1],
        ["val", "c003", "c007", 2],
    ]


def test_confusion_counts_of_more_classes_hold_few_zeros():
    classes, counts = all_wrong(101)
    occurring = {("train", "c005", "c001"): 1, ("val", "c003", "c007"): 2}
    assert counts.to_numpy().tolist() == [
        [split, label, other, occurring.get((split, label, other), 0)]
        for split in ("train", "val")
        for label in classes
        for other in classes
        if label in (other, "c000") or (split, label, other) in occurring
    ]
    for axis in ("label", "predicted_label"):  # in the order in which they first come up
        assert counts.loc[counts["split"] == "val", axis].unique().tolist() == classes


def test_predictions_are_log_probabilities_in_order_over_several_batches():
    random = np.random.default_rng(0)
    images = list(random.integers(0, 256, (70, 32, 32, 3), dtype=np.uint8))
    model = build_model("fixed", 4, seed=0)
    found = predict(model, TapStore(images, 32), torch.device("cpu"))
    assert (found.shape, found.dtype) == ((70, 4), np.float64)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-12)
    assert not model.training
    with torch.inference_mode():
        last = model(TapStore(images[69:], 32).batch(slice(None))).double().softmax(dim=1)
    np.testing.assert_allclose(np.exp(found[69:]), last.numpy(), rtol=1e-4)
    assert predict(model, TapStore([], 32), torch.device("cpu")).shape == (0, 4)
