"""``prepare``: raw images and corrections -> the r00 snapshot and the held-out images."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from databoost.data.corrections import apply_corrections, read_corrections
from databoost.data.datasets import (
    check_usable,
    read_classes,
    resolve_duplicates,
    sort_manifest,
    write_dataset,
)
from databoost.data.files import whole_folder, write_bytes, write_json
from databoost.data.images import ImageFiles, file_ending
from databoost.data.splitting import pool_of
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import DUPLICATES, MANIFEST, RAW_INDEX
from databoost.layout import HELDOUT_SPLITS, SNAPSHOT_SPLITS, Layout
from databoost.params import Params


def prepare(layout: Layout, params: Params) -> None:
    """Run the stage.

    Raises
    ------
    CorrectionError
        If the ledger does not fit the images.
    DatasetError
        If nothing is left to train on or to validate with.
    """
    raw = read_table(layout.raw_index, RAW_INDEX)
    ledger = read_corrections(layout.corrections)
    resolved = resolve_duplicates(apply_corrections(raw, ledger, read_classes(layout.classes)))
    images, split = resolved.images, {"strategy": "given"}
    if params.split.strategy != "given" and images["split"].isin(SNAPSHOT_SPLITS).any():
        moved_ids = set(ledger.loc[ledger["action"] == "move", "image_id"])
        images, split = _split_again(images, moved_ids, layout, params)
    files = {
        image_id: layout.raw / path
        for image_id, path in zip(images["image_id"], images["path"], strict=True)
    }
    manifest = _first_manifest(images, files)
    is_heldout = manifest["split"].isin(HELDOUT_SPLITS)
    check_usable(manifest[~is_heldout])
    r00 = layout.round("r00")
    write_dataset(manifest[~is_heldout], r00.dataset, lambda image_id: files[image_id].read_bytes())
    write_table(r00.manifest, sort_manifest(manifest[~is_heldout]), MANIFEST)
    write_json(r00.split, split)
    write_table(layout.duplicates, resolved.duplicates, DUPLICATES)
    with whole_folder(layout.heldout) as part:
        for row in manifest[is_heldout].itertuples():
            write_bytes(part / str(row.path), files[str(row.image_id)].read_bytes())
        write_table(
            part / layout.heldout_manifest.name, sort_manifest(manifest[is_heldout]), MANIFEST
        )
    _tell(raw, len(ledger), resolved.duplicates, manifest, layout)


def _split_again(
    images: pd.DataFrame, moved_ids: set[str], layout: Layout, params: Params
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Split anew and tell what it changed; gives the rows and the content of ``split.json``."""
    # They load SciPy and decode every image, which a given split does not need.
    from databoost.audit.near_duplicates import find_pairs, fingerprint, group_pairs
    from databoost.audit.resplitting import resplit

    pool = pool_of(images)
    prints = fingerprint(ImageFiles([layout.raw / path for path in pool["path"]]))
    groups = group_pairs(find_pairs(prints, params.audit), len(pool))
    again = resplit(images, params.split, prints.strokes, groups, moved_ids)
    print(
        f"split {params.split.strategy}: train and val are told apart with an AUC of "
        f"{again.after or 'nothing that was measured'}, before {again.before or 'not measured'}; "
        "0.5 is no difference"
    )
    return again.images, again.summary(params.split.strategy)


def _first_manifest(images: pd.DataFrame, files: dict[str, Path]) -> pd.DataFrame:
    endings = {image_id: file_ending(path) for image_id, path in files.items()}
    paths = [
        f"{split}/{label}/{image_id}{endings[image_id]}"
        for split, label, image_id in zip(
            images["split"], images["label"], images["image_id"], strict=True
        )
    ]
    nothing = [""] * len(images)
    return MANIFEST.frame(
        {
            "image_id": images["image_id"].to_numpy(),
            "path": paths,
            "split": images["split"].to_numpy(),
            "label": images["label"].to_numpy(),
            "origin": ["raw"] * len(images),
            "parent_id": nothing,
            "recipe": nothing,
            "round_added": ["r00"] * len(images),
            "query_id": nothing,
            "similarity": np.full(len(images), np.nan),
        }
    )


def _tell(
    raw: pd.DataFrame,
    n_lines: int,
    duplicates: pd.DataFrame,
    manifest: pd.DataFrame,
    layout: Layout,
) -> None:
    outcomes = duplicates["outcome"].value_counts()
    also_heldout = int(outcomes[outcomes.index.str.startswith("kept: also in")].sum())
    counts = ", ".join(f"{n} {split}" for split, n in manifest["split"].value_counts().items())
    print(f"{len(raw)} raw images, {n_lines} correction(s) -> {counts}")
    if len(duplicates):
        print(
            f"exact duplicates: {outcomes.get('dropped', 0)} copies dropped, "
            f"{outcomes.get('dropped: two labels', 0)} files dropped for having two labels, "
            f"{also_heldout} kept that are also held out; listed in "
            f"{layout.duplicates.relative_to(layout.root)}"
        )
