"""``candidates``: r00's training images -> recipes, embeddings and the index."""

import os

import pandas as pd
import torch

from databoost.candidates.cluster import ray_engine
from databoost.candidates.embedder import Embedder
from databoost.candidates.embedding import embedder_identity, load_embedder, pick_precision
from databoost.candidates.production import (
    Engine,
    embed_candidates,
    local_engine,
    work_key,
    write_embeddings,
)
from databoost.candidates.recipes import make_recipes
from databoost.candidates.search import build_index, load_embeddings
from databoost.candidates.shards import Shards
from databoost.candidates.workers import process_engine
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.files import whole_folder, write_json
from databoost.data.tablefiles import write_recipes
from databoost.errors import ParamsError
from databoost.layout import Layout
from databoost.model.processor import lack_of_memory, pick_device
from databoost.params import Params
from databoost.sections import EmbeddingParams
from databoost.sharing import room_for

#: Candidates that make one more process pay, which needs some ten seconds to begin.
_CANDIDATES_A_PROCESS = 100_000
#: Threads where there are too few: while one prepares a batch, another waits for the GPU.
_THREADS = 2
#: Bytes of a GPU's memory for a process, and for each pixel of its batch: of rendering, and of what
#: a deep network keeps of it.
_A_PROCESS, _A_PIXEL = 3 * 2**29, 256


def candidates(layout: Layout, params: Params, most_processes: int = 8) -> None:
    """Run the stage; finished shards of a killed run are not made again.

    They are left to :func:`~databoost.unfinished.forget_unfinished`.

    Parameters
    ----------
    most_processes
        That render and embed on a GPU, at most.

    Raises
    ------
    ParamsError
        If ``candidates.mirror`` names an unknown class, the engine is not there, or the GPU's
        memory is too small.
    WeightsError
        If the embedder's weights are missing or do not fit.
    """
    r00 = layout.round("r00")
    rows = _parents(layout)
    recipes = draw_recipes(layout, params)
    files = {
        name: r00.dataset / path for name, path in zip(rows["image_id"], rows["path"], strict=True)
    }
    shards = Shards(recipes, files)
    # Every worker has one thread, whatever the engine.
    device = pick_device(params.train.model_copy(update={"threads": 1}))
    settings = pick_precision(params.embedding, device)
    weights = layout.root / settings.weights
    embedder = load_embedder(settings, layout.root, device)
    state = layout.unfinished("candidates") / work_key(recipes, weights, settings, device)
    engine = _engine(layout, params, settings, embedder, device, most_processes)
    try:
        embed_candidates(shards, embedder.dimension, engine, state)
    except torch.OutOfMemoryError as error:
        raise ParamsError(
            "rendering and embedding candidates does not fit into the GPU's memory "
            f"({lack_of_memory(error)}), with embedding.batch_size {settings.batch_size}; lower "
            "it, or set train.accelerator=cpu"
        ) from error
    with whole_folder(layout.candidates) as part:
        write_recipes(part / layout.recipes.name, recipes)
        identity = embedder_identity(settings, embedder, layout.root)
        write_json(part / layout.embedder.name, {"precision": settings.precision, **identity})
        embeddings = part / layout.embeddings.name
        write_embeddings(embeddings, shards, embedder.dimension, state)
        build_index(load_embeddings(embeddings), part / layout.index.name, params.search)
    print(
        f"{len(recipes):,} candidates of {len(rows):,} training images, {embedder.dimension} "
        f"dimensions, search: {params.search.method}"
    )


def draw_recipes(layout: Layout, params: Params) -> pd.DataFrame:
    """Draw ``RECIPES`` of all candidates, in the order of their ids.

    Raises
    ------
    ParamsError
        If ``candidates.mirror`` names an unknown class.
    """
    settings = params.candidates
    return make_recipes(0, settings.count, _parents(layout), settings, read_classes(layout.classes))


def _parents(layout: Layout) -> pd.DataFrame:
    r00 = layout.round("r00")
    manifest = read_manifest(r00.manifest, r00.dataset)
    return manifest[manifest["split"] == "train"]


def _engine(
    layout: Layout,
    params: Params,
    settings: EmbeddingParams,
    embedder: Embedder,
    device: torch.device,
    most_processes: int,
) -> Engine:
    n_workers = params.train.threads
    if params.candidates.engine == "ray":
        weights = layout.root / settings.weights
        return ray_engine(params.candidates, settings, weights, device, n_workers)
    if embedder.device.type == "cuda":
        n_pixels = settings.batch_size * embedder.image_size**2
        n_processes = min(
            most_processes,
            len(os.sched_getaffinity(0)),
            params.candidates.count // _CANDIDATES_A_PROCESS,
            room_for(device, _A_PROCESS + _A_PIXEL * n_pixels),
        )
        if n_processes > 1:
            return process_engine(params.candidates, settings, layout.root, device, n_processes)
        n_workers = max(n_workers, _THREADS)
    return local_engine(params.candidates, embedder, settings.batch_size, n_workers)
