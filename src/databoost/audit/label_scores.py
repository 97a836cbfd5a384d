"""How much each label is in doubt, from predictions of models that never saw the image.

Two judges that err differently: fold models (their log-probabilities averaged over all epochs,
since a network learns right labels before wrong ones: Arpit et al., ICML 2017), and a kernel ridge
regression over stroke descriptors. Their margins are joined by rank, which needs no weights.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.data.datasets import label_positions
from databoost.data.tables import SCORES

Numbers = npt.NDArray[np.float64]
#: Width and ridge of the kernel, for unit vectors.
_GAMMA = 2.0
_RIDGE = 0.3
#: How sharply kernel scores become probabilities.
_SHARPNESS = 6.0
_DECIMALS = 6
_UNJUDGED = 0.5  # the label score where nothing is known: the mean of all ranks
_BLOCK = 1024
#: Images that span the kernel at most, and what keeps their own matrix invertible.
_LANDMARKS = 4096
_JITTER = 1e-8


def kernel_scores(
    descriptors: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    n_classes: int,
    folds: npt.NDArray[np.int64],
) -> Numbers:
    """Predict the labels of each fold from the others by kernel ridge regression.

    The kernel is spanned by all images, or by 4,096 landmarks spread evenly among more of them
    (Williams and Seeger, NIPS 2000); what is summed over all images is summed once, and each fold's
    part is taken off.

    Parameters
    ----------
    descriptors
        (N, D) unit vectors, in an order (by class, say) through which landmarks can be spread.
    folds
        (N,) fold of each image.

    Returns
    -------
    numpy.ndarray
        (N, n_classes) about 0 to 1, high for the likely class; ``1 / n_classes`` far from all.
    """
    n_landmarks = min(len(labels), _LANDMARKS)
    landmarks = descriptors[np.linspace(0, len(labels) - 1, n_landmarks).astype(np.int64)]
    root = np.linalg.cholesky(_kernel(landmarks, landmarks) + _JITTER * np.eye(n_landmarks))
    spread = np.linalg.inv(root).T
    looks = np.empty((len(labels), n_landmarks))  # their products are the kernel
    for start in range(0, len(labels), _BLOCK):
        part = slice(start, start + _BLOCK)
        looks[part] = _kernel(descriptors[part], landmarks) @ spread
    targets = np.eye(n_classes)[labels] - 1 / n_classes
    products, sums = looks.T @ looks + _RIDGE * np.eye(n_landmarks), looks.T @ targets
    predicted = np.empty_like(targets)
    for fold in np.unique(folds):
        b = np.flatnonzero(folds == fold)
        left = products - looks[b].T @ looks[b]
        predicted[b] = looks[b] @ np.linalg.solve(left, sums - looks[b].T @ targets[b])
    return predicted + 1 / n_classes


def _kernel(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> Numbers:
    """Gaussian between unit vectors; a blank image, a vector of zeros, is far from all."""
    # In float64, and nothing clipped: otherwise rounding keeps a root from being drawn.
    products = first.astype(np.float64) @ second.T.astype(np.float64)
    kernel: Numbers = np.exp(2 * _GAMMA * (products - 1))
    return kernel


def label_margins(scores: Numbers, labels: npt.NDArray[np.int64]) -> Numbers:
    """Give the given label's score minus the best other one's: (N,), low is bad.

    >>> label_margins(np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1])).tolist()
    [0.5, -0.5]
    """
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    margins: Numbers = scores[rows, labels] - others.max(axis=1)
    return margins


def neighbour_similarity(
    descriptors: npt.NDArray[np.float32],
    n_neighbors: int,
    groups: npt.NDArray[np.int64] | None = None,
) -> Numbers:
    """Average the cosine similarity to the nearest images outside of the own group.

    Returns
    -------
    numpy.ndarray
        (N,) 0 to 1, low for an image that is like no other; 0 for an image that stands alone.
    """
    group_of = np.arange(len(descriptors)) if groups is None else groups
    found = np.zeros(len(descriptors))
    n_others = max(len(descriptors) - n_neighbors, 0)  # which the nearest are parted from
    for start in range(0, len(descriptors), _BLOCK):
        part = slice(start, start + _BLOCK)
        similarity = descriptors[part] @ descriptors.T
        similarity[group_of[part, None] == group_of[None, :]] = 0.0
        similarity.partition(n_others, axis=1)
        nearest = np.sort(similarity[:, n_others:], axis=1).astype(np.float64)
        found[part] = nearest.mean(axis=1)
    return np.clip(found, 0.0, 1.0)


def score_labels(
    manifest: pd.DataFrame,
    classes: list[str],
    log_probabilities: npt.NDArray[np.float32] | Numbers,
    kernel: Numbers,
    similarity: Numbers,
    is_judged: npt.NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """Join the judges into one table.

    Parameters
    ----------
    manifest
        N rows with ``image_id``, ``path``, ``split`` and ``label``.
    log_probabilities
        (n_epochs, N, n_classes), out of sample, after every epoch; or, as of one epoch, their mean,
        :func:`~databoost.audit.crossvalidation.mean_dynamics`.
    kernel, similarity
        Of :func:`kernel_scores` and :func:`neighbour_similarity`.
    is_judged
        (N,) bool, False where a judge cannot know the image's class
        (:func:`~databoost.audit.crossvalidation.is_label_seen`): such a label is no issue, has
        score 0.5 and is suggested itself. None: every image is judged.

    Returns
    -------
    pandas.DataFrame
        ``SCORES``, worst `label_score` first. `label_score` is a rank among the judged images, 0
        (worst) to 1, and so is `outlier_score`, which joins it with the rank of the similarity: a
        picture of no class is like no other, and no label fits it;
        `is_label_issue` is cleanlab's verdict on the averaged probabilities, where another
        label is more likely than the given one; `is_outlier_issue` is Tukey's fence.
    """
    labels = label_positions(manifest["label"], classes)
    rows = np.arange(len(labels))
    judged = rows if is_judged is None else np.flatnonzero(is_judged)
    averaged = log_probabilities.mean(axis=0, dtype=np.float64)
    network_margin, kernel_margin = (label_margins(s, labels) for s in (averaged, kernel))
    probabilities = (_softmax(averaged) + _softmax(_SHARPNESS * kernel)) / 2
    suggested, score = labels.copy(), np.full(len(labels), _UNJUDGED)
    is_issue = np.zeros(len(labels), dtype=np.bool_)
    suggested[judged] = probabilities[judged].argmax(axis=1)
    score[judged] = (_rank(network_margin[judged]) + _rank(kernel_margin[judged])) / 2
    is_issue[judged] = _label_issues(labels[judged], probabilities[judged])
    columns: dict[str, Any] = {
        name: manifest[name].to_numpy() for name in ("image_id", "path", "split", "label")
    }
    columns |= {
        "suggested_label": [classes[number] for number in suggested],
        "label_score": score.round(_DECIMALS),
        "is_label_issue": is_issue & (suggested != labels),
        "outlier_score": ((_rank(similarity) + score) / 2).round(_DECIMALS),
        "is_outlier_issue": similarity < _fence(similarity),
        "p_label": probabilities[rows, labels].round(_DECIMALS),
        "p_suggested": probabilities[rows, suggested].round(_DECIMALS),
        "network_margin": network_margin.round(_DECIMALS),
        "kernel_margin": kernel_margin.round(_DECIMALS),
    }
    table = SCORES.frame(columns)
    return table.sort_values(["label_score", "image_id"]).reset_index(drop=True)


def _label_issues(labels: npt.NDArray[np.int64], probabilities: Numbers) -> npt.NDArray[np.bool_]:
    from cleanlab.filter import find_label_issues

    # cleanlab estimates a threshold for every class, so it must see none that has no image.
    present, positions = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return np.zeros(len(labels), dtype=np.bool_)
    seen = probabilities[:, present]
    seen = seen / seen.sum(axis=1, keepdims=True)
    issues = find_label_issues(positions, seen, n_jobs=1, min_examples_per_class=1)
    return np.asarray(issues, dtype=np.bool_)


def _softmax(values: Numbers) -> Numbers:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Numbers = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _rank(values: Numbers) -> Numbers:
    """Give the rank of each value, 0 (lowest) to 1; equal values share their mean rank."""
    ranks = pd.Series(values).rank().to_numpy(dtype=np.float64)
    return (ranks - 1) / max(len(values) - 1, 1)


def _fence(values: Numbers) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(low - 1.5 * (high - low))
