"""Images to unit vectors: the round's own model, a torchvision architecture, or any ONNX file.

A vector's last digits depend on the hardware, as any computing with floats does, and with
``embedding.precision: auto`` so does the precision: bfloat16 has 8 significant bits. To compare
vectors across machines, name a precision. Vectors are scaled to length 1 in float64 either way.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from databoost.data.files import sha256_of
from databoost.data.images import ImageFiles
from databoost.data.resizing import TapStore
from databoost.errors import ParamsError, WeightsError
from databoost.model.architectures import (
    FIXED,
    IMAGENET_MEAN,
    IMAGENET_STD,
    architecture_names,
    build_model,
    load_weights,
    refusal,
)
from databoost.model.checkpoints import Checkpoint, load_checkpoint, load_tensors
from databoost.sections import EmbeddingParams

Vectors = npt.NDArray[np.float32]
_USUAL_SIZE = 224
_ONNX_TYPES: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


class Embedder(ABC):
    """Maps images to unit vectors.

    Attributes
    ----------
    image_size
        Side of its square input in pixels.
    dimension
        Length of its vectors.
    """

    image_size: int
    dimension: int

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
            found: Vectors = self.network(images).float().cpu().numpy()
        return found


class OnnxEmbedder(Embedder):
    """First output of an ONNX file, flattened; runs on the CPU, in the file's own precision."""

    def __init__(self, path: Path, image_size: int, pixels: str) -> None:
        import onnxruntime

        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 3
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise WeightsError(f"{path} is no ONNX file that can be run: {error}") from error
        self.pixels = pixels
        first = self.session.get_inputs()[0]
        self.input_name = first.name
        self._read_type(path, first.type)
        self._read_shape(path, list(first.shape), image_size)
        try:
            self.dimension = self._probe()
        except Exception as error:  # as above
            raise WeightsError(
                f"{path} does not turn {self.image_size} x {self.image_size} pixels into a vector "
                f"an image; embedding.image_size sets the size: {error}"
            ) from error

    def _probe(self) -> int:
        """Find the length of its vectors; a file that takes any number must take two."""
        side = self.image_size
        blank = torch.zeros((2, 3, side, side))
        one, two = len(self.features(blank[:1])[0]), len(self.features(blank)[0])
        if one != two:
            raise ValueError(f"one image gives {one} numbers, two give {two} each")
        return one

    def _read_type(self, path: Path, kind: str) -> None:
        if kind not in _ONNX_TYPES:
            raise WeightsError(
                f"{path} takes {self.input_name} of type {kind}; allowed are "
                f"{', '.join(_ONNX_TYPES)}"
            )
        self.dtype = np.dtype(_ONNX_TYPES[kind])
        if self.dtype == np.uint8 and self.pixels != "bytes":
            raise ParamsError(
                f"embedding.pixels is {self.pixels!r}, but {path} takes {kind}; set it to 'bytes'"
            )

    def _read_shape(self, path: Path, shape: list[Any], image_size: int) -> None:
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise WeightsError(
                f"{path} takes {self.input_name} of shape {shape}; an encoder of images takes "
                "(n, 3, size, size) or (n, size, size, 3)"
            )
        self.channels_last = shape[1] != 3
        #: Images that the file takes at once; 0: any number.
        self.n_at_once = shape[0] if isinstance(shape[0], int) else 0
        sides = shape[1:3] if self.channels_last else shape[2:4]
        fixed = [side for side in sides if isinstance(side, int)]
        self.image_size = image_size or (fixed[0] if fixed else _USUAL_SIZE)
        if len(set(fixed)) > 1:
            raise WeightsError(
                f"{path} takes images of {fixed[0]} x {fixed[1]} pixels; allowed are squares"
            )
        if fixed and fixed[0] != self.image_size:
            raise WeightsError(
                f"embedding.image_size is {image_size}, but {path} takes {fixed[0]} x {fixed[0]} "
                "pixels; 0 takes the size from the file"
            )

    def features(self, images: torch.Tensor) -> Vectors:
        """(n, 3, size, size) float32 RGB 0 to 255 -> (n, dimension) float32."""
        values = images.cpu()
        if self.pixels != "bytes":
            values = values / 255
        if self.pixels == "imagenet":
            mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
            std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
            values = (values - mean) / std
        if self.channels_last:
            values = values.permute(0, 2, 3, 1)
        if self.dtype == np.uint8:
            values = values.round()
        prepared = np.ascontiguousarray(values.numpy(), dtype=self.dtype)
        size = self.n_at_once or max(len(prepared), 1)
        starts = range(0, len(prepared), size)
        return np.concatenate([self._run(prepared[start : start + size]) for start in starts])

    def _run(self, values: npt.NDArray[Any]) -> Vectors:
        n_images = len(values)
        if n_images < self.n_at_once:
            blank = np.zeros((self.n_at_once - n_images, *values.shape[1:]), dtype=values.dtype)
            values = np.concatenate([values, blank])
        output: Any = self.session.run(None, {self.input_name: values})[0]
        vectors: Vectors = np.asarray(output, dtype=np.float32).reshape(len(values), -1)
        return vectors[:n_images]


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
    size = params.image_size or _USUAL_SIZE
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
