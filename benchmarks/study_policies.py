"""What finished studies say beside their arms: what could be made of validation accuracy.

    python benchmarks/study_policies.py docs/evidence/boosting/rounds.csv

Reads the table `rounds.csv` of `databoost study`; trains nothing. Five questions, with intervals by
t over seeds; that the images are a sample, too, they leave out (a *chain* is an arm with a seed):

gap       by how much validation accuracy exceeds that on `test`: of the epoch that is kept, which
          validation chose, and of the mean over late ones, which it did not; arms averaged
rollback  what taking a chain's round of best validation accuracy, instead of its last, changes on
          `test`: what acceptance of rounds by validation would bring; over chains
epochs    how often the best epoch lies in each quarter of the training
arms      every arm minus the first with its 95% interval by t, from all arms and seeds together
          (accuracy = arm + seed + noise: with many arms two seeds say how noisy a difference is);
          how many seeds an interval of 2 points, or of 1, to either side would take; of the epochs
          that were kept, and of the means over late ones. Of 20 intervals one leaves out the truth
          by chance: the last figure is p times the number of comparisons
sorts     with `--controls random mirror`: the mean of all other arms minus the mean of these; every
          arm with a seed counts as one draw of its sort (accuracy = sort + seed + noise): many ways
          of doing alike against a few controls, on few seeds

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


def gap(rounds: pd.DataFrame) -> None:
    """Print validation minus test accuracy, round by round, of kept and of late epochs."""
    print("validation minus test accuracy")
    for name, rows in rounds.groupby("round"):
        for epochs, val, test in (
            ("kept", "val_accuracy", "test_accuracy"),
            ("late", "late_val_accuracy", "late_test_accuracy"),
        ):
            if test in rows:
                gaps = (rows[val] - rows[test]).groupby(rows["seed"]).mean().dropna().to_numpy()
            else:
                gaps = np.array([])
            if len(gaps):
                print(f"  {name}, {epochs} epochs: {interval(gaps)}, {len(gaps)} seeds")


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


def compare(rounds: pd.DataFrame) -> None:
    """Print every arm minus the first, by what all arms say of how seeds differ."""
    first = rounds["arm"].iloc[0]
    for name, later in rounds[rounds["round"] != "r00"].groupby("round"):
        for measure in _MEASURES:
            rows = later.dropna(subset=[measure]) if measure in later else later.iloc[:0]
            if rows["arm"].nunique() < 2 or first not in set(rows["arm"]):
                continue
            found = contrasts(rows, measure, first)
            if found is None:
                continue
            means, errors, deviation, n_free = found
            n_two, n_one = (n_seeds(deviation, half) for half in (0.02, 0.01))
            print(
                f"{name}, {measure}: differences spread by {deviation:.3f} ({n_free} degrees of "
                f"freedom); of two arms, {n_two} seeds give 2 points to either side, {n_one} give 1"
            )
            reach = float(stats.t.ppf(0.975, n_free))
            n_arms = len(means)
            for arm in means.index:
                mean, half = float(means[arm]), reach * float(errors[arm])
                chance = 2 * float(stats.t.sf(abs(mean) / max(float(errors[arm]), 1e-12), n_free))
                print(
                    f"  {arm} minus {first}: {mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"
                    f", {int((rows['arm'] == arm).sum())} seeds, p {chance:.3f}, of {n_arms} "
                    f"comparisons {min(1.0, chance * n_arms):.2f}"
                )


def contrasts(
    rows: pd.DataFrame, measure: str, first: str
) -> tuple[pd.Series, pd.Series, float, int] | None:
    """Fit arm + seed by least squares; None if nothing is left to say how seeds differ.

    Gives every other arm minus `first`, the standard errors, the standard deviation of the
    difference between two arms with the same seed, and the degrees of freedom. With two arms all
    are those of the paired differences; with more, each arm tells how far the others' spread.
    """
    arms = pd.get_dummies(rows["arm"]).astype(float).drop(columns=first)
    design = np.hstack([arms, pd.get_dummies(rows["seed"]).astype(float)])
    values = rows[measure].to_numpy(dtype=float)
    fitted, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    n_free = len(rows) - int(rank)
    if n_free < 1 or rank < design.shape[1]:
        return None
    variance = float(((values - design @ fitted) ** 2).sum()) / n_free
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))[: arms.shape[1]]
    means = pd.Series(fitted[: arms.shape[1]], index=arms.columns)
    order = [arm for arm in rows["arm"].unique() if arm != first]
    return (
        means[order], pd.Series(errors, index=arms.columns)[order], (2 * variance) ** 0.5, n_free,
    )  # fmt: skip


def sorts(rounds: pd.DataFrame, controls: list[str]) -> None:
    """Print the mean of the arms that are no controls minus the mean of those that are."""
    later = rounds[rounds["round"] != "r00"]
    lacking = set(controls) - set(later["arm"])
    if lacking:
        raise SystemExit(f"no arm is called {', '.join(sorted(lacking))}")
    for name, rows in later.groupby("round"):
        is_control = rows["arm"].isin(controls).to_numpy()
        seeds = pd.get_dummies(rows["seed"]).astype(float).to_numpy()
        design = np.column_stack([~is_control, seeds]).astype(float)
        n_free = len(rows) - int(np.linalg.matrix_rank(design))
        if is_control.all() or n_free < 1:
            continue
        print(f"{name}: {int((~is_control).sum())} cells minus {int(is_control.sum())} of controls")
        for measure in _MEASURES:
            if measure not in rows or rows[measure].isna().any():
                continue
            values = rows[measure].to_numpy(dtype=float)
            fitted = np.linalg.lstsq(design, values, rcond=None)[0]
            variance = float(((values - design @ fitted) ** 2).sum()) / n_free
            error = float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))
            half = float(stats.t.ppf(0.975, n_free)) * error
            low, high = fitted[0] - half, fitted[0] + half
            print(
                f"  {measure}: {fitted[0]:+.3f} ({low:+.3f} to {high:+.3f})"
                f", cells of one sort spread by {variance**0.5:.3f} ({n_free} degrees of freedom)"
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
    parser.add_argument("--controls", nargs="+", default=[], help="arms that the others face")
    arguments = parser.parse_args()
    for path in arguments.tables:
        rounds = pd.read_csv(path)
        print(f"{path}: {rounds['arm'].nunique()} arms, {rounds['seed'].nunique()} seeds")
        gap(rounds)
        rollback(rounds)
        epochs(rounds, arguments.epochs)
        compare(rounds)
        if arguments.controls:
            sorts(rounds, arguments.controls)


if __name__ == "__main__":
    main()
