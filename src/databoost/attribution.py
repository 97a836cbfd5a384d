"""Which failures a round mended, which it broke, and what had been fetched for each.

A failure that is right in the next round is called *fixed*. That is no proof that its neighbours
did it: a training on other images changes other answers too, so the counts mean something beside
those of ``boost.strategy: random``, the control.
"""

from dataclasses import dataclass

import pandas as pd

from databoost.errors import DatasetError

#: What became of a validation image that either of two rounds got wrong.
FIXED, STILL_WRONG, NEWLY_WRONG = "fixed", "still wrong", "newly wrong"
OUTCOMES = (FIXED, STILL_WRONG, NEWLY_WRONG)


@dataclass(frozen=True)
class Transition:
    """What changed on the validation images from one round to the next.

    Attributes
    ----------
    before, after
        Names of the rounds, ``r00`` and ``r01`` say.
    failures
        See :func:`failure_outcomes`.
    fetched
        ``ADDITIONS`` of the round after, by query and rank.
    by_class
        See :func:`counts_by_class`.
    """

    before: str
    after: str
    failures: pd.DataFrame
    fetched: pd.DataFrame
    by_class: pd.DataFrame

    def count(self, outcome: str) -> int:
        """Count the validation images of an outcome (one of `OUTCOMES`)."""
        return int((self.failures["outcome"] == outcome).sum())


def transition(
    before: str,
    after: str,
    sheet_before: pd.DataFrame,
    sheet_after: pd.DataFrame,
    additions: pd.DataFrame,
    classes: list[str],
) -> Transition:
    """Compare two rounds that follow each other.

    Parameters
    ----------
    before, after
        Their names.
    sheet_before, sheet_after
        Their image sheets (``SHEET``), of which only the validation images are read.
    additions
        ``ADDITIONS`` of the round after.
    classes
        Labels in order.

    Raises
    ------
    DatasetError
        If the rounds were validated on different images or labels.
    """
    failures = failure_outcomes(before, after, sheet_before, sheet_after)
    val = sheet_before[sheet_before["split"] == "val"]
    fetched = additions.sort_values(["query_id", "rank", "image_id"], ignore_index=True)
    by_class = counts_by_class(failures, val, fetched, classes)
    return Transition(before, after, failures, fetched, by_class)


def failure_outcomes(
    before: str, after: str, sheet_before: pd.DataFrame, sheet_after: pd.DataFrame
) -> pd.DataFrame:
    """Say what became of each validation image that one of two rounds got wrong.

    Returns
    -------
    pandas.DataFrame
        ``image_id``, ``path``, ``label``, ``predicted_before``, ``predicted_after``,
        ``loss_before``, ``loss_after`` (nats) and ``outcome``, one of `OUTCOMES`. Those fixed come
        first, then those still wrong, then those newly wrong; within each the highest loss of the
        round before, or after for those newly wrong, and then the smallest id.

    Raises
    ------
    DatasetError
        If the rounds were validated on different images or labels.
    """
    first, second = (_validation(sheet) for sheet in (sheet_before, sheet_after))
    if not first["label"].equals(second["label"]):
        pairs = set(first["label"].items()) ^ set(second["label"].items())
        n_other = len({image for image, _ in pairs})
        raise DatasetError(
            f"{before} and {after} were validated on different images or labels ({n_other} image(s)"
            " differ); rounds of one boost share their validation images: run dvc repro"
        )
    was, now = first["is_misclassified"], second["is_misclassified"]
    outcome = pd.Series(FIXED, index=first.index, dtype=object)
    outcome[was & now] = STILL_WRONG
    outcome[~was & now] = NEWLY_WRONG
    told = pd.DataFrame(
        {
            "image_id": first.index,
            "path": first["path"],
            "label": first["label"],
            "predicted_before": first["predicted_label"],
            "predicted_after": second["predicted_label"],
            "loss_before": first["loss"],
            "loss_after": second["loss"],
            "outcome": outcome,
        }
    )[was | now].reset_index(drop=True)
    worst = told["loss_before"].where(told["outcome"] != NEWLY_WRONG, told["loss_after"])
    order = told.assign(group=told["outcome"].map(OUTCOMES.index), worst=-worst)
    return told.loc[order.sort_values(["group", "worst", "image_id"]).index].reset_index(drop=True)


def counts_by_class(
    failures: pd.DataFrame, val: pd.DataFrame, fetched: pd.DataFrame, classes: list[str]
) -> pd.DataFrame:
    """Count outcomes and additions by class.

    Returns
    -------
    pandas.DataFrame
        ``label``, ``n_images`` (validation), ``n_failures`` (of the round before), ``n_fixed``,
        ``n_still_wrong``, ``n_newly_wrong``, ``n_additions`` (of that label); one row a class, in
        their order.
    """
    of = {outcome: failures[failures["outcome"] == outcome]["label"] for outcome in OUTCOMES}
    columns = {
        "n_images": val["label"],
        "n_failures": pd.concat([of[FIXED], of[STILL_WRONG]]),
        "n_fixed": of[FIXED],
        "n_still_wrong": of[STILL_WRONG],
        "n_newly_wrong": of[NEWLY_WRONG],
        "n_additions": fetched["label"],
    }
    counted = {name: labels.value_counts() for name, labels in columns.items()}
    return pd.DataFrame(
        {"label": classes}
        | {name: [int(n.get(label, 0)) for label in classes] for name, n in counted.items()}
    )


def fixed_by_neighbours(told: Transition) -> pd.DataFrame:
    """Compare how many failures were fixed by what had been fetched for them.

    Returns
    -------
    pandas.DataFrame
        ``neighbours`` (``with its own label``: at least one of those fetched has the failure's
        label; ``with other labels only``; ``none``), ``n_failures``, ``n_fixed``; always three
        rows in this order.
    """
    failures = told.failures[told.failures["outcome"] != NEWLY_WRONG]
    asked = set(told.fetched["query_id"])
    own = set(told.fetched[told.fetched["label"] == told.fetched["query_label"]]["query_id"])
    kinds = ("with its own label", "with other labels only", "none")
    kind = [kinds[0 if i in own else 1 if i in asked else 2] for i in failures["image_id"]]
    is_fixed = failures["outcome"] == FIXED
    rows = [
        (name, kind.count(name), sum(f for k, f in zip(kind, is_fixed, strict=True) if k == name))
        for name in kinds
    ]
    return pd.DataFrame(rows, columns=["neighbours", "n_failures", "n_fixed"])


def _validation(sheet: pd.DataFrame) -> pd.DataFrame:
    return sheet[sheet["split"] == "val"].set_index("image_id").sort_index()
