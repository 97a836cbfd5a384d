"""Embedders: checkpoints, torchvision state dicts, and ONNX files built here."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper

from databoost.candidates.embedder import Embedder
from databoost.candidates.embedding import load_embedder, pick_precision
from databoost.candidates.onnx_embedder import OnnxEmbedder
from databoost.errors import ParamsError, WeightsError
from databoost.model.architectures import build_model
from databoost.model.checkpoints import Checkpoint, save_checkpoint
from databoost.sections import EmbeddingParams

CPU = torch.device("cpu")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def load(root: Path, architecture: str, weights: str, **changes: Any) -> Embedder:
    values: dict[str, Any] = {
        "architecture": architecture,
        "weights": weights,
        "image_size": 0,
        "pixels": "bytes",
        "batch_size": 4,
        "precision": "float32",
    }
    return load_embedder(EmbeddingParams(**(values | changes)), root, CPU)


def make_images(n: int, size: int) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, size, size))
    return torch.from_numpy(pixels.astype(np.float32))


def write_onnx(
    path: Path,
    shape: list[Any] | None,
    kind: int = TensorProto.FLOAT,
    nodes: Callable[[str], list[onnx.NodeProto]] | None = None,
    inputs: int = 1,
    outputs: Sequence[str] = ("vector",),
) -> Path:
    """Write an encoder; by default its vector is the mean of each channel."""
    first = "images"
    graph_nodes = []
    if kind != TensorProto.FLOAT and kind in (TensorProto.UINT8, TensorProto.FLOAT16):
        graph_nodes.append(helper.make_node("Cast", [first], ["wide"], to=TensorProto.FLOAT))
        first = "wide"
    axes = [1, 2] if shape and shape[-1] == 3 else [2, 3]
    graph_nodes += (
        nodes(first)
        if nodes
        else [helper.make_node("ReduceMean", [first], ["vector"], axes=axes, keepdims=1)]
    )
    graph = helper.make_graph(
        graph_nodes,
        "encoder",
        [helper.make_tensor_value_info("images", kind, shape)]
        + [helper.make_tensor_value_info(f"more{i}", kind, [1]) for i in range(1, inputs)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


class Fixed(Embedder):
    """Gives the features it was made with."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = np.array(rows, dtype=np.float32)

    def features(self, images: torch.Tensor) -> np.ndarray:
        return self.rows


def test_vectors_have_length_one_and_zeros_stay_zeros():
    rows = [[3.0, 4.0], [0.0, 0.0], [-1e-3, 0.0], [1e20, 1e20]]
    vectors = Fixed(rows).embed(torch.zeros((4, 3, 8, 8)))
    half = 0.5**0.5
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [-1, 0], [half, half]], rtol=1e-6)
    assert vectors.dtype == np.float32


def test_checkpoint_embeds_to_the_features_of_its_model(tmp_path):
    model = build_model("fixed", 3, seed=1).eval()
    checkpoint = Checkpoint("fixed", 48, ["a", "b", "c"], 0, model.state_dict())
    save_checkpoint(tmp_path / "rounds" / "best.ckpt", checkpoint)
    embedder = load(tmp_path, "model", "rounds/best.ckpt")
    assert (embedder.image_size, embedder.dimension) == (48, 256)
    images = make_images(5, 48)
    with torch.inference_mode():
        features = model.features(images).numpy().astype(np.float64)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    vectors = embedder.embed(images)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)
    assert load(tmp_path, "model", "rounds/best.ckpt", image_size=48).image_size == 48
    message = r"image_size is 32, but rounds/best\.ckpt was trained at 48 pixels; 0 takes"
    with pytest.raises(WeightsError, match=message):
        load(tmp_path, "model", "rounds/best.ckpt", image_size=32)


def test_bfloat16_gives_nearly_the_same_vectors(tmp_path):
    weights = build_model("fixed", 3, seed=1).state_dict()
    save_checkpoint(tmp_path / "best.ckpt", Checkpoint("fixed", 32, ["a", "b", "c"], 0, weights))
    images = make_images(16, 32)
    exact = load(tmp_path, "model", "best.ckpt").embed(images)
    short = load(tmp_path, "model", "best.ckpt", precision="bfloat16").embed(images)
    assert short.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1.0, rtol=1e-6)
    cosines = (exact * short).sum(axis=1)
    assert cosines.min() > 0.999
    assert not np.array_equal(exact, short)


