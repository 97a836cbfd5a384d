"""How far train and val differ: a classifier two-sample test.

It looks at neutral features. The fixed model's own will not do: it has fitted the training images,
and so tells them from validation images even when the split is random (an AUC of 0.61 on the real
numerals after 19 epochs, where gradient descriptors give 0.51). Only images of the same label are
compared, so that different class proportions count for nothing.
"""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from databoost.errors import DatasetError

Truths = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
_N_FOLDS = 5
_N_PERMUTATIONS = 200
_COMPONENTS = 64
_RIDGE = 0.1  # of the variance of the whitened features
_LEVEL = 0.05


@dataclass(frozen=True)
class ShiftResult:
    """How well train and val are told apart by their looks.

    Attributes
    ----------
    auc
        Chance that of a validation and a training image of one label the validation image is told
        from the other, out of sample; 0.5: no difference, 1: told apart always. A validation set
        that is spread more evenly than a random one comes out below 0.5.
    low, high
        95 % interval of `auc`. It holds 0.5 for 95 % of all random splits.
    p_value
        Share of random splits that are told apart as well or better, 0 to 1.
    n_train, n_val
        Images that were compared: those of labels that both have.
    """

    auc: float
    low: float
    high: float
    p_value: float
    n_train: int
    n_val: int

    def metrics(self) -> dict[str, float]:
        """Give the figures by name, rounded to 4 digits for a metrics file."""
        return {name: round(value, 4) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        """Write the figure and its interval for people."""
        return f"{self.auc:.3f} ({self.low:.3f} to {self.high:.3f})"


def two_sample_test(
    features: npt.NDArray[np.float32],
    is_val: Truths,
    labels: npt.NDArray[np.object_],
    seed: int,
    groups: npt.NDArray[np.int64] | None = None,
) -> ShiftResult:
    """Measure how well a linear classifier tells validation from training images.

    Ridge regression on the leading components of the features, their label's mean taken off, is
    cross-validated; the interval is DeLong's within labels, widened by what DeLong's misses on
    permuted splits.

    Parameters
    ----------
    features
        (N, D) vectors that no training has seen.
    is_val
        (N,) bool.
    labels
        (N,) label of each image.
    seed
        Of folds and permutations.
    groups
        (N,) integers: of a group of near-duplicates one image a side counts, or a classifier that
        knows one by heart would tell the others apart. None: every image counts.

    Raises
    ------
    DatasetError
        If no label has both training and validation images, or all images look the same.
    """
    rows = _comparable(is_val, labels, groups)
    if len(rows) == 0:
        raise DatasetError("no label has both training and validation images to compare")
    strata = pd.factorize(labels[rows])[0].astype(np.int64)
    looks = _components(features[rows], strata)
    if looks.shape[1] == 0:
        raise DatasetError(f"the {len(rows)} images of train and val all look the same")
    generator = np.random.default_rng(seed)
    sides = _permuted(is_val[rows], strata, generator)
    scores = _out_of_sample(looks, sides, strata, generator)
    aucs, errors = _stratified_aucs(scores, sides, strata)
    auc, null = aucs[0], aucs[1:]
    spread = float(np.sqrt(((null - 0.5) ** 2).mean()))
    widening = max(1.0, spread / max(float(errors[1:].mean()), 1e-12))
    half = norm.ppf(1 - _LEVEL / 2) * errors[0] * widening
    return ShiftResult(
        auc=float(auc),
        low=float(max(auc - half, 0.0)),
        high=float(min(auc + half, 1.0)),
        p_value=float((1 + (null >= auc).sum()) / (1 + len(null))),
        n_train=int((~sides[:, 0]).sum()),
        n_val=int(sides[:, 0].sum()),
    )


def _comparable(
    is_val: Truths, labels: npt.NDArray[np.object_], groups: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    frame = pd.DataFrame({"label": labels, "is_val": is_val})
    if groups is not None:
        frame = frame.assign(group=groups).drop_duplicates(["group", "is_val", "label"])
    has_both = frame.groupby("label")["is_val"].transform("nunique") == 2
    return frame.index[has_both].to_numpy(dtype=np.int64)


def _components(features: npt.NDArray[np.float32], strata: npt.NDArray[np.int64]) -> Floats:
    """Leading components within the labels, of unit variance: (N, at most 64)."""
    centred = features.astype(np.float64)
    for stratum in np.unique(strata):
        centred[strata == stratum] -= centred[strata == stratum].mean(axis=0)
    is_tall = len(centred) > centred.shape[1]
    products = centred.T @ centred if is_tall else centred @ centred.T
    values, vectors = np.linalg.eigh(products)
    values, vectors = values[::-1], vectors[:, ::-1]
    n_kept = min(_COMPONENTS, max(len(centred) // 10, 1), int((values > 1e-9 * len(centred)).sum()))
    looks = centred @ vectors[:, :n_kept] if is_tall else vectors[:, :n_kept]
    scaled: Floats = looks / np.maximum(looks.std(axis=0), 1e-12)
    return scaled


def _permuted(
    is_val: Truths, strata: npt.NDArray[np.int64], generator: np.random.Generator
) -> Truths:
    """(N, 1 + permutations): the split, then splits that are random within each label."""
    sides = np.repeat(is_val[:, None], 1 + _N_PERMUTATIONS, axis=1)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        sides[rows, 1:] = generator.permuted(sides[rows, 1:], axis=0)
    return sides


def _out_of_sample(
    looks: Floats, sides: Truths, strata: npt.NDArray[np.int64], generator: np.random.Generator
) -> Floats:
    """Score every image by ridge regressions that have not seen it, one a column of `sides`."""
    folds = generator.permutation(len(looks)) % _N_FOLDS
    scores = np.zeros(sides.shape)
    for fold in range(_N_FOLDS):
        seen = folds != fold
        centred_looks, targets = looks[seen].copy(), sides[seen].astype(np.float64)
        for stratum in np.unique(strata[seen]):
            rows = strata[seen] == stratum
            centred_looks[rows] -= centred_looks[rows].mean(axis=0)
            targets[rows] -= targets[rows].mean(axis=0)
        penalty = _RIDGE * len(targets) * np.eye(looks.shape[1])
        slopes = np.linalg.solve(
            centred_looks.T @ centred_looks + penalty, centred_looks.T @ targets
        )
        scores[~seen] = looks[~seen] @ slopes
    return scores


def _stratified_aucs(
    scores: Floats, sides: Truths, strata: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """AUC over pairs of one label and its standard error (DeLong's), one each a column."""
    wins, variance, n_pairs = np.zeros(sides.shape[1]), np.zeros(sides.shape[1]), 0
    for stratum in np.unique(strata):
        here, side = scores[strata == stratum].T, sides[strata == stratum].T
        n_val = int(side[0].sum())  # the same in every column: permutations stay within labels
        n_train = side.shape[1] - n_val
        ranks = rankdata(here, axis=1)
        val_ranks, train_ranks = (ranks[side == is_val].reshape(len(side), -1) for is_val in (1, 0))
        of_val = (val_ranks - rankdata(val_ranks, axis=1)) / n_train
        of_train = 1 - (train_ranks - rankdata(train_ranks, axis=1)) / n_val
        pairs = n_val * n_train
        wins += pairs * of_val.mean(axis=1)
        n_pairs += pairs
        for part in (of_val, of_train):
            n = part.shape[1]
            variance += pairs**2 * (part.var(axis=1, ddof=1) / n if n > 1 else 0.25)
    return wins / n_pairs, np.sqrt(variance) / n_pairs
