"""A project with rounds written by hand, and class names that spreadsheets stumble over."""

import shutil
from pathlib import Path

import numpy as np

from databoost.data.files import write_text
from databoost.data.images import write_png
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import CLASSES, MANIFEST, RAW_INDEX, SHEET, SUSPECTS
from databoost.layout import Layout
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, save_checkpoint

REPOSITORY = Path(__file__).parents[1]
LABELS = ["=1+1", 'a "b", c', "7", "naïve ü"]
N_TRAIN, N_VAL = 8, 4
HEADER = "image_id,action,value,reason\n"


def lay_sheet_project(folder: Path) -> Layout:
    """Lay raw images, r00, r01 with one addition, and one held-out image."""
    layout = Layout(folder)
    (folder / "data").mkdir(parents=True)
    shutil.copy(REPOSITORY / "params.yaml", folder)
    write_text(layout.corrections, HEADER)
    write_table(layout.classes, CLASSES.frame({"label": LABELS}), CLASSES)
    splits = ["train"] * N_TRAIN + ["val"] * N_VAL + ["test"]
    labels = [LABELS[number % len(LABELS)] for number in range(len(splits))]
    generator = np.random.default_rng(0)
    ids, paths = [], []
    for number, (split, label) in enumerate(zip(splits, labels, strict=True)):
        pixels = generator.integers(0, 256, (12 + number, 20, 1), dtype=np.uint8)
        raw = layout.raw / split / label / f"={number}.png"
        raw.parent.mkdir(parents=True, exist_ok=True)
        ids.append(write_png(raw, pixels))
        paths.append(f"{split}/{label}/={number}.png")
    columns = {"image_id": ids, "path": paths, "split": splits, "label": labels}
    write_table(layout.raw_index, RAW_INDEX.frame(columns), RAW_INDEX)
    for name in ("r00", "r01"):
        _lay_round(layout, name, columns)
    heldout = {key: values[-1:] for key, values in columns.items()}
    write_table(layout.heldout_manifest, _manifest(heldout, ["raw"]), MANIFEST)
    return layout


def _lay_round(layout: Layout, name: str, columns: dict[str, list[str]]) -> None:
    here = layout.round(name)
    rows = {key: values[:-1] for key, values in columns.items()}
    origins = ["raw"] * len(rows["path"])
    for path in rows["path"]:
        target = here.dataset / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(layout.raw / path, target)
    if name == "r01":
        path = f"train/{LABELS[0]}/added.png"
        added = write_png(here.dataset / path, np.full((9, 9, 1), 5, dtype=np.uint8))
        cells = {"image_id": added, "path": path, "split": "train", "label": LABELS[0]}
        rows = {key: [*values, cells[key]] for key, values in rows.items()}
        origins.append("nearest")
    manifest = _manifest(rows, origins)
    write_table(here.manifest, manifest, MANIFEST)
    n = len(manifest)
    said = {
        "predicted_label": [LABELS[1]] * n,
        "p_label": [0.25] * n,
        "p_predicted": [0.5] * n,
        "margin": [-0.25] * n,
        "loss": [float(number) for number in range(n)],
        "is_misclassified": [True] * n,
    }
    known = ["image_id", "path", "split", "label", "origin", "round_added"]
    sheet = {column: manifest[column].to_list() for column in known} | said
    write_table(here.sheet, SHEET.frame(sheet), SHEET)
    model = build_model("fixed", len(LABELS), seed=0)
    save_checkpoint(here.checkpoint, Checkpoint("fixed", 32, LABELS, 0, model.state_dict()))


def lay_scores(layout: Layout) -> None:
    """Score the images of r00: the first is the best, the last the worst."""
    manifest = read_table(layout.round("r00").manifest, MANIFEST)
    n = len(manifest)
    columns = {
        **{name: manifest[name].to_list() for name in ("image_id", "path", "split", "label")},
        "suggested_label": [LABELS[0]] * n,
        "label_score": [1 - number / n for number in range(n)],
        "is_label_issue": [False] * n,
        "outlier_score": [0.5] * n,
        "is_outlier_issue": [False] * n,
    }
    write_table(layout.scores, SUSPECTS.frame(columns), SUSPECTS)


def _manifest(rows: dict[str, list[str]], origins: list[str]) -> object:
    n = len(origins)
    nothing = {name: [""] * n for name in ("parent_id", "recipe", "query_id")}
    rounds = ["r00" if origin == "raw" else "r01" for origin in origins]
    rest = {"origin": origins, "round_added": rounds, "similarity": [float("nan")] * n}
    return MANIFEST.frame({**rows, **nothing, **rest})
