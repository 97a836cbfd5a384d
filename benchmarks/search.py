"""Exact search against Annoy: time, size and recall, at several sizes and dimensions.

    python benchmarks/search.py                              # 10,000 and 100,000 candidates
    python benchmarks/search.py --sizes 1000000 --dimensions 256 --trees 30
    python benchmarks/search.py --embeddings data/candidates/embeddings.npy --queries queries.npy

Vectors come from the built-in dataset by default: a scratch project below `--folder` draws it,
trains the fixed model for a few epochs, renders the candidates and embeds them, with that model
(256 dimensions) or with an untrained ResNet-50 at 32 pixels (2,048; `--weights` names trained
ones). The queries are its validation images. `--source stand-in` draws vectors instead, in seconds:
900 parents around 10 class centres, each candidate near its parent in 8 directions that all share,
and a little noise; the negative half cut off, as a ReLU does.

All is measured through `build_index` and `find_neighbours`. A row is written to `--output` as soon
as it is measured, and what stands there already is not measured again. Recall at 3 is that of the
first 3 of 24. The last column says after how many rounds of so many queries a build has paid.
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from databoost.candidates.embedding import load_embedder
from databoost.candidates.search import (
    Neighbours,
    build_index,
    find_neighbours,
    load_embeddings,
    recall,
)
from databoost.data.datasets import read_manifest
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.layout import Layout
from databoost.model.processor import use_cpu
from databoost.params import read_params
from databoost.sections import SearchParams

REPOSITORY = Path(__file__).parents[1]
K = 24
KEY = ("source", "size", "dimension", "queries", "threads", "method", "trees", "search_k")
MEASURED = (
    "build_s",
    "index_mb",
    "query_s",
    "query_low_s",
    "query_high_s",
    "recall_3",
    "recall_24",
)
HEAD = [
    *("vectors", "size", "dims", "queries", "threads", "method", "trees", "search_k", "build s"),
    *("index MB", "query s (range)", "to exact", "recall@3", "recall@24", "pays after"),
]
Row = dict[str, str]


def settings(method: str, trees: int = 1, search_k: int = 1) -> SearchParams:
    """Give the section of params.yaml."""
    return SearchParams(method=method, trees=trees, search_k=search_k, seed=0)


def rendered(folder: Path, size: int, dimension: int, weights: Path | None) -> tuple[Path, Path]:
    """Make a scratch project's candidates; give the files of their vectors and of the queries."""
    root = folder / f"rendered-{dimension}"
    layout, queries = Layout(root), root / "queries.npy"
    if layout.embeddings.exists() and len(load_embeddings(layout.embeddings)) >= size:
        return layout.embeddings, queries
    (root / "data").mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "data/corrections.csv"):
        shutil.copy(REPOSITORY / name, root / name)
    changes = [f"candidates.count={size}", "train.epochs=5", "search.method=exact"]
    if dimension == 2048:
        held = root / "data" / "resnet50.pth"
        if weights is None:
            import torchvision

            torch.manual_seed(0)
            torch.save(torchvision.models.resnet50(weights=None).state_dict(), held)
        else:
            shutil.copy(weights, held)
        changes += [
            "embedding.architecture=resnet50", "embedding.weights=data/resnet50.pth",
            "embedding.image_size=32",
        ]  # fmt: skip
    stages = [["ingest"], ["prepare"], ["train", "r00"], ["candidates"]]
    for command in (["set", *changes], *stages):
        subprocess.run(
            [Path(sys.executable).with_name("databoost"), *command], cwd=root, check=True
        )
    np.save(queries, embed_validation(layout))
    return layout.embeddings, queries


