"""What finished studies say beside their arms: what could be made of validation accuracy.

    python benchmarks/study_policies.py docs/evidence/boosting/rounds.csv

Reads the table `rounds.csv` of `databoost study`; trains nothing. Four questions; of the first two
the mean over arms and seeds (a *chain* is an arm with a seed), with its 95% interval by t over
chains:

flattery  by how much validation accuracy, which chose epoch and additions, exceeds that on `test`
rollback  what taking a chain's round of best validation accuracy, instead of its last, changes on
          `test`: what acceptance of rounds by validation would bring
epochs    how often the best epoch lies in each quarter of the training
noise     by how much the difference between an arm and the first one differs from seed to seed, and
          how many seeds an interval of 2 points, or of 1, to either side of it would take, by t and
          on the same images; of the epochs that were kept, and of the means over late ones

A table of an older study lacks those means, or has them of validation alone.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

_MEASURES = ("test_accuracy", "late_test_accuracy", "val_accuracy", "late_val_accuracy")


def interval(values: np.ndarray) -> str:
    """Write the mean of values and its 95% interval by t."""
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return f"{mean:+.3f}"
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def flattery(rounds: pd.DataFrame) -> None:
    """Print validation minus test accuracy, round by round."""
    print("validation minus test accuracy")
    for name, rows in rounds.groupby("round"):
        # r00 is the same for all arms of a seed.
        rows = rows.drop_duplicates("seed") if name == "r00" else rows
        gap = (rows["val_accuracy"] - rows["test_accuracy"]).to_numpy()
        print(f"  {name}: {interval(gap)}, {len(gap)} trainings")


def rollback(rounds: pd.DataFrame) -> None:
    """Print what choosing the round by validation changes on test."""
    gains, n_other = [], 0
    for _, chain in rounds.groupby(["arm", "seed"]):
        chain = chain.sort_values("round")
        best, last = chain.loc[chain["val_accuracy"].idxmax()], chain.iloc[-1]
        n_other += best["round"] != last["round"]
        gains.append(best["test_accuracy"] - last["test_accuracy"])
    print(
        f"the round of best validation accuracy instead of the last: {n_other} of {len(gains)} "
        f"chains choose another round; test accuracy {interval(np.array(gains))}"
    )


def epochs(rounds: pd.DataFrame, n_epochs: int) -> None:
    """Print in which quarter of the training the best epoch lies."""
    trained = rounds[(rounds["round"] != "r00") & (rounds["n_added"] > 0)]
    quarters = 4 * trained["best_epoch"] // n_epochs  # epochs count from 0
    shares = [f"{float((quarters == quarter).mean()):.2f}" for quarter in range(4)]
    print(f"best epoch by quarter of {n_epochs}: {' '.join(shares)} of {len(trained)} trainings")


def noise(rounds: pd.DataFrame) -> None:
    """Print how differences from the first arm spread over seeds, and what that costs."""
    first, *others = rounds["arm"].unique()
    later = rounds[rounds["round"] != "r00"]
    for measure in _MEASURES:
        if measure not in later or later[measure].isna().all():
            continue
        table = later.pivot_table(index=["round", "seed"], columns="arm", values=measure)
        for name, rows in table.groupby("round"):
            for arm in others:
                differences = (rows[arm] - rows[first]).dropna().to_numpy()
                if len(differences) < 2:
                    continue
                deviation = float(differences.std(ddof=1))
                seeds = [n_seeds(deviation, half) for half in (0.02, 0.01)]
                print(
                    f"{name}, {measure}, {arm} minus {first}: {interval(differences)}, spread "
                    f"{deviation:.3f} over {len(differences)} seeds; {seeds[0]} seeds give 2 "
                    f"points to either side, {seeds[1]} give 1"
                )


def n_seeds(deviation: float, half: float) -> int:
    """Count the seeds that a 95% interval by t of this half width takes."""
    n = 2
    while stats.t.ppf(0.975, n - 1) * deviation / n**0.5 > half:
        n += 1
    return n


def main() -> None:
    """Read the tables named on the command line, and answer for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", type=Path, nargs="+", help="rounds.csv of studies")
    parser.add_argument("--epochs", type=int, default=40, help="train.epochs of the studies")
    arguments = parser.parse_args()
    for path in arguments.tables:
        rounds = pd.read_csv(path)
        print(f"{path}: {rounds['arm'].nunique()} arms, {rounds['seed'].nunique()} seeds")
        flattery(rounds)
        rollback(rounds)
        epochs(rounds, arguments.epochs)
        noise(rounds)


if __name__ == "__main__":
    main()
