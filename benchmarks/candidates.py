"""What candidates cost: time, memory and disk, and rendering against other ways.

    python benchmarks/candidates.py curve          # 10 thousand, 100 thousand, 1 million
    python benchmarks/candidates.py curve --architecture resnet50 --image-size 64
    python benchmarks/candidates.py curve --architecture resnet50 --image-size 64 --device cuda
    python benchmarks/candidates.py curve --engine ray --counts 10000 100000
    python benchmarks/candidates.py rendering

`curve` runs every count in a process of its own and adds a line to reports/candidates_curve.csv as
soon as it is done: the seconds of the recipes, of rendering (alone, on one thread, from a part), of
all shards, of writing the array, of an exact search for 150 queries, the peak memory and the disk.
Weights are random, which the cost does not depend on, and the precision is what `auto` gives.
`rendering` draws the same warps with Pillow and torchvision, an image at a time; noise, strokes and
erasing are left out everywhere, and bends but in a row of their own.
"""

import argparse
import csv
import json
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from databoost.candidates.augmentation import Parents, render_taps
from databoost.candidates.cluster import ray_engine
from databoost.candidates.embedding import load_embedder, pick_precision
from databoost.candidates.production import embed_candidates, local_engine, write_embeddings
from databoost.candidates.recipes import draw, make_recipes, recipe_seeds
from databoost.candidates.search import find_neighbours, load_embeddings
from databoost.candidates.shards import Shards
from databoost.candidates.warping import find_warps
from databoost.candidates.workers import process_engine
from databoost.data.images import ImageFiles, encode_png, image_id
from databoost.data.resizing import blend_taps
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, save_checkpoint
from databoost.model.processor import use_cpu
from databoost.params import read_params
from databoost.sections import CandidatesParams, EmbeddingParams, SearchParams

PARAMS = read_params(Path(__file__).parents[1] / "params.yaml")
N_PARENTS, SIDE = 1_675, 200
EXACT = SearchParams(method="exact", trees=1, search_k=1, seed=0)
Row = dict[str, Any]


def draw_parents(folder: Path, n: int) -> dict[str, Path]:
    """Write n pages of dark strokes, about 200 x 200 pixels each, and give the files by id."""
    random = np.random.default_rng(0)
    files: dict[str, Path] = {}
    while len(files) < n:
        height, width = random.integers(SIDE - 20, SIDE + 21, 2).tolist()
        page = random.integers(235, 256, (height, width, 1), dtype=np.uint8)
        for left in random.integers(20, width - 30, 3).tolist():
            page[20 : height - 20, left : left + 6] //= 6
        content = encode_png(page)
        path = folder / f"{image_id(content)}.png"
        path.write_bytes(content)
        files[path.stem] = path
    return files


def make_weights(folder: Path, architecture: str, size: int) -> EmbeddingParams:
    """Write random weights, and name them as ``embedding`` does."""
    model = build_model(architecture, 10, seed=0)
    if architecture == "fixed":
        labels = [str(label) for label in range(10)]
        save_checkpoint(
            folder / "weights", Checkpoint("fixed", size, labels, 0, model.state_dict())
        )
    else:
        torch.save(model.body.state_dict(), folder / "weights")
    named = "model" if architecture == "fixed" else architecture
    changes = {"architecture": named, "weights": "weights", "image_size": size}
    return PARAMS.embedding.model_copy(update=changes)