def settings(**changes: str) -> EmbeddingParams:
    given = {"architecture": "model", "weights": "w", "pixels": "unit", "precision": "auto"}
    return EmbeddingParams(image_size=0, batch_size=4, **(given | changes))


@pytest.mark.parametrize(
    ("device", "supported", "expected"),
    [
        ("cpu", {"_is_avx512_bf16_supported"}, "bfloat16"),
        ("cpu", {"_is_amx_tile_supported"}, "bfloat16"),
        ("cpu", set(), "float32"),
        ("cuda", {"is_bf16_supported"}, "bfloat16"),
        ("cuda", set(), "float32"),
        ("mps", {"_is_avx512_bf16_supported"}, "float32"),
    ],
)
def test_auto_is_what_the_hardware_has(monkeypatch, device, supported, expected):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in supported)
    asked = {}

    def of_the_gpu(**options: bool) -> bool:
        asked.update(options)
        return "is_bf16_supported" in supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", of_the_gpu)
    assert pick_precision(settings(), torch.device(device)).precision == expected
    assert asked == ({"including_emulation": False} if device == "cuda" else {})


def test_auto_is_float32_where_pytorch_cannot_tell(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert pick_precision(settings(), CPU).precision == "float32"


def test_a_named_precision_stays_and_an_onnx_file_has_its_own():
    assert pick_precision(settings(precision="bfloat16"), CPU).precision == "bfloat16"
    onnx_file = settings(architecture="onnx", precision="bfloat16")
    assert pick_precision(onnx_file, CPU) == onnx_file.model_copy(update={"precision": "float32"})


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the state dict of a torchvision ResNet-18 of 1,000 classes."""
    folder = tmp_path_factory.mktemp("resnet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18.pth")
    return folder


def test_torchvision_weights_embed_as_torchvision_does(resnet):
    embedder = load(resnet, "resnet18", "resnet18.pth", image_size=64)
    assert (embedder.image_size, embedder.dimension) == (64, 512)
    network = torchvision.models.resnet18()
    network.load_state_dict(torch.load(resnet / "resnet18.pth", weights_only=True))
    network.fc = torch.nn.Identity()
    images = make_images(2, 64)
    mean, std = (torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.inference_mode():
        features = network.eval()((images / 255 - mean) / std).numpy()
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed(images), expected, atol=1e-5)
    assert load(resnet, "resnet18", "resnet18.pth").image_size == 224


def test_files_of_older_pytorch_lack_counts_that_nobody_needs(resnet, tmp_path):
    weights = torch.load(resnet / "resnet18.pth", weights_only=True)
    older = {name: value for name, value in weights.items() if "num_batches" not in name}
    assert len(older) == len(weights) - 20
    torch.save(older, tmp_path / "older.pth")
    images = make_images(2, 64)
    found = load(tmp_path, "resnet18", "older.pth", image_size=64).embed(images)
    expected = load(resnet, "resnet18", "resnet18.pth", image_size=64).embed(images)
    np.testing.assert_array_equal(found, expected)


def published(folder: Path, architecture: str, **options: Any) -> torch.nn.Module:
    """Lay a file as torchvision publishes it, and give the network as torchvision loads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.get_model(architecture, weights=None, **options)
    weights = {
        re.sub(r"(denselayer\d+\.[a-z]+)(\d)", r"\1.\2", name): value
        for name, value in network.state_dict().items()
    }
    torch.save(weights, folder / "published.pth")
    return network.eval()


@pytest.mark.parametrize(
    ("architecture", "head", "options"),
    [
        ("densenet121", "classifier", {}),
        ("mnasnet0_5", "classifier.1", {}),
        ("googlenet", "fc", {"transform_input": True, "init_weights": False}),
    ],
)
def test_published_files_embed_as_torchvision_does(tmp_path, architecture, head, options):
    network = published(tmp_path, architecture, **options)
    network.set_submodule(head, torch.nn.Identity())
    images = make_images(2, 64)
    mean, std = (torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.inference_mode():
        features = network((images / 255 - mean) / std).numpy()
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    found = load(tmp_path, architecture, "published.pth", image_size=64).embed(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_of_something_else_are_refused(resnet, tmp_path):
    message = r"resnet18\.pth holds no resnet34: 80 of 180 arrays are missing, layer1\.2\.conv1\.we"
    with pytest.raises(WeightsError, match=message):
        load(resnet, "resnet34", "resnet18.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"list\.pth holds no resnet18: 100 of 100 arrays"):
        load(tmp_path, "resnet18", "list.pth")
    weights = torch.load(resnet / "resnet18.pth", weights_only=True)
    weights["conv1.weight"] = weights["conv1.weight"][:, :1]
    torch.save(weights, tmp_path / "grey.pth")
    with pytest.raises(WeightsError, match=r"grey\.pth holds no resnet18: (?s:.*)conv1\.weight"):
        load(tmp_path, "resnet18", "grey.pth")
    (tmp_path / "torn.pth").write_bytes((resnet / "resnet18.pth").read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"torn\.pth is no PyTorch file"):
        load(tmp_path, "resnet18", "torn.pth")


def test_unknown_architectures_and_missing_files_are_refused(resnet):
    message = r"architecture is 'resnet7'; allowed are model, onnx, alexnet, "
    with pytest.raises(ParamsError, match=message):
        load(resnet, "resnet7", "resnet18.pth")
    with pytest.raises(ParamsError, match="'fixed'; allowed are model, onnx, "):
        load(resnet, "fixed", "resnet18.pth")
    with pytest.raises(WeightsError, match=r"weights gone\.onnx does not exist; name a file"):
        load(resnet, "onnx", "gone.onnx")


def test_size_that_an_architecture_does_not_take_is_refused(tmp_path):
    body = build_model("inception_v3", 1, seed=0).body
    torch.save(body.state_dict(), tmp_path / "inception.pth")
    message = r"image_size is 32, but inception_v3 takes no images of 32 x 32 pixels \(.*\); choose"
    with pytest.raises(ParamsError, match=message):
        load(tmp_path, "inception_v3", "inception.pth", image_size=32)


@pytest.mark.parametrize(
    "shape",
    [
        ["n", 3, 8, 8],
        ["n", 8, 8, 3],
        [2, 3, 8, 8],
        ["n", 3, "h", "w"],
        ["n", "channels", "h", "w"],
        [None, None, None, None],
        ["n", "channels", 8, 8],
        ["n", "h", "w", 3],
    ],
)
@pytest.mark.parametrize("pixels", ["bytes", "unit", "imagenet"])
def test_onnx_file_gets_the_pixels_it_expects(tmp_path, shape, pixels):
    write_onnx(tmp_path / "encoder.onnx", shape)
    embedder = load(tmp_path, "onnx", "encoder.onnx", image_size=8, pixels=pixels)
    images = make_images(5, 8)
    means = images.numpy().mean(axis=(2, 3), dtype=np.float64)
    expected = {"bytes": means, "unit": means / 255, "imagenet": (means / 255 - MEAN) / STD}
    np.testing.assert_allclose(embedder.features(images), expected[pixels], rtol=1e-4, atol=1e-5)
    vectors = embedder.embed(images)
    assert (vectors.shape, vectors.dtype, embedder.dimension) == ((5, 3), np.float32, 3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (["n", 3, 8, 8], 8),
        (["n", 9, 9, 3], 9),
        (["n", 3, "h", "w"], 224),
        (["n", "channels", "h", "w"], 224),
        (["n", "channels", 9, 9], 9),
    ],
)
def test_onnx_file_says_its_size(tmp_path, shape, size):
    write_onnx(tmp_path / "encoder.onnx", shape)
    assert load(tmp_path, "onnx", "encoder.onnx").image_size == size


def test_onnx_output_of_one_vector_an_image_is_flattened(tmp_path):
    copies = write_onnx(
        tmp_path / "encoder.onnx",
        ["n", 3, 1, 1],
        nodes=lambda name: [helper.make_node("Identity", [name], ["vector"])],
    )
    embedder = OnnxEmbedder(copies, 0, "bytes")
    images = make_images(4, 1)
    assert embedder.dimension == 3
    np.testing.assert_array_equal(embedder.features(images), images.reshape(4, 3).numpy())


def tokens(*others: str) -> Callable[[str], list[onnx.NodeProto]]:
    """An encoder whose first output is the image itself; the others are a number a column."""

    def nodes(name: str) -> list[onnx.NodeProto]:
        return [helper.make_node("Identity", [name], ["tokens"])] + [
            helper.make_node("ReduceMax", [name], [other], axes=[1, 2], keepdims=0)
            for other in others
        ]

    return nodes


@pytest.mark.parametrize("n_at_once", ["n", 1, 3])
def test_of_onnx_outputs_the_one_is_taken_that_is_a_vector_an_image(tmp_path, n_at_once):
    shape, outputs = [n_at_once, 3, 8, 8], ["tokens", "pooled"]
    write_onnx(tmp_path / "encoder.onnx", shape, nodes=tokens("pooled"), outputs=outputs)
    embedder = load(tmp_path, "onnx", "encoder.onnx")
    images = make_images(5, 8)
    assert embedder.dimension == 8
    np.testing.assert_array_equal(embedder.features(images), images.numpy().max(axis=(1, 2)))


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], r"turns 2 image\(s\) into tokens \(2, 3, 8, 8\); a vector an image is taken, which"),
        (["a", "b"], r"into tokens \(2, 3, 8, 8\), a \(2, 8\), b \(2, 8\); a vector an image is"),
    ],
)
def test_onnx_outputs_of_which_none_can_be_chosen_are_refused(tmp_path, others, told):
    shape, outputs = ["n", 3, 8, 8], ["tokens", *others]
    write_onnx(tmp_path / "encoder.onnx", shape, nodes=tokens(*others), outputs=outputs)
    with pytest.raises(WeightsError, match=told):
        load(tmp_path, "onnx", "encoder.onnx")


