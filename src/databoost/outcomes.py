"""What the outputs of a round say, gathered for whoever shows rounds side by side."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from databoost.data.files import read_json, sha256_of
from databoost.data.tablefiles import read_table
from databoost.data.tables import CURVE
from databoost.errors import DatasetError
from databoost.layout import SPLITS, Layout, RoundLayout
from databoost.model.late_epochs import late_epochs
from databoost.params import Params, round_number
from databoost.sections import CandidatesParams
from databoost.tracing import is_current

#: Parameters that a round depends on: those that dvc.yaml gives to its stages and to those before
#: them. True stands for all keys of a section.
_ROUND_PARAMS: dict[str, Any] = {
    "data": True,
    "synthetic": True,
    "split": True,
    "model": True,
    "train": True,
    "evaluate": True,
    "candidates": set(CandidatesParams.model_fields) - {"engine"},
    "embedding": True,
    "search": True,
    "boost": True,
    "audit": {"max_bits", "min_similarity"},
}
#: Why no round can follow, by the code in ``boost.json``.
STOP_REASONS = {
    "no_queries": "no validation image asks for additions",
    "limit": "the size limit is reached",
    "nothing_new": "the strategy takes none of the candidates that are left",
}
_LONGEST_NAME = 250  # of a metric, in MLflow
_PER_CLASS = "per_class_accuracy"
_LATE = "val/late_accuracy"


@dataclass(frozen=True)
class Outcome:
    """What the outputs of one round say.

    Attributes
    ----------
    files
        Where they lie.
    key
        64 hex digits: SHA-256 of the parameters and of the outputs. Two outcomes with one key are
        the same.
    boost_key
        The same of the parameters, the snapshot and the checkpoint; r00's names the boost.
    snapshot
        SHA-256 of the manifest.
    metrics
        By name: ``val/accuracy`` and the like for each split, ``val/late_accuracy`` (the mean over
        late epochs, which the luck of picking one does not move; not where ``boost.mine_on`` is
        ``half``, and the epochs saw the other half alone), ``val/class/<label>`` (accuracy
        of one class, 0 to 1), counts of the round, and how far train and val differ where r00 was
        split anew (``split/auc_before`` and ``split/auc_after``; 0.5: no difference).
    curve
        ``CURVE``: one row an epoch.
    stop
        Why no round can follow; empty if one can.
    settings
        See :func:`flat_params`.
    """

    files: RoundLayout
    key: str
    boost_key: str
    snapshot: str
    metrics: dict[str, float]
    curve: pd.DataFrame
    stop: str
    settings: dict[str, str]

    @property
    def step(self) -> int:
        """Number of the round."""
        return round_number(self.files.name)

    @property
    def progress(self) -> dict[str, float]:
        """The metrics that are worth a curve over rounds."""
        shown = ("/accuracy", "/late_accuracy", "/n_misclassified")
        counts = ("n_train", "n_additions")
        return {
            name: value
            for name, value in self.metrics.items()
            if name.endswith(shown) or name in counts
        }


def read_outcomes(layout: Layout, params: Params, names: Iterable[str]) -> list[Outcome]:
    """Read the outputs of those of the named rounds that are complete, in the order given.

    Raises
    ------
    TableError
        If an output is not what its stage writes.
    """
    rounds = [layout.round(name) for name in names]
    return [_outcome(files, params) for files in rounds if not missing_outputs(files)]


def need_complete(layout: Layout, names: Iterable[str]) -> None:
    """Refuse to go on unless the named rounds are complete.

    Raises
    ------
    DatasetError
        Naming the first output that is missing.
    """
    for name in sorted(names):
        for path in missing_outputs(layout.round(name)):
            raise DatasetError(
                f"{name} is not complete, {path} is missing; `dvc pull` fetches outputs, "
                "`dvc repro` makes them"
            )


def rounds_table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Put rounds side by side, one row each.

    Returns
    -------
    pandas.DataFrame
        ``round``; ``n_train`` and ``n_additions``; the accuracy (0 to 1) of each split that is not
        trained on; ``late_val``, the mean accuracy over late epochs, where there is one;
        ``n_misclassified`` of the validation images; ``stop``, why no round can follow.
    """
    rows = [
        {
            "round": outcome.files.name,
            "n_train": int(outcome.metrics["n_train"]),
            "n_additions": int(outcome.metrics["n_additions"]),
            **{
                split: outcome.metrics[f"{split}/accuracy"]
                for split in SPLITS
                if split != "train" and f"{split}/accuracy" in outcome.metrics
            },
            **({"late_val": outcome.metrics[_LATE]} if _LATE in outcome.metrics else {}),
            "n_misclassified": int(outcome.metrics["val/n_misclassified"]),
            "stop": outcome.stop,
        }
        for outcome in outcomes
    ]
    return pd.DataFrame(rows)


