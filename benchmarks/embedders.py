r"""How often the candidates nearest to a validation image have its label, embedder by embedder.

    python benchmarks/embedders.py --checkpoint data/rounds/r00/model/best.ckpt \
        data/weights/encoder.onnx data/weights/pixels.onnx data/weights/gradients.onnx

Draws candidates of the project's r00, embeds them and its validation images with the checkpoint's
own features and with each ONNX file (`embedding.pixels: bytes`), and searches exactly. Nothing is
trained: this is what a boost would fetch with `boost.labels: any`, not what it is worth. Prints the
share of the nearest with the image's label, over all validation images and over those that the
checkpoint's model gets wrong, with the standard error over images, and from how many training
images the nearest of one were drawn.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from databoost.candidates.embedding import embed_files, load_embedder
from databoost.candidates.production import embed_candidates, local_engine, write_embeddings
from databoost.candidates.recipes import make_recipes
from databoost.candidates.search import find_neighbours, load_embeddings
from databoost.candidates.shards import Shards
from databoost.data.datasets import read_classes, read_manifest
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.model.checkpoints import load_checkpoint
from databoost.model.processor import use_cpu
from databoost.project import open_project
from databoost.sections import EmbeddingParams, SearchParams

EXACT = SearchParams(method="exact", trees=1, search_k=1, seed=0)


def wrong(checkpoint: Path, files: ImageFiles, labels: pd.Series) -> npt.NDArray[np.bool_]:
    """Say which images the checkpoint's model gets wrong."""
    loaded = load_checkpoint(checkpoint)
    with torch.inference_mode():
        images = TapStore(files, loaded.image_size).batch(slice(None))
        predicted = loaded.model()(images).argmax(dim=1).tolist()
    return np.array([loaded.classes[place] for place in predicted]) != labels.to_numpy()


def told(share: npt.NDArray[np.float64]) -> str:
    """Write a mean over images with its standard error."""
    return f"{share.mean():.3f} ({share.std(ddof=1) / np.sqrt(len(share)):.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="*", help="ONNX files")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20_000, help="candidates")
    parser.add_argument("--neighbors", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    use_cpu(1)
    layout, params = open_project()
    r00 = layout.round("r00")
    manifest = read_manifest(r00.manifest, r00.dataset)
    train, val = (manifest[manifest["split"] == split] for split in ("train", "val"))
    recipes = make_recipes(0, given.count, train, params.candidates, read_classes(layout.classes))
    paths = {
        split: dict(
            zip(rows["image_id"], (r00.dataset / path for path in rows["path"]), strict=True)
        )
        for split, rows in (("train", train), ("val", val))
    }
    queries = ImageFiles(list(paths["val"].values()))
    is_wrong = wrong(given.checkpoint, queries, val["label"])
    shards = Shards(recipes, paths["train"])
    labels, parents = recipes["label"].to_numpy(), recipes["parent_id"].to_numpy()
    print(f"{len(val)} validation images, {is_wrong.sum()} wrong; {given.count:,} candidates of "
          f"{len(train):,} training images; nearest {given.neighbors}")  # fmt: skip
    print(
        f"{'embedder':16}{'numbers':>8}{'all':>16}{'wrong ones':>16}{'of images':>11}{'seconds':>9}"
    )
    for path in (given.checkpoint, *given.files):
        is_own = path == given.checkpoint
        settings = EmbeddingParams(
            architecture="model" if is_own else "onnx", weights=str(path.resolve()), image_size=0,
            pixels="bytes", batch_size=256, precision="float32",
        )  # fmt: skip
        embedder = load_embedder(settings, Path("/"), torch.device("cpu"))
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            engine = local_engine(params.candidates, embedder, settings.batch_size, given.workers)
            embed_candidates(shards, embedder.dimension, engine, folder / "shards")
            stored = folder / "all.npy"
            write_embeddings(stored, shards, embedder.dimension, folder / "shards")
            vectors = embed_files(embedder, queries, settings.batch_size)
            embeddings = load_embeddings(stored)
            near = find_neighbours(vectors, given.neighbors, embeddings, Path("none"), EXACT).ids
        share = (labels[near] == val["label"].to_numpy()[:, None]).mean(axis=1)
        n_parents = np.array([len(set(parents[ids])) for ids in near])
        print(f"{'own features' if is_own else path.stem:16}{embedder.dimension:8}{told(share):>16}"
              f"{told(share[is_wrong]):>16}{n_parents.mean():11.1f}"
              f"{time.perf_counter() - started:9.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
