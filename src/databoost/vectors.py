"""Vectors of a round's images and candidates: those that are stored, and those made when asked for.

What is compared to the last digit is embedded in float32, whatever the stored vectors are.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from databoost.candidates.embedder import Embedder, Vectors
from databoost.candidates.embedding import embed_files, embedder_identity, load_exact_embedder
from databoost.candidates.exact import Embeddings, Ids
from databoost.candidates.reranking import embed_some
from databoost.candidates.search import load_embeddings
from databoost.data.files import read_json
from databoost.drawing import Contents, files_of
from databoost.errors import DatasetError
from databoost.layout import Layout, RoundLayout
from databoost.model.processor import pick_device
from databoost.params import Params


@dataclass(frozen=True)
class RoundVectors:
    """Embeds images of a snapshot, and candidates drawn from them.

    Attributes
    ----------
    before
        The round of the snapshot.
    manifest
        ``MANIFEST`` of the snapshot.
    recipes
        ``RECIPES`` of all candidates, in the order of their ids.
    contents
        Has what was read of the snapshot's files, and takes what is read.
    """

    layout: Layout
    params: Params
    before: RoundLayout
    manifest: pd.DataFrame
    recipes: pd.DataFrame
    contents: Contents

    @cached_property
    def stored(self) -> Embeddings:
        """Those of all candidates: (n_candidates, D) float16 unit vectors, mapped from their file.

        Of the precision that ``embedder.json`` names.
        """
        return load_embeddings(self.layout.embeddings)

    def of_images(self, rows: pd.DataFrame) -> Vectors:
        """Embed images of the snapshot: (n, D) float32 unit vectors.

        Parameters
        ----------
        rows
            n rows with their ``image_id`` and ``path``.

        Raises
        ------
        DatasetError
            If the candidates were embedded by another embedder than there is now.
        ImageError
            If a file is missing or no readable image.
        """
        files = files_of(self.before, rows, self.contents)
        return embed_files(self._embedder, files, self.params.embedding.batch_size)

    def of_candidates(self, candidates: Ids) -> Embeddings:
        """Embed candidates again, by their (n,) ids: (n, D) float16 unit vectors.

        Raises
        ------
        DatasetError, ImageError
            As :meth:`of_images`.
        """
        recipes = self.recipes.iloc[candidates]
        return embed_some(
            recipes,
            self.parent_files(recipes),
            self.params.candidates,
            self._embedder,
            self.params.embedding.batch_size,
            self.contents.keep,
        )

    def parent_files(self, recipes: pd.DataFrame) -> dict[str, Path | bytes]:
        """Give the image files of candidates' parents by their ids: paths, or bytes at hand."""
        rows = self.manifest[self.manifest["image_id"].isin(recipes["parent_id"])]
        return {
            name: self.contents.get(name) or self.before.dataset / path
            for name, path in zip(rows["image_id"], rows["path"], strict=True)
        }

    @cached_property
    def _embedder(self) -> Embedder:
        settings, root = self.params.embedding, self.layout.root
        embedder = load_exact_embedder(settings, root, pick_device(self.params.train))
        made = read_json(self.layout.embedder) | {"dimension": self.stored.shape[1]}
        now = embedder_identity(settings, embedder, root)
        other = [key for key in now if made.get(key) != now[key]]
        if other:
            differences = "; ".join(f"{key}: {made.get(key)}, now {now[key]}" for key in other)
            raise DatasetError(
                f"{self.layout.embeddings} is by another embedder than params.yaml names now "
                f"({differences}): run `databoost candidates`, or restore the embedder"
            )
        return embedder
