"""The models by name: the competition's fixed model, and torchvision's architectures."""

import copy
import re
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from databoost.errors import ParamsError, WeightsError
from databoost.model.fixed import CAFFE_BGR, CutResNet50

#: A number for each colour channel.
Three = tuple[float, float, float]

FIXED = "fixed"
#: Mean and standard deviation of ImageNet's red, green and blue, for values from 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
#: Architectures whose published weights know values from -1 to 1.
_HALVED = ("efficientnet_v2_l", "googlenet", "inception_v3")
_COUNT = ".num_batches_tracked"
#: Second and third heads, which GoogLeNet and Inception v3 are trained with.
_SIDE_HEADS = ("AuxLogits.", "aux1.", "aux2.")
#: Names in published files that are others by now: ``norm.1`` is ``norm1`` in DenseNets, and
#: ``mlp.linear_1`` is ``mlp.0`` in vision transformers.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


class Classifier(nn.Module):
    """A network in three parts: preprocessing, a body that gives features, a linear head.

    Parameters
    ----------
    body
        Maps (n, 3, size, size) preprocessed images to (n, n_features) features.
    n_features, n_classes
        Width of the features and number of classes.
    mean, std
        Three values each, by channel in the order that the body reads.
    reverse_channels
        Whether the body reads blue, green, red.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        body: nn.Module,
        n_features: int,
        n_classes: int,
        mean: Three,
        std: Three,
        reverse_channels: bool = False,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(n_features, n_classes)
        self.n_features = n_features
        self.reverse_channels = reverse_channels
        self.memory_format = torch.contiguous_format
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def lay_out(self, memory_format: torch.memory_format) -> "Classifier":
        """Lay weights out in memory, and images as they come; it changes results by rounding."""
        self.memory_format = memory_format
        return self.to(memory_format=memory_format)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Describe images.

        Parameters
        ----------
        images
            (n, 3, size, size) float32, RGB, 0 to 255.

        Returns
        -------
        torch.Tensor
            (n, n_features) float32.
        """
        if self.reverse_channels:
            images = images.flip(1)
        images = (images - self.mean) / self.std
        features: torch.Tensor = self.body(images.contiguous(memory_format=self.memory_format))
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify images: (n, 3, size, size) float32 RGB 0 to 255 -> (n, n_classes) logits."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits


def architecture_names() -> list[str]:
    """List the architectures that :func:`build_model` knows, ``fixed`` first."""
    from torchvision import models  # takes seconds, and the fixed model needs none of it

    return [FIXED, *sorted(models.list_models(module=models))]


def build_model(architecture: str, n_classes: int, seed: int) -> Classifier:
    """Build an untrained model; the same arguments give the same weights.

    Parameters
    ----------
    architecture
        ``fixed``, or a torchvision classification architecture (``resnet18``, ...).
    n_classes
        Number of classes, the width of the logits.
    seed
        Of the initial weights: Glorot-uniform for ``fixed``, torchvision's own otherwise.

    Raises
    ------
    ParamsError
        If the architecture is unknown or does not end in a linear layer.
    """
    if architecture != FIXED and architecture not in architecture_names():
        raise ParamsError(
            f"architecture is {architecture!r}; allowed are {', '.join(architecture_names())}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == FIXED:
            model = Classifier(
                CutResNet50(), 256, n_classes, CAFFE_BGR, (1.0, 1.0, 1.0), reverse_channels=True
            )
            nn.init.xavier_uniform_(model.head.weight)
            nn.init.zeros_(model.head.bias)
        else:
            body, n_features = _torchvision_body(architecture)
            model = Classifier(body, n_features, n_classes, *_input_scale(architecture))
    return model.lay_out(torch.channels_last)


def load_weights(module: nn.Module, weights: object) -> None:
    """Load named arrays into a module, as they were saved or as torchvision publishes them.

    Counts of batches, which older files lack and no evaluation needs, may be missing. A published
    head is left out; other further arrays are of another architecture, a deeper one mostly.

    Parameters
    ----------
    weights
        A dict of tensors by name; of anything else all arrays are missing.

    Raises
    ------
    WeightsError
        If arrays are missing or of another shape, or there are further ones.
    """
    own = module.state_dict()
    items = weights.items() if isinstance(weights, dict) else ()
    given = {_name_now(str(name)): value for name, value in items}
    wanted = [name for name in own if not name.endswith(_COUNT)]
    lacking = [name for name in wanted if name not in given]
    if lacking:
        raise WeightsError(
            f"{len(lacking)} of {len(wanted)} arrays are missing, {lacking[0]} first"
        )
    heads = [f"{name}." for name, part in module.named_modules() if isinstance(part, _CutHead)]
    further = [
        name
        for name, value in given.items()
        if name not in own
        and isinstance(value, torch.Tensor)
        and not name.startswith((*heads, *_SIDE_HEADS))
    ]
    if further:
        raise WeightsError(
            f"{len(further)} arrays of the file have no place in it, {further[0]} first; name the "
            "architecture that the file is of"
        )
    state = OrderedDict((name, given.get(name, value)) for name, value in own.items())
    # Some modules ask which version of theirs saved the arrays: the one that is here.
    state._metadata = own._metadata  # type: ignore[attr-defined]
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(str(error)) from error


def refusal(model: Classifier, image_size: int, n_images: int, is_training: bool) -> str:
    """Say why a model cannot take a batch of images; empty if it can.

    Some architectures need images of one size or of a least size, and some cannot be trained on
    single images. Two images are tried for any number of them, as that makes no other difference.
    The model itself stays as it is.
    """
    trial = copy.deepcopy(model).train(is_training)
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            trial(torch.zeros((min(n_images, 2), 3, image_size, image_size)))
    except (AssertionError, RuntimeError, ValueError) as error:
        return str(error).splitlines()[0]
    return ""


class _CutHead(nn.Identity):
    """Stands where an architecture's published head was."""


def _name_now(name: str) -> str:
    for before, now in _RENAMED:
        name = before.sub(now, name)
    return name


def _input_scale(architecture: str) -> tuple[Three, Three]:
    """Mean and standard deviation, of 0 to 255, that an architecture's published weights expect."""
    if architecture in _HALVED:
        return (127.5,) * 3, (127.5,) * 3
    red, green, blue = (255 * value for value in IMAGENET_MEAN)
    of_red, of_green, of_blue = (255 * value for value in IMAGENET_STD)
    return (red, green, blue), (of_red, of_green, of_blue)


def _torchvision_body(architecture: str) -> tuple[nn.Module, int]:
    from torchvision import models

    options: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}
    network = models.get_model(architecture, weights=None, **options)
    name, last = list(network.named_modules())[-1]
    if not isinstance(last, nn.Linear):
        raise ParamsError(
            f"architecture {architecture!r} does not end in a linear layer, so it has no features "
            "to embed with; choose another, resnet18 say"
        )
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, _CutHead())
    return network, last.in_features
