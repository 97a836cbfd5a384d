"""``prepare``: raw images and corrections -> the r00 snapshot and the held-out images."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from databoost.data.corrections import apply_corrections, read_corrections
from databoost.data.datasets import (
    read_classes,
    resolve_duplicates,
    sort_manifest,
)
from databoost.data.files import whole_folder, write_json
from databoost.data.images import ImageFiles, file_ending
from databoost.data.splitting import pool_of
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import DUPLICATES, MANIFEST, RAW_INDEX
from databoost.data.usable import check_usable, lost_images
from databoost.layout import HELDOUT_SPLITS, SNAPSHOT_SPLITS, Layout
from databoost.params import Params


def prepare(layout: Layout, params: Params) -> None:
    """Run the stage.

    Raises
    ------
    CorrectionError
        If the ledger does not fit the images.
    DatasetError
        If what is left cannot be trained on or lacks a class, as :func:`check_usable` tells. The
        table of duplicates is then there to be looked at; everything else stays as it was.
    """
    raw = read_table(layout.raw_index, RAW_INDEX)
    ledger = read_corrections(layout.corrections)
    corrected = apply_corrections(raw, ledger, read_classes(layout.classes))
    resolved = resolve_duplicates(corrected)
    write_table(layout.duplicates, resolved.duplicates, DUPLICATES)
    lost = lost_images(raw, corrected, resolved.images)
    images, split = resolved.images, {"strategy": "given"}
    r00 = layout.round("r00")
    with whole_folder(r00.dataset) as dataset, whole_folder(layout.heldout) as heldout:
        arrivals = _Arrivals([layout.raw / path for path in images["path"]], dataset / "arriving")
        if params.split.strategy != "given" and images["split"].isin(SNAPSHOT_SPLITS).any():
            moved_ids = set(ledger.loc[ledger["action"] == "move", "image_id"])
            images, split = _split_again(images, moved_ids, arrivals, layout, params)
        files = [layout.raw / path for path in images["path"]]
        manifest = _first_manifest(images, [arrivals.ending(file) for file in files])
        is_heldout = manifest["split"].isin(HELDOUT_SPLITS)
        emptied = check_usable(manifest[~is_heldout], params.split.strategy, lost)
        for file, path, is_out in zip(files, manifest["path"], is_heldout, strict=True):
            arrivals.move(file, (heldout if is_out else dataset) / path)
        arrivals.close()
        write_table(
            heldout / layout.heldout_manifest.name, sort_manifest(manifest[is_heldout]), MANIFEST
        )
    write_table(r00.manifest, sort_manifest(manifest[~is_heldout]), MANIFEST)
    write_json(r00.split, split)
    _tell(raw, len(ledger), resolved.duplicates, manifest, layout)
    for reasons in emptied:
        print(f"a class is empty now: {reasons}")


class _Arrivals:
    """Raw files, each read once and copied to one folder before its place is known."""

    def __init__(self, files: list[Path], folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._copies = {file: folder / str(number) for number, file in enumerate(files)}
        self._endings: dict[Path, str] = {}

    def take(self, file: Path, content: bytes) -> None:
        """Copy a raw file that was just read; several threads may."""
        self._endings[file] = file_ending(file, content)
        self._copies[file].write_bytes(content)

    def ending(self, file: Path) -> str:
        """Give the usual ending of a raw file's format, and copy the file if it is not there."""
        if file not in self._endings:
            self.take(file, file.read_bytes())
        return self._endings[file]

    def move(self, file: Path, target: Path) -> None:
        """Put a raw file's copy to its place."""
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self._copies[file], target)  # data/rounds may be another disk

    def close(self) -> None:
        """Remove the folder, from which every copy was moved."""
        self.folder.rmdir()


def _split_again(
    images: pd.DataFrame,
    moved_ids: set[str],
    arrivals: _Arrivals,
    layout: Layout,
    params: Params,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Split anew and tell what it changed; gives the rows and the content of ``split.json``."""
    # They load SciPy, and every image is decoded, which a given split does not need.
    from databoost.audit.near_duplicates import find_pairs, fingerprint, group_pairs
    from databoost.audit.resplitting import resplit

    pool = pool_of(images)
    files = [layout.raw / path for path in pool["path"]]
    prints = fingerprint(ImageFiles(files, seen=arrivals.take))
    groups = group_pairs(find_pairs(prints, params.audit), len(pool))
    again = resplit(images, params.split, prints.strokes, groups, moved_ids)
    print(
        f"split {params.split.strategy}: train and val are told apart with an AUC of "
        f"{again.after or 'nothing that was measured'}, before {again.before or 'not measured'}; "
        "0.5 is no difference"
    )
    return again.images, again.summary(params.split.strategy)


def _first_manifest(images: pd.DataFrame, endings: list[str]) -> pd.DataFrame:
    paths = [
        f"{split}/{label}/{image_id}{ending}"
        for split, label, image_id, ending in zip(
            images["split"], images["label"], images["image_id"], endings, strict=True
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
    counts = ", ".join(f"{n} {split}" for split, n in manifest["split"].value_counts().items())
    print(f"{len(raw)} raw images, {n_lines} correction(s) -> {counts}")
    if len(duplicates):
        print(
            f"exact duplicates: {outcomes.get('dropped', 0)} copies dropped, "
            f"{outcomes.get('dropped: two labels', 0)} files dropped for having two labels, "
            f"{outcomes.get('dropped: also in test', 0)} that are also in test, "
            f"{outcomes.get('kept: also in label_book', 0)} kept that are also in label_book; "
            f"listed in {layout.duplicates.relative_to(layout.root)}"
        )
