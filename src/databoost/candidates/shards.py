"""Candidates cut into shards, and what becomes of one: its vectors.

A shard has all candidates of some parents, so that each parent is read once. It is a plain value,
and its vectors depend on nothing but it, the policy, the embedder and the batch size: not on where
it is worked on, nor on what is worked on beside it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from databoost.candidates.augmentation import CPU, Parents, render_taps
from databoost.candidates.embedder import Embedder
from databoost.candidates.exact import Embeddings
from databoost.data.images import ImageFiles, Pixels
from databoost.data.resizing import blend_taps
from databoost.errors import DatasetError
from databoost.sections import CandidatesParams

#: Candidates in a shard, at most, unless one parent has more. What a kill loses, a worker.
SHARD_SIZE = 2_048
#: Bytes of decoded parents from which a batch takes no further one: of photos it has fewer. Every
#: worker may hold so many.
MEMORY = 2**29


@dataclass(frozen=True)
class Shard:
    """Candidates that are rendered and embedded together.

    Attributes
    ----------
    number
        Its place among the shards, from 0.
    recipes
        Rows of ``RECIPES``, parent by parent.
    files
        Image file of each parent by its id: a path, or the file's bytes.
    """

    number: int
    recipes: pd.DataFrame
    files: Mapping[str, Path | bytes]

    def packed(self) -> "Shard":
        """Give the same shard with the bytes of its files, for where the paths lead nowhere."""
        return replace(
            self,
            files={
                name: file if isinstance(file, bytes) else file.read_bytes()
                for name, file in self.files.items()
            },
        )


class Shards(Sequence[Shard]):
    """All candidates, cut into shards.

    Parameters
    ----------
    recipes
        ``RECIPES`` in the order of their ids.
    files
        Image file of each parent by its id.

    Raises
    ------
    DatasetError
        If a parent has no file.
    """

    def __init__(self, recipes: pd.DataFrame, files: Mapping[str, Path | bytes]) -> None:
        self.recipes, self.files = recipes, files
        unknown = sorted(set(recipes["parent_id"]) - set(files))
        if unknown:
            raise DatasetError(
                f"{len(unknown)} parent(s) of the recipes, {unknown[0]} first, are not among the "
                f"{len(files)} images given; run the candidates stage again"
            )
        codes, _ = pd.factorize(recipes["parent_id"], sort=True)
        self._order = np.argsort(codes, kind="stable")
        self._cuts = _cuts(np.bincount(codes).tolist())

    def __len__(self) -> int:
        """Count the shards."""
        return len(self._cuts) - 1

    def rows(self, number: int) -> npt.NDArray[np.int64]:
        """Rows of the recipes that a shard holds, (n,), in its order."""
        return self._order[self._cuts[number] : self._cuts[number + 1]]

    @overload
    def __getitem__(self, number: int) -> Shard: ...
    @overload
    def __getitem__(self, number: slice) -> list[Shard]: ...
    def __getitem__(self, number: int | slice) -> Shard | list[Shard]:
        """Give a shard, or some."""
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        place = range(len(self))[number]
        recipes = self.recipes.iloc[self.rows(place)]
        return Shard(
            place, recipes, {name: self.files[name] for name in recipes["parent_id"].unique()}
        )


def render_shard(
    shard: Shard,
    policy: CandidatesParams,
    image_size: int,
    batch_size: int,
    seen: Callable[[Path, bytes], object] | None = None,
    device: torch.device = CPU,
) -> Iterator[torch.Tensor]:
    """Render a shard at an input size, a batch at a time, and read each parent once.

    Parameters
    ----------
    seen
        Is told the path and the bytes of every file that is read.
    device
        Where the images are computed, if it is a CUDA GPU, and stay; else they are on the CPU.

    Yields
    ------
    torch.Tensor
        (at most `batch_size`, 3, image_size, image_size) float32, RGB, 0 to 255, in the order of
        the shard's recipes.

    Raises
    ------
    ImageError
        If the file of a parent is no readable image.
    """
    parent_ids = shard.recipes["parent_id"].tolist()
    images: dict[str, Pixels] = {}
    start = 0
    while start < len(parent_ids):
        images = {name: image for name, image in images.items() if name == parent_ids[start]}
        stop = start
        while stop < min(start + batch_size, len(parent_ids)):
            name = parent_ids[stop]
            if name not in images:
                if stop > start and sum(image.nbytes for image in images.values()) >= MEMORY:
                    break
                images[name] = ImageFiles([shard.files[name]], seen=seen)[0]
            stop += 1
        with torch.inference_mode():
            yield _render(images, shard.recipes.iloc[start:stop], policy, image_size, device)
        start = stop


def render_some(
    recipes: pd.DataFrame,
    files: Mapping[str, Path | bytes],
    policy: CandidatesParams,
    image_size: int,
    batch_size: int,
    seen: Callable[[Path, bytes], object] | None = None,
    device: torch.device = CPU,
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    """Render some candidates, parent by parent; see :func:`render_shard`.

    Yields
    ------
    tuple
        Rows of `recipes`, (n,) int64, and their images.

    Raises
    ------
    DatasetError
        If a parent has no file.
    ImageError
        If the file of a parent is no readable image.
    """
    shards = Shards(recipes, files)
    for shard in shards:
        rows = shards.rows(shard.number)
        for images in render_shard(shard, policy, image_size, batch_size, seen, device):
            yield rows[: len(images)], images
            rows = rows[len(images) :]


def embed_shard(
    shard: Shard, policy: CandidatesParams, embedder: Embedder, batch_size: int
) -> Iterator[Embeddings]:
    """Render and embed a shard, a batch at a time.

    Yields
    ------
    numpy.ndarray
        (at most `batch_size`, D) float16 unit vectors, in the order of the shard's recipes.

    Raises
    ------
    ImageError
        If the file of a parent is no readable image.
    """
    size, device = embedder.image_size, embedder.device
    for images in render_shard(shard, policy, size, batch_size, device=device):
        yield embedder.embed(images).astype(np.float16)


def _render(
    images: dict[str, Pixels],
    recipes: pd.DataFrame,
    policy: CandidatesParams,
    image_size: int,
    device: torch.device,
) -> torch.Tensor:
    parents = Parents(pd.DataFrame({"image_id": list(images)}), [*images.values()], policy)
    place = device if device.type == "cuda" else CPU
    return blend_taps(*render_taps(parents, recipes, image_size, place))


def _cuts(counts: list[int]) -> list[int]:
    """Cut candidates, of which each parent has some in a row; gives where each shard begins."""
    cuts, end = [0], 0
    for n_candidates in counts:
        if end > cuts[-1] and end + n_candidates - cuts[-1] > SHARD_SIZE:
            cuts.append(end)
        end += n_candidates
    return [*cuts, end]