def test_onnx_output_of_a_vector_a_channel_is_refused(tmp_path):
    write_onnx(tmp_path / "encoder.onnx", ["n", 3, 8, 8], nodes=reshaped(-1, 64))
    with pytest.raises(
        WeightsError, match=r"turns 2 image\(s\) into vector \(6, 64\); a vector an"
    ):
        load(tmp_path, "onnx", "encoder.onnx")


def named(name: str) -> Callable[[str], list[onnx.NodeProto]]:
    """An encoder with weights, whose inner value has this name."""

    def nodes(first: str) -> list[onnx.NodeProto]:
        value = onnx.numpy_helper.from_array(make_images(1, 8).numpy(), "weights")
        return [
            helper.make_node("Constant", [], ["weights"], value=value),
            helper.make_node("Mul", [first, "weights"], [name]),
            helper.make_node("ReduceMean", [name], ["vector"], axes=[2, 3], keepdims=0),
        ]

    return nodes


@pytest.mark.parametrize("second", ["encoder.onnx.data", f"{'long' * 40}.data"])
def test_onnx_file_whose_weights_lie_in_another_is_refused(tmp_path, second):
    path = write_onnx(tmp_path / "encoder.onnx", ["n", 3, 8, 8], nodes=named("product"))
    expected = load(tmp_path, "onnx", "encoder.onnx").features(make_images(2, 8))
    onnx.save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location=second,
        size_threshold=0,
        convert_attribute=True,
    )
    message = (
        r"encoder\.onnx is a graph alone: its weights lie in a second file, which .*_data=False"
    )
    with pytest.raises(WeightsError, match=message):
        load(tmp_path, "onnx", "encoder.onnx")
    onnx.save(onnx.load(path), path)
    (tmp_path / second).unlink()
    found = load(tmp_path, "onnx", "encoder.onnx").features(make_images(2, 8))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [["n", 3, 8, 8], ["many" * 40, 3, 8, 8]])
