"""The fixed model against Keras' own numbers; its initial weights; its products on a GPU."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from databoost.data.images import read_image
from databoost.data.resizing import TapStore
from databoost.model.architectures import FIXED, Classifier, build_model
from databoost.model.fixed import PointConv2d, StemConv2d

KERAS = Path(__file__).with_name("keras_fixed_model.npz")


@pytest.fixture(scope="module")
def keras() -> dict[str, np.ndarray]:
    with np.load(KERAS) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def ported(keras: dict[str, np.ndarray]) -> Classifier:
    """The fixed model with Keras' weights."""
    model = build_model(FIXED, 10, seed=0)
    pairs = [("conv1", model.body.stem, model.body.norm)]
    for number, block in enumerate(model.body.blocks, 1):
        layers = [(block.conv1, block.norm1), (block.conv2, block.norm2)]
        layers.append((block.conv3, block.norm3))
        pairs += [(f"conv2_block{number}_{which}", *pair) for which, pair in enumerate(layers, 1)]
        if isinstance(block.shortcut, nn.Sequential):
            pairs.append((f"conv2_block{number}_0", *block.shortcut))
    used = {"weights/dense/kernel", "weights/dense/bias"}

    def take(name: str) -> torch.Tensor:
        used.add(f"weights/{name}")
        return torch.from_numpy(keras[f"weights/{name}"])

    with torch.no_grad():
        for name, conv, norm in pairs:
            conv.weight.copy_(take(f"{name}_conv/kernel").permute(3, 2, 0, 1))
            conv.bias.copy_(take(f"{name}_conv/bias"))
            norm.weight.copy_(take(f"{name}_bn/gamma"))
            norm.bias.copy_(take(f"{name}_bn/beta"))
            norm.running_mean.copy_(take(f"{name}_bn/moving_mean"))
            norm.running_var.copy_(take(f"{name}_bn/moving_variance"))
        model.head.weight.copy_(take("dense/kernel").T)
        model.head.bias.copy_(take("dense/bias"))
    assert used == {name for name in keras if name.startswith("weights/")}
    return model.eval()


def assert_like_keras(
    model: Classifier, images: torch.Tensor, keras: dict[str, np.ndarray]
) -> None:
    with torch.inference_mode():
        features, logits = model.features(images).numpy(), model(images).numpy()
    np.testing.assert_allclose(features, keras["features"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits, keras["logits"], rtol=0, atol=1e-4)


def test_keras_weights_give_keras_features_and_logits(ported, keras):
    images = torch.from_numpy(keras["resized"]).permute(0, 3, 1, 2)
    assert_like_keras(ported, images, keras)


@pytest.mark.skipif("DATABOOST_ROMAN" not in os.environ, reason="needs the Roman numerals")
def test_png_files_give_keras_pixels_features_and_logits(ported, keras):
    root = Path(os.environ["DATABOOST_ROMAN"])
    store = TapStore([read_image(root / str(path)) for path in keras["paths"]], 32)
    images = store.batch(slice(None))
    np.testing.assert_array_equal(images.permute(0, 2, 3, 1).numpy(), keras["resized"])
    assert_like_keras(ported, images, keras)


def test_fixed_model_reads_bgr_minus_the_means_of_caffe():
    model = build_model(FIXED, 2, seed=0)
    seen = []
    model.body = nn.Module()
    model.body.forward = lambda x: seen.append(x) or torch.zeros((1, 256))
    model.features(torch.tensor([200.0, 150.0, 110.0]).view(1, 3, 1, 1))
    expected = torch.tensor([110 - 103.939, 150 - 116.779, 200 - 123.68])
    torch.testing.assert_close(seen[0].flatten(), expected)


def test_initial_weights_are_glorot_uniform_with_zero_biases():
    model = build_model(FIXED, 10, seed=3)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 12
    for layer in layers:
        n_out, n_in, *kernel = layer.weight.shape
        bound = (6 / ((n_in + n_out) * np.prod(kernel))) ** 0.5
        assert layer.weight.abs().max() <= bound
        if layer.weight.numel() > 1000:
            assert layer.weight.abs().max() > 0.99 * bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not layer.bias.any()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 11
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1.001e-5, 0.01)}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (PointConv2d(5, 7), (3, 5, 4, 6)),
        (StemConv2d(3, 4), (2, 3, 32, 32)),
        (StemConv2d(3, 4), (2, 3, 9, 14)),
    ],
)
def test_a_product_is_the_convolution(layer, shape):
    """GPUs compute it so; in float64 the two differ by rounding alone."""
    layer = layer.double()
    torch.nn.init.normal_(layer.bias)
    x = torch.rand(shape, dtype=torch.float64)
    found = []
    for compute in (layer, layer.product):
        layer.zero_grad()
        y = compute(x)
        y.sin().sum().backward()
        assert y.is_contiguous()
        found.append([y, layer.weight.grad, layer.bias.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
