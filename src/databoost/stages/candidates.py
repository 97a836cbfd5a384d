"""``candidates``: r00's training images -> recipes, embeddings and the index."""

import shutil

import numpy as np

from databoost.candidates.augmentation import Parents
from databoost.candidates.embedding import load_embedder
from databoost.candidates.production import embed_candidates, work_key
from databoost.candidates.recipes import make_recipes
from databoost.candidates.search import build_index
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.files import whole_folder
from databoost.data.images import ImageFiles
from databoost.data.tablefiles import write_recipes
from databoost.layout import Layout
from databoost.model.evaluation import pick_device
from databoost.params import Params

#: Bytes of decoded parents that are kept; of larger collections each is decoded twice.
_MEMORY = 2 * 2**30


def candidates(layout: Layout, params: Params) -> None:
    """Run the stage.

    Raises
    ------
    ParamsError
        If ``candidates.mirror`` names an unknown class.
    WeightsError
        If the embedder's weights are missing or do not fit.
    """
    r00 = layout.round("r00")
    manifest = read_manifest(r00.manifest, r00.dataset)
    rows = manifest[manifest["split"] == "train"].sort_values("image_id")
    files = [r00.dataset / path for path in rows["path"]]
    parents = Parents(rows, ImageFiles(files, _MEMORY), params.candidates)
    recipes = make_recipes(
        0,
        params.candidates.count,
        rows,
        params.candidates,
        read_classes(layout.classes),
    )
    device = pick_device(params.train)
    embedder = load_embedder(params.embedding, layout.root, device)
    key = work_key(recipes, layout.root / params.embedding.weights, params.embedding, device)
    state = layout.state / "candidates" / key
    embeddings = embed_candidates(
        recipes, parents, embedder, params.embedding.batch_size, params.train.threads, state
    )
    with whole_folder(layout.candidates) as part:
        write_recipes(part / layout.recipes.name, recipes)
        np.save(part / layout.embeddings.name, embeddings)
        build_index(embeddings, part / layout.index.name, params.search)
    shutil.rmtree(state, ignore_errors=True)
    print(
        f"{len(recipes):,} candidates of {len(rows):,} training images, {embedder.dimension} "
        f"dimensions, search: {params.search.method}"
    )
