"""Models by name: their parts, shapes and seeds; published weights."""

import pytest
import torch
import torchvision
from torch import nn

from databoost.errors import ParamsError, WeightsError
from databoost.model import architectures
from databoost.model.architectures import (
    FIXED,
    architecture_names,
    build_model,
    load_weights,
    refusal,
)


def test_images_and_weights_are_laid_out_alike():
    model, images = build_model("fixed", 3, seed=0), torch.rand((2, 3, 32, 32)) * 255
    logits = model(images)
    assert model.body.stem.weight.is_contiguous(memory_format=torch.channels_last)
    given = []
    model.body.register_forward_pre_hook(lambda body, arguments: given.append(arguments[0]))
    for memory_format in (torch.contiguous_format, torch.channels_last):
        assert model.lay_out(memory_format) is model
        torch.testing.assert_close(model(images), logits)
        assert model.body.stem.weight.is_contiguous(memory_format=memory_format)
        assert given[-1].is_contiguous(memory_format=memory_format)


def test_torchvision_models_read_rgb_scaled_as_imagenet():
    model = build_model("resnet18", 2, seed=0)
    seen = []
    model.body = nn.Module()
    model.body.forward = lambda x: seen.append(x) or torch.zeros((1, 512))
    model.features(torch.tensor([255.0, 51.0, 0.0]).view(1, 3, 1, 1))
    expected = torch.tensor([(1.0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.0 - 0.406) / 0.225])
    torch.testing.assert_close(seen[0].flatten(), expected)


@pytest.mark.parametrize("architecture", [FIXED, "resnet18"])
def test_same_seed_same_weights_and_the_global_generator_stays(architecture):
    before = torch.get_rng_state()
    first, second, other = (build_model(architecture, 3, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    states = [model.state_dict() for model in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])


@pytest.mark.parametrize(
    ("architecture", "n_features"),
    [(FIXED, 256), ("resnet18", 512), ("mobilenet_v3_small", 1024), ("densenet121", 1024)],
)
def test_features_and_logits_have_the_promised_shapes(architecture, n_features):
    model = build_model(architecture, 4, seed=0).eval()
    images = torch.rand((2, 3, 32, 32)) * 255
    with torch.inference_mode():
        features, logits = model.features(images), model(images)
        again = model.head(features)
    assert (model.n_features, features.shape) == (n_features, (2, n_features))
    assert (logits.shape, logits.dtype) == ((2, 4), torch.float32)
    torch.testing.assert_close(logits, again)


def test_names_begin_with_fixed_and_hold_classifiers_alone():
    names = architecture_names()
    assert names[0] == FIXED
    assert {"resnet50", "vit_b_16"} <= set(names)
    assert not {"fcn_resnet50", "raft_small"} & set(names)


def test_architecture_without_a_linear_end_is_refused():
    with pytest.raises(
        ParamsError, match=r"'squeezenet1_0' does not end in a linear layer.*resnet"
    ):
        build_model("squeezenet1_0", 3, seed=0)


def test_unknown_architecture_is_refused_with_the_allowed_ones():
    with pytest.raises(ParamsError, match=r"is 'resnet7'; allowed are fixed, alexnet, .*resnet18"):
        build_model("resnet7", 3, seed=0)


def test_refusal_says_what_a_model_does_not_take_and_leaves_it_alone():
    model = build_model("resnet18", 3, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert refusal(model, 32, 2, is_training=True) == ""
    assert refusal(model, 32, 1, is_training=False) == ""
    assert "more than 1 value per channel" in refusal(model, 32, 1, is_training=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_of_many_images_two_are_tried():
    """A trial of a whole batch would take its memory, on the CPU, for no other answer."""
    model = build_model(FIXED, 2, seed=0)
    shapes = []
    model.body.forward = lambda x: shapes.append(x.shape) or torch.zeros((len(x), 256))
    for n_images in (1, 2, 4096):
        assert refusal(model, 32, n_images, is_training=True) == ""
    assert shapes == [(1, 3, 32, 32), (2, 3, 32, 32), (2, 3, 32, 32)]


def published(architecture: str, seed: int = 1) -> dict[str, torch.Tensor]:
    """Arrays as torchvision publishes them, the head among them; of random values."""
    torch.manual_seed(seed)
    return torchvision.models.get_model(architecture, weights=None).state_dict()


@pytest.mark.parametrize(
    ("architecture", "head"), [("resnet18", "fc"), ("mobilenet_v3_small", "classifier.3")]
)
def test_a_whole_file_is_loaded_but_for_its_heads(architecture, head):
    weights = published(architecture)
    body = build_model(architecture, 3, seed=0).body
    load_weights(body, weights)
    found = body.state_dict()
    assert found.keys() == weights.keys() - {f"{head}.weight", f"{head}.bias"}
    assert all(torch.equal(value, weights[name]) for name, value in found.items())
    # A head of one's own, a side head of Inception's kind, and what is no array.
    others = {f"{head}.0.weight": torch.zeros(5, 9), "AuxLogits.fc.bias": torch.zeros(5)}
    load_weights(body, found | others | {"epoch": 3})


@pytest.mark.parametrize(
    ("given", "wanted", "message"),
    [
        ("resnet34", "resnet18", r"^96 arrays .* no place in it, layer1\.2\..*; name the archit"),
        ("efficientnet_b1", "efficientnet_b0", r" arrays .* no place in it, features\.1\.1\."),
    ],
)
def test_a_deeper_architectures_file_is_refused(given, wanted, message):
    with pytest.raises(WeightsError, match=message):
        load_weights(build_model(wanted, 3, seed=0).body, published(given))


def test_names_of_published_vision_transformers_are_understood():
    small = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=1, hidden_dim=8, mlp_dim=8
    )
    weights = {
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value + 1
        for name, value in small.state_dict().items()
    }
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in weights
    load_weights(small, weights)
    first = "encoder.layers.encoder_layer_1.mlp"
    assert torch.equal(small.state_dict()[f"{first}.3.bias"], weights[f"{first}.linear_2.bias"])


def test_inputs_are_scaled_as_published_weights_expect():
    for name in architecture_names():
        if name == FIXED:
            continue
        wanted = next(iter(torchvision.models.get_model_weights(name))).transforms()
        mean, std = (torch.tensor(values) * 255 for values in (wanted.mean, wanted.std))
        if name in ("googlenet", "inception_v3"):  # these scale once more by themselves
            mean = std = torch.full((3,), 127.5)
        for found, expected in zip(architectures._input_scale(name), (mean, std), strict=True):
            torch.testing.assert_close(torch.tensor(found), expected, msg=name)
