"""Columns and types of every table."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from databoost.errors import TableError

Kind = Literal["text", "integer", "number", "truth"]


@dataclass(frozen=True)
class Table:
    """Name, columns and column kinds of a table.

    ``text`` cells are strings, never missing (empty is ``""``); ``integer`` is int64; ``number``
    is float64 and may be missing; ``truth`` is bool, written ``True`` and ``False``.
    """

    name: str
    columns: dict[str, Kind]

    def empty(self) -> pd.DataFrame:
        """Give a table with all columns and no rows."""
        return self.frame({column: [] for column in self.columns})

    def frame(self, values: dict[str, Any]) -> pd.DataFrame:
        """Build the table from column values, with the declared column order and dtypes.

        Raises
        ------
        TableError
            If the columns are not exactly the declared ones.
        """
        if set(values) != set(self.columns):
            raise TableError(f"{self.name} has columns {list(self.columns)}, not {list(values)}")
        dtypes = {"text": object, "integer": np.int64, "number": np.float64, "truth": np.bool_}
        return pd.DataFrame(
            {
                column: pd.Series(values[column], dtype=dtypes[kind])
                for column, kind in self.columns.items()
            }
        )


MANIFEST = Table(
    "manifest",
    {
        "image_id": "text",
        "path": "text",  # below the snapshot's dataset/ (train, val) or data/heldout/
        "split": "text",
        "label": "text",
        "origin": "text",  # raw, or the strategy that added it
        "parent_id": "text",
        "recipe": "text",
        "round_added": "text",
        "query_id": "text",
        "similarity": "number",
    },
)
RAW_INDEX = Table(
    "raw index",
    {"image_id": "text", "path": "text", "split": "text", "label": "text"},
)
UNREADABLE = Table("unreadable files", {"path": "text", "n_bytes": "integer", "reason": "text"})
CLASSES = Table("classes", {"label": "text"})
TRUTH = Table(
    "truth",
    {
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",  # as given
        "true_label": "text",  # empty: no numeral
        "fault": "text",  # empty | wrong_label | not_numeral | leak
        "style": "text",
        "is_unseen_style": "truth",
    },
)
CORRECTIONS = Table(
    "corrections", {"image_id": "text", "action": "text", "value": "text", "reason": "text"}
)
DUPLICATES = Table(
    "duplicates",
    {"image_id": "text", "path": "text", "split": "text", "label": "text", "outcome": "text"},
)
SHEET = Table(
    "image sheet",
    {
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",
        "predicted_label": "text",
        "p_label": "number",
        "p_predicted": "number",
        "margin": "number",
        "loss": "number",
        "is_misclassified": "truth",
        "origin": "text",
        "round_added": "text",
    },
)
CONFUSION = Table(
    "confusion",
    {"split": "text", "label": "text", "predicted_label": "text", "n_images": "integer"},
)
CURVE = Table(
    "learning curve",
    {
        "epoch": "integer",
        "train_loss": "number",
        "train_accuracy": "number",
        "val_loss": "number",
        "val_accuracy": "number",
    },
)
FINDINGS = Table(
    "findings",
    {
        "finding": "text",
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",
        "value": "number",
        "other_id": "text",  # of a pair
        "other_split": "text",
        "other_label": "text",
        "detail": "text",
    },
)
#: What is read of the label scores by those who only show them.
SUSPECTS = Table(
    "scores",
    {
        "image_id": "text",
        "path": "text",
        "split": "text",
        "label": "text",
        "suggested_label": "text",
        "label_score": "number",  # 0 to 1, low is bad
        "is_label_issue": "truth",
        "outlier_score": "number",  # 0 to 1, low is bad
        "is_outlier_issue": "truth",
    },
)
SCORES = Table(
    "label scores",
    {
        **SUSPECTS.columns,
        "p_label": "number",  # mean of both judges, out of sample
        "p_suggested": "number",
        "network_margin": "number",  # of mean log-probabilities, nats
        "kernel_margin": "number",
    },
)
ROUNDS = Table(
    "rounds",
    {
        "round": "text",
        "strategy": "text",
        "split": "text",
        "accuracy": "number",
        "low": "number",  # ends of the 95% interval
        "high": "number",
        "n_images": "integer",
        "n_misclassified": "integer",
        "n_train": "integer",
        "n_additions": "integer",
    },
)
CURVES = Table("learning curves", {"round": "text", **CURVE.columns})
CONFUSIONS = Table("confusions", {"round": "text", **CONFUSION.columns})
MAP = Table(
    "map",
    {
        "image_id": "text",
        "path": "text",  # below the last round's dataset/ (train, val) or data/heldout/
        "split": "text",
        "label": "text",
        "predicted_label": "text",  # by the last round's model
        "is_misclassified": "truth",
        "first_predicted_label": "text",  # by r00's model; empty: added since
        "suggested_label": "text",  # empty: not scored
        "label_score": "number",
        "origin": "text",
        "round_added": "text",
        "query_id": "text",
        "x": "number",
        "y": "number",
    },
)
ADDITIONS = Table(
    "additions",
    {
        "image_id": "text",
        "candidate_id": "integer",
        "label": "text",
        "parent_id": "text",
        "recipe": "text",
        "strategy": "text",
        "query_id": "text",  # the failure that asked for it; empty: none did
        "query_label": "text",
        "query_predicted_label": "text",
        "similarity": "number",
        "rank": "integer",  # the query's first addition is 1; 0: no failure asked
    },
)
TRACES = Table(
    "traces",
    {
        "image_id": "text",  # a validation image that one of two rounds got wrong
        "outcome": "text",
        "label": "text",
        "predicted_before": "text",
        "predicted_after": "text",
        "addition_id": "text",
        "addition_label": "text",
        "parent_id": "text",
        "query_id": "text",  # the failure that asked for the addition; empty: none did
        "is_asked": "truth",  # fetched for this very image
        "is_near": "truth",  # among the nearest additions of the round
        "similarity": "number",
        "speaks_for": "text",  # label | prediction | neither
    },
)
CREDITS = Table(
    "credits",
    {
        "by": "text",  # class | parent | query
        "name": "text",
        "n_additions": "integer",
        "n_fixed": "integer",
        "n_newly_wrong": "integer",
    },
)
RECIPES = Table(
    "recipes",
    {
        "candidate_id": "integer",
        "parent_id": "text",
        "label": "text",
        "seed": "integer",  # 63 random bits and the mirror bit, as a signed integer
        "policy": "text",  # version of the policy that turns the seed into pixels
    },
)
STUDY_ROUNDS = Table(
    "rounds of a study",
    {
        "arm": "text",
        "seed": "integer",
        "round": "text",
        "n_train": "integer",
        "n_added": "integer",
        "n_lacking": "integer",  # of the additions wanted: the strategy or the size limit gave less
        "stop": "text",  # why no round could follow; empty if one could
        "best_epoch": "integer",
        "val_accuracy": "number",
        "test_accuracy": "number",
        "label_book_accuracy": "number",
        "late_val_accuracy": "number",  # means over late epochs, the kept one or not
        "late_test_accuracy": "number",
        "n_failures_fixed": "integer",  # of val, since the round before
        "n_images_broken": "integer",
    },
)
STUDY_ARMS = Table(
    "arms of a study",
    {
        "arm": "text",
        "round": "text",
        "measure": "text",  # kept: the epoch that validation picked | late: the mean over late ones
        "n_seeds": "integer",
        "n_train": "number",  # means over seeds
        "val_accuracy": "number",
        "test_accuracy": "number",
        "low": "number",  # ends of the 95% interval over seeds and test images
        "high": "number",
    },
)
LATE = Table(
    "late epochs",
    {
        "image_id": "text",
        "split": "text",  # val, test, label_book
        "n_right": "integer",  # epochs after which the model gets it right
        "n_epochs": "integer",  # of so many
    },
)
VERDICTS = Table(
    "verdicts of a study",
    {
        "arm": "text",
        "other_arm": "text",
        "round": "text",
        "measure": "text",  # as of the arms
        "n_seeds": "integer",
        "n_images": "integer",
        "n_train": "number",  # of both arms: means over these seeds, all additions so far counted
        "other_n_train": "number",
        "difference": "number",  # of test accuracy, arm minus other arm
        "low": "number",  # ends of the paired 95% interval over seeds and images
        "high": "number",
        "bootstrap_low": "number",  # the same by resampling both
        "bootstrap_high": "number",
        "sign_test": "number",  # p on the images that tell both arms apart; late: by random signs
        "is_equal_size": "truth",  # with every seed as many training images
        "is_more_than_noise": "truth",
    },
)
