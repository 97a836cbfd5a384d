"""The checkpoint of a round: weights and what is needed to use them, nothing executable."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch

from databoost.data.files import write_bytes
from databoost.errors import WeightsError
from databoost.model.architectures import Classifier, build_model, load_weights

_KINDS = {"architecture": str, "image_size": int, "classes": list, "epoch": int, "weights": dict}


@dataclass(frozen=True)
class Checkpoint:
    """A trained model.

    Attributes
    ----------
    architecture, image_size
        As in the ``model`` section of ``params.yaml``.
    classes
        Labels in the order of the logits.
    epoch
        The epoch whose weights these are, counted from 0.
    weights
        State of the :class:`~databoost.model.architectures.Classifier`.
    """

    architecture: str
    image_size: int
    classes: list[str]
    epoch: int
    weights: dict[str, torch.Tensor]

    def model(self) -> Classifier:
        """Build the model with these weights, in evaluation mode.

        Raises
        ------
        WeightsError
            If the weights do not fit the architecture.
        """
        model = build_model(self.architecture, len(self.classes), seed=0)
        try:
            load_weights(model, self.weights)
        except WeightsError as error:
            raise WeightsError(f"the weights do not fit {self.architecture}: {error}") from error
        return model.eval()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: same weights, same bytes; whole or not at all."""
    stream = io.BytesIO()
    weights = {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in checkpoint.weights.items()
    }
    values = (checkpoint.architecture, checkpoint.image_size, checkpoint.classes, checkpoint.epoch)
    torch.save(dict(zip(_KINDS, (*values, weights), strict=True)), stream)
    write_bytes(path, stream.getvalue())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running anything that it might hold.

    Raises
    ------
    WeightsError
        If the file is missing, is no PyTorch file, holds more than tensors and plain values, or is
        no checkpoint of databoost.
    """
    content = load_tensors(path)
    is_ours = (
        isinstance(content, dict) and {key: type(value) for key, value in content.items()} == _KINDS
    )
    if not isinstance(content, dict) or not is_ours:
        raise WeightsError(f"{path} is no checkpoint of databoost; `databoost train` writes one")
    return Checkpoint(**content)


def load_tensors(path: Path) -> object:
    """Read a PyTorch file of tensors and plain values.

    Raises
    ------
    WeightsError
        If the file is missing, is no PyTorch file, or holds anything executable.
    """
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except Exception as error:  # zip, pickle and torch each raise their own on a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} is no PyTorch file of weights that can be read safely: {reason}"
        ) from error
    return content
