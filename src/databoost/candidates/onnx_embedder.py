"""An ONNX file as an embedder: what it takes is read from it, or refused with what it lacks."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from databoost.candidates.embedder import USUAL_SIZE, Embedder, Vectors
from databoost.errors import ParamsError, WeightsError
from databoost.model.architectures import IMAGENET_MEAN, IMAGENET_STD

_TYPES: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
#: Entry of a tensor that says in which other file it lies. What ONNX says of the type of a value
#: that is called "location" looks alike, but for the line feed with which a type begins.
_LIES_ELSEWHERE = re.compile(
    rb"\x6a(?:[\x00-\x7f]|[\x80-\xff].)\n\x08location\x12(?:[\x01-\x7f]|[\x80-\xff].)[^\n]",
    re.DOTALL,
)


class OnnxEmbedder(Embedder):
    """An output of an ONNX file; runs on the CPU, in the file's own precision.

    It is the first one, flattened, if that is a vector an image, or else the only (n, d) matrix.
    """

    def __init__(self, path: Path, image_size: int, pixels: str) -> None:
        import onnxruntime

        if _LIES_ELSEWHERE.search(path.read_bytes()):
            raise WeightsError(
                f"{path} is a graph alone: its weights lie in a second file, which is neither "
                "checked nor shared with it; export both into one, with external_data=False"
            )
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
        self.output_name = self.session.get_outputs()[0].name
        try:
            self.dimension = self._probe()
        except Exception as error:  # as above
            raise WeightsError(
                f"{path} does not turn {self.image_size} x {self.image_size} pixels into a vector "
                f"an image; embedding.image_size sets the size: {error}"
            ) from error
        self._pick_output(path)

    def _probe(self) -> int:
        """Find the length of its vectors; a file that takes any number must take two."""
        side = self.image_size
        blank = torch.zeros((2, 3, side, side))
        one, two = len(self.features(blank[:1])[0]), len(self.features(blank)[0])
        if one != two:
            raise ValueError(f"one image gives {one} numbers, two give {two} each")
        return one

    def _pick_output(self, path: Path) -> None:
        """Take another output if the first has more than a vector an image: tokens, or a map."""
        n_images = self.n_at_once or 2
        blank = torch.zeros((n_images, 3, self.image_size, self.image_size))
        names = [output.name for output in self.session.get_outputs()]
        found = self.session.run(names, {self.input_name: self._prepare(blank)})
        shapes = {
            name: tuple(getattr(values, "shape", ()))
            for name, values in zip(names, found, strict=True)
        }
        if self.dimension in shapes[self.output_name]:
            return
        matrices = [
            name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == n_images
        ]
        if len(matrices) != 1:
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise WeightsError(
                f"{path} turns {n_images} image(s) into {told}; a vector an image is taken, which "
                "is the first output or the only one of shape (n, d): export it so"
            )
        (self.output_name,) = matrices
        self.dimension = shapes[self.output_name][1]

    def _read_type(self, path: Path, kind: str) -> None:
        if kind not in _TYPES:
            raise WeightsError(
                f"{path} takes {self.input_name} of type {kind}; allowed are {', '.join(_TYPES)}"
            )
        self.dtype = np.dtype(_TYPES[kind])
        if self.dtype == np.uint8 and self.pixels != "bytes":
            raise ParamsError(
                f"embedding.pixels is {self.pixels!r}, but {path} takes {kind}; set it to 'bytes'"
            )

    def _read_shape(self, path: Path, shape: list[Any], image_size: int) -> None:
        wanted = "an encoder of images takes (n, 3, size, size) or (n, size, size, 3)"
        if not shape:
            raise WeightsError(
                f"{path} does not say how many axes {self.input_name} has; {wanted}: export it so"
            )
        # Channels without a number are the second axis; whether they may be 3 is tried.
        if len(shape) != 4 or (3 not in (shape[1], shape[3]) and isinstance(shape[1], int)):
            raise WeightsError(f"{path} takes {self.input_name} of shape {shape}; {wanted}")
        self.channels_last = shape[1] != 3 and shape[3] == 3
        #: Images that the file takes at once; 0: any number.
        self.n_at_once = shape[0] if isinstance(shape[0], int) else 0
        sides = shape[1:3] if self.channels_last else shape[2:4]
        fixed = [side for side in sides if isinstance(side, int)]
        self.image_size = image_size or (fixed[0] if fixed else USUAL_SIZE)
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
        prepared = self._prepare(images)
        size = self.n_at_once or max(len(prepared), 1)
        starts = range(0, len(prepared), size)
        return np.concatenate([self._run(prepared[start : start + size]) for start in starts])

    def _prepare(self, images: torch.Tensor) -> npt.NDArray[Any]:
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
        return np.ascontiguousarray(values.numpy(), dtype=self.dtype)

    def _run(self, values: npt.NDArray[Any]) -> Vectors:
        n_images = len(values)
        if n_images < self.n_at_once:
            blank = np.zeros((self.n_at_once - n_images, *values.shape[1:]), dtype=values.dtype)
            values = np.concatenate([values, blank])
        output: Any = self.session.run([self.output_name], {self.input_name: values})[0]
        vectors: Vectors = np.asarray(output, dtype=np.float32).reshape(len(values), -1)
        return vectors[:n_images]