def embed_validation(layout: Layout) -> np.ndarray:
    """Embed the scratch project's validation images."""
    embedding = read_params(layout.params).embedding
    r00 = layout.round("r00")
    manifest = read_manifest(r00.manifest, r00.dataset)
    paths = manifest.loc[manifest["split"] == "val", "path"]
    embedder = load_embedder(embedding, layout.root, torch.device("cpu"))
    store = TapStore(ImageFiles([r00.dataset / path for path in paths]), embedder.image_size)
    starts = range(0, len(store), 64)
    return np.concatenate([embedder.embed(store.batch(slice(at, at + 64))) for at in starts])


def stand_in(folder: Path, size: int, dimension: int) -> tuple[Path, Path]:
    """Draw vectors and 300 queries, block by block; give their files."""
    path = folder / f"stand-in-{dimension}-{size}.npy"
    queries = path.with_name(f"stand-in-{dimension}-queries.npy")
    if path.exists():
        return path, queries
    generator = np.random.default_rng(0)
    classes = np.maximum(generator.normal(size=(10, dimension)), 0)
    offsets = generator.normal(size=(900, 12)) @ generator.normal(size=(12, dimension))
    parents = classes[np.arange(900) % 10] + 0.5 * offsets / 12**0.5
    directions = generator.normal(size=(8, dimension)) / 8**0.5

    def draw(n: int, spread: float) -> np.ndarray:
        rows = parents[generator.integers(0, 900, n)]
        rows = rows + spread * generator.normal(size=(n, 8)) @ directions
        rows = np.maximum(rows + 0.02 * generator.normal(size=(n, dimension)), 0)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    np.save(queries, draw(300, 0.6).astype(np.float32))
    part = path.with_suffix(".part")
    vectors = np.lib.format.open_memmap(part, "w+", np.float16, (size, dimension))
    for start in range(0, size, 10_000):
        vectors[start : start + 10_000] = draw(min(10_000, size - start), 0.35)
    vectors.flush()
    os.replace(part, path)
    return path, queries


def timed(search: Callable[[], Neighbours], repetitions: int) -> tuple[Neighbours, Row]:
    """Search several times; give the answer, and the median, least and most seconds."""
    spent = []
    for _ in range(repetitions):
        started = time.perf_counter()
        found = search()
        spent.append(time.perf_counter() - started)
    values = (statistics.median(spent), min(spent), max(spent))
    names = ("query_s", "query_low_s", "query_high_s")
    return found, {name: f"{value:.3f}" for name, value in zip(names, values, strict=True)}


def first(found: Neighbours, k: int) -> Neighbours:
    """Cut neighbours to the first k."""
    return Neighbours(found.ids[:, :k], found.similarities[:, :k])


def measure(
    files: tuple[Path, Path], key: Row, grid: argparse.Namespace, done: set[tuple[str, ...]]
) -> Iterator[Row]:
    """Measure the exact search and every pair of trees and search_k that is not done."""
    embeddings = load_embeddings(files[0])[: int(key["size"])]
    queries = np.load(files[1]).astype(np.float32)[: grid.n_queries]
    key |= {"queries": str(len(queries)), "dimension": str(embeddings.shape[1])}
    index = grid.folder / f"index-{os.getpid()}.ann"

    def search(params: SearchParams) -> Callable[[], Neighbours]:
        return lambda: find_neighbours(queries, K, embeddings, index, params)

    exact = key | {"method": "exact", "trees": "", "search_k": ""}
    pairs = [
        (trees, search_k) for trees in grid.trees for search_k in grid.search_k
        if (*key.values(), "annoy", str(trees), str(search_k)) not in done
    ]  # fmt: skip
    is_new = tuple(exact[name] for name in KEY) not in done
    if not is_new and not pairs:
        return
    truth, times = timed(search(settings("exact")), grid.repetitions if is_new else 1)
    if is_new:
        yield exact | times | {"build_s": "0", "index_mb": "0", "recall_3": "1", "recall_24": "1"}
    built = 0
    for trees, search_k in pairs:
        params = settings("annoy", trees, search_k)
        if trees != built:
            started = time.perf_counter()
            build_index(embeddings, index, params)
            build = {
                "build_s": f"{time.perf_counter() - started:.2f}",
                "index_mb": f"{index.stat().st_size / 1e6:.0f}",
            }
            built = trees
        found, times = timed(search(params), grid.repetitions)
        hits = {f"recall_{k}": f"{recall(first(found, k), first(truth, k)):.4f}" for k in (3, K)}
        yield (
            key | {"method": "annoy", "trees": str(trees), "search_k": str(search_k)}
            | build | times | hits
        )  # fmt: skip
    index.unlink(missing_ok=True)


