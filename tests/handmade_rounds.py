"""Outputs of two rounds, written by hand: two classes, three training and two validation images."""

import json
from pathlib import Path
from typing import Any

from databoost.data.files import write_bytes, write_json, write_text
from databoost.layout import Layout
from databoost.params import Params, parse_params, read_params

REPOSITORY = Path(__file__).parents[1]
MANIFEST_HEADER = (
    "image_id,path,split,label,origin,parent_id,recipe,round_added,query_id,similarity\n"
)
RAW_ROWS = (
    "a1,train/i/a1.png,train,i,raw,,,r00,,\n"
    "a2,train/v/a2.png,train,v,raw,,,r00,,\n"
    "b1,val/i/b1.png,val,i,raw,,,r00,,\n"
    "b2,val/v/b2.png,val,v,raw,,,r00,,\n"
)
ADDED_ROW = "c1,train/v/c1.png,train,v,nearest,a2,7,r01,b2,0.75\n"
CURVE = (
    "epoch,train_loss,train_accuracy,val_loss,val_accuracy\n"
    "0,2.0,0.25,2.5,0.0\n"
    "1,1.0,0.5,1.5,{accuracy}\n"
)


def declared(**changes: Any) -> Params:
    """The params of this repository with r00 and r01 declared; changes are whole sections."""
    values = read_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    values |= {"rounds": ["r00", "r01"], "boosts": {"r01": {"previous": "r00"}}}
    for section, change in changes.items():
        values[section] = values[section] | change
    return parse_params(values)


def split_of(accuracy: float, loss: float, n_misclassified: int, v: float) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "loss": loss,
        "n_images": 2,
        "n_misclassified": n_misclassified,
        "per_class_accuracy": {"i": 1.0, "v": v},
    }


def lay_round(layout: Layout, name: str, accuracy: float = 0.5, stop: str | None = None) -> None:
    """Write every output of r00 or r01 that is read from outside its stage."""
    here = layout.round(name)
    is_first = name == "r00"
    write_text(here.manifest, MANIFEST_HEADER + RAW_ROWS + ("" if is_first else ADDED_ROW))
    write_bytes(here.checkpoint, f"weights {name}".encode())
    write_text(here.curve, CURVE.format(accuracy=accuracy))
    write_json(
        here.model_metrics,
        {"best_epoch": 1, "n_epochs": 2, "val_accuracy": accuracy, "key": f"training {name}"},
    )
    write_text(here.sheet, f"sheet {name}\n")
    write_text(here.confusion, f"confusion {name}\n")
    write_bytes(here.confusion_picture, b"picture of counts")
    write_bytes(here.misclassified, b"picture grid")
    evaluation = {
        "train": split_of(1.0, 0.25, 0, 1.0),
        "val": split_of(accuracy, 1.5, round(2 - 2 * accuracy), 2 * accuracy - 1),
        "label_book": split_of(0.5, 0.75, 1, 0.0),
        "size": {"n_train": 2 if is_first else 3, "n_val": 2, "padded": 16},
    }
    write_json(here.metrics, evaluation)
    if is_first:
        shifts = {"before": {"auc": 0.75}, "after": {"auc": 0.5}}
        write_json(here.split, {"strategy": "matched", **shifts})
    else:
        write_text(here.additions, "image_id,candidate_id\nc1,7\n")
        boost = {"strategy": "nearest", "n_queries": 1, "n_additions": 1}
        write_json(here.boost, boost | {"mean_similarity": 0.75, "recall": 0.875, "stop": stop})


def edit_json(path: Path, **changes: Any) -> None:
    write_json(path, json.loads(path.read_text()) | changes)
