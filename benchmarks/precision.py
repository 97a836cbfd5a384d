"""What bfloat16 changes about which candidates are found, and what settling them in float32 mends.

    python benchmarks/precision.py ../roman-numerals --checkpoint best.ckpt

Embeds the same candidates in float32 and in bfloat16, and compares what exact search finds nearest
to the misclassified validation images (to all of them, with another --architecture than the
checkpoint's own).
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import torch

from databoost.candidates.embedding import load_embedder
from databoost.candidates.exact import Embeddings, Ids
from databoost.candidates.production import embed_candidates, local_engine, write_embeddings
from databoost.candidates.recipes import make_recipes
from databoost.candidates.reranking import DEEPEST, Reranking, embed_some
from databoost.candidates.search import Neighbours, find_neighbours, load_embeddings, recall
from databoost.candidates.shards import Shards
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.model.checkpoints import load_checkpoint
from databoost.model.processor import use_cpu
from databoost.params import read_params
from databoost.sections import SearchParams

PARAMS = read_params(Path(__file__).parents[1] / "params.yaml")
EXACT = SearchParams(method="exact", trees=1, search_k=1, seed=0)


def overlap(given: argparse.Namespace) -> None:
    """Compare the neighbours that bfloat16 finds with those of float32, by exact search."""
    use_cpu(1)
    cpu = torch.device("cpu")
    settings = PARAMS.embedding.model_copy(
        update={"weights": str(given.checkpoint.resolve()), "architecture": given.architecture,
                "image_size": given.image_size}
    )  # fmt: skip
    files = {path.stem: path for path in sorted((given.images / "train").rglob("*.png"))}
    rows = pd.DataFrame({"image_id": list(files), "label": "i"})
    recipes = make_recipes(0, given.count, rows, PARAMS.candidates, ["i"])
    shards, queries = Shards(recipes, files), failures(given)
    print(f"{len(queries)} queries, {given.count:,} candidates, {given.architecture}")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        embedders, vectors, found = {}, {}, {}
        for precision in ("float32", "bfloat16"):
            named = settings.model_copy(update={"precision": precision})
            embedder = embedders[precision] = load_embedder(named, Path("/"), cpu)
            folder = Path(name) / precision
            engine = local_engine(PARAMS.candidates, embedder, named.batch_size, given.workers)
            embed_candidates(shards, embedder.dimension, engine, folder)
            write_embeddings(folder / "all.npy", shards, embedder.dimension, folder)
            vectors[precision] = embedder.embed(
                TapStore(ImageFiles(queries), embedder.image_size).batch(slice(None))
            )
        for way, asked, stored in (
            ("float32", "float32", "float32"),
            ("bfloat16 alone", "bfloat16", "bfloat16"),
            ("bfloat16, settled in float32", "float32", "bfloat16"),
        ):
            embeddings = load_embeddings(Path(name) / stored / "all.npy")
            for k in (3, 10):
                depth = min(8 * k, DEEPEST) if "settled" in way else k
                near = find_neighbours(vectors[asked], depth, embeddings, Path("none"), EXACT)
                if "settled" in way:

                    def embed(ids: Ids) -> Embeddings:
                        return embed_some(
                            recipes.iloc[ids], files, PARAMS.candidates, embedders["float32"],
                            settings.batch_size,
                        )  # fmt: skip

                    near = Reranking(vectors[asked], embed, depth).rank(near)
                found[way, k] = Neighbours(near.ids[:, :k], near.similarities[:, :k])
                share = recall(found[way, k], found["float32", k])
                print(f"{way:30} finds {share:.4f} of float32's nearest {k}", flush=True)


def failures(given: argparse.Namespace) -> list[Path]:
    """Give the validation images that the checkpoint's model gets wrong, or all of them."""
    paths = sorted((given.images / "val").rglob("*.png"))
    if given.architecture != "model":
        return paths
    checkpoint = load_checkpoint(given.checkpoint)
    images = TapStore(ImageFiles(paths), checkpoint.image_size)
    with torch.inference_mode():
        predicted = checkpoint.model()(images.batch(slice(None))).argmax(dim=1).tolist()
    return [
        path for path, label in zip(paths, predicted, strict=True)
        if path.parent.name != checkpoint.classes[label]
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of train/<class> and val/<class>")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--architecture", default="model")
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="where temporary files lie")
    overlap(parser.parse_args())


if __name__ == "__main__":
    main()
