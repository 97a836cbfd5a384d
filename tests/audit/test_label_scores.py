"""Label and outlier scores on points whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from databoost.audit import label_scores
from databoost.audit.label_scores import (
    kernel_scores,
    label_margins,
    neighbour_similarity,
    score_labels,
)
from databoost.stages.scores import summary


def clusters(n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Two clusters of unit vectors around two axes; image 0 has the other cluster's label."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], n)
    points = np.eye(3)[labels] + 0.05 * rng.standard_normal((2 * n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels[0] = 1
    return points.astype(np.float32), labels


@pytest.mark.parametrize("block", [5, 1024])
def test_the_kernel_leaves_each_fold_out_as_a_refit_does(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(label_scores, "_BLOCK", block)
    points, labels = clusters(6)
    folds = np.arange(12) % 3
    found = kernel_scores(points, labels, 2, folds)
    train = folds != 0
    kernel = np.exp(4.0 * (points.astype(np.float64) @ points.T.astype(np.float64) - 1))
    targets = np.eye(2)[labels] - 0.5
    weights = np.linalg.solve(kernel[np.ix_(train, train)] + 0.3 * np.eye(8), targets[train])
    assert found[~train] == pytest.approx(kernel[np.ix_(~train, train)] @ weights + 0.5)


def test_a_blank_image_tells_nothing_of_the_others() -> None:
    points, labels = clusters(10)
    folds = np.arange(20) % 4
    alone = kernel_scores(points, labels, 2, folds)
    blank = np.concatenate([points, np.zeros((1, 3), dtype=np.float32)])
    found = kernel_scores(blank, np.append(labels, 0), 2, np.append(folds, 0))
    assert found[:20] == pytest.approx(alone, abs=0.02)
    assert found[20] == pytest.approx([0.5, 0.5], abs=0.05)


def test_landmarks_come_close_to_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = clusters(30)
    folds = np.arange(60) % 5
    exact = kernel_scores(points, labels, 2, folds)
    monkeypatch.setattr(label_scores, "_LANDMARKS", 20)
    assert kernel_scores(points, labels, 2, folds) == pytest.approx(exact, abs=0.01)


def test_margins() -> None:
    scores = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    assert label_margins(scores, np.array([0, 2])).tolist() == [0.25, -0.25]


def test_similarity_leaves_the_own_group_out() -> None:
    points = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert neighbour_similarity(points, 1).tolist() == [1.0, 1.0, 0.0]
    assert neighbour_similarity(points, 1, np.array([0, 0, 1])).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("block", [2, 1024])
def test_similarity_is_the_mean_of_the_nearest(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(label_scores, "_BLOCK", block)
    points = [[1, 0, 0], [0.8, 0.6, 0], [0.6, 0.8, 0], [0.28, 0.96, 0], [0, 0, 1]]
    # Cosines of the first four: .8, .6, .28; .96, .8; .936. The last is like none.
    expected = {1: [0.8, 0.96, 0.96, 0.936, 0], 2: [0.7, 0.88, 0.948, 0.868, 0]}
    for n_neighbors, means in expected.items():
        found = neighbour_similarity(np.array(points, dtype=np.float32), n_neighbors)
        assert found.tolist() == pytest.approx(means, abs=1e-6)


@pytest.mark.parametrize("n_neighbors", [1, 9, 39, 40, 50])
def test_the_nearest_are_those_of_whole_sorted_rows_to_the_bit(n_neighbors: int) -> None:
    points, labels = clusters()
    similarity = (points @ points.T).astype(np.float64)
    similarity[labels[:, None] == labels] = 0.0
    nearest = np.sort(similarity, axis=1)[:, -n_neighbors:]
    expected = np.clip(nearest.mean(axis=1), 0.0, 1.0)
    assert neighbour_similarity(points, n_neighbors, labels).tolist() == expected.tolist()


def test_a_wrong_label_and_an_outlier_are_found() -> None:
    points, labels = clusters()
    points[-1] = [0, 0, 1]
    kernel = kernel_scores(points, labels, 3, np.arange(40) % 10)
    probabilities = np.full((2, 40, 3), 0.1)
    probabilities[:, np.arange(40), np.repeat([0, 1], 20)] = 0.8
    names = np.array(["i", "v", "x"])
    manifest = pd.DataFrame(
        {
            "image_id": [f"{number:016x}" for number in range(40)],
            "path": [f"train/{number}.png" for number in range(40)],
            "split": "train",
            "label": names[labels],
        }
    )
    table = score_labels(
        manifest,
        ["i", "v", "x"],
        np.log(probabilities).astype(np.float32),
        kernel,
        neighbour_similarity(points, 3),
    )
    worst = table.iloc[0]
    assert (worst["image_id"], worst["label"], worst["suggested_label"]) == ("0" * 16, "v", "i")
    assert worst["label_score"] == 0.0
    assert table.loc[table["is_label_issue"], "image_id"].tolist() == ["0" * 16]
    assert table.sort_values("outlier_score").iloc[0]["image_id"] == f"{39:016x}"
    assert table.loc[table["image_id"] == f"{39:016x}", "is_outlier_issue"].all()
    assert table["label_score"].is_monotonic_increasing
    assert table["label_score"].between(0, 1).all()
    assert summary(table).splitlines()[0].startswith("train: 1 label issues and ")
    assert summary(table).splitlines()[1] == f"  {'0' * 16} v -> i"


def test_scores_are_those_of_all_epochs_and_of_the_kernel() -> None:
    ids = list("abcdef")
    manifest = pd.DataFrame({"image_id": ids, "path": ids, "split": "val", "label": list("iivvxx")})
    # Two epochs that contradict each other, but for the last two images.
    first = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    epochs = np.repeat([first, [first[1], first[0], first[2]]], 2, axis=1)
    kernel = np.repeat([[0.75, 0.25, 0.0], [0.75, 0.25, 0.0], [0.25, 0.25, 0.5]], 2, axis=0)
    logarithms = np.log(epochs).astype(np.float32)
    table = score_labels(manifest, ["i", "v", "x"], logarithms, kernel, np.ones(6))
    table = table.set_index("image_id").loc[ids[::2]]
    assert table["network_margin"].tolist() == pytest.approx([0, 0, np.log(8)], abs=1e-6)
    assert table["kernel_margin"].tolist() == [0.5, -0.5, 0.25]
    assert table["label_score"].tolist() == [0.6, 0.2, 0.7]
    # Mean logarithms of 0.8 and 0.1 against those of 0.1 twice: 8 ** 0.5 to 1.
    network = np.array([[8**0.5, 8**0.5, 1], [8**0.5, 8**0.5, 1], [1, 1, 8]])
    judges = [
        weights / weights.sum(axis=1)[:, None] for weights in (network, np.exp(6 * kernel[::2]))
    ]
    shares = (judges[0] + judges[1]) / 2
    assert table["p_label"].tolist() == pytest.approx(shares.diagonal(), abs=1e-6)
    assert table["suggested_label"].tolist() == ["i", "i", "x"]
    assert table["p_suggested"].tolist() == pytest.approx(shares[[0, 1, 2], [0, 0, 2]], abs=1e-6)


def test_the_mean_of_the_epochs_stands_for_them_to_the_bit() -> None:
    random = np.random.default_rng(0)
    ids = [f"{number:02}" for number in range(37)]
    labels = [f"c{number % 5}" for number in range(37)]
    manifest = pd.DataFrame({"image_id": ids, "path": ids, "split": "val", "label": labels})
    epochs = random.normal(-3, 2, (11, 37, 5)).astype(np.float32)
    mean = epochs.astype(np.float64).mean(axis=0)
    kernel, similarity = random.random((37, 5)), random.random(37)
    classes = sorted(set(labels))
    tables = [
        score_labels(manifest, classes, said, kernel, similarity) for said in (epochs, mean[None])
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_a_label_that_no_model_knows_is_no_issue_and_moves_no_rank() -> None:
    random = np.random.default_rng(0)
    ids = [f"{number:02}" for number in range(30)]
    labels = ["i", "v"] * 15
    manifest = pd.DataFrame({"image_id": ids, "path": ids, "split": "val", "label": labels})
    said = np.log(random.dirichlet([1, 1, 0.01], (1, 30)))
    kernel, similarity = random.random((30, 3)) * [1, 1, 0.01], random.random(30)
    classes = ["i", "v", "z"]
    manifest.loc[7, "label"] = "z"
    is_judged = np.arange(30) != 7
    table = score_labels(manifest, classes, said, kernel, similarity, is_judged)
    (unknown,) = table[table["label"] == "z"].to_dict("records")
    assert unknown["label_score"] == 0.5
    assert unknown["suggested_label"] == "z"
    assert not unknown["is_label_issue"]
    alone = score_labels(
        manifest[is_judged], classes, said[:, is_judged], kernel[is_judged], similarity[is_judged]
    )
    columns = ["image_id", "label_score", "suggested_label", "is_label_issue"]
    others = table.loc[table["label"] != "z", columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, alone[columns])
    assert alone["is_label_issue"].any()


def test_one_class_has_no_label_issue() -> None:
    manifest = pd.DataFrame(
        {"image_id": ["a", "b"], "path": ["a", "b"], "split": "val", "label": "i"}
    )
    even = np.log(np.full((1, 2, 2), 0.5)).astype(np.float32)
    table = score_labels(manifest, ["i", "v"], even, np.full((2, 2), 0.5), np.ones(2))
    assert not table["is_label_issue"].any()
    assert table["label_score"].tolist() == [0.5, 0.5]
