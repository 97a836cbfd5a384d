"""Load the embedder that ``embedding`` names: a round's own model, a torchvision one, an ONNX file.

A vector's last digits depend on the hardware, as any computing with floats does, and with
``embedding.precision: auto`` so does the precision: bfloat16 has 8 significant bits. To compare
vectors across machines, name a precision.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from databoost.candidates.embedder import USUAL_SIZE, Embedder, TorchEmbedder, Vectors
from databoost.candidates.onnx_embedder import OnnxEmbedder
from databoost.data.files import sha256_of
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.errors import ParamsError, WeightsError
from databoost.model.architectures import (
    FIXED,
    architecture_names,
    build_model,
    load_weights,
    refusal,
)
from databoost.model.checkpoints import Checkpoint, load_checkpoint, load_tensors
from databoost.sections import EmbeddingParams


def pick_precision(params: EmbeddingParams, device: torch.device) -> EmbeddingParams:
    """Settle what ``precision: auto`` is on this machine.

    Returns
    -------
    EmbeddingParams
        With ``bfloat16`` if the device computes in it natively (a GPU that says so; a CPU with
        AVX512-BF16 or AMX), else ``float32``. One that is named already stays, and an ONNX file,
        which knows its own, has ``float32``.
    """
    if params.architecture == "onnx":
        return params.model_copy(update={"precision": "float32"})
    if params.precision != "auto":
        return params
    if device.type == "cuda":
        is_short = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # PyTorch has no public name for these; one that it lacks says no.
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        asked = [getattr(torch.cpu, name, None) for name in names]
        is_short = device.type == "cpu" and any(ask is not None and ask() for ask in asked)
    return params.model_copy(update={"precision": "bfloat16" if is_short else "float32"})


def load_exact_embedder(params: EmbeddingParams, root: Path, device: torch.device) -> Embedder:
    """Load the embedder in float32, whatever the candidates were embedded in.

    Vectors that are compared to the last digit come of it. Parameters and errors are those of
    :func:`load_embedder`.
    """
    return load_embedder(params.model_copy(update={"precision": "float32"}), root, device)


def embedder_identity(params: EmbeddingParams, embedder: Embedder, root: Path) -> dict[str, Any]:
    """Say what its vectors depend on, beside the precision: those of another differ.

    Returns
    -------
    dict
        ``architecture``; ``weights``: SHA-256 of the file; ``image_size`` in pixels, as it is used;
        ``pixels``, None where the section's is of no effect; ``dimension`` of the vectors.
    """
    return {
        "architecture": params.architecture,
        "weights": sha256_of(root / params.weights),
        "image_size": embedder.image_size,
        "pixels": params.pixels if params.architecture == "onnx" else None,
        "dimension": embedder.dimension,
    }


def embed_files(embedder: Embedder, files: ImageFiles, batch_size: int) -> Vectors:
    """Embed images, each read once: (n, dimension) float32 unit vectors in their order."""
    return np.concatenate(
        [
            embedder.embed(TapStore(images, embedder.image_size).batch(slice(None)))
            for images in files.parts(batch_size)
        ]
    )


def load_embedder(params: EmbeddingParams, root: Path, device: torch.device) -> Embedder:
    """Load the embedder that ``embedding`` names.

    Parameters
    ----------
    params
        The section; ``weights`` is relative to `root`.
    device
        Where a PyTorch network runs.

    Raises
    ------
    ParamsError
        If the architecture is unknown, or does not take images or pixels as the section says.
    WeightsError
        If the weights file is missing, unsafe, or of another architecture or size.
    """
    path = root / params.weights
    if not path.is_file():
        raise WeightsError(
            f"embedding.weights {params.weights} does not exist; name a file of your own, or run "
            "`databoost weights resnet50`"
        )
    params = pick_precision(params, device)
    if params.architecture == "onnx":
        return OnnxEmbedder(path, params.image_size, params.pixels)
    if params.architecture == "model":
        return _embedder_of_checkpoint(load_checkpoint(path), params, device)
    allowed = [name for name in architecture_names() if name != FIXED]
    if params.architecture not in allowed:
        raise ParamsError(
            f"embedding.architecture is {params.architecture!r}; allowed are model, onnx, "
            f"{', '.join(allowed)}"
        )
    model = build_model(params.architecture, 1, seed=0)
    weights = load_tensors(path)
    try:
        load_weights(model.body, weights)
    except WeightsError as error:
        raise WeightsError(f"{params.weights} holds no {params.architecture}: {error}") from error
    size = params.image_size or USUAL_SIZE
    reason = refusal(model, size, 1, is_training=False)
    if reason:
        raise ParamsError(
            f"embedding.image_size is {params.image_size}, but {params.architecture} takes no "
            f"images of {size} x {size} pixels ({reason}); choose another size"
        )
    return TorchEmbedder(_Features(model), size, model.n_features, device, params.precision)


class _Features(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model.features(images)
        return features


def _embedder_of_checkpoint(
    checkpoint: Checkpoint, params: EmbeddingParams, device: torch.device
) -> Embedder:
    if params.image_size not in (0, checkpoint.image_size):
        raise WeightsError(
            f"embedding.image_size is {params.image_size}, but {params.weights} was trained at "
            f"{checkpoint.image_size} pixels; 0 takes the size from the file"
        )
    model = checkpoint.model()
    return TorchEmbedder(
        _Features(model), checkpoint.image_size, model.n_features, device, params.precision
    )
