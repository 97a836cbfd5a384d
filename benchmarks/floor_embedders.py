r"""Write two embedders that nobody trained, as ONNX files: what a pretrained one has to beat.

    python benchmarks/floor_embedders.py data/weights
    databoost set embedding.architecture=onnx embedding.weights=data/weights/gradients.onnx \
        embedding.pixels=bytes

`pixels.onnx` (256 numbers) is the image itself, small: ink of 32 x 32 pixels, averaged over squares
of 2 x 2. `gradients.onnx` (512 numbers) says which way strokes run where: contrasts in 8 directions
of 64 x 64 pixels, averaged over squares of 8 x 8. It is the idea of histograms of oriented
gradients (Dalal and Triggs, CVPR 2005) without scaling each square, which made its neighbours worse
on handwritten numerals.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Directions that contrasts are told apart by.
_DIRECTIONS = 8
_OPSET = 17


def pixels() -> onnx.ModelProto:
    """Make the embedder of ink."""
    nodes = [
        helper.make_node("Conv", ["image", "ink", "white"], ["grey"]),
        helper.make_node("AveragePool", ["grey"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["small"], ["embedding"]),
    ]
    return _model("pixels", 32, nodes, {"ink": _ink(), "white": np.ones(1)})


def gradients() -> onnx.ModelProto:
    """Make the embedder of strokes' directions."""
    nodes = [
        helper.make_node("Conv", ["image", "ink", "white"], ["grey"]),
        helper.make_node("Conv", ["grey", "edges"], ["signed"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["signed"], ["contrast"]),
        helper.make_node(
            "AveragePool", ["contrast"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]
        ),
        helper.make_node("Flatten", ["cells"], ["embedding"]),
    ]
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    edges = [
        math.cos(angle) * across + math.sin(angle) * across.T
        for angle in np.arange(_DIRECTIONS) * 2 * math.pi / _DIRECTIONS
    ]
    values = {"ink": _ink(), "white": np.ones(1), "edges": np.array(edges)[:, None]}
    return _model("gradients", 64, nodes, values)


def _ink() -> npt.NDArray[np.float64]:
    """Weights of a 1 x 1 convolution: with a bias of 1, white is 0 and black is 1."""
    return np.full((1, 3, 1, 1), -1 / (3 * 255))


def _model(
    name: str, size: int, nodes: list[onnx.NodeProto], values: dict[str, npt.NDArray[np.float64]]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for model in (pixels(), gradients()):
        path = folder / f"{model.graph.name}.onnx"
        path.write_bytes(model.SerializeToString())
        print(path)


if __name__ == "__main__":
    main()