def read_rows(path: Path) -> list[Row]:
    """Read what is measured already; a line that a kill broke off is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if None not in row.values()]


def append(path: Path, row: Row) -> None:
    """Write one row, and the header before the first."""
    is_new = not path.exists()
    if not is_new and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as stream:
            stream.write("\n")
    with path.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, KEY + MEASURED)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def table(rows: list[Row]) -> str:
    """Write the rows as a Markdown table."""
    lines = [HEAD, ["---"] * len(HEAD)]
    times = {
        tuple(row[name] for name in KEY[:5]): float(row["query_s"])
        for row in rows if row["method"] == "exact"
    }  # fmt: skip
    for row in rows:
        exact, query = times[tuple(row[name] for name in KEY[:5])], float(row["query_s"])
        gain = exact - query
        if row["method"] == "exact":
            pays = ""
        else:
            pays = f"{float(row['build_s']) / gain:,.0f} rounds" if gain > 0 else "never"
        lines.append(
            [
                *(row[name] for name in KEY), row["build_s"], row["index_mb"],
                f"{query:.2f} ({row['query_low_s']} to {row['query_high_s']})",
                f"{query / exact:.2f}", row["recall_3"], row["recall_24"], pays,
            ]
        )  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    add("--dimensions", type=int, nargs="+", choices=(256, 2048), default=[256, 2048])
    add("--trees", type=int, nargs="+", default=[10, 30, 100])
    add("--search-k", type=int, nargs="+", default=[2_000, 10_000, 50_000])
    add("--n-queries", type=int, default=150, help="queries of a round")
    add("--repetitions", type=int, default=3, help="of the searches")
    add("--threads", type=int, default=2)
    add("--source", choices=("rendered", "stand-in"), default="rendered")
    add("--weights", type=Path, help="a torchvision ResNet-50's weights")
    add("--embeddings", type=Path, help="(N, D) float16 .npy; the sizes count from its start")
    add("--queries", type=Path, help="(n, D) .npy of the same embedder")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()) / "databoost-search")
    add("--output", type=Path, default=Path("reports/search.csv"))
    given = parser.parse_args()
    if (given.embeddings is None) != (given.queries is None):
        parser.error("--embeddings and --queries go together")
    return given


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    given = arguments()
    use_cpu(given.threads)
    given.folder.mkdir(parents=True, exist_ok=True)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    done = {tuple(row[name] for name in KEY) for row in read_rows(given.output)}
    for size in given.sizes:
        for dimension in given.dimensions if given.embeddings is None else [0]:
            if given.embeddings is not None:
                source, files = given.embeddings.name, (given.embeddings, given.queries)
                if len(load_embeddings(files[0])) < size:
                    sys.exit(
                        f"{files[0]} holds fewer than {size:,} vectors; choose smaller --sizes"
                    )
            elif given.source == "rendered":
                source = "rendered"
                files = rendered(given.folder, max(given.sizes), dimension, given.weights)
            else:
                source, files = "stand-in", stand_in(given.folder, size, dimension)
            key = dict.fromkeys(KEY[:5], "") | {
                "source": source,
                "size": str(size),
                "threads": str(given.threads),
            }
            for row in measure(files, key, given, done):
                append(given.output, row)
                print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)
    print("\n" + table(read_rows(given.output)))


if __name__ == "__main__":
    main()
