"""Embedders: images to unit vectors, scaled to length 1 in float64."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from databoost.errors import WeightsError

Vectors = npt.NDArray[np.float32]
#: Side in pixels of the input of an architecture that names none.
USUAL_SIZE = 224


class Embedder(ABC):
    """Maps images to unit vectors.

    Attributes
    ----------
    image_size
        Side of its square input in pixels.
    dimension
        Length of its vectors.
    device
        Where it computes.
    """

    image_size: int
    dimension: int
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def features(self, images: torch.Tensor) -> Vectors:
        """(n, 3, size, size) float32 RGB 0 to 255 -> (n, dimension) float32, any length."""

    def embed(self, images: torch.Tensor) -> Vectors:
        """Embed a batch.

        Parameters
        ----------
        images
            (n, 3, image_size, image_size) float32, RGB, 0 to 255.

        Returns
        -------
        numpy.ndarray
            (n, dimension) float32, each row of length 1 (an all-zero row stays zero).

        Raises
        ------
        WeightsError
            If features are not finite.
        """
        features = self.features(images)
        if not np.isfinite(features).all():
            raise WeightsError(
                "the embedder gives features that are no finite numbers; check embedding.pixels, "
                "and whether the weights file overflows in its precision"
            )
        lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
        vectors: Vectors = (features / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)
        return vectors


class TorchEmbedder(Embedder):
    """Features of a PyTorch network on one device.

    In ``bfloat16`` convolutions and products run in it, and what needs more stays in float32
    (PyTorch's autocast).
    """

    def __init__(
        self,
        network: nn.Module,
        image_size: int,
        dimension: int,
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        self.network = network.eval().to(device)
        self.image_size, self.dimension, self.device = image_size, dimension, device
        self.is_short = precision == "bfloat16"

    def features(self, images: torch.Tensor) -> Vectors:
        """(n, 3, size, size) float32 RGB 0 to 255 -> (n, dimension) float32."""
        images = images.to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_short),
        ):
            found = self.network(images).float()
        if self.device.type == "cuda":  # asleep, where a copy would wait busily for its turn
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            done.record(torch.cuda.current_stream(self.device))
            done.synchronize()
        vectors: Vectors = found.cpu().numpy()
        return vectors