def measure(given: argparse.Namespace, count: int) -> Row:
    """Produce `count` candidates as the stage does, in this process, and say what it took."""
    use_cpu(1)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        files = draw_parents(folder, N_PARENTS)
        device = torch.device(given.device)
        settings = pick_precision(
            make_weights(folder, given.architecture, given.image_size), device
        )
        embedder = load_embedder(settings, folder, device)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        rows = pd.DataFrame({"image_id": list(files), "label": "i"})
        shards = Shards(make_recipes(0, count, rows, PARAMS.candidates, ["i"]), files)
        drawn = time.perf_counter()
        if given.engine == "ray":
            weights = folder / "weights"
            engine = ray_engine(PARAMS.candidates, settings, weights, device, given.workers)
        elif given.engine == "local" and device.type != "cpu":
            engine = process_engine(PARAMS.candidates, settings, folder, device, given.workers)
        else:
            engine = local_engine(PARAMS.candidates, embedder, settings.batch_size, given.workers)
        embed_candidates(shards, embedder.dimension, engine, folder / "state")
        embedded = time.perf_counter()
        write_embeddings(folder / "all.npy", shards, embedder.dimension, folder / "state")
        ended = time.perf_counter()
        torch.set_num_threads(given.workers)
        embeddings = load_embeddings(folder / "all.npy")
        queries = embeddings[:: max(1, count // 150)][:150].astype(np.float32)
        find_neighbours(queries, 24, embeddings, folder / "none", EXACT)
        searched = time.perf_counter()
        torch.set_num_threads(1)
        disk = sum(path.stat().st_size for path in (folder / "state").iterdir())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "engine": given.engine,
            "architecture": given.architecture,
            "image_size": given.image_size,
            "precision": settings.precision,
            "device": given.device,
            "workers": given.workers,
            "candidates": count,
            "recipes_s": round(drawn - started, 2),
            "render_alone_s": round(render_seconds(shards, embedder.image_size), 2),
            "embed_s": round(embedded - drawn, 2),
            "write_s": round(ended - embedded, 2),
            "search_s": round(searched - ended, 2),
            "total_s": round(searched - started, 2),
            "peak_mb": peak // 1024,
            "peak_before_mb": before // 1024,
            "embeddings_mb": (folder / "all.npy").stat().st_size // 2**20,
            "state_mb": disk // 2**20,
        }


def render_seconds(shards: Shards, size: int, most: int = 4) -> float:
    """Estimate the seconds of one thread that renders all candidates, from a few shards."""
    parts = shards[:: max(1, len(shards) // most)][:most]
    started = time.perf_counter()
    for shard in parts:
        rows = pd.DataFrame({"image_id": list(shard.files)})
        parents = Parents(rows, ImageFiles(list(shard.files.values()), 2**29), PARAMS.candidates)
        for start in range(0, len(shard.recipes), 256):
            render_taps(parents, shard.recipes.iloc[start : start + 256], size)
    n = sum(len(shard.recipes) for shard in parts)
    return (time.perf_counter() - started) * len(shards.recipes) / n


def curve(given: argparse.Namespace) -> None:
    """Measure each count in a fresh process; a line is written as soon as it is known."""
    context = multiprocessing.get_context("spawn")  # not a Pool, whose processes may have no own
    given.output.parent.mkdir(parents=True, exist_ok=True)
    for count in given.counts:
        with ProcessPoolExecutor(1, context) as pool:
            row = pool.submit(measure, given, count).result()
        is_new = not given.output.exists()
        with given.output.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        print(json.dumps(row), flush=True)


def rendering(given: argparse.Namespace) -> None:
    """Compare batched rendering with Pillow and torchvision, an image at a time."""
    use_cpu(1)
    nothing = dict.fromkeys(("thickness", "noise", "elastic"), (0.0, 0.0))
    policy = PARAMS.candidates.model_copy(update={**nothing, "erasing_probability": 0.0})
    bent = policy.model_copy(update={"elastic": (0.0, 0.2)})
    with tempfile.TemporaryDirectory() as name:
        files = draw_parents(Path(name), 64)
        rows = pd.DataFrame({"image_id": list(files), "label": "i"})
        images = list(ImageFiles(list(files.values())))
    recipes, bent_recipes = (
        make_recipes(0, given.images, rows, params, ["i"]).sort_values("parent_id")
        for params in (policy, bent)
    )
    ways: dict[str, Callable[[], Any]] = {
        "databoost, batched": lambda: batched(Parents(rows, images, policy), recipes, given.size),
        "the same, bent": lambda: batched(Parents(rows, images, bent), bent_recipes, given.size),
        "Pillow, an image at a time": lambda: by_pillow(images, rows, recipes, policy, given.size),
        "torchvision, an image at a time": lambda: by_torchvision(
            images, rows, recipes, policy, given.size
        ),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(given.repetitions):
        for way, act in ways.items():
            started = time.process_time()
            act()
            rates[way].append(given.images / (time.process_time() - started))
            print(f"  repetition {number}, {way}: {rates[way][-1]:,.0f} images/s", flush=True)
    print(f"\n{platform.machine()}, torch {torch.__version__}, one thread, to {given.size} pixels")
    print(f"{'way':34}{'images/s':>10}{'ratio':>8}  range of the ratio")
    ours = rates["databoost, batched"]
    for way, found in rates.items():
        ratios = [one / other for one, other in zip(ours, found, strict=True)]
        print(
            f"{way:34}{statistics.median(found):10,.0f}{statistics.median(ratios):8.2f}"
            f"  {min(ratios):.2f} to {max(ratios):.2f}"
        )


def batched(parents: Parents, recipes: pd.DataFrame, size: int) -> None:
    """Render as the stage does, blend included."""
    for start in range(0, len(recipes), 256):
        blend_taps(*render_taps(parents, recipes.iloc[start : start + 256], size))


def warps_of(
    images: Sequence[np.ndarray],
    rows: pd.DataFrame,
    recipes: pd.DataFrame,
    policy: CandidatesParams,
) -> tuple[list[int], list[tuple[float, ...]]]:
    """Give each recipe's image, and its warp as Pillow's eight perspective numbers."""
    places = {name: place for place, name in enumerate(rows["image_id"])}
    which = [places[name] for name in recipes["parent_id"]]
    heights, widths = (
        np.array([images[place].shape[axis] for place in which], dtype=np.int64) for axis in (0, 1)
    )
    warps = find_warps(draw(recipe_seeds(recipes), policy), heights, widths)
    cx, cy = (widths - 1.0) / 2.0, (heights - 1.0) / 2.0
    scale = 1.0 - warps.du * cx - warps.dv * cy
    # From distances to the centre to pixels: u = column - cx, v = row - cy.
    numbers = [
        warps.xu + warps.x0 * warps.du, warps.xv + warps.x0 * warps.dv,
        warps.x0 * scale - warps.xu * cx - warps.xv * cy,
        warps.yu + warps.y0 * warps.du, warps.yv + warps.y0 * warps.dv,
        warps.y0 * scale - warps.yu * cx - warps.yv * cy,
        warps.du, warps.dv,
    ]  # fmt: skip
    return which, [tuple(row) for row in (np.stack(numbers, axis=1) / scale[:, None]).tolist()]


def by_pillow(
    images: Sequence[np.ndarray], rows: pd.DataFrame, recipes: pd.DataFrame,
    policy: CandidatesParams, size: int,
) -> None:  # fmt: skip
    """Warp each whole image with Pillow, and resize it."""
    pictures = [Image.fromarray(image[:, :, 0]) for image in images]
    for place, numbers in zip(*warps_of(images, rows, recipes, policy), strict=True):
        picture = pictures[place]
        warped = picture.transform(
            picture.size, Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BILINEAR,
            fillcolor=255,
        )  # fmt: skip
        np.asarray(warped.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)


def by_torchvision(
    images: Sequence[np.ndarray], rows: pd.DataFrame, recipes: pd.DataFrame,
    policy: CandidatesParams, size: int,
) -> None:  # fmt: skip
    """Warp each whole image with torchvision, and resize it."""
    tensors = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]
    for place, numbers in zip(*warps_of(images, rows, recipes, policy), strict=True):
        warped = functional.perspective(
            tensors[place], None, None, InterpolationMode.BILINEAR, [255.0],
            coefficients=list(numbers),
        )  # fmt: skip
        functional.resize(warped, [size, size], InterpolationMode.BILINEAR, antialias=False).float()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("curve")
    one.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    one.add_argument(
        "--engine", choices=("local", "threads", "ray"), default="local",
        help="local: threads, or processes with a GPU, as the stage has it; threads: also there",
    )  # fmt: skip
    one.add_argument("--device", default="cpu")
    one.add_argument("--output", type=Path, default=Path("reports/candidates_curve.csv"))
    two = parts.add_parser("rendering")
    two.add_argument("--images", type=int, default=1_024)
    two.add_argument("--size", type=int, default=32)
    two.add_argument("--repetitions", type=int, default=7)
    one.add_argument("--architecture", default="fixed")
    one.add_argument("--image-size", type=int, default=32)
    one.add_argument("--workers", type=int, help="default: 2, with a GPU 8")
    one.add_argument("--folder", help="where temporary files lie")
    given = parser.parse_args()
    if given.part == "curve" and given.workers is None:
        given.workers = 2 if given.device == "cpu" else 8
    {"curve": curve, "rendering": rendering}[given.part](given)


if __name__ == "__main__":
    main()
