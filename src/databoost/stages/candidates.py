"""``candidates``: r00's training images -> recipes, embeddings and the index."""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from databoost.candidates.augmentation import Parents, render_taps
from databoost.candidates.embedding import Embedder, load_embedder
from databoost.candidates.recipes import make_recipes
from databoost.candidates.search import Embeddings, build_index
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.files import whole_folder
from databoost.data.images import ImageFiles
from databoost.data.resizing import blend_taps
from databoost.data.tables import write_recipes
from databoost.layout import Layout
from databoost.model.evaluation import pick_device
from databoost.params import Params

#: Bytes of decoded parents that are kept; larger collections are decoded again and again.
_MEMORY = 4 * 2**30


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
    with whole_folder(layout.candidates) as part:
        write_recipes(part / layout.recipes.name, recipes)
        embeddings = np.lib.format.open_memmap(
            part / layout.embeddings.name,
            mode="w+",
            dtype=np.float16,
            shape=(len(recipes), embedder.dimension),
        )
        _embed(recipes, parents, embedder, params, embeddings)
        embeddings.flush()
        build_index(embeddings, part / layout.index.name, params.search)
    print(
        f"{len(recipes):,} candidates of {len(rows):,} training images, {embedder.dimension} "
        f"dimensions, search: {params.search.method}"
    )


def _embed(
    recipes: pd.DataFrame,
    parents: Parents,
    embedder: Embedder,
    params: Params,
    embeddings: Embeddings,
) -> None:
    size = params.embedding.batch_size
    with tqdm(total=len(recipes), desc="embed", unit="candidate", mininterval=1.0) as bar:
        for start in range(0, len(recipes), size):
            batch = recipes.iloc[start : start + size]
            taps = render_taps(parents, batch, embedder.image_size)
            with torch.inference_mode():
                images = blend_taps(*taps)
            embeddings[start : start + len(batch)] = embedder.embed(images)
            bar.update(len(batch))
