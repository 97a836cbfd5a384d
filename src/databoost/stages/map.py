"""``map``: the images of every round -> their places in a plane: a table, a picture, a page."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from databoost.candidates.embedding import load_embedder
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.files import write_bytes, write_text
from databoost.data.images import ImageFiles, Pixels
from databoost.data.resizing import TapStore
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import MAP, SHEET, Table
from databoost.layout import SNAPSHOT_SPLITS, SPLITS, Layout
from databoost.model.processor import pick_device
from databoost.params import Params
from databoost.views.map_page import map_page
from databoost.views.map_picture import map_picture
from databoost.views.projection import Vectors, choose_shown, project
from databoost.views.sprites import sprite_sheet
from databoost.views.thumbnails import thumbnail

_SIDES = ((3_000, 48), (None, 32))  # pixels of a picture on the page, by images
_KEY = ["split", "image_id"]
_SCORED = Table(
    "label scores", {"image_id": "text", "label_score": "number", "suggested_label": "text"}
)


def map(layout: Layout, params: Params) -> None:  # noqa: A001 (a stage and its function share a name)
    """Run the stage."""
    classes = read_classes(layout.classes)
    images = _images(layout, params)
    shown = images.iloc[choose_shown(images, params.map.max_points, params.map.seed)]
    ours = images[images["split"].isin(SNAPSHOT_SPLITS) & (images["round_added"] == "r00")]
    fitted = ours.iloc[choose_shown(ours, params.map.max_points, params.map.seed)]
    every = images.loc[shown.index.union(fitted.index)]
    side = next(side for most, side in _SIDES if most is None or len(shown) <= most)
    vectors, pictures = _embed(every, layout, params, side)
    places = _places(every, fitted, vectors, params)
    placed = shown.assign(x=places["x"], y=places["y"])
    points = MAP.frame({column: placed[column].to_numpy() for column in MAP.columns})
    of_index = dict(zip(every.index, pictures, strict=True))
    sprite = sprite_sheet([of_index[row] for row in shown.index], side)
    page = map_page(points, classes, params.rounds, sprite, side, len(images))
    write_table(layout.map_points, points, MAP)
    write_bytes(layout.map_picture, map_picture(points, classes, params.rounds[-1]))
    write_text(layout.map_page, page)
    print(f"{len(points):,} of {len(images):,} images on the map: {layout.map_page}")


def _images(layout: Layout, params: Params) -> pd.DataFrame:
    """Give the images of the last round and the held-out ones, in the order of splits and paths."""
    last = layout.round(params.rounds[-1])
    snapshot = read_manifest(last.manifest, last.dataset)
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    folders = [last.dataset] * len(snapshot) + [layout.heldout] * len(heldout)
    images = pd.concat([snapshot, heldout], ignore_index=True)
    images["folder"] = pd.Series(folders, dtype=object)
    columns = ["predicted_label", "is_misclassified"]
    images = images.merge(read_table(last.sheet, SHEET)[[*_KEY, *columns]], on=_KEY, how="left")
    first = read_table(layout.round("r00").sheet, SHEET)[[*_KEY, "predicted_label"]]
    first = first.rename(columns={"predicted_label": "first_predicted_label"})
    scores = read_table(layout.scores, _SCORED)
    images = images.merge(first, on=_KEY, how="left").merge(scores, on="image_id", how="left")
    # A held-out image may also be a training image; its score was that one's.
    images.loc[~images["split"].isin(SNAPSHOT_SPLITS), ["label_score", "suggested_label"]] = None
    texts = ["predicted_label", "first_predicted_label", "suggested_label"]
    images[texts] = images[texts].fillna("")
    order = images["split"].apply(SPLITS.index)
    return images.assign(order=order).sort_values(["order", "path"]).reset_index(drop=True)


def _embed(
    images: pd.DataFrame, layout: Layout, params: Params, side: int
) -> tuple[Vectors, list[Pixels]]:
    """Read each image once, for its vector and for its small picture."""
    device = pick_device(params.train)
    embedder = load_embedder(params.embedding, layout.root, device)
    vectors = np.zeros((len(images), embedder.dimension), dtype=np.float32)
    pictures: list[Pixels] = []
    paths = [folder / path for folder, path in zip(images["folder"], images["path"], strict=True)]
    with tqdm(total=len(paths), desc="embed", unit="image", mininterval=1.0) as bar:
        for read in ImageFiles(paths).parts(params.embedding.batch_size):
            batch = TapStore(read, embedder.image_size).batch(slice(None))
            vectors[len(pictures) : len(pictures) + len(read)] = embedder.embed(batch)
            pictures += [thumbnail(image, side) for image in read]
            bar.update(len(read))
    return vectors, pictures


def _places(
    images: pd.DataFrame, fitted: pd.DataFrame, vectors: Vectors, params: Params
) -> pd.DataFrame:
    """Lay out the images: r00's first, then each split and round by itself."""
    rows = pd.Series(np.arange(len(images)), index=images.index)
    rest = images.drop(index=fitted.index)
    batches = [group.index for _, group in rest.groupby(["round_added", "split"])]
    found = project(
        vectors[rows[fitted.index]], [vectors[rows[batch]] for batch in batches], params.map
    )
    index = np.concatenate([fitted.index, *batches])
    return pd.DataFrame(np.concatenate(found), index=index, columns=["x", "y"])
