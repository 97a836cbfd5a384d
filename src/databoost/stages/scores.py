"""``scores``: the images of r00 -> how much each label, and its being any class, are in doubt."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from databoost.audit.crossvalidation import (
    cross_validate,
    fold_numbers,
    is_label_seen,
    mean_dynamics,
    stratified_folds,
)
from databoost.audit.label_scores import kernel_scores, neighbour_similarity, score_labels
from databoost.audit.near_duplicates import Fingerprints, find_pairs, fingerprint, group_pairs
from databoost.code import code_digest
from databoost.data.datasets import label_positions, read_classes, read_manifest
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import write_table
from databoost.data.tables import SCORES
from databoost.layout import Layout
from databoost.model.batches import Examples
from databoost.model.processor import pick_device
from databoost.model.training import state_folder
from databoost.params import Params

_SHOWN = 10
_AT_ONCE = 256  # images in memory, fewer where they are large
#: The kernel's folds; they cost nothing, and more of them leave more to learn from.
_KERNEL_FOLDS = 10


def scores(layout: Layout, params: Params) -> None:
    """Run the stage; finished folds of a killed run are not trained again.

    They are left to :func:`~databoost.unfinished.forget_unfinished`.
    """
    here = layout.round("r00")
    manifest = read_manifest(here.manifest, here.dataset)
    classes = read_classes(layout.classes)
    prints, images = _look([here.dataset / path for path in manifest["path"]], params)
    groups = group_pairs(find_pairs(prints, params.audit), len(images))
    labels = label_positions(manifest["label"], classes)
    examples = Examples(images, torch.from_numpy(labels))
    settings = {name: getattr(params, name).model_dump() for name in ("audit", "model", "scores")}
    code = code_digest("audit", "stages.scores")
    work = here.manifest.read_text(encoding="utf-8") + json.dumps([settings, classes, code])
    device = pick_device(params.train)
    state = state_folder(layout.unfinished("scores"), work, device, params.train.threads)
    folds = cross_validate(
        examples, len(classes), params.model, params.scores, state,
        device=device, groups=groups, progress=True,
    )  # fmt: skip
    averaged = mean_dynamics(folds)
    is_judged = is_label_seen(labels, fold_numbers(folds))
    del folds  # every epoch's predictions
    n_folds = min(_KERNEL_FOLDS, len(np.unique(groups)))  # a group lies in one fold
    dealt = stratified_folds(labels, n_folds, params.scores.seed, groups)
    kernel = kernel_scores(prints.strokes, labels, len(classes), dealt)
    similarity = neighbour_similarity(prints.strokes, params.scores.neighbors, groups)
    is_judged &= is_label_seen(labels, dealt)
    table = score_labels(manifest, classes, averaged, kernel, similarity, is_judged)
    write_table(layout.scores, table, SCORES)
    print(summary(table))
    if not is_judged.all():
        print(_unjudged(manifest["label"][~is_judged]))


def _look(paths: list[Path], params: Params) -> tuple[Fingerprints, TapStore]:
    """Decode every image once, for its fingerprint and for the network's input."""
    prints, stores = [], []
    for part in ImageFiles(paths).parts(_AT_ONCE):
        prints.append(fingerprint(part))
        stores.append(TapStore(part, params.model.image_size))
    return Fingerprints.joined(prints), TapStore.joined(stores)


def _unjudged(labels: pd.Series) -> str:
    classes = ", ".join(sorted(set(labels)))
    return (
        f"{len(labels)} label(s) could not be judged: all images of their class ({classes}) lie in "
        "one fold, as near-duplicates do"
    )


def summary(table: pd.DataFrame) -> str:
    """Say how many issues each split has, and name the worst images."""
    lines = [
        f"{split}: {rows['is_label_issue'].sum()} label issues and "
        f"{rows['is_outlier_issue'].sum()} outliers among {len(rows)} images"
        for split, rows in table.groupby("split", sort=True)
    ]
    worst = table.head(_SHOWN)
    lines += [
        f"  {image_id} {label} -> {suggested}"
        for image_id, label, suggested in zip(
            worst["image_id"], worst["label"], worst["suggested_label"], strict=True
        )
    ]
    return "\n".join(lines)