def missing_outputs(files: RoundLayout) -> list[Path]:
    """List the outputs that a round lacks; none: the round is complete."""
    needed = [*shown_files(files), files.metrics, files.model_metrics]
    return [path for path in needed if not path.exists()]


def shown_files(files: RoundLayout) -> list[Path]:
    """List the outputs that are worth keeping beside a round's metrics."""
    paths = [files.manifest, files.checkpoint, files.curve, files.sheet, files.confusion]
    return [*paths, files.confusion_picture, files.misclassified, *_files_of_making(files)]


def attribution_files(files: RoundLayout) -> list[Path]:
    """List what ``attribute`` tells of a round; none: it is not complete, or not current."""
    paths = [files.traces, files.credits, files.attribution_metrics]
    return paths if is_current(files) else []


def flat_params(params: Params) -> dict[str, str]:
    """Give the parameters that a round depends on: ``{"train.epochs": "30", ...}``.

    Texts stand as they are, everything else as JSON.
    """
    scores = {"scores": True} if params.boost.suspects == "skip" else {}  # which decide who asks
    sections = params.model_dump(mode="json", include=_ROUND_PARAMS | scores)
    return {
        f"{section}.{key}": value if isinstance(value, str) else json.dumps(value)
        for section, values in sections.items()
        for key, value in values.items()
    }


def _outcome(files: RoundLayout, params: Params) -> Outcome:
    is_first = files.name == "r00"
    boost = {"n_additions": 0} if is_first else read_json(files.boost)
    split = read_json(files.split) if is_first and files.split.exists() else {}
    curve = read_table(files.curve, CURVE)
    late: float | None = curve["val_accuracy"].iloc[late_epochs(len(curve))].mean()
    if params.boost.mine_on == "half":
        late = None  # of the other half alone, while all else that is called val is of all of it
    named = flat_params(params)
    settings = json.dumps(named, sort_keys=True)
    made = [sha256_of(path) for path in (files.manifest, files.checkpoint)]
    rest = [sha256_of(path) for path in (files.sheet, files.metrics, *_files_of_making(files))]
    return Outcome(
        files,
        _hash("round", settings, *made, *rest),
        _hash("boost", settings, *made),
        made[0],
        _metrics(read_json(files.metrics), read_json(files.model_metrics), boost, split, late),
        curve,
        str(boost.get("stop") or ""),
        named,
    )


def _metrics(
    evaluation: dict[str, Any],
    model: dict[str, Any],
    boost: dict[str, Any],
    split: dict[str, Any],
    late_val: float | None,
) -> dict[str, float]:
    size = evaluation["size"]
    named = {
        "n_train": size["n_train"],
        "n_val": size["n_val"],
        "padded_size": size["padded"],
        "best_epoch": model["best_epoch"],
        "n_epochs": model["n_epochs"],
        "n_queries": boost.get("n_queries"),
        "n_additions": boost["n_additions"],
        "search_recall": boost.get("recall"),
        "mean_similarity": boost.get("mean_similarity"),
        _LATE: late_val,
        "split/auc_before": split.get("before", {}).get("auc"),
        "split/auc_after": split.get("after", {}).get("auc"),
    }
    for name, values in evaluation.items():
        if name != "size":
            classes = values[_PER_CLASS]
            named |= {f"{name}/{key}": values[key] for key in values if key != _PER_CLASS}
            named |= {_class_metric(name, label): classes[label] for label in classes}
    return {name: float(value) for name, value in named.items() if value is not None}


def _class_metric(split: str, label: str) -> str:
    # What MLflow forbids in names, or would take for a path, becomes its code point.
    escaped = re.sub(r"[^\w\- .]|^\.", lambda found: f"_{ord(found[0]):x}_", label)
    return f"{split}/class/{escaped}"[:_LONGEST_NAME]


def _files_of_making(files: RoundLayout) -> list[Path]:
    if files.name == "r00":
        return [files.split] if files.split.exists() else []
    return [files.additions, files.boost]


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
