"""``ingest``: the source's images -> ``data/raw`` and the tables about them."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from databoost.data.class_folders import check_labels, order_classes, shown
from databoost.data.files import read_json, sha256_of, whole_folder, write_json
from databoost.data.raw import Collected, collect
from databoost.data.sources import open_source, source_files
from databoost.data.synthetic import write_synthetic
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import CLASSES, RAW_INDEX, TRUTH, UNREADABLE
from databoost.errors import SourceError, TableError, listed
from databoost.layout import SPLITS, Layout
from databoost.params import Params
from databoost.sections import DataParams

_SHOWN_FILES = 5


def ingest(layout: Layout, params: Params) -> None:
    """Run the stage.

    Raises
    ------
    SourceError
        If the source is missing, unsafe, altered, or holds no images to train and validate with; or
        if files lie in ``data/raw`` that no run of this stage wrote, or that were altered there
        since. What an earlier run has written stays as it was.
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
        write_json(layout.raw_written, sorted({*written, *_lines(found.images)}))
        # The tables of an earlier run must never stand beside the images of this one.
        shutil.rmtree(layout.ingest, ignore_errors=True)
    _tell(params.data, found, layout)


def _written_before(layout: Layout) -> set[str]:
    """Give the `_line` of each file in ``data/raw``; refuse if any is not this stage's own."""
    if not layout.raw.is_dir():
        return set()
    known: set[str] = set()
    with suppress(TableError):
        known.update(_lines(read_table(layout.raw_index, RAW_INDEX)))
    with suppress(TableError):
        known.update(read_json(layout.raw_written))
    names = {_path_of(line) for line in known}
    present = set()
    foreign = []
    for path in tqdm(source_files(layout.raw), desc="check", unit="file", mininterval=1.0):
        line = _line(_id_of(layout.raw / path), str(path))
        present.add(line)
        if line not in known:
            altered = " (altered since)" if _path_of(line) in names else ""
            foreign.append(shown(str(path)) + altered)
    if foreign:
        raw = layout.raw.relative_to(layout.root)
        raise SourceError(
            f"{raw} is replaced as a whole, and holds {len(foreign)} file(s) that databoost did "
            f"not write, or not as they are:{listed(foreign[:_SHOWN_FILES])}\nMove images to a "
            "folder outside the project and name that, `databoost source ../photos`; alter them "
            "there; a wrong label is changed by data/corrections.csv. If the files are not needed, "
            f"remove {raw}"
        )
    return present


def _lines(images: pd.DataFrame) -> Iterable[str]:
    return map(_line, images["image_id"], images["path"])


def _line(image_id: str, path: str) -> str:
    return f"{image_id}  {path}"


def _path_of(line: str) -> str:
    return line.partition("  ")[2]


def _id_of(file: Path) -> str:
    # What is no regular file, a link that leads nowhere say, has another id than any image.
    return sha256_of(file)[:16] if file.is_file() else "-" * 16


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


def _tell(data: DataParams, found: Collected, layout: Layout) -> None:
    n_images = found.images["split"].value_counts()
    counts = ", ".join(f"{n_images[split]} {split}" for split in SPLITS if split in n_images)
    fraction = f"data.val_fraction {data.val_fraction:g}"
    drawn = f" (val drawn from train, {fraction})" if found.is_val_drawn else ""
    classes = ", ".join(found.classes)
    print(f"{data.source}: {counts} images{drawn} of {len(found.classes)} classes: {classes}")
    if len(found.unreadable):
        table = layout.unreadable.relative_to(layout.root)
        print(f"{len(found.unreadable)} file(s) left out, all listed in {table}:")
        for row in found.unreadable.head(_SHOWN_FILES).itertuples():
            print(shown(f"  {row.path}: {row.reason}"))