def test_onnx_file_that_calls_something_else_a_location_is_taken(tmp_path, shape):
    path = write_onnx(tmp_path / "encoder.onnx", shape, nodes=named("location"))
    model = onnx.load(path)
    model.graph.value_info.append(
        helper.make_tensor_value_info("location", TensorProto.FLOAT, shape)
    )
    helper.set_model_props(model, {"location": "encoder.onnx.data"})
    onnx.save(model, path)
    assert load(tmp_path, "onnx", "encoder.onnx").dimension == 3


def test_onnx_file_of_other_number_types(tmp_path):
    images = make_images(3, 8) + 0.4
    expected = images.round().numpy().mean(axis=(2, 3))
    write_onnx(tmp_path / "bytes.onnx", ["n", 3, 8, 8], TensorProto.UINT8)
    found = load(tmp_path, "onnx", "bytes.onnx").features(images)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    write_onnx(tmp_path / "half.onnx", ["n", 3, 8, 8], TensorProto.FLOAT16)
    found = load(tmp_path, "onnx", "half.onnx").features(images)
    np.testing.assert_allclose(found, images.numpy().mean(axis=(2, 3)), rtol=1e-3)
    with pytest.raises(ParamsError, match=r"pixels is 'unit', but .*takes tensor\(uint8\); set it"):
        load(tmp_path, "onnx", "bytes.onnx", pixels="unit")
    write_onnx(tmp_path / "text.onnx", ["n", 3, 8, 8], TensorProto.STRING, nodes=shape_of)
    with pytest.raises(WeightsError, match=r"type tensor\(string\); allowed are tensor\(float\), "):
        load(tmp_path, "onnx", "text.onnx")


