"""``ingest``: the source's images -> ``data/raw`` and the tables about them."""

import shutil
from contextlib import suppress
from pathlib import Path

import pandas as pd

from databoost.data.class_folders import check_labels, order_classes, shown
from databoost.data.files import read_json, whole_folder, write_json
from databoost.data.raw import Collected, collect
from databoost.data.sources import open_source, source_files
from databoost.data.synthetic import write_synthetic
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import CLASSES, RAW_INDEX, TRUTH, UNREADABLE
from databoost.errors import SourceError, TableError, listed
from databoost.layout import SPLITS, Layout
from databoost.params import Params

_SHOWN_FILES = 5


def ingest(layout: Layout, params: Params) -> None:
    """Run the stage.

    Raises
    ------
    SourceError
        If the source is missing, unsafe, altered, or holds no images to train and validate with; or
        if files lie in ``data/raw`` that no run of this stage wrote. What an earlier run has
        written stays as it was.
    """
    written = _written_before(layout)
    with whole_folder(layout.ingest) as tables, whole_folder(layout.raw) as raw:
        found, truth = _images(layout, params, raw)
        write_table(tables / layout.raw_index.name, found.images, RAW_INDEX)
        write_table(tables / layout.unreadable.name, found.unreadable, UNREADABLE)
        classes = CLASSES.frame({"label": list(found.classes)})
        write_table(tables / layout.classes.name, classes, CLASSES)
        write_table(tables / layout.truth.name, truth, TRUTH)
        # Before either is in place, so that a run that breaks off here owns what it left.
        write_json(layout.raw_written, sorted({*written, *found.images["path"]}))
        # The tables of an earlier run must never stand beside the images of this one.
        shutil.rmtree(layout.ingest, ignore_errors=True)
    _tell(params.data.source, found, layout)


def _written_before(layout: Layout) -> set[str]:
    """List the files of ``data/raw``; refuse if any is not this stage's own, but a person's."""
    if not layout.raw.is_dir():
        return set()
    present = {str(path) for path in source_files(layout.raw)}
    known: set[str] = set()
    with suppress(TableError):
        known.update(read_table(layout.raw_index, RAW_INDEX)["path"])
    with suppress(TableError):
        known.update(read_json(layout.raw_written))
    if foreign := sorted(present - known):
        raw = layout.raw.relative_to(layout.root)
        raise SourceError(
            f"{raw} is replaced as a whole, and holds {len(foreign)} file(s) that databoost did "
            f"not write:{listed(shown(path) for path in foreign[:_SHOWN_FILES])}\nMove images to a "
            "folder outside the project and name that, `databoost source ../photos`; a wrong label "
            f"is changed by data/corrections.csv. If the files are not needed, remove {raw}"
        )
    return present


def _images(layout: Layout, params: Params, raw: Path) -> tuple[Collected, pd.DataFrame]:
    if params.data.source != "synthetic":
        with open_source(params.data, layout) as source:
            return collect(source.folder, params.data, raw, source.sha256), TRUTH.empty()
    truth = write_synthetic(params.synthetic, raw, progress=True)
    ordered = truth.sort_values("path")
    images = RAW_INDEX.frame({column: ordered[column].to_numpy() for column in RAW_INDEX.columns})
    check_labels(set(images["label"]), params.data)
    classes = order_classes(images["label"], params.data.classes)
    return Collected(images, UNREADABLE.empty(), classes), truth


def _tell(source: str, found: Collected, layout: Layout) -> None:
    n_images = found.images["split"].value_counts()
    counts = ", ".join(f"{n_images[split]} {split}" for split in SPLITS if split in n_images)
    classes = ", ".join(found.classes)
    print(f"{source}: {counts} images of {len(found.classes)} classes: {classes}")
    if len(found.unreadable):
        table = layout.unreadable.relative_to(layout.root)
        print(f"{len(found.unreadable)} file(s) left out, all listed in {table}:")
        for row in found.unreadable.head(_SHOWN_FILES).itertuples():
            print(shown(f"  {row.path}: {row.reason}"))
