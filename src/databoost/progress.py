"""Tables over all rounds: accuracies with intervals, learning curves, confusions."""

import math
from collections.abc import Iterable

import pandas as pd

from databoost.data.tablefiles import read_table
from databoost.data.tables import CONFUSION, CONFUSIONS, CURVES, ROUNDS
from databoost.layout import SPLITS, RoundLayout
from databoost.outcomes import Outcome

_Z95 = 1.959963984540054


def wilson_interval(n_right: int, n: int) -> tuple[float, float]:
    """Give the 95% interval of a share (Wilson 1927, without continuity correction).

    Returns
    -------
    tuple of float
        Lower and upper end, 0 to 1; (0, 1) if `n` is 0.

    >>> [round(end, 4) for end in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = n_right / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def round_rows(outcomes: Iterable[Outcome], strategy: str) -> pd.DataFrame:
    """Lay out the accuracy of every round and split.

    Parameters
    ----------
    outcomes
        What the rounds brought, in order.
    strategy
        ``boost.strategy`` of all of them.

    Returns
    -------
    pandas.DataFrame
        ``ROUNDS``: by round, then split (train, val, test, label_book); splits without images are
        left out. `low` and `high` are :func:`wilson_interval`'s, for one training: what another
        seed changes is not in them.
    """
    rows = []
    for outcome in outcomes:
        for split in SPLITS:
            n = int(outcome.metrics.get(f"{split}/n_images", 0))
            if n:
                n_wrong = int(outcome.metrics[f"{split}/n_misclassified"])
                low, high = wilson_interval(n - n_wrong, n)
                rows.append(
                    (
                        outcome.files.name,
                        strategy,
                        split,
                        round((n - n_wrong) / n, 6),
                        round(low, 6),
                        round(high, 6),
                        n,
                        n_wrong,
                        int(outcome.metrics["n_train"]),
                        int(outcome.metrics["n_additions"]),
                    )
                )
    columns = list(zip(*rows, strict=True)) or [()] * len(ROUNDS.columns)
    return ROUNDS.frame(dict(zip(ROUNDS.columns, columns, strict=True)))


def curve_rows(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Join the learning curves of all rounds: ``CURVES``, by round and epoch."""
    named = [outcome.curve.assign(round=outcome.files.name) for outcome in outcomes]
    return _joined(named, CURVES.empty())


def confusion_rows(rounds: Iterable[RoundLayout]) -> pd.DataFrame:
    """Join the confusions of all rounds, without training images: ``CONFUSIONS``.

    Raises
    ------
    TableError
        If a round's table is not what ``evaluate`` writes.
    """
    named = []
    for files in rounds:
        counts = read_table(files.confusion, CONFUSION)
        named.append(counts[counts["split"] != "train"].assign(round=files.name))
    return _joined(named, CONFUSIONS.empty())


def _joined(frames: list[pd.DataFrame], empty: pd.DataFrame) -> pd.DataFrame:
    if not frames:
        return empty
    return pd.concat(frames, ignore_index=True)[list(empty.columns)]