def shape_of(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Shape", [name], ["shape"]),
        helper.make_node("Cast", ["shape"], ["vector"], to=TensorProto.FLOAT),
    ]


def reshaped(*shape: int) -> Callable[[str], list[onnx.NodeProto]]:
    """An encoder whose inner layer wants numbers of this shape."""
    wanted = helper.make_tensor("wanted", TensorProto.INT64, [len(shape)], shape)

    def nodes(name: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Constant", [], ["wanted"], value=wanted),
            helper.make_node("Reshape", [name, "wanted"], ["vector"]),
        ]

    return nodes


@pytest.mark.parametrize(
    ("shape", "options", "changes", "message"),
    [
        (
            ["n", 3, 8, 8],
            {},
            {"image_size": 9},
            r"is 9, but .*takes 8 x 8 pixels; 0 takes the size",
        ),
        (["n", 1, 8, 8], {}, {}, r"takes images of shape \['n', 1, 8, 8\]; an encoder of images"),
        (["n", 192], {"nodes": shape_of}, {}, r"of shape \['n', 192\]; an encoder of images takes"),
        (None, {}, {}, r"does not say how many axes images has; an encoder of images takes \(n, 3"),
        (
            ["n", "channels", 8, 8],
            {"nodes": reshaped(-1, 4 * 64)},
            {},
            r"does not turn 8 x 8 pixels into a vector an image; .*cannot be reshaped",
        ),
        (["n", 3, 8, 9], {}, {}, r"takes images of 8 x 9 pixels; allowed are squares"),
        (["n", 8, 9, 3], {}, {}, r"takes images of 8 x 9 pixels; allowed are squares"),
        (
            ["n", 3, 8, 8],
            {"inputs": 2},
            {},
            r"does not turn 8 x 8 pixels into a vector an image; .*more1",
        ),
        (
            ["n", 3, "h", "w"],
            {"nodes": reshaped(-1, 3 * 16 * 16)},
            {"image_size": 10},
            r"does not turn 10 x 10 pixels into a vector an image; embedding\.image_size sets the",
        ),
        (
            ["n", 3, 8, 8],
            {"nodes": reshaped(1, 192)},
            {},
            r"does not turn 8 x 8 pixels into a vector an image; .*cannot be reshaped",
        ),
        (
            ["n", 3, 8, 8],
            {"nodes": lambda name: [helper.make_node("ReduceMean", [name], ["vector"], axes=[0])]},
            {},
            r"into a vector an image; .*: one image gives 192 numbers, two give 96 each",
        ),
    ],
)
def test_onnx_file_that_is_no_such_encoder_is_refused(tmp_path, shape, options, changes, message):
    write_onnx(tmp_path / "encoder.onnx", shape, **options)
    with pytest.raises(WeightsError, match=message):
        load(tmp_path, "onnx", "encoder.onnx", **changes)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_features_that_are_no_numbers_are_refused(value):
    embedder = Fixed([[1.0, 2.0], [3.0, value]])
    with pytest.raises(WeightsError, match=r"no finite numbers; check embedding\.pixels, and"):
        embedder.embed(make_images(2, 8))


def test_damaged_onnx_files_are_refused(tmp_path):
    whole = write_onnx(tmp_path / "encoder.onnx", ["n", 3, 8, 8]).read_bytes()
    for content in (b"", b"not an encoder", whole[: len(whole) // 2]):
        (tmp_path / "damaged.onnx").write_bytes(content)
        with pytest.raises(WeightsError, match=r"damaged\.onnx is no ONNX file that can be run"):
            load(tmp_path, "onnx", "damaged.onnx")


@pytest.mark.skipif("DATABOOST_EMBEDDER" not in os.environ, reason="needs an encoder as ONNX file")
def test_encoder_of_natural_images(tmp_path):
    path = Path(os.environ["DATABOOST_EMBEDDER"])
    embedder = load(path.parent, "onnx", path.name)
    vectors = embedder.embed(make_images(3, embedder.image_size))
    assert (vectors.shape, embedder.dimension) == ((3, 1024), 1024)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
